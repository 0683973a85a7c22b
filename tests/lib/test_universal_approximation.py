"""Constructed networks: their limits as steps, their error bounds, and the same numbers from torch's own layers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from chainrule.universal_approximation import (
    OneHiddenLayer,
    TowerNetwork,
    bump,
    num_squares,
    relu_interpolation,
    step_approximation,
    tower,
)

from .reference import raises

F64 = torch.float64


def test_one_hidden_layer_is_two_linear_layers(generator, device, dtype):
    weight, bias, out = torch.randn(5, 3), torch.randn(5), torch.randn(5)
    network = OneHiddenLayer(weight, bias, out, 0.7, torch.tanh).to(device, dtype)
    first, second = nn.Linear(3, 5), nn.Linear(5, 1)
    first.weight.data, first.bias.data, second.weight.data = weight, bias, out.unsqueeze(0)
    second.bias.data = torch.tensor([0.7])
    x = torch.randn(2, 4, 3, generator=generator)
    expected = second(torch.tanh(first(x))).squeeze(-1).to(device, dtype)
    assert_close(network(x.to(device, dtype)), expected, rtol=1e-4, atol=1e-5)


def test_a_bump_is_an_indicator_in_the_limit(device, dtype):
    x = torch.linspace(0, 1, 101).to(device, dtype)
    soft, hard = bump(x, 0.305, 0.695, 20.0), bump(x, 0.305, 0.695, 1e5)
    assert_close(hard, ((x > 0.305) & (x < 0.695)).to(dtype))
    expected = 1 / (1 + torch.exp(-20 * (x - 0.305))) - 1 / (1 + torch.exp(-20 * (x - 0.695)))
    assert_close(soft, expected)


def test_a_tower_is_a_box_in_any_dimension(generator, dtype):
    for d in (1, 2, 4):
        x = torch.rand(500, d, generator=generator).to(dtype)
        lower, upper = torch.full((d,), 0.205).to(dtype), torch.full((d,), 0.905).to(dtype)
        inside = ((x > lower) & (x < upper)).all(dim=1)
        far = ((x - lower).abs().amin(1) > 0.01) & ((x - upper).abs().amin(1) > 0.01)
        assert_close(tower(x, lower, upper, 2e3)[far], inside[far].to(dtype))
        assert 0.05 < inside.float().mean() < 0.95


def test_a_tower_of_moderate_steepness_by_hand():
    x, k = torch.tensor([[0.4, 0.7]], dtype=F64), 5.0
    lower, upper = torch.tensor([0.3, 0.2], dtype=F64), torch.tensor([0.6, 0.9], dtype=F64)

    def sigmoid(t):
        return 1 / (1 + math.exp(-t))

    bumps = sigmoid(k * 0.1) - sigmoid(-k * 0.2) + sigmoid(k * 0.5) - sigmoid(-k * 0.2)
    assert tower(x, lower, upper, k).item() == pytest.approx(sigmoid(k * (bumps - 1.5)), rel=1e-12)


@pytest.mark.parametrize("width", [1, 7, 50])
def test_the_staircase_keeps_its_bound(width):
    x = torch.linspace(0, 1, 4001, dtype=F64)
    for f, lipschitz in ((torch.sin, 1.0), (lambda t: (3 * t - 1).abs(), 3.0), (lambda t: torch.cos(8 * t), 8.0)):
        network = step_approximation(f, width, steepness=1e6)
        assert network.weight.shape == (width, 1)
        cuts = torch.arange(1, width + 1, dtype=F64) / (width + 1)
        away = (x[:, None] - cuts).abs().amin(1) > 1e-4
        error = (network(x[:, None]) - f(x)).abs()[away].max()
        assert error <= lipschitz / (2 * (width + 1)) + 1e-9
        assert network(x[:1, None]) == f(torch.tensor([0.5 / (width + 1)], dtype=F64))


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=8), st.data())
def test_relu_interpolation_agrees_with_numpy(gaps, data):
    knots = torch.tensor([-0.5, *gaps], dtype=F64).cumsum(0)
    values = torch.tensor(data.draw(st.lists(st.floats(-5, 5), min_size=len(knots), max_size=len(knots))), dtype=F64)
    network = relu_interpolation(knots, values)
    x = torch.linspace(-1.5, float(knots[-1]), 57, dtype=F64)
    expected = np.interp(x.numpy(), knots.numpy(), values.numpy())
    assert_close(network(x[:, None]), torch.from_numpy(expected), rtol=1e-7, atol=1e-7)
    beyond = network((knots[-1:] + 2)[:, None])
    slope = (values[-1] - values[-2]) / (knots[-1] - knots[-2])
    assert_close(beyond, values[-1:] + 2 * slope, rtol=1e-7, atol=1e-7)
    assert len(network.bias) == len(knots) - 1


def test_a_checkerboard_of_towers(generator):
    def f(x):
        return torch.sin(3 * x[:, 0]) * x[:, 1] + x[:, 0]

    network = TowerNetwork(f, num_squares=8, steepness=1e5)
    x = torch.rand(400, 2, generator=generator, dtype=F64)
    middles = ((x * 8).floor() + 0.5) / 8
    far = ((x * 8 - (x * 8).round()).abs() > 0.01).all(dim=1)
    assert_close(network(x)[far], f(middles)[far])
    corners = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=F64)
    assert_close(network(corners), f(torch.tensor([[1 / 16, 1 / 16], [15 / 16, 15 / 16]], dtype=F64)))


@given(st.floats(0.1, 50), st.floats(0.01, 2))
def test_the_number_of_squares_is_enough_and_needed(lipschitz, error):
    k = num_squares(lipschitz, error)
    # The worst function grows along the diagonal: f = L (x + y) / sqrt 2, whose error in a square is L / (sqrt 2 K).
    assert lipschitz / (math.sqrt(2) * k) <= error * (1 + 1e-12)
    assert k == 1 or lipschitz / (math.sqrt(2) * (k - 1)) > error * (1 - 1e-12)


def test_bad_input(unchecked):
    with raises(ValueError, "expected left below right, got 0.5 and 0.5"):
        bump(torch.zeros(1), 0.5, 0.5, 1.0)
    with raises(ValueError, "expected lower below upper in each coordinate, got [0.0, 1.0] and [1.0, 1.0]"):
        tower(torch.zeros(1, 2), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0]), 1.0)
    with raises(ValueError, "expected width to be at least 1, got 0"):
        step_approximation(torch.sin, 0, 1.0)
    with raises(ValueError, "expected num_squares to be at least 1, got 0"):
        TowerNetwork(lambda x: x[:, 0], 0, 1.0)
    for knots in (torch.tensor([0.0]), torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.0])):
        with raises(
            ValueError,
            f"expected at least two increasing knots and as many values, got {tuple(knots.shape)} and (2,)",
        ):
            relu_interpolation(knots, torch.zeros(2))
    with raises(ValueError, "expected weight (n, d), bias (n,) and coefficient (n,), got (3, 2), (2,) and (3,)"):
        OneHiddenLayer(torch.zeros(3, 2), torch.zeros(2), torch.zeros(3), 0.0, torch.relu)
    for bad in (0.0, -1.0, math.inf, math.nan):
        message = f"expected steepness to be finite and positive, got {bad}"
        for call in (
            lambda k: bump(torch.zeros(1), 0.0, 1.0, k),
            lambda k: tower(torch.zeros(1, 1), torch.zeros(1), torch.ones(1), k),
            lambda k: step_approximation(torch.sin, 3, k),
            lambda k: TowerNetwork(lambda x: x[:, 0], 2, k),
        ):
            with raises(ValueError, message):
                call(bad)
        with raises(ValueError, f"expected lipschitz to be finite and positive, got {bad}"):
            num_squares(bad, 1.0)
        with raises(ValueError, f"expected error to be finite and positive, got {bad}"):
            num_squares(1.0, bad)
