"""Shape patterns against shapes that fit and shapes that do not, and the choice of a device."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chainrule.tensors import best_device, check_shapes

from .reference import raises

shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@given(st.lists(shapes, min_size=1, max_size=4))
def test_a_pattern_of_distinct_names_fits_any_shape(many):
    names = [[f"a{i}_{j}" for j in range(len(shape))] for i, shape in enumerate(many)]
    sizes = check_shapes(",".join(" ".join(row) for row in names), *(torch.zeros(shape) for shape in many))
    pairs = [pair for row, shape in zip(names, many, strict=True) for pair in zip(row, shape, strict=True)]
    assert sizes == dict(pairs)


@given(shapes, shapes)
def test_one_pattern_for_two_tensors_means_equal_shapes(a, b):
    pattern = " ".join("abcd"[: len(a)])
    fits = a == b
    try:
        check_shapes(f"{pattern}, {pattern}", torch.zeros(a), torch.zeros(b))
    except ValueError:
        assert not fits
    else:
        assert fits


def test_names_numbers_and_dots(device):
    x, w = torch.zeros(7, 5, 3, device=device), torch.zeros(3, 3, device=device)
    assert check_shapes("... t d, d d", x, w) == {"t": 5, "d": 3}
    assert check_shapes("7 5 d,", x, torch.tensor(1.0)) == {"d": 3}
    assert check_shapes("...", x) == {} and check_shapes("... d", torch.zeros(2)) == {"d": 2}
    assert check_shapes("... a b c", x) == {"a": 7, "b": 5, "c": 3}
    assert check_shapes("m d, d k, k", torch.zeros(4, 3), torch.zeros(3, 2), torch.zeros(2)) == {"m": 4, "d": 3, "k": 2}
    assert check_shapes("10", torch.zeros(10)) == {}


@pytest.mark.parametrize(
    ("pattern", "shapes", "message"),
    [
        ("m, m", [(5,), (5, 1)], "expected tensor 2 of shape (m) with m=5, got (5, 1)"),
        ("m d, d", [(5, 3), (5,)], "expected tensor 2 of shape (d) with d=3, got (5,)"),
        ("m d, m d", [(5, 3), (3, 5)], "expected tensor 2 of shape (m d) with m=5, d=3, got (3, 5)"),
        ("m d", [(5,)], "expected tensor 1 of shape (m d), got (5,)"),
        ("m 3", [(5, 4)], "expected tensor 1 of shape (m 3), got (5, 4)"),
        ("d d", [(5, 4)], "expected tensor 1 of shape (d d) with one d, got (5, 4)"),
        ("... t d", [(4,)], "expected tensor 1 of shape (... t d), got (4,)"),
        ("... 3", [(5, 4)], "expected tensor 1 of shape (... 3), got (5, 4)"),
        ("m, d d", [(5,), (5,)], "expected tensor 2 of shape (d d), got (5,)"),
        ("d, d d", [(5,), (5, 4)], "expected tensor 2 of shape (d d) with d=5, got (5, 4)"),
        ("", [(1,)], "expected tensor 1 of shape (), got (1,)"),
        ("m,", [(1,), (1,)], "expected tensor 2 of shape (), got (1,)"),
        ("m", [(1,), (1,)], "expected as many tensors as patterns, 1, got 2"),
        ("m, d", [(1,)], "expected as many tensors as patterns, 2, got 1"),
        ("m ...", [(1,)], "expected ... in front only, got 'm ...'"),
        ("... m ...", [(1,)], "expected ... in front only, got '... m ...'"),
    ],
)
def test_errors_name_what_was_expected(pattern, shapes, message):
    with raises(ValueError, message):
        check_shapes(pattern, *(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize(
    ("cuda", "mps", "name"), [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_best_device_prefers_a_gpu(cuda, mps, name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert best_device() == torch.device(name)


def test_best_device_follows_the_order(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert best_device(["mps", "cpu", "cuda"]) == torch.device("cpu")
    with raises(ValueError, "expected a kind of device among cuda, mps, cpu, got 'gpu'"):
        best_device(["gpu", "cpu"])
    for order, names in (([], ""), (["mps"], "mps"), (["mps", "mps"], "mps, mps")):
        with raises(ValueError, f"expected one of {names} on this machine, got none"):
            best_device(order)
