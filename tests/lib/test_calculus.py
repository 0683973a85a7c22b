"""Derivatives by differences, by Taylor and in both layouts, against automatic differentiation and closed forms."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from chainrule.calculus import (
    chain_cost,
    derivative_matrix,
    distance_gradient,
    finite_difference_gradient,
    finite_difference_jacobian,
    quadratic_form,
    quadratic_form_gradient,
    taylor_approximation,
    taylor_polynomial,
)

from .reference import raises

F64 = torch.float64


def smooth(x):
    """Three vectors (as the rows of a (2, 3) matrix) out of any input, by a fixed smooth map."""
    flat = x.flatten()
    places = torch.arange(1, 7, dtype=x.dtype, device=x.device).reshape(2, 3)
    return torch.sin(places * flat.sum()) + torch.cos(flat.square().sum() / places)


# Differences


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (1, 2, 2)])
def test_differences_agree_with_automatic_differentiation(shape, generator, device, dtype):
    x = torch.randn(shape, generator=generator).to(device, dtype)
    result = finite_difference_jacobian(smooth, x)
    assert result.shape == (2, 3, *shape) and result.dtype == dtype and result.device.type == device.type
    tolerance = 2e-2 if dtype == torch.float32 else 1e-7
    assert_close(result, torch.func.jacrev(smooth)(x), rtol=tolerance, atol=tolerance)
    gradient = finite_difference_gradient(lambda v: smooth(v)[0, 0], x)
    assert gradient.shape == shape
    assert_close(gradient, result[0, 0])


def test_differences_are_exact_for_quadratics_and_central(generator):
    x = torch.randn(5, generator=generator, dtype=F64)
    for step in (1e-3, 1.0, 10.0):  # a one-sided difference would be off by the step
        assert_close(finite_difference_gradient(lambda v: v.square().sum(), x, step=step), 2 * x)
    # of x^3 the central difference is 3x^2 + h^2
    assert_close(finite_difference_gradient(lambda v: (v**3).sum(), x, step=0.5), 3 * x**2 + 0.25)


def test_default_step_balances_the_two_errors(dtype):
    x = torch.tensor([0.5, 1.0, 2.0], dtype=dtype)
    eps = torch.finfo(dtype).eps
    error = (finite_difference_gradient(lambda v: v.exp().sum(), x) - x.exp()).abs().max()
    assert error < 30 * eps ** (2 / 3)
    for step in (eps ** (1 / 3) * 100, eps ** (1 / 3) / 1000):
        worse = (finite_difference_gradient(lambda v: v.exp().sum(), x, step=step) - x.exp()).abs().max()
        assert worse > 3 * error


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4, 1e8])
def test_default_step_grows_with_the_point(size):
    x = torch.tensor([size, -size], dtype=F64)
    seen = []
    finite_difference_gradient(lambda v: seen.append(v) or v.sum(), x)
    step = torch.finfo(F64).eps ** (1 / 3) * max(1, size)
    assert (seen[0] - x)[0].item() == pytest.approx(step, rel=1e-6) and (seen[0] - x)[1] == 0
    assert (x - seen[1])[0].item() == pytest.approx(step, rel=1e-6)
    assert (seen[2] - x)[1].item() == pytest.approx(step, rel=1e-6) and (seen[2] - x)[0] == 0


def test_rounding_of_the_points_is_kept_out():
    x = torch.tensor([1e4], dtype=torch.float32)  # the step 0.1 is 102.4 units in the last place here
    assert finite_difference_gradient(lambda v: v.sum(), x, step=0.1).item() == 1
    assert not finite_difference_gradient(lambda v: v.sum(), x.clone().requires_grad_()).requires_grad


@pytest.mark.usefixtures("unchecked")
def test_errors_of_differences():
    x = torch.ones(2)
    for function in (finite_difference_jacobian, finite_difference_gradient):
        for step in (0.0, -1.0, math.inf, math.nan):
            with raises(ValueError, f"expected a positive step, got {step}"):
                function(torch.sum, x, step=step)
        with raises(ValueError, "expected x to have elements, got shape (0, 2)"):
            function(torch.sum, torch.zeros(0, 2))
        with raises(ValueError, "expected x to be finite, got inf"):
            function(torch.sum, torch.tensor([1.0, math.inf]))
        with raises(TypeError, "expected x to be of floating type, got torch.int64"):
            function(torch.sum, torch.tensor([1]))
    with raises(ValueError, "expected the function to give a number, got shape (2,)"):
        finite_difference_gradient(torch.square, x)
    with raises(ValueError, "expected the function to give a number, got shape (1,)"):
        finite_difference_gradient(lambda v: v.sum(0, keepdim=True), x)


# Taylor


def cubic(x):
    return x[0] ** 2 * x[1] - 3 * x[1] * x[2] + x[2] ** 3 + 5


def test_taylor_is_exact_for_polynomials_of_its_order(generator, device, dtype):
    A = torch.randn(3, 3, generator=generator).to(device, dtype)
    w, u = (
        torch.randn(3, generator=generator).to(device, dtype),
        torch.randn(4, 2, 3, generator=generator).to(device, dtype),
    )
    result = taylor_approximation(lambda x: 2 + A[0] @ x + x @ A @ x, w, u, 2)
    assert result.shape == (4, 2) and result.dtype == dtype and result.device.type == device.type
    assert_close(result, 2 + u @ A[0] + quadratic_form(A, u), rtol=1e-3, atol=1e-4)
    assert_close(taylor_approximation(lambda x: 2 + A[0] @ x, w, u), 2 + u @ A[0], rtol=1e-3, atol=1e-4)
    assert_close(taylor_approximation(cubic, w, u, 0), cubic(w).expand(4, 2))
    assert_close(taylor_approximation(cubic, w, u), taylor_approximation(cubic, w, u, order=1))


@pytest.mark.parametrize("order", [0, 1, 2])
def test_taylor_remainder_has_the_next_order(order, generator):
    w, direction = torch.randn(2, 3, generator=generator, dtype=F64)
    sizes = torch.tensor([1e-2, 1e-3], dtype=F64)
    u = w + sizes[:, None] * direction
    remainder = torch.stack([cubic(v) for v in u]) - taylor_approximation(cubic, w, u, order)
    slope = (remainder[0] / remainder[1]).abs().log10()
    assert slope.item() == pytest.approx(order + 1, abs=0.05)


def test_taylor_polynomials_of_known_series(dtype):
    x = torch.linspace(-1, 1, 7, dtype=dtype)
    zero = torch.tensor(0.0, dtype=dtype)
    assert_close(taylor_polynomial(torch.sin, zero, x, 5), x - x**3 / 6 + x**5 / 120)
    assert_close(taylor_polynomial(torch.sin, zero, x, 6), taylor_polynomial(torch.sin, zero, x, 5))
    assert_close(taylor_polynomial(lambda v: 1 / (1 - v), zero, x, 4), sum(x**k for k in range(5)))
    assert_close(taylor_polynomial(torch.exp, zero, x, 0), torch.ones_like(x))
    one = torch.tensor(1.0, dtype=dtype)
    assert_close(taylor_polynomial(torch.log, one, x, 3), (x - 1) - (x - 1) ** 2 / 2 + (x - 1) ** 3 / 3)


def test_taylor_polynomial_of_polynomials_and_constants():
    c, x = torch.tensor(2.0, dtype=F64), torch.linspace(-3, 3, 5, dtype=F64)
    with torch.no_grad():
        assert_close(taylor_polynomial(lambda v: v**3 - v, c, x, 7), x**3 - x)
    assert_close(taylor_polynomial(lambda v: 3 * v + 1, c, x, 4), 3 * x + 1)
    assert_close(taylor_polynomial(lambda v: torch.ones((), dtype=F64), c, x, 2), torch.ones(5, dtype=F64))
    parameter = torch.tensor(3.0, dtype=F64, requires_grad=True)  # has a gradient, but does not depend on c
    assert_close(taylor_polynomial(lambda v: parameter * 1, c, x, 2), torch.full((5,), 3.0, dtype=F64))
    assert not c.requires_grad
    assert taylor_polynomial(torch.exp, c, x.reshape(5, 1), 2).shape == (5, 1)


@pytest.mark.usefixtures("unchecked")
def test_errors_of_taylor():
    w = torch.zeros(3)
    for order in (-1, 3):
        with raises(ValueError, f"expected an order of 0, 1 or 2, got {order}"):
            taylor_approximation(cubic, w, w, order)
    with raises(ValueError, "expected w of shape (n,) and u of shape (*batch, n), got (3,), (2,)"):
        taylor_approximation(cubic, w, torch.zeros(2))
    with raises(ValueError, "expected w of shape (n,) and u of shape (*batch, n), got (1, 3), (3,)"):
        taylor_approximation(cubic, w[None], w)
    with raises(ValueError, "expected w of shape (n,) and u of shape (*batch, n), got (3,), ()"):
        taylor_approximation(cubic, w, torch.tensor(1.0))
    with raises(ValueError, "expected the function to give a number, got shape (3,)"):
        taylor_approximation(torch.square, w, w)
    with raises(ValueError, "expected an order of at least 0, got -1"):
        taylor_polynomial(torch.exp, torch.tensor(0.0), w, -1)
    with raises(ValueError, "expected the function to give a number, got shape (1,)"):
        taylor_polynomial(lambda v: v[None], torch.tensor(0.0), w, 1)
    for name, call in {
        "w": lambda: taylor_approximation(cubic, w.long(), w),
        "u": lambda: taylor_approximation(cubic, w, w.long()),
        "center": lambda: taylor_polynomial(torch.exp, torch.tensor(0), w, 1),
        "x": lambda: taylor_polynomial(torch.exp, torch.tensor(0.0), w.long(), 1),
    }.items():
        with raises(TypeError, f"expected {name} to be of floating type, got torch.int64"):
            call()


# Layouts


def test_layouts_of_all_five_cases(generator, device, dtype):
    a, b = torch.randn(2, 3, generator=generator).to(device, dtype)
    W = torch.randn(2, 3, generator=generator).to(device, dtype)
    t = torch.tensor(0.7, dtype=dtype, device=device)
    cases = [  # function, argument, numerator layout
        (torch.sin, t, torch.cos(t).reshape(1, 1)),
        (lambda s: s * b, t, b[:, None]),
        (lambda x: b @ x, a, b[None]),
        (lambda x: W @ x, a, W),
        (lambda s: s**2 * W, t, 2 * t * W),
        (lambda X: (W * X).sum(), W + 1, W.T),
    ]
    for function, x, expected in cases:
        numerator = derivative_matrix(function, x)
        assert numerator.dtype == dtype and numerator.device.type == device.type
        assert_close(numerator, expected)
        assert_close(derivative_matrix(function, x, "numerator"), expected)
        assert_close(derivative_matrix(function, x, layout="denominator"), expected.T)


@pytest.mark.usefixtures("unchecked")
def test_errors_of_layouts():
    with raises(ValueError, "expected the layout 'numerator' or 'denominator', got 'rows'"):
        derivative_matrix(torch.sin, torch.zeros(2), "rows")
    message = "expected at most two dimensions together, got "
    with raises(ValueError, message + "(2, 2) by (2, 2)"):
        derivative_matrix(torch.sin, torch.zeros(2, 2))
    with raises(ValueError, message + "(2,) by (2, 3)"):
        derivative_matrix(lambda X: X.sum(1), torch.zeros(2, 3))
    with raises(ValueError, message + "(3, 3) by (3,)"):
        derivative_matrix(lambda x: torch.outer(x, x), torch.zeros(3))
    with raises(TypeError, "expected x to be of floating type, got torch.int64"):
        derivative_matrix(torch.sin, torch.tensor([1]))


# Quadratic forms and distances


@given(st.integers(1, 5), st.integers(0, 1000))
def test_quadratic_form_and_its_gradient(n, seed):
    g = torch.Generator().manual_seed(seed)
    A, x = torch.randn(n, n, generator=g, dtype=F64), torch.randn(3, 2, n, generator=g, dtype=F64)
    value, gradient = quadratic_form(A, x), quadratic_form_gradient(A, x)
    assert value.shape == (3, 2) and gradient.shape == x.shape
    leaf = x.clone().requires_grad_()
    expected = torch.stack([v @ A @ v for v in leaf.reshape(6, n)])
    assert_close(value, expected.detach().reshape(3, 2))
    assert_close(gradient, torch.autograd.grad(expected.sum(), leaf)[0])
    # the antisymmetric part does not count
    assert_close(quadratic_form((A + A.T) / 2, x), value)
    assert_close(quadratic_form_gradient(A.T, x), gradient)


def test_quadratic_forms_follow_device_and_type(device, dtype):
    A = torch.tensor([[1.0, 2.0], [0.0, 3.0]], device=device, dtype=dtype)
    x = torch.tensor([1.0, -2.0], device=device, dtype=dtype)
    assert_close(quadratic_form(A, x), torch.tensor(9.0, device=device, dtype=dtype))
    assert_close(quadratic_form_gradient(A, x), torch.tensor([-2.0, -10.0], device=device, dtype=dtype))


@pytest.mark.usefixtures("unchecked")
def test_errors_of_quadratic_forms():
    square, vector = torch.zeros(2, 2), torch.zeros(2)
    for function in (quadratic_form, quadratic_form_gradient):
        message = "expected A of shape (n, n) and x of shape (*batch, n), got "
        with raises(ValueError, message + "(2, 3), (2,)"):
            function(torch.zeros(2, 3), vector)
        with raises(ValueError, message + "(2, 2), (3,)"):
            function(square, torch.zeros(3))
        with raises(ValueError, message + "(2, 2), ()"):
            function(square, torch.tensor(1.0))
        with raises(ValueError, message + "(1, 2, 2), (2,)"):
            function(square[None], vector)
        with raises(TypeError, "expected A to be of floating type, got torch.int64"):
            function(square.long(), vector)
        with raises(TypeError, "expected x to be of floating type, got torch.int64"):
            function(square, vector.long())


def test_distance_gradient_agrees_with_automatic_differentiation(generator, device, dtype):
    x, b = torch.randn(2, 4, 3, generator=generator).to(device, dtype)
    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad((leaf - b).norm(dim=-1).sum(), leaf)[0]
    result = distance_gradient(x, b)
    assert result.dtype == dtype and result.device.type == device.type
    assert_close(result, expected)
    assert_close(distance_gradient(x, b[0])[0], expected[0])
    assert distance_gradient(x[0], b).shape == (4, 3)


def test_distance_gradient_where_naive_forms_fail():
    b = torch.ones(3, dtype=F64)
    assert torch.equal(distance_gradient(b, b), torch.zeros(3, dtype=F64))
    mixed = distance_gradient(torch.stack([b, b + 2]), b)
    assert torch.equal(mixed[0], 0 * b) and mixed[1].norm().item() == pytest.approx(1)
    for size in (1e-200, 1e200):
        result = distance_gradient(torch.tensor([3 * size, -4 * size], dtype=F64), torch.zeros(2, dtype=F64))
        assert_close(result, torch.tensor([0.6, -0.8], dtype=F64))


@pytest.mark.usefixtures("unchecked")
def test_errors_of_distances():
    with raises(ValueError, "expected vectors of one length, got shapes (2,) and (3,)"):
        distance_gradient(torch.zeros(2), torch.zeros(3))
    with raises(ValueError, "expected vectors of one length, got shapes () and ()"):
        distance_gradient(torch.tensor(1.0), torch.tensor(1.0))
    with raises(ValueError, "expected shapes that broadcast, got (4, 2) and (3, 2)"):
        distance_gradient(torch.zeros(4, 2), torch.zeros(3, 2))
    with raises(TypeError, "expected x to be of floating type, got torch.int64"):
        distance_gradient(torch.tensor([1]), torch.zeros(1))
    with raises(TypeError, "expected b to be of floating type, got torch.int64"):
        distance_gradient(torch.zeros(1), torch.tensor([1]))


# The cost of a chain


@given(st.lists(st.integers(1, 30), min_size=2, max_size=6))
def test_chain_cost_counts_the_multiplications(widths):
    def multiply(shapes):
        total, (rows, inner) = 0, shapes[0]
        for next_rows, columns in shapes[1:]:
            assert inner == next_rows
            total += rows * inner * columns
            inner = columns
        return total

    jacobians = [(b, a) for a, b in pairwise(widths)][::-1]  # J_L first
    assert chain_cost(widths, "reverse") == chain_cost(widths) == multiply(jacobians)
    # the product from the other end is that of the transposes in the opposite order
    assert chain_cost(widths, "forward") == multiply([(a, b) for b, a in jacobians[::-1]])
    assert chain_cost(widths, "forward") == chain_cost(widths[::-1], "reverse")


def test_errors_of_chain_cost():
    for widths in ([], [3], [3, 0], [0, 2, 3]):
        with raises(ValueError, f"expected at least two widths, each at least 1, got {widths}"):
            chain_cost(widths)
    assert chain_cost([3, 1]) == 0
    with raises(ValueError, "expected the mode 'forward' or 'reverse', got 'backward'"):
        chain_cost([3, 2], "backward")
