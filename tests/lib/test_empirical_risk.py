"""Empirical risk against plain means, stumps against a search over every threshold and against scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier
from torch.testing import assert_close

from chainrule.empirical_risk import Stump, empirical_risk, fit_stump, predict_stump


def wrong(guess, y):
    return guess != y


def sample(m, d, seed, levels=None, dtype=torch.float64):
    """Points with labels that follow the sum of the features; with levels, on a grid, so that values coincide."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(m, d, generator=g, dtype=dtype)
    if levels:
        x = (x * levels).round() / levels
    return x, (x.sum(dim=1) + torch.randn(m, generator=g, dtype=dtype) > 0).long()


def least_risk(x, y):
    """The least risk over every feature, every threshold between or beyond the values, and both signs."""
    best = 1.0
    for column in x.T:
        values = column.unique()
        for t in [-math.inf, *((values[:-1] + values[1:]) / 2).tolist(), math.inf]:
            for guess in ((column > t).long(), (column <= t).long()):
                best = min(best, (guess != y).double().mean().item())
    return best


# Empirical risk


def test_the_mean_of_the_losses(device, dtype):
    g = torch.Generator().manual_seed(0)
    guess, y = (torch.randn(9, 3, generator=g).to(device, dtype) for _ in range(2))
    risk = empirical_risk(guess, y, lambda a, b: (a - b).square().sum(dim=1))
    assert risk.dtype == dtype and risk.device.type == device.type
    rows = zip(guess.tolist(), y.tolist(), strict=True)
    assert risk.item() == pytest.approx(sum(math.dist(a, b) ** 2 for a, b in rows) / 9, rel=1e-5)


def test_mistakes_and_counts_are_averaged_as_numbers():
    guess, y = torch.tensor([1, 0, 2, 2, 1]), torch.tensor([1, 1, 2, 0, 1])
    assert empirical_risk(guess, y, wrong).item() == pytest.approx(0.4)
    assert empirical_risk(guess, y, lambda a, b: (a - b).abs()).item() == pytest.approx(0.6)
    assert empirical_risk(guess, y, wrong).dtype == torch.get_default_dtype()


def test_the_gradient_of_the_mean_is_the_mean_of_the_gradients():
    x, y = sample(12, 4, 0)
    w = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)

    def loss(score, y):
        return (score - y) ** 2

    (gradient,) = torch.autograd.grad(empirical_risk(x @ w, y, loss), w)
    parts = [torch.autograd.grad(empirical_risk(x[i : i + 1] @ w, y[i : i + 1], loss), w)[0] for i in range(12)]
    assert_close(gradient, torch.stack(parts).mean(dim=0))


@pytest.mark.parametrize(
    ("guess", "y"),
    [
        (torch.zeros(3), torch.zeros(4)),
        (torch.zeros(0), torch.zeros(0)),
        (torch.zeros(()), torch.zeros(3)),
        (torch.zeros(3), torch.zeros(())),
    ],
)
def test_samples_that_do_not_fit_are_refused(guess, y):
    with pytest.raises(ValueError, match=r"a prediction and a target for each sample, got shapes \("):
        empirical_risk(guess, y, wrong)


def test_a_loss_that_was_broadcast_by_mistake_is_refused():
    with pytest.raises(ValueError, match=r"one loss for each of 5 samples, got shape \(5, 5\)"):
        empirical_risk(torch.zeros(5, 1), torch.zeros(5), lambda a, b: (a - b) ** 2)
    with pytest.raises(ValueError, match=r"got shape \(\)"):
        empirical_risk(torch.zeros(5), torch.zeros(5), lambda a, b: ((a - b) ** 2).mean())


# Stumps


@given(st.integers(1, 12), st.integers(1, 3), st.integers(0, 5000), st.sampled_from([None, 1, 2]))
def test_no_stump_is_better_than_the_fitted_one(m, d, seed, levels):
    x, y = sample(m, d, seed, levels)
    stump = fit_stump(x, y)
    assert stump.risk == pytest.approx(least_risk(x, y))
    assert (predict_stump(stump, x) != y).double().mean().item() == pytest.approx(stump.risk)
    assert stump.risk <= 0.5 and stump.sign in (1, -1)


@pytest.mark.parametrize("seed", range(5))
def test_stumps_are_at_least_as_good_as_a_tree_of_depth_one(seed):
    x, y = sample(200, 5, seed)
    tree = DecisionTreeClassifier(max_depth=1, random_state=0).fit(x.numpy(), y.numpy())
    assert fit_stump(x, y).risk <= (tree.predict(x.numpy()) != y.numpy()).mean() + 1e-12


def test_the_first_of_equally_good_stumps_is_taken():
    y = torch.tensor([0, 1, 0, 1])
    x = torch.tensor([[1.0, 2.0, 3.0, 6.0]]).T
    assert fit_stump(x, y) == Stump(0, 1.5, 1, 0.25)
    assert fit_stump(torch.cat([x, x], dim=1), y).feature == 0
    assert fit_stump(-x, y) == Stump(0, -4.5, -1, 0.25)
    assert fit_stump(torch.cat([0 * x, 2 * x], dim=1), y) == Stump(1, 3.0, 1, 0.25)


def test_a_rule_that_always_says_the_same():
    x = torch.tensor([[1.0], [2.0]])
    assert fit_stump(x, torch.tensor([1, 1])) == Stump(0, -math.inf, 1, 0.0)
    assert fit_stump(x, torch.tensor([0, 0])) == Stump(0, math.inf, 1, 0.0)
    constant = fit_stump(torch.ones(5, 1), torch.tensor([0, 1, 1, 0, 1]))
    assert constant == Stump(0, -math.inf, 1, 0.4)
    assert predict_stump(constant, torch.ones(2, 1)).tolist() == [1, 1]


@pytest.mark.parametrize("low", [1.0, 1e-30, 16777216.0, -1.0])
def test_neighbouring_floats_are_told_apart(low, device, dtype):
    low = torch.tensor(low, dtype=dtype, device=device)
    for _ in range(2):  # the middle rounds to an even last digit: down once, up once
        high = torch.nextafter(low, torch.full_like(low, math.inf))
        x, y = torch.stack([low, high]).unsqueeze(1), torch.tensor([0, 1], device=device)
        stump = fit_stump(x, y)
        assert stump.risk == 0 and predict_stump(stump, x).tolist() == [0, 1]
        low = high


def test_values_near_the_largest_float_do_not_overflow(dtype):
    large = torch.finfo(dtype).max
    x, y = torch.tensor([[-large], [large]], dtype=dtype), torch.tensor([0, 1])
    assert fit_stump(x, y) == Stump(0, 0.0, 1, 0.0)


@given(st.integers(0, 300))
def test_a_stump_follows_monotone_changes_of_its_feature(seed):
    x, y = sample(15, 2, seed)
    stump, moved = fit_stump(x, y), fit_stump(torch.exp(x), y)
    assert (stump.feature, stump.sign, stump.risk) == (moved.feature, moved.sign, moved.risk)
    assert torch.equal(predict_stump(stump, x), predict_stump(moved, torch.exp(x)))


def test_a_stump_keeps_to_the_device_of_its_samples(device):
    x, y = sample(30, 3, 4)
    stump = fit_stump(x.to(device), y.to(device))
    assert stump == fit_stump(x, y) and predict_stump(stump, x.to(device)).device.type == device.type
    assert fit_stump(x, y.to(torch.uint8)) == stump  # small types must not overflow in the sums


def test_many_samples_of_a_small_integer_type():
    x = torch.arange(600.0).unsqueeze(1)
    assert fit_stump(x, (x[:, 0] > 99.5).to(torch.uint8)) == Stump(0, 99.5, 1, 0.0)


def test_what_is_no_sample_is_refused(unchecked):
    x, y = torch.ones(3, 2), torch.tensor([0, 1, 1])
    for bad_x, bad_y in ((x, y[:2]), (x[0], y), (x[:0], y[:0]), (x[:, :0], y), (x, y.unsqueeze(1))):
        with pytest.raises(ValueError, match=r"expected x of shape \(m, d\) and y of shape \(m,\), both at least 1"):
            fit_stump(bad_x, bad_y)
    with pytest.raises(ValueError, match=r"both at least 1, got \(3, 2\) and \(2,\)"):
        fit_stump(x, y[:2])
    for bad in (2, -1):
        with pytest.raises(ValueError, match=f"classes 0 and 1, got {bad}"):
            fit_stump(x, torch.tensor([0, bad, 1]))
    with pytest.raises(ValueError, match="x to be finite, got nan"):
        fit_stump(x * math.nan, y)
    with pytest.raises(TypeError, match="expected x to be of floating type"):
        fit_stump(x.long(), y)
    with pytest.raises(TypeError, match="expected y to be of integer type"):
        fit_stump(x, y.double())


def test_a_stump_needs_its_feature(unchecked):
    stump = Stump(2, 0.5, 1, 0.0)
    assert predict_stump(stump, torch.tensor([[0.0, 0.0, 1.0]])).tolist() == [1]
    for bad, got in ((torch.ones(3, 2), r"\(3, 2\)"), (torch.ones(3), r"\(3,\)")):
        with pytest.raises(ValueError, match=rf"rows with a feature 2, got shape {got}"):
            predict_stump(stump, bad)
    with pytest.raises(ValueError, match="rows with a feature -1"):
        predict_stump(stump._replace(feature=-1), torch.ones(3, 2))
    with pytest.raises(TypeError, match="expected x to be of floating type"):
        predict_stump(stump, torch.ones(3, 3).long())
