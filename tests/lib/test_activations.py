"""Activations against torch's own, their derivatives against autograd, and the exact behaviour at the edges."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from chainrule.activations import (
    Maxout,
    PReLU,
    RReLU,
    dead_units,
    derivative,
    elu,
    leaky_relu,
    relu,
    sigmoid,
    softmax,
    tanh,
)

from .reference import raises

PAIRS = [
    (sigmoid, torch.sigmoid, ()),
    (tanh, torch.tanh, ()),
    (relu, torch.relu, ()),
    (leaky_relu, F.leaky_relu, ()),
    (leaky_relu, F.leaky_relu, (0.3,)),
    (leaky_relu, F.leaky_relu, (1.7,)),
    (elu, F.elu, ()),
    (elu, F.elu, (0.4,)),
]
NAMES = [f"{ours.__name__}{args}" for ours, _, args in PAIRS]


def points(device, dtype):
    """Both tails, the middle, and the kink itself."""
    return torch.cat(
        [torch.linspace(-6, 6, 97, dtype=dtype), torch.tensor([-1e4, -90, -20, 0.0, 20, 90, 1e4], dtype=dtype)]
    ).to(device)


@pytest.mark.parametrize(("ours", "theirs", "args"), PAIRS, ids=NAMES)
def test_values_and_gradients_agree_with_torch(ours, theirs, args, device, dtype):
    x = points(device, dtype).requires_grad_()
    y, expected = ours(x, *args), theirs(x, *args)
    assert y.dtype == dtype and y.device.type == device.type
    assert_close(y, expected)
    slope, expected_slope = (torch.autograd.grad(v.sum(), x)[0] for v in (y, expected))
    assert_close(slope, expected_slope)
    assert_close(derivative(ours)(x, *args), expected_slope)
    assert derivative(ours)(x, *args).dtype == dtype


@pytest.mark.parametrize(("ours", "theirs", "args"), PAIRS, ids=NAMES)
def test_second_derivatives_and_shapes(ours, theirs, args, generator):
    x = torch.randn(2, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(ours, (x, *args)) and torch.autograd.gradgradcheck(ours, (x, *args))
    assert torch.autograd.gradcheck(derivative(ours), (x, *args))
    assert ours(torch.zeros(0, 4), *args).shape == (0, 4) and ours(torch.tensor(0.3), *args).shape == ()
    assert torch.isnan(ours(torch.tensor(math.nan), *args))
    assert_close(ours(torch.tensor([math.inf, -math.inf]), *args), theirs(torch.tensor([math.inf, -math.inf]), *args))


def test_tails_keep_their_digits():
    x = torch.tensor([-80.0, -500.0], dtype=torch.float64)
    assert sigmoid(x).tolist() == pytest.approx([math.exp(-80), math.exp(-500)], rel=1e-14, abs=0)
    for sign in (-1, 1):
        assert derivative(sigmoid)(sign * x).tolist() == pytest.approx(x.exp().tolist(), rel=1e-14, abs=0)
        assert derivative(tanh)(sign * x[:1]).item() == pytest.approx(4 * math.exp(-160), rel=1e-14, abs=0)
        small = torch.tensor(sign * 1e-12)
        assert tanh(small).item() == pytest.approx(small.item(), rel=1e-6, abs=0)
    assert elu(torch.tensor(-1e-12)).item() == pytest.approx(-1e-12, rel=1e-6, abs=0)


def test_values_known_by_heart():
    assert derivative(sigmoid)(torch.zeros(())) == 0.25 and derivative(tanh)(torch.zeros(())) == 1
    assert elu(torch.tensor(-1.0)).item() == pytest.approx(-0.6321, abs=1e-4)
    assert leaky_relu(torch.tensor(-3.0)).item() == pytest.approx(-0.03)
    zero = torch.zeros(())
    assert [derivative(f)(zero).item() for f in (relu, elu)] == [0, 1]
    assert derivative(leaky_relu)(zero).item() == pytest.approx(0.01)


@given(st.floats(-700, 700))
def test_symmetries(value):
    x = torch.tensor(value, dtype=torch.float64)
    assert_close(sigmoid(-x), 1 - sigmoid(x), rtol=0, atol=1e-15)
    assert_close(tanh(x), 2 * sigmoid(2 * x) - 1, rtol=0, atol=1e-15)
    assert tanh(-x) == -tanh(x)
    assert relu(x) - relu(-x) == x
    assert 0 <= sigmoid(x) <= 1 and elu(x) >= -1


def test_softmax_agrees_with_torch(generator, device, dtype):
    x = 100 * torch.randn(2, 3, 4, generator=generator).to(device, dtype)
    for dim in range(-3, 3):
        p = softmax(x, dim)
        assert p.dtype == dtype and p.device.type == device.type
        assert_close(p, torch.softmax(x, dim))
    assert_close(softmax(x), torch.softmax(x, -1))
    assert_close(softmax(torch.tensor([1e4, 1e4 - 1, -1e4])), torch.softmax(torch.tensor([1.0, 0.0, -2e4]), 0))
    y = torch.randn(3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(softmax, y) and torch.autograd.gradgradcheck(softmax, y)


@given(st.lists(st.floats(-500, 500), min_size=1, max_size=6), st.floats(-500, 500))
def test_softmax_is_a_distribution_and_ignores_a_constant(scores, shift):
    x = torch.tensor(scores, dtype=torch.float64)
    p = softmax(x)
    assert (p >= 0).all() and p.sum().item() == pytest.approx(1)
    assert_close(softmax(x + shift), p, rtol=1e-9, atol=1e-9)


def test_only_this_modules_functions_have_derivatives():
    with raises(ValueError, f"expected one of sigmoid, tanh, relu, leaky_relu, elu of this module, got {torch.tanh!r}"):
        derivative(torch.tanh)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("function", [sigmoid, tanh, relu, leaky_relu, elu, softmax])
def test_whole_numbers_are_refused(function):
    with raises(TypeError, "expected x to be of floating type, got torch.int64"):
        function(torch.tensor([1, 2]))


def test_dead_units(generator, device, dtype):
    z = torch.randn(50, 6, generator=generator).to(device, dtype)
    z[:, 2] = -z[:, 2].abs()
    z[:, 4] = 0
    z[3, 5], z[4:, 5], z[:3, 5] = 1e-30, -1, -1
    z.requires_grad_()
    found = dead_units(z)
    assert found.tolist() == [False, False, True, False, True, False] and found.device.type == device.type
    gradient = torch.autograd.grad(relu(z).square().sum() + relu(z).sum(), z)[0]
    assert torch.equal((gradient == 0).all(dim=0), found)
    assert dead_units(torch.tensor([[-1.0]])).tolist() == [True]


@pytest.mark.usefixtures("unchecked")
def test_errors_of_dead_units():
    for shape in ((3,), (0, 3), (2, 3, 4)):
        with raises(ValueError, f"expected pre_activations of shape (m, n) with m > 0, got {shape}"):
            dead_units(torch.zeros(shape))
    with raises(TypeError, "expected pre_activations to be of floating type, got torch.bool"):
        dead_units(torch.zeros(2, 3, dtype=torch.bool))


# Units with a slope of their own


@pytest.mark.parametrize("num_slopes", [1, 4])
def test_prelu_agrees_with_torch(num_slopes, generator, device, dtype):
    ours = PReLU(num_slopes, 0.1).to(device, dtype)
    theirs = nn.PReLU(num_slopes, 0.1).to(device, dtype)
    with torch.no_grad():
        ours.slope += torch.rand(num_slopes, generator=generator).to(device, dtype)
        theirs.weight.copy_(ours.slope)
    x = torch.randn(5, 4, generator=generator).to(device, dtype)
    x[0, 0] = 0
    results = [(x.clone().requires_grad_(), module) for module in (ours, theirs)]
    (a, alpha), (b, beta) = ([v, next(module.parameters())] for v, module in results)
    y, expected = ours(a), theirs(b)
    assert_close(y, expected)
    for gradient, other in zip(
        torch.autograd.grad((y + y.square()).sum(), (a, alpha)),
        torch.autograd.grad((expected + expected.square()).sum(), (b, beta)),
        strict=True,
    ):
        assert_close(gradient, other)


def test_prelu_starts_as_torch_does_and_learns_a_slope(generator):
    assert_close(PReLU().slope, nn.PReLU().weight)
    assert PReLU(3).slope.tolist() == [0.25] * 3
    unit = PReLU(start=0.0)
    x = torch.randn(200, 1, generator=generator)
    target = torch.where(x > 0, x, 1.5 * x)  # a slope above 1, which max(slope * x, x) cannot give
    for _ in range(200):
        (gradient,) = torch.autograd.grad((unit(x) - target).square().mean(), [unit.slope])
        with torch.no_grad():
            unit.slope -= 0.2 * gradient
    assert unit.slope.item() == pytest.approx(1.5, abs=1e-3)


def test_errors_of_prelu():
    with raises(ValueError, "expected at least one slope, got 0"):
        PReLU(0)
    with raises(ValueError, "expected inputs with 3 units in the last axis, got (2, 4)"):
        PReLU(3)(torch.zeros(2, 4))
    with raises(ValueError, "expected inputs with 3 units in the last axis, got (2, 3, 4)"):
        PReLU(3)(torch.zeros(2, 3, 4))
    assert PReLU(4)(torch.zeros(2, 3, 4)).shape == (2, 3, 4)


def test_rrelu_draws_uniform_slopes_while_training(generator, device, dtype):
    unit = RReLU(0.2, 0.6, generator=generator)
    x = -torch.ones(100, 100, device=device, dtype=dtype)
    y = unit(x)
    assert y.dtype == dtype and y.device.type == device.type
    slopes = (y / x).cpu().double().flatten()
    assert 0.2 <= slopes.min() < 0.201 and 0.599 < slopes.max() <= 0.6
    assert slopes.mean().item() == pytest.approx(0.4, abs=0.005)
    assert slopes.std().item() == pytest.approx(0.4 / math.sqrt(12), abs=0.003)
    assert not torch.equal(unit(x), y)
    assert (dtype == torch.float32) == torch.equal(slopes, slopes.float().double())  # drawn to the input's precision
    right = torch.rand(10, device=device, dtype=dtype)
    assert torch.equal(unit(right), right)


def test_rrelu_is_fixed_at_test_time(generator, device, dtype):
    unit, theirs = RReLU(generator=generator).eval(), nn.RReLU().eval()
    x = torch.randn(30, generator=generator).to(device, dtype)
    assert_close(unit(x), theirs(x))
    assert torch.equal(unit(x), unit(x))
    assert_close(RReLU(0.1, 0.3, generator=generator).eval()(x), F.leaky_relu(x, 0.2))


def test_rrelu_follows_its_generator_and_its_slope_is_the_gradient():
    units = [RReLU(0.1, 0.3, generator=torch.Generator().manual_seed(5)) for _ in range(2)]
    x = -torch.ones(20, requires_grad=True)
    before = torch.random.get_rng_state()
    y = units[0](x)
    assert torch.equal(y, units[1](x)) and torch.equal(before, torch.random.get_rng_state())
    assert_close(torch.autograd.grad(y.sum(), x)[0], -y.detach())
    zero = torch.zeros(5, requires_grad=True)
    assert (torch.autograd.grad(units[0](zero).sum(), zero)[0] < 0.31).all()  # the slope from the left
    assert copy.deepcopy(units[0])(x).shape == (20,)
    assert RReLU(0.2, 0.2, generator=torch.Generator())(x).tolist() == pytest.approx([-0.2] * 20)


def test_errors_of_rrelu(generator):
    with raises(ValueError, "expected lower <= upper, got 0.5 and 0.25"):
        RReLU(0.5, 0.25, generator=generator)


def test_maxout_is_the_largest_of_its_pieces(generator, device, dtype):
    layer = Maxout(4, 3, 5, generator=generator).to(device, dtype)
    x = torch.randn(2, 6, 4, generator=generator).to(device, dtype)
    pieces = torch.stack([F.linear(x, w, b) for w, b in zip(layer.weight, layer.bias, strict=True)])
    y = layer(x)
    assert y.shape == (2, 6, 3) and y.dtype == dtype
    assert_close(y, pieces.amax(dim=0))
    assert layer(x[0, 0]).shape == (3,)
    first = x.double().cpu().requires_grad_()
    assert torch.autograd.gradcheck(layer.double().cpu(), first)


def test_maxout_reproduces_relu_and_leaky_relu(generator):
    linear = nn.Linear(4, 3, dtype=torch.float64)
    x = torch.randn(50, 4, dtype=torch.float64, generator=generator)
    layer = Maxout(4, 3, generator=generator).double()
    for slope, expected in ((0, torch.relu), (0.01, F.leaky_relu)):
        layer.load_state_dict(
            {
                "weight": torch.stack([linear.weight, slope * linear.weight]),
                "bias": torch.stack([linear.bias, slope * linear.bias]),
            }
        )
        assert_close(layer(x), expected(linear(x)))


def test_maxout_is_convex_and_its_first_weights_fill_torchs_range(generator):
    layer = Maxout(16, 40, 3, generator=generator)
    assert layer.weight.shape == (3, 40, 16) and layer.bias.shape == (3, 40)
    for parameter in (layer.weight, layer.bias):
        assert -0.25 <= parameter.min() < -0.24 and 0.24 < parameter.max() <= 0.25
        assert abs(parameter.mean()) < 0.03
    a, b = torch.randn(2, 100, 16, generator=generator)
    assert (layer((a + b) / 2) <= (layer(a) + layer(b)) / 2 + 1e-6).all()
    assert Maxout(2, 2, generator=generator).weight.shape[0] == 2
    again = Maxout(16, 40, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.weight, layer.weight)


@pytest.mark.usefixtures("unchecked")
def test_errors_of_maxout(generator):
    for sizes in ((0, 2, 2), (2, 0, 2), (2, 2, 0)):
        with raises(ValueError, f"expected sizes of at least 1, got {sizes[0]}, {sizes[1]} and {sizes[2]}"):
            Maxout(*sizes, generator=generator)
    assert Maxout(1, 1, 1, generator=generator)(torch.ones(1)).shape == (1,)
    with raises(ValueError, "expected inputs with 4 features, got shape (2, 3)"):
        Maxout(4, 2, generator=generator)(torch.zeros(2, 3))
