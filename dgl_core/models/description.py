"""Describe a network in plain values and build it again from them, so that a weights file needs no code.

A torch module is its class, plain attributes, parameters, buffers and further modules. A description holds the first
two and the names of the others; what it may name are the layers of torch and the modules of this project.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KNOWN = ("torch.nn.modules.", "dgl_core.")  # where the classes may come from
FUNCTIONS = {name: getattr(F, name) for name in ("relu", "gelu", "silu", "elu", "leaky_relu", "tanh", "sigmoid")}
BASE = frozenset(nn.Module().__dict__)  # attributes that every module has
HOOKS = tuple(name for name in BASE if "hooks" in name)
DERIVED = frozenset({"_flat_weights", "_flat_weight_refs"})  # of recurrent layers, made of their parameters
DEEPEST = 100  # modules inside each other


class Undescribable(ValueError):
    """Raised for a network that plain values cannot describe, or for a description that names something unknown."""


def describe(module: nn.Module) -> dict[str, Any]:
    """Describe a module and all modules inside it, without the values of its tensors.

    Raises:
        Undescribable: a class of the reader's own, an attribute that is no plain value, or a hook.
    """
    kind = type(module)
    name = f"{kind.__module__}:{kind.__qualname__}"
    if not kind.__module__.startswith(KNOWN) or not _importable(kind):
        raise Undescribable(f"{kind.__name__} is a class of your own")
    if any(getattr(module, hooks) for hooks in HOOKS):
        raise Undescribable(f"a {kind.__name__} has hooks")
    own = {key: value for key, value in vars(module).items() if key not in BASE and key not in DERIVED}
    return {
        "class": name,
        "values": {key: _plain(value, f"{kind.__name__}.{key}") for key, value in own.items()},
        "parameters": {key: tensor is not None for key, tensor in module._parameters.items()},
        "buffers": {key: tensor is not None for key, tensor in module._buffers.items()},
        "modules": {key: None if part is None else describe(part) for key, part in module._modules.items()},
    }


def build(description: Mapping[str, Any], tensors: Mapping[str, Tensor], prefix: str = "", depth: int = 0) -> nn.Module:
    """Build what ``describe`` described, in evaluation mode, with ``tensors`` {prefix + name: values}.

    Raises:
        Undescribable: an unknown class, or a description of another form. KeyError: a tensor is missing.
    """
    try:
        module = _class(description["class"]).__new__(_class(description["class"]))
        parts = [dict(description[name]) for name in ("values", "parameters", "buffers", "modules")]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, Undescribable):
            raise
        raise Undescribable("the description of its network cannot be read") from None
    if depth > DEEPEST:
        raise Undescribable("its network is nested too deeply")
    values, parameters, buffers, modules = parts
    nn.Module.__init__(module)
    module.training = False
    vars(module).update({key: _value(value) for key, value in values.items() if key not in BASE})
    for key, there in parameters.items():
        module._parameters[key] = nn.Parameter(_at(tensors, prefix + key)) if there else None
    for key, there in buffers.items():
        module._buffers[key] = _at(tensors, prefix + key) if there else None
    for key, part in modules.items():
        module._modules[key] = None if part is None else build(part, tensors, f"{prefix}{key}.", depth + 1)
    if isinstance(module, nn.RNNBase):
        module._init_flat_weights()
    return module


def tensors_of(module: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """Collect all parameters and buffers, those that no state dictionary has too: {prefix + name: tensor}."""
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {prefix + name: tensor for name, tensor in named}


def fill(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
    """Copy ``tensors`` {prefix + name: values} into a module of somebody's own.

    Raises:
        ValueError: it has other tensors, or one of another shape; names the first.
    """
    own = tensors_of(module, prefix)
    given = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    for name in sorted(own.keys() ^ given.keys()):
        where = "the file has it, the model has not" if name in given else "the model has it, the file has not"
        raise ValueError(f"these weights are of another model: {name.removeprefix(prefix)!r}, {where}.")
    for name, tensor in own.items():
        if tensor.shape != given[name].shape:
            raise ValueError(f"these weights are of another model: {name.removeprefix(prefix)!r} has shape "
                             f"{list(given[name].shape)} in the file, {list(tensor.shape)} in the model.")  # fmt: skip
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(given[name])


def _importable(kind: type) -> bool:
    return getattr(importlib.import_module(kind.__module__), kind.__qualname__, None) is kind


def _class(name: object) -> type[nn.Module]:
    """Find a class by "module:Class"; whatever else the text names is refused before anything is imported."""
    module, _, kind = str(name).partition(":")
    if not module.startswith(KNOWN) or not kind.isidentifier():
        raise Undescribable(f"it names {name!r}, which is no layer of torch or of this project")
    try:
        found = getattr(importlib.import_module(module), kind, None)
    except ImportError:
        found = None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise Undescribable(f"it names {name!r}, which this version does not have as a layer")
    return found


def _at(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise Undescribable(f"its tensor {name!r} is missing")
    return tensors[name].clone()


def _plain(value: object, where: str) -> Any:
    """Write a value for JSON, which has neither tuples nor functions."""
    if value is None or isinstance(value, bool | int | str) or isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list):
        return [_plain(item, where) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_plain(item, where) for item in value]}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"mapping": {key: _plain(item, where) for key, item in value.items()}}
    names = [name for name, function in FUNCTIONS.items() if function is value]
    if names:
        return {"function": names[0]}
    raise Undescribable(f"{where} is a {type(value).__name__}")


def _value(value: Any) -> object:
    """Read a value that ``_plain`` wrote."""
    if isinstance(value, list):
        return [_value(item) for item in value]
    if isinstance(value, dict):
        (kind, content), *more = value.items() or [("", None)]
        if kind == "tuple" and not more:
            return tuple(map(_value, content))
        if kind == "mapping" and not more:
            return {key: _value(item) for key, item in content.items()}
        if kind == "function" and not more and content in FUNCTIONS:
            return FUNCTIONS[content]
        raise Undescribable("the description of its network cannot be read")
    return value
