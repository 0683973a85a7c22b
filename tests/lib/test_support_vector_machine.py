"""Support vector machines against scikit-learn's, against the conditions of optimality, and by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.svm import SVC
from torch.testing import assert_close

from chainrule.perceptron import margin
from chainrule.support_vector_machine import (
    dual_objective,
    fit_linear_svm,
    hinge_loss,
    primal_objective,
    solve_dual,
)

from .reference import raises

F64 = torch.float64
X = torch.tensor([[0.0, 0.0], [-1.0, 0.0], [2.0, 2.0], [3.0, 1.0]], dtype=F64)
Y = torch.tensor([-1, -1, 1, 1])


def classes(seed, m=40, d=3, shift=1.0):
    """Two clouds that overlap if the shift is small."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.where(torch.rand(m, generator=generator) < 0.4, 1, -1)
    y[:2] = torch.tensor([1, -1])
    return torch.randn(m, d, generator=generator, dtype=F64) + shift * y[:, None], y


def test_the_largest_margin_of_four_points(device, dtype):
    machine = fit_linear_svm(X.to(device, dtype), Y.to(device))
    assert machine.weight.dtype == dtype and machine.weight.device.type == device.type
    assert_close(machine.weight.cpu().double(), torch.tensor([0.5, 0.5], dtype=F64), atol=1e-4, rtol=0)
    assert machine.bias.item() == pytest.approx(-1, abs=1e-4)
    assert margin(X.to(device, dtype), Y.to(device), machine.weight, machine.bias).item() == pytest.approx(2**0.5, 1e-4)
    assert machine.support.tolist()[:2] == [True, False]


@pytest.mark.parametrize("penalty", [0.01, 1.0, 30.0, math.inf])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_scikit_learn(seed, penalty):
    x, y = classes(seed, shift=2.5 if math.isinf(penalty) else 0.7)
    reference = SVC(C=min(penalty, 1e10), kernel="linear", tol=1e-9).fit(x.numpy(), y.numpy())
    machine = fit_linear_svm(x, y, penalty, tolerance=1e-9)
    assert_close(machine.weight, torch.tensor(reference.coef_[0]), atol=1e-5, rtol=1e-5)
    free = (machine.coefficients.abs() < penalty) & machine.support
    if free.any():  # otherwise the bias is an interval
        assert machine.bias.item() == pytest.approx(reference.intercept_[0], abs=1e-5)
    assert set(reference.support_) >= set(machine.support.nonzero()[:, 0].tolist())
    assert_close(machine.coefficients[reference.support_], torch.tensor(reference.dual_coef_[0]), atol=1e-4, rtol=0)


@given(st.integers(0, 10**6), st.sampled_from([0.05, 1.0, 7.0]))
def test_conditions_of_optimality(seed, penalty):
    """Weak duality leaves no gap, and each sample's coefficient tells on which side of its margin it lies."""
    x, y = classes(seed, m=20, shift=0.5)
    machine = fit_linear_svm(x, y, penalty, tolerance=1e-8)
    alpha = machine.coefficients * y
    assert (alpha >= 0).all() and (alpha <= penalty).all()
    assert machine.coefficients.sum().abs() < 1e-9
    primal = primal_objective(x, y, machine.weight, machine.bias, penalty)
    assert dual_objective(x @ x.T, y, machine.coefficients).item() == pytest.approx(primal.item(), abs=1e-5)
    reach = y * (x @ machine.weight + machine.bias)
    assert (reach[alpha == 0] >= 1 - 1e-6).all() and (reach[alpha == penalty] <= 1 + 1e-6).all()
    assert ((reach - 1)[(alpha > 0) & (alpha < penalty)].abs() < 1e-6).all()


@given(st.integers(0, 10**6))
def test_any_feasible_dual_is_below_any_primal(seed):
    x, y = classes(seed, m=12)
    generator = torch.Generator().manual_seed(seed)
    alpha = 2 * torch.rand(12, generator=generator, dtype=F64)
    plus, minus = alpha[y > 0].sum(), alpha[y < 0].sum()
    alpha = torch.where(y > 0, alpha * minus / torch.maximum(plus, minus), alpha * plus / torch.maximum(plus, minus))
    weight = torch.randn(3, generator=generator, dtype=F64)
    assert dual_objective(x @ x.T, y, alpha * y) <= primal_objective(x, y, weight, 0.3, 2.0)


def test_moving_and_turning_the_data_moves_and_turns_the_machine():
    x, y = classes(1, shift=0.6)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=F64)).Q
    shift = torch.tensor([100.0, -20.0, 3.0], dtype=F64)
    one = fit_linear_svm(x, y, 2.0, tolerance=1e-9)
    two = fit_linear_svm(x @ turn + shift, y, 2.0, tolerance=1e-9)
    assert_close(two.weight, one.weight @ turn, atol=1e-6, rtol=0)
    assert_close(two.bias, one.bias - two.weight @ shift, atol=1e-5, rtol=0)


def test_hinge_loss(device, dtype):
    scores = torch.tensor([2.0, 0.5, -1.0, 1.0, 3.0], device=device, dtype=dtype)
    y = torch.tensor([1, 1, 1, -1, -1], device=device)
    loss = hinge_loss(scores, y)
    assert loss.tolist() == [0, 0.5, 2, 2, 4] and loss.dtype == dtype and loss.device.type == device.type
    assert hinge_loss(scores, y.to(dtype)).tolist() == loss.tolist()
    assert ((loss >= 1) == (torch.sign(scores) != y)).all()


def test_objectives_by_hand():
    x, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=F64), torch.tensor([1.0, -1.0], dtype=F64)
    weight = torch.tensor([3.0, 1.0], dtype=F64)
    assert primal_objective(x, y, weight, -2.5, penalty=2.0).item() == 5 + 2 * (0.5 + 0.5)
    assert dual_objective(x @ x.T, y, torch.tensor([0.25, -0.5], dtype=F64)).item() == 0.75 - (0.0625 + 4 * 0.25) / 2


def test_objective_is_convex_with_its_subgradient():
    x, y = classes(0)
    weight = torch.randn(3, dtype=F64, requires_grad=True)
    value = primal_objective(x, y, weight, 0.2, 1.5)
    (slope,) = torch.autograd.grad(value, [weight])
    reach = y * (x @ weight.detach() + 0.2)
    expected = weight.detach() - 1.5 * ((reach < 1) * y).to(F64) @ x
    assert_close(slope, expected)
    for _ in range(20):
        other = torch.randn(3, dtype=F64)
        assert primal_objective(x, y, other, 0.2, 1.5) >= value + slope @ (other - weight) - 1e-9


def test_solution_of_two_points_takes_one_step():
    gram = torch.tensor([[4.0, -4.0], [-4.0, 4.0]], dtype=F64)
    solution = solve_dual(gram, torch.tensor([1, -1]))
    assert solution.steps == 1 and solution.coefficients.tolist() == [0.125, -0.125] and solution.bias.item() == 0
    bound = solve_dual(gram, torch.tensor([1, -1]), penalty=0.1)
    assert bound.coefficients.tolist() == [0.1, -0.1] and bound.steps == 1


def test_equal_points_of_both_classes_reach_the_penalty():
    """Between them the quadratic term has no curvature."""
    x, y = torch.zeros(2, 1, dtype=F64), torch.tensor([1, -1])
    machine = fit_linear_svm(x, y, penalty=3.0)
    assert machine.coefficients.tolist() == [3, -3] and machine.weight.tolist() == [0]


def test_tolerance_is_met_and_steps_are_counted():
    x, y = classes(2, shift=0.5)
    gram = x @ x.T
    loose, tight = (solve_dual(gram, y, 1.0, tolerance=t) for t in (1e-1, 1e-10))
    assert loose.steps < tight.steps
    for solution, tolerance in ((loose, 1e-1), (tight, 1e-10)):
        residual = y - gram @ solution.coefficients
        alpha = solution.coefficients * y
        grow = torch.where(y > 0, alpha < 1, alpha > 0)
        shrink = torch.where(y > 0, alpha > 0, alpha < 1)
        gap = residual[grow].max() - residual[shrink].min()
        assert gap <= tolerance + 1e-12
        assert solution.bias.item() == pytest.approx((residual[grow].max() + residual[shrink].min()).item() / 2)
    assert solve_dual(gram, y, 1.0, tolerance=1e-10, max_steps=tight.steps).steps == tight.steps
    with pytest.raises(ValueError, match=r"^expected to be done after \d+ steps, got a gap of [\d.e-]+$"):
        solve_dual(gram, y, 1.0, tolerance=1e-10, max_steps=tight.steps - 1)


def test_steps_stay_few():
    """The choice of the second sample by its gain matters: the one that violates most needs many more steps."""
    x, y = classes(5, m=200, d=10, shift=0.3)
    assert solve_dual(x @ x.T, y, 1.0).steps < 1500


def test_classes_that_nothing_separates():
    x, y = torch.tensor([[0.0], [1.0], [2.0]], dtype=F64), torch.tensor([1, -1, 1])
    with pytest.raises(
        ValueError, match=r"got a gap of \d+; with an infinite penalty this means that nothing separates"
    ):
        fit_linear_svm(x, y, max_steps=100)


def test_errors(unchecked):
    gram = torch.eye(2)
    y = torch.tensor([1, -1])
    with raises(ValueError, "expected scores and y of one shape (m,), got (2,) and (3,)"):
        hinge_loss(torch.zeros(2), torch.ones(3))
    with raises(ValueError, "expected scores and y of one shape (m,), got (2, 1) and (2, 1)"):
        hinge_loss(torch.zeros(2, 1), torch.ones(2, 1))
    with raises(ValueError, "expected labels of -1 or 1, got 0"):
        hinge_loss(torch.zeros(2), torch.tensor([1, 0]))
    with raises(TypeError, "expected scores to be of floating type, got torch.int64"):
        hinge_loss(y, y)
    for bad in (torch.zeros(2, 3), torch.eye(3), torch.zeros(4)):
        with raises(
            ValueError,
            f"expected gram of shape (m, m) and y of shape (m,), m at least 1, got {tuple(bad.shape)} and (2,)",
        ):
            solve_dual(bad, y)
    with raises(ValueError, "expected gram of shape (m, m) and y of shape (m,), m at least 1, got (0, 0) and (0,)"):
        solve_dual(torch.zeros(0, 0), y[:0])
    with raises(ValueError, "expected gram of shape (m, m) and y of shape (m,), m at least 1, got (2, 2) and (2, 1)"):
        dual_objective(gram, y[:, None], torch.zeros(2))
    with raises(ValueError, "expected coefficients of shape (2,), got (3,)"):
        dual_objective(gram, y, torch.zeros(3))
    with raises(ValueError, "expected gram to be finite, got nan"):
        solve_dual(gram * math.nan, y)
    with raises(ValueError, "expected a positive penalty, got 0.0"):
        solve_dual(gram, y, 0.0)
    with raises(ValueError, "expected a positive tolerance, got 0.0"):
        solve_dual(gram, y, tolerance=0.0)
    with raises(ValueError, "expected both classes, -1 and 1, got only 1"):
        solve_dual(gram, torch.tensor([1, 1]))
    with raises(ValueError, "expected both classes, -1 and 1, got only -1"):
        fit_linear_svm(gram, torch.tensor([-1, -1]))
    message = "expected x of shape (m, d) and y of shape (m,), m at least 1, got "
    for function in (fit_linear_svm, lambda x, y: primal_objective(x, y, torch.zeros(2), 0.0, 1.0)):
        for x, labels in ((torch.zeros(2), y), (torch.zeros(3, 2), y), (torch.zeros(0, 2), y[:0])):
            with raises(ValueError, message + f"{tuple(x.shape)} and {tuple(labels.shape)}"):
                function(x, labels)
        with raises(ValueError, "expected x to be finite, got inf"):
            function(gram + math.inf, y)
        with raises(TypeError, "expected x to be of floating type, got torch.int64"):
            function(gram.long(), y)
    with raises(ValueError, "expected weight of shape (2,), got (3,)"):
        primal_objective(gram, y, torch.zeros(3), 0.0, 1.0)
    for penalty in (0.0, -1.0, math.inf, math.nan):
        with raises(ValueError, f"expected a finite positive penalty, got {penalty}"):
            primal_objective(gram, y, torch.zeros(2), 0.0, penalty)
