"""Names, ranges and registries: what is refused, and in which words."""

from __future__ import annotations

import sys

import pytest

from dgl_core.utils import Range, Registry, check_count, check_mapping, check_modality_names, resolve_options


@pytest.mark.parametrize(
    "name",
    ["", "fused", "fusion", "heads", "a/b", "a.b", "two words", "a\n", "without_a", "official_a", "a_reestimated", 3],
)
def test_names_that_the_house_uses_are_refused(name):
    with pytest.raises(ValueError, match="A modality cannot be called") as error:
        check_modality_names(["audio", name])
    assert repr(name) in str(error.value) and "\n" not in str(error.value)


def test_other_names_are_fine():
    check_modality_names(["audio", "rgb", "fusion_map", "my-depth", "Ton", "headset", "m0"])


@pytest.mark.parametrize("value", [None, 3, "text", [1, 2], [["a\nb"] * 99] * 99, {}])
def test_what_is_no_dictionary_is_refused_in_one_line(value):
    with pytest.raises(ValueError, match="^widths is .*; it must be a dictionary modality -> width.$") as error:
        check_mapping("widths", value, "modality -> width")
    assert len(str(error.value)) < 200
    if value != {}:
        with pytest.raises(ValueError, match="options .method 'dgl'. is"):
            resolve_options("method 'dgl'", value, {})


@pytest.mark.parametrize("value", [None, 1.5, 2.0, "2", [2], True, 1, float("nan")])
def test_what_is_no_count_is_refused(value):
    check_count("classes", 2, low=2)
    with pytest.raises(ValueError, match="classes is .*; it must be at least 2, and whole"):
        check_count("classes", value, low=2)


@pytest.mark.parametrize(
    "allowed, good, bad, says",
    [
        (Range(low=0), (0, 3.5), (-1, float("nan"), float("inf"), 10**400 * -1), "it must be at least 0 and finite"),
        (Range(above=0, high=1), (0.1, 1), (0, 1.1), "it must be above 0 and at most 1"),
        (Range(low=0, below=1), (0, 0.9), (1.0, -0.1), "it must be at least 0 and below 1"),
        (Range(above=0), ((), (1, 2.0)), ((1.0, -2.0), ("much",)), "each must be above 0 and finite"),
        (Range(choices=("most", "least")), ("most",), ("mosst",), "did you mean 'most'"),
    ],
)
def test_a_range_says_what_may_be(allowed, good, bad, says):
    for value in good:
        allowed.check("share", value)
    for value in bad:
        with pytest.raises(ValueError, match=f"share.*{says}"):
            allowed.check("share", value)


def test_a_registry_imports_what_is_asked_for():
    registry = Registry({"late": "colorsys:rgb_to_hsv", "mine": len})
    sys.modules.pop("colorsys", None)
    assert list(registry) == ["late", "mine"] and "late" in registry and "other" not in registry and len(registry) == 2
    assert "colorsys" not in sys.modules
    assert registry["mine"] is len and registry["late"] is sys.modules["colorsys"].rgb_to_hsv
    registry["own"] = str
    assert dict(registry.items())["own"] is str and registry.get("other") is None
    del registry["own"]
    assert "own" not in registry
    with pytest.raises(KeyError):
        registry["other"]
