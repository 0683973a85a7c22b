"""Least squares against SciPy, scikit-learn and torch's own, and against what defines the solution."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from torch.testing import assert_close

from chainrule.linear_regression import (
    append_ones,
    least_squares,
    legendre_features,
    polynomial_features,
    qr_least_squares,
    ridge_degrees_of_freedom,
    ridge_regression,
    solve_normal_equations,
)

from .reference import raises

F64 = torch.float64
UNIQUE = (solve_normal_equations, qr_least_squares)
ALL = (*UNIQUE, least_squares, lambda x, y: ridge_regression(x, y, 0.0))


def problem(m, d, generator, k=None, dtype=F64):
    x = torch.randn(m, d, generator=generator, dtype=dtype) * torch.arange(1, d + 1) + 1
    y = torch.randn(m, *([] if k is None else [k]), generator=generator, dtype=dtype)
    return x, y


# Features


def test_append_ones(device, dtype):
    x = torch.tensor([[2.0, 3.0], [4.0, 5.0]], device=device, dtype=dtype)
    assert_close(append_ones(x), torch.tensor([[2.0, 3, 1], [4, 5, 1]], device=device, dtype=dtype))


def test_powers_agree_with_numpy(generator, device, dtype):
    x = torch.randn(7, generator=generator, dtype=F64)
    expected = torch.from_numpy(np.polynomial.polynomial.polyvander(x.numpy(), 5)).to(device, dtype)
    assert_close(polynomial_features(x.to(device, dtype), 5), expected)
    assert polynomial_features(torch.zeros(2), 3).tolist() == [[1, 0, 0, 0]] * 2
    assert polynomial_features(x, 0).tolist() == [[1.0]] * 7


@pytest.mark.parametrize("degree", [0, 1, 2, 9])
def test_legendre_polynomials_agree_with_numpy(degree, generator, device, dtype):
    x = 2 * torch.rand(20, generator=generator, dtype=F64) - 1
    table = np.polynomial.legendre.legvander(x.numpy(), degree) * np.sqrt(2 * np.arange(degree + 1) + 1)
    result = legendre_features(x.to(device, dtype), degree)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert_close(result, torch.from_numpy(table).to(device, dtype), rtol=10 * tolerance, atol=tolerance)


def test_legendre_polynomials_are_orthonormal():
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(13))
    table = legendre_features(nodes, 12)
    assert_close(table.T @ (table * weights.unsqueeze(1)) / 2, torch.eye(13, dtype=F64))


# Least squares


@pytest.mark.parametrize("solve", ALL)
@pytest.mark.parametrize("k", [None, 3])
def test_all_routes_agree_with_torch(solve, k, generator, device, dtype):
    x, y = problem(30, 4, generator, k)
    expected = torch.linalg.lstsq(x, y.reshape(30, -1)).solution.reshape(4, *y.shape[1:])
    result = solve(x.to(device, dtype), y.to(device, dtype))
    assert result.device.type == device.type
    assert_close(result, expected.to(device, dtype), rtol=1e-3 if dtype == torch.float32 else 1e-10, atol=1e-5)


@pytest.mark.parametrize("solve", ALL)
def test_square_systems_are_solved_exactly(solve, generator):
    x, y = problem(5, 5, generator)
    assert_close(solve(x, y), torch.linalg.solve(x, y), rtol=1e-7, atol=1e-9)
    assert_close(solve(torch.tensor([[2.0]]), torch.tensor([3.0])), torch.tensor([1.5]))


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 2**31), st.booleans())
def test_residual_is_orthogonal_and_weights_are_shortest(m, d, seed, deficient):
    g = torch.Generator().manual_seed(seed)
    x, y = problem(m, d, g)
    if deficient:
        x[:, -1] = x[:, 0]
    w = least_squares(x, y)
    scale = 1 + x.abs().max().item() * y.abs().max().item() * m
    assert (x.T @ (y - x @ w)).abs().max() < 1e-9 * scale
    null = torch.from_numpy(scipy.linalg.null_space(x.numpy()))
    assert (null.T @ w).abs().sum() < 1e-8 * (1 + w.norm().item())
    expected, *_ = scipy.linalg.lstsq(x.numpy(), y.numpy(), cond=1e-13)
    assert_close(w, torch.from_numpy(expected), rtol=1e-6, atol=1e-8)


def test_of_many_interpolations_the_shortest(generator):
    x, y = problem(3, 6, generator, k=2)
    w = least_squares(x, y)
    assert_close(x @ w, y)
    assert_close(w, torch.linalg.pinv(x) @ y)


def test_a_matrix_of_zeros_gives_zero_weights():
    assert least_squares(torch.zeros(3, 2), torch.ones(3)).tolist() == [0, 0]


def test_singular_values_of_rounding_size_count_as_zero(generator, dtype):
    x, y = problem(40, 3, generator, dtype=dtype)
    x = torch.cat([x, x.sum(dim=1, keepdim=True) / 3], dim=1)
    expected = scipy.linalg.lstsq(x.double().numpy(), y.double().numpy(), cond=1e-5)[0]
    assert_close(least_squares(x, y), torch.from_numpy(expected).to(dtype), rtol=1e-3, atol=1e-4)
    small = torch.diag(torch.tensor([1.0, 4 * torch.finfo(dtype).eps], dtype=dtype))
    assert least_squares(small, torch.ones(2, dtype=dtype))[1] > 1e6  # small, and still told from rounding
    large, wide = torch.zeros(2, 2, 40, dtype=dtype)
    large[0, 0], large[1, 1] = 1, 39 * torch.finfo(dtype).eps
    assert least_squares(large, torch.ones(2, dtype=dtype))[1] == 0  # the larger side of the shape counts
    assert least_squares(large.T.contiguous(), torch.ones(40, dtype=dtype))[1] == 0
    assert least_squares(wide.T.contiguous() + 1, torch.ones(40, dtype=dtype)).sum() == pytest.approx(1, rel=1e-5)


def test_qr_is_as_good_as_the_condition_and_normal_equations_its_square():
    x = polynomial_features(torch.linspace(0, 1, 60, dtype=F64), 8)
    w = torch.arange(1, 10, dtype=F64) / 3
    y = x @ w
    by_qr, by_normal = ((solve(x, y) - w).abs().max().item() for solve in (qr_least_squares, _normal_unchecked))
    assert by_qr < 1e-9 and 1e3 * by_qr < by_normal


def _normal_unchecked(x, y):
    return torch.linalg.solve(x.T @ x, x.T @ y)


@pytest.mark.parametrize("solve", UNIQUE)
@pytest.mark.parametrize("m", [4, 50, 2000])
def test_dependent_columns_are_refused(solve, m, generator, dtype):
    x, y = problem(m, 3, generator, dtype=dtype)
    x = torch.cat([x, x @ torch.tensor([[1.0], [-2.0], [0.5]], dtype=dtype)], dim=1)
    what = "QR has" if solve is qr_least_squares else "the normal equations have"
    message = (
        f"expected 4 independent columns, got dependent ones (m = {m} samples): {what} no unique solution; "
        "least_squares gives the shortest"
    )
    with raises(ValueError, message):
        solve(x, y)
    with raises(ValueError, message.replace(f"m = {m}", "m = 3")):
        solve(x[:3], y[:3])
    with raises(ValueError, message):
        solve(torch.zeros(m, 4, dtype=dtype), y)


@pytest.mark.parametrize("solve", UNIQUE)
def test_a_small_column_is_measured_by_its_own_size(solve, generator):
    x, y = problem(20, 3, generator)
    unit = torch.tensor([1.0, 1.0, 1e-17], dtype=F64)  # far below the rounding of the others, and independent
    assert_close(solve(x * unit, y) * unit, solve(x, y), rtol=1e-6, atol=0)


@pytest.mark.parametrize("solve", UNIQUE)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_what_is_dependent_does_not_depend_on_units(solve, scale, generator):
    x, y = problem(20, 3, generator)
    x[:, 1] *= scale
    assert_close(solve(x, y), torch.linalg.lstsq(x, y).solution, rtol=1e-6, atol=1e-12)
    close = torch.stack([torch.ones(20, dtype=F64), 1 + scale * 1e-8 * torch.arange(20)], dim=1)
    if scale == 1e6:
        assert_close(solve(close, y), torch.linalg.lstsq(close, y).solution, rtol=1e-6, atol=1e-8)


def test_the_limit_of_the_normal_equations_is_that_of_their_rounding():
    for gap, fine in ((6.7e-8, True), (5.4e-8, False)):
        x = torch.tensor([[1.0, 1.0], [0.0, gap]], dtype=F64)
        if fine:
            assert solve_normal_equations(x, torch.ones(2, dtype=F64))[1] > 1e6
        else:
            with pytest.raises(ValueError, match="^expected 2 independent columns"):
                solve_normal_equations(x, torch.ones(2, dtype=F64))
        assert qr_least_squares(x, torch.ones(2, dtype=F64))[1].item() == pytest.approx(1 / gap)
    for gap in (1e-15, 1e-17):
        x = torch.tensor([[1.0, 1.0], [0.0, gap]], dtype=F64)
        if gap == 1e-15:
            assert qr_least_squares(x, torch.ones(2, dtype=F64))[1].item() == pytest.approx(1 / gap)
        else:
            with pytest.raises(ValueError, match="^expected 2 independent columns"):
                qr_least_squares(x, torch.ones(2, dtype=F64))


# Ridge


@pytest.mark.parametrize("shape", [(30, 4), (4, 30), (5, 5)])
@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("penalty", [1e-3, 0.7, 100.0])
def test_ridge_agrees_with_scikit_learn(shape, k, penalty, generator, device, dtype):
    x, y = problem(*shape, generator, k)
    expected = Ridge(alpha=penalty, fit_intercept=False, solver="svd").fit(x.numpy(), y.numpy()).coef_
    expected = torch.from_numpy(np.asarray(expected).T.copy()).reshape(shape[1], *y.shape[1:])
    tolerance = {"rtol": 1e-2, "atol": 1e-3} if dtype == torch.float32 else {"rtol": 1e-8, "atol": 1e-10}
    assert_close(
        ridge_regression(x.to(device, dtype), y.to(device, dtype), penalty), expected.to(device, dtype), **tolerance
    )


@given(st.floats(1e-6, 1e6), st.integers(0, 1000))
def test_ridge_is_where_its_gradient_vanishes(penalty, seed):
    x, y = problem(6, 4, torch.Generator().manual_seed(seed))
    w = ridge_regression(x, y, penalty).requires_grad_()
    cost = (x @ w - y).square().sum() + penalty * w.square().sum()
    (gradient,) = torch.autograd.grad(cost, w)
    assert gradient.abs().max() < 1e-7 * (1 + penalty * w.norm().item())


def test_ridge_has_limits(generator):
    x, y = problem(6, 9, generator)
    assert_close(ridge_regression(x, y, 1e-12), least_squares(x, y), rtol=1e-8, atol=1e-9)
    assert_close(1e12 * ridge_regression(x, y, 1e12), x.T @ y, rtol=1e-8, atol=1e-8)
    assert torch.equal(ridge_regression(x, y, 0), least_squares(x, y))


def test_degrees_of_freedom_are_the_trace_of_the_hat_matrix(generator, device, dtype):
    x, _ = problem(9, 4, generator)
    for penalty in (0.0, 0.3, 20.0):
        hat = x @ torch.linalg.solve(x.T @ x + penalty * torch.eye(4, dtype=F64), x.T)
        result = ridge_degrees_of_freedom(x.to(device, dtype), penalty)
        assert result == pytest.approx(hat.trace().item(), rel=1e-4)
    assert ridge_degrees_of_freedom(torch.ones(5, 3, dtype=F64), 0.0) == pytest.approx(1)
    assert ridge_degrees_of_freedom(torch.ones(5, 3, dtype=F64), 15.0) == pytest.approx(0.5)
    edge = torch.zeros(2, 40, dtype=F64)
    edge[0, 0], edge[1, 1] = 1, 39 * torch.finfo(F64).eps
    assert ridge_degrees_of_freedom(edge, 0.0) == 1  # the second singular value is rounding
    edge[1, 1] = 41 * torch.finfo(F64).eps
    assert ridge_degrees_of_freedom(edge, 0.0) == 2
    assert ridge_degrees_of_freedom(1e8 * edge, 0.0) == ridge_degrees_of_freedom(1e-8 * edge, 0.0) == 2
    assert ridge_degrees_of_freedom(torch.zeros(2, 3), 0.0) == 0


# Errors


@pytest.mark.usefixtures("unchecked")
def test_errors():
    x, y = torch.ones(3, 2), torch.ones(3)
    for solve in (*ALL, lambda x, y: ridge_regression(x, y, 1.0)):
        for bad in (torch.ones(3), torch.ones(0, 2), torch.ones(3, 0)):
            with raises(ValueError, f"expected x of shape (m, d), neither of them 0, got {tuple(bad.shape)}"):
                solve(bad, y)
        for bad in (torch.ones(2), torch.ones(3, 1, 1), torch.ones(3, 0), torch.ones(())):
            with raises(ValueError, f"expected y of shape (3,) or (3, k), got {tuple(bad.shape)}"):
                solve(x, bad)
        with raises(ValueError, "expected x to be finite, got inf"):
            solve(x * math.inf, y)
        with raises(ValueError, "expected y to be finite, got nan"):
            solve(x, y * math.nan)
        with raises(TypeError, "expected x to be of floating type, got torch.int64"):
            solve(x.long(), y)
        with raises(TypeError, "expected y to be of floating type, got torch.int64"):
            solve(x, y.long())
    for penalty in (-1e-9, math.inf, math.nan):
        for function in (lambda p: ridge_regression(x, y, p), lambda p: ridge_degrees_of_freedom(x, p)):
            with raises(ValueError, f"expected a finite penalty of at least 0, got {penalty}"):
                function(penalty)
    with raises(ValueError, "expected x of shape (m, d), neither of them 0, got (3,)"):
        ridge_degrees_of_freedom(y, 1.0)
    with raises(ValueError, "expected x to be finite, got inf"):
        ridge_degrees_of_freedom(x * math.inf, 1.0)
    with raises(ValueError, "expected x of shape (m, d), neither of them 0, got (3,)"):
        append_ones(y)
    for function in (polynomial_features, legendre_features):
        with raises(ValueError, "expected x of shape (m,), got (3, 2)"):
            function(x, 1)
        with raises(ValueError, "expected a degree of at least 0, got -1"):
            function(y, -1)
        with raises(TypeError, "expected x to be of floating type, got torch.int64"):
            function(y.long(), 1)
