"""Reading other people's pickles without running them: arrays, dictionaries, lists and plain values, nothing else.

A pickle is a program; loading one may call any function. Here every name that it asks for is looked up in a short table
of stand-ins that can only build an array from its bytes. Anything else is refused before it exists.
"""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

_TYPE = re.compile(r"[<>|=]?(?:f[248]|[iu][1248]|b1|[SU]\d+|O8?)")
_DEPTH = 20  # of nested containers
_PLAIN = (str, bytes, int, float, bool, type(None))


class UnsafePickle(ValueError):
    """The pickle asks for something that is neither an array nor a plain value. Nothing of it was executed."""


class _Type:
    """Stands in for a numpy dtype: a checked name, and the byte order that its state brings."""

    __slots__ = ("dtype",)

    def __init__(self, name: Any):
        if not isinstance(name, str) or not _TYPE.fullmatch(name):
            raise UnsafePickle(f"it has an array of type {name!r}, not of numbers or text")
        self.dtype = np.dtype(name.removesuffix("8") if name.endswith("O8") else name)

    def __setstate__(self, state: Any) -> None:
        order, compound = state[1], state[2:5]
        if any(part is not None for part in compound):
            raise UnsafePickle("it has an array of records, not of numbers or text")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands in for a numpy array until its shape, type and bytes arrive."""

    __slots__ = ("value",)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        self.value = _build(shape, kind, "F" if fortran else "C", content)


def _build(shape: Any, kind: Any, order: Any, content: Any) -> Any:
    """An array from its parts; a (nested) list for an array of objects."""
    if not isinstance(kind, _Type) or not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise UnsafePickle("it has a broken array")
    count = math.prod(shape)
    if kind.dtype.hasobject:
        if not isinstance(content, list) or len(content) != count:
            raise UnsafePickle("it has a broken array of objects")
        if not count:
            return []
        values = np.empty(count, dtype=object)
        values[:] = content
        return values.reshape(shape, order=order).tolist()
    content = content.encode("latin1") if isinstance(content, str) else content  # Python 2 wrote bytes as text
    if not isinstance(content, (bytes, bytearray)) or len(content) != count * kind.dtype.itemsize:
        raise UnsafePickle("it has an array whose bytes do not fit its shape")
    return np.frombuffer(content, dtype=kind.dtype).reshape(shape, order=order).copy()


# The stand-ins. Each is an object without attributes, so a pickle can call it and do nothing else with it.


class _NdArray:
    """``numpy.ndarray``: only named, as the kind of array to reconstruct."""

    __slots__ = ()


class _MakeType:
    """``numpy.dtype``."""

    __slots__ = ()

    def __call__(self, name: Any, *flags: Any) -> _Type:
        return _Type(name)


class _Reconstruct:
    """``numpy.core.multiarray._reconstruct``: an empty array, to be filled by its state."""

    __slots__ = ()

    def __call__(self, kind: Any, *rest: Any) -> _Array:
        if not isinstance(kind, _NdArray):
            raise UnsafePickle("it has a special kind of array")
        return _Array()


class _FromBuffer:
    """``numpy.core.numeric._frombuffer`` (protocol 5)."""

    __slots__ = ()

    def __call__(self, content: Any, kind: Any, shape: Any, order: Any, *axes: Any) -> _Array:
        array = _Array()
        array.__setstate__((1, shape, kind, order == "F", content))
        return array


class _Scalar:
    """``numpy.core.multiarray.scalar``: one number of a given type."""

    __slots__ = ()

    def __call__(self, kind: Any, content: Any) -> Any:
        return _build((1,), kind, "C", content)[0].item()


class _Encode:
    """``_codecs.encode``: how old protocols of Python 3 write bytes."""

    __slots__ = ()

    def __call__(self, text: Any, encoding: Any) -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise UnsafePickle(f"it has text in the encoding {encoding!r}")
        return text.encode("latin1")


class _NoBytes:
    """``bytes``: how old protocols write an empty one; with content they use ``_codecs.encode``."""

    __slots__ = ()

    def __call__(self) -> bytes:
        return b""


_ALLOWED: dict[tuple[str, str], Any] = {
    ("__builtin__", "bytes"): _NoBytes(),
    ("numpy", "ndarray"): _NdArray(),
    ("numpy", "dtype"): _MakeType(),
    ("_codecs", "encode"): _Encode(),
}
for _core in ("numpy.core", "numpy._core"):  # before and since numpy 2
    _ALLOWED |= {
        (f"{_core}.multiarray", "_reconstruct"): _Reconstruct(),
        (f"{_core}.multiarray", "scalar"): _Scalar(),
        (f"{_core}.numeric", "_frombuffer"): _FromBuffer(),
    }


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UnsafePickle(f"it asks for {module}.{name}, which is neither an array nor a plain value")
        return _ALLOWED[module, name]


def load_pickle(path: Path) -> Any:
    """What a pickle of arrays, dictionaries, lists, text and numbers holds.

    Raises:
        UnsafePickle: it asks for anything else (a ``ValueError``); nothing of it was executed.
        ValueError: the file is no whole pickle.
    """
    try:
        with open(path, "rb") as file:
            loaded = _Unpickler(file, encoding="latin1").load()
        return _plain(loaded)
    except UnsafePickle as error:
        raise UnsafePickle(
            f"{path} is refused: {error}. Nothing of it was executed. Use it only if you trust its author: save its "
            "arrays as npz yourself"
        ) from None
    except (pickle.UnpicklingError, EOFError, AttributeError, TypeError, IndexError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is no whole pickle of arrays ({type(error).__name__}: {error}); fetch it again"
        ) from None


def _plain(value: Any, depth: int = 0, done: dict[int, Any] | None = None) -> Any:
    """The same with arrays in place of their stand-ins; refuses stand-ins that stand for nothing.

    ``done`` keeps what a value has become by its identity, so that a value that occurs often is visited once.
    """
    done = {} if done is None else done
    if depth > _DEPTH:
        raise UnsafePickle(f"it is nested more than {_DEPTH} deep")
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, _Array) and hasattr(value, "value"):
        clean = _plain(value.value, depth + 1, done) if isinstance(value.value, list) else value.value
    elif isinstance(value, dict):
        clean = {_plain(k, depth + 1, done): _plain(v, depth + 1, done) for k, v in value.items()}
    elif isinstance(value, (list, tuple)):
        clean = type(value)(_plain(v, depth + 1, done) for v in value)
    elif isinstance(value, _PLAIN):
        clean = value
    else:
        raise UnsafePickle(f"it holds {type(value).__name__!r}, which is neither an array nor a plain value")
    done[id(value)] = clean
    return clean
