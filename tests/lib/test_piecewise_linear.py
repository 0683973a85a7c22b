"""Exact piecewise linear functions against evaluation in floating point, and the converters between networks."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from chainrule.piecewise_linear import (
    PiecewiseLinear,
    deep_to_shallow,
    hat_network,
    network_function,
    num_neurons,
    relu_network,
    shallow_network,
    shallow_to_deep,
)

from .reference import raises

F64 = torch.float64
HAT = PiecewiseLinear(0, 0, [(0, 2), (0.5, -4), (1, 2)])
number = st.integers(-8, 8).map(lambda k: Fraction(k, 4))
# Arguments of a function. It is made in the test: the check of annotations takes random samples, which hypothesis
# does not want inside a strategy.
functions = st.tuples(number, number, st.lists(st.tuples(number, number), max_size=6))


def random_layers(generator, *sizes):
    shapes = pairwise(sizes)
    return [(torch.randn(b, a, generator=generator).double(), torch.randn(b, generator=generator).double())
            for a, b in shapes]  # fmt: skip


def line(low=-3.0, high=3.0, steps=601):
    return torch.linspace(low, high, steps, dtype=F64).unsqueeze(1)


# Functions


@given(functions, st.lists(number, min_size=1, max_size=5))
def test_a_function_is_the_sum_it_stands_for(f, points):
    f = PiecewiseLinear(*f)
    for x in points:
        assert f(x) == f.slope * x + f.offset + sum(a * max(x - t, 0) for t, a in f.bends)
    places = [t for t, _ in f.bends]
    assert places == sorted(set(places)) and all(a for _, a in f.bends)
    assert f.num_pieces == len(places) + 1


@given(functions, functions, number, st.lists(number, min_size=1, max_size=5))
def test_sums_multiples_and_compositions_have_the_right_values(f, g, factor, points):
    f, g = PiecewiseLinear(*f), PiecewiseLinear(*g)
    for x in points:
        x = x / 3
        assert (f + g)(x) == f(x) + g(x)
        assert f.scale(factor)(x) == factor * f(x)
        assert f.compose(g)(x) == f(g(x))
        assert f.relu()(x) == max(f(x), 0)


@given(functions, functions)
def test_the_lemma_on_the_number_of_pieces(f, g):
    f, g = PiecewiseLinear(*f), PiecewiseLinear(*g)
    assert (f + g).num_pieces <= f.num_pieces + g.num_pieces - 1
    assert f.compose(g).num_pieces <= f.num_pieces * g.num_pieces


@given(functions)
def test_bends_are_found_where_the_slope_changes(f):
    """Equal functions are equal objects, so bends that cancel are gone."""
    f = PiecewiseLinear(*f)
    assert f + f.scale(-1) == PiecewiseLinear(0, 0)
    assert PiecewiseLinear(1, 0).compose(f) == f == f.compose(PiecewiseLinear(1, 0))


@given(functions, number)
def test_preimages_are_where_the_value_is_taken(f, value):
    f = PiecewiseLinear(*f)
    found = f.preimages(value)
    assert all(f(x) == value for x in found) and list(found) == sorted(set(found))
    outside = [t for t, _ in f.bends] or [Fraction(0)]
    grid = [min(outside) - 50, *found, max(outside) + 50]
    for a, b in pairwise(grid):  # no crossing is missed
        ends = f(a + (b - a) / 1000) - value, f(b - (b - a) / 1000) - value
        assert ends[0] * ends[1] >= 0


def test_bounds_of_the_lemma_are_attained():
    zigzag = PiecewiseLinear(3, -1, [(Fraction(1, 3), -6), (Fraction(2, 3), 6)])  # -1, 0, -1, 0 ... onto [-1, 0]
    full = PiecewiseLinear(-3, 0, [(Fraction(-2, 3), 6), (Fraction(-1, 3), -6)])
    assert (zigzag.num_pieces, full.num_pieces, full.compose(zigzag).num_pieces) == (3, 3, 9)
    assert (HAT + PiecewiseLinear(0, 0, [(2, 1)])).num_pieces == HAT.num_pieces + 2 - 1


def test_pieces_of_the_composed_saw_teeth():
    tooth = HAT + PiecewiseLinear(0, 0, [(1, 2), (1.5, -4), (2, 2)])
    f, counts = tooth, []
    for _ in range(6):
        counts.append(f.num_pieces)
        f = tooth.compose(f)
    assert counts == [2 ** (depth + 1) + 2 for depth in range(1, 7)]


def test_numbers_must_be_finite():
    for bad in (math.nan, math.inf):
        with raises(ValueError, f"expected finite numbers, got {bad}"):
            PiecewiseLinear(bad, 0)


# Networks


def test_a_network_is_the_stack_of_modules(generator, device, dtype):
    layers = random_layers(generator, 3, 5, 4, 2)
    stack = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    for module, (weight, bias) in zip(stack[::2], layers, strict=True):
        module.weight.data, module.bias.data = weight, bias
    x = torch.randn(7, 3, generator=generator)
    expected = stack(x.double())
    result = relu_network(layers, x.to(device, dtype))
    assert result.dtype == dtype and result.device.type == device.type
    assert_close(result.double().cpu(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 6, 1), (1, 3, 4, 1), (1, 2, 3, 2, 1)])
def test_the_exact_function_of_a_network(sizes, generator):
    for _ in range(5):
        layers = random_layers(generator, *sizes)
        f, x = network_function(layers), line()
        expected = torch.tensor([[float(f(v))] for v in x.squeeze(1).tolist()], dtype=F64)
        assert_close(relu_network(layers, x), expected, rtol=1e-10, atol=1e-10)
        shallow = deep_to_shallow(layers)
        assert_close(relu_network(shallow, x), expected, rtol=1e-10, atol=1e-10)
        assert len(shallow) == 2 and num_neurons(shallow) <= f.num_pieces + 1


def test_hats_have_two_neurons_a_layer_and_a_power_of_two_teeth():
    for depth in range(1, 9):
        layers = hat_network(depth)
        assert [len(bias) for _, bias in layers] == [2] * depth + [1]
        f = network_function(layers)
        # 2^depth pieces on [0, 1]; outside, the last hat lacks its right foot, and the others come back below it
        assert f.num_pieces == 2**depth + (1 if depth == 1 else 2)
        assert num_neurons(deep_to_shallow(layers)) == f.num_pieces - 1
        for k in range(2**depth + 1):
            assert f(Fraction(k, 2**depth)) == k % 2
    inside = HAT.compose(HAT)
    assert all(network_function(hat_network(2))(x) == inside(x) for x in (Fraction(k, 16) for k in range(17)))


def test_a_straight_line_takes_two_neurons():
    layers = shallow_network(PiecewiseLinear(2.5, -1))
    assert num_neurons(layers) == 2
    assert_close(relu_network(layers, line()), 2.5 * line() - 1)
    constant = shallow_network(PiecewiseLinear(0, 4))
    assert_close(relu_network(constant, line()), torch.full_like(line(), 4.0))


@pytest.mark.parametrize("signs", ["positive", "mixed"])
@pytest.mark.parametrize("width", [1, 2, 9])
def test_shallow_to_deep(signs, width, generator):
    (weight, bias), (out, offset) = random_layers(generator, 1, width, 1)
    out = out.abs() if signs == "positive" else torch.where(torch.arange(width) % 2 == 0, -out.abs(), out.abs())
    shallow = [(weight, bias), (out, offset)]
    deep = shallow_to_deep(shallow, 3.0)
    assert [len(b) for _, b in deep] == [3 if signs == "positive" else 4] * width + [1]
    assert_close(relu_network(deep, line()), relu_network(shallow, line()), rtol=1e-12, atol=1e-12)
    outside = line(-9, -3.5, 20)
    if width > 1:  # the carried input is lost below the bound
        assert (relu_network(deep, outside) - relu_network(shallow, outside)).abs().max() > 1e-3


def test_there_and_back(generator):
    deep = shallow_to_deep(random_layers(generator, 1, 5, 1), 2.0)
    x = line(-2, 2)
    assert_close(relu_network(deep_to_shallow(deep), x), relu_network(deep, x), rtol=1e-9, atol=1e-9)


# Bad input


def test_layers_must_fit():
    good = hat_network(2)
    with raises(ValueError, "expected at least one layer, got none"):
        relu_network([], line())
    with raises(ValueError, "expected at least one layer, got none"):
        num_neurons([])
    with raises(ValueError, "expected layer 2 to have weights of shape (1, 2), got (1, 3)"):
        relu_network([good[0], (torch.zeros(1, 3), torch.zeros(1))], line())
    with raises(ValueError, "expected layer 1 to have weights of shape (2, 1), got (2, 2)"):
        network_function(good[1:])
    with raises(ValueError, "expected a network with one output, got 2"):
        network_function(good[:-1])
    with raises(ValueError, "expected depth to be at least 1, got 0"):
        hat_network(0)


def test_shallow_to_deep_wants_a_shallow_network_and_a_bound():
    with raises(ValueError, "expected one hidden layer and one output, got 3 layers"):
        shallow_to_deep(hat_network(2), 1.0)
    for bad in (0.0, -1.0, math.inf):
        with raises(ValueError, f"expected bound to be finite and positive, got {bad}"):
            shallow_to_deep(hat_network(1), bad)
