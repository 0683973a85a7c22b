"""Likelihoods against torch and SciPy, the Gumbel fit against SciPy's and its own optimality."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from chainrule.information import cross_entropy, empirical_distribution
from chainrule.likelihood import (
    fit_gumbel,
    gumbel_log_density,
    gumbel_negative_log_likelihood,
    gumbel_sample,
    gumbel_score,
    log_likelihood,
    log_sum_exp,
    negative_log_likelihood,
)

from .reference import raises

HUGE = 1e300
finite = st.floats(-HUGE, HUGE)


# Log-sum-exp


@given(st.lists(st.one_of(finite, st.just(-math.inf)), min_size=1, max_size=8))
def test_log_sum_exp_agrees_with_scipy(numbers):
    expected = scipy.special.logsumexp(np.array(numbers))
    assert log_sum_exp(torch.tensor(numbers, dtype=torch.float64)).item() == pytest.approx(expected, rel=1e-14)


def test_log_sum_exp_over_each_dimension(generator, device, dtype):
    x = 1000 * torch.randn(2, 3, 4, generator=generator).to(device, dtype)
    for dim in range(-3, 3):
        result = log_sum_exp(x, dim)
        assert result.device.type == device.type
        assert_close(result, torch.logsumexp(x, dim))
    assert_close(log_sum_exp(x), torch.logsumexp(x, 2))


def test_log_sum_exp_at_its_limits():
    x = torch.tensor([[-math.inf, -math.inf], [-math.inf, 3.0], [math.inf, 3.0], [-math.inf, math.inf], [-1e4, -1e4]])
    expected = torch.tensor([-math.inf, 3.0, math.inf, math.inf, -1e4 + math.log(2)])
    assert_close(log_sum_exp(x), expected)
    assert torch.isnan(log_sum_exp(torch.tensor([math.nan, 0.0])))
    assert log_sum_exp(torch.zeros(0, 3)).shape == (0,)


def test_gradient_of_log_sum_exp_is_softmax(generator):
    x = torch.randn(3, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(log_sum_exp, x) and torch.autograd.gradgradcheck(log_sum_exp, x)
    far = torch.tensor([1000.0, 1000.0, -math.inf], requires_grad=True)
    log_sum_exp(far).backward()
    assert_close(far.grad, torch.tensor([0.5, 0.5, 0.0]))


def test_errors_of_log_sum_exp():
    with raises(ValueError, "expected dim in [-1, 1), got 1"):
        log_sum_exp(torch.zeros(3), 1)
    with raises(ValueError, "expected dim in [-1, 1), got -2"):
        log_sum_exp(torch.zeros(3), -2)
    with raises(ValueError, "expected at least one number along dim -1, got shape (3, 0)"):
        log_sum_exp(torch.zeros(3, 0))


# Observed outcomes


def test_likelihoods_agree_with_torch(generator, device, dtype):
    scores = torch.randn(20, 5, generator=generator).to(device, dtype)
    labels = torch.randint(0, 5, (20,), generator=generator).to(device)
    expected = F.cross_entropy(scores, labels)
    result = negative_log_likelihood(scores.log_softmax(1), labels)
    assert result.dtype == dtype and result.device.type == device.type
    assert_close(result, expected)
    assert_close(log_likelihood(scores.log_softmax(1), labels), -expected)
    assert_close(negative_log_likelihood(scores.log_softmax(1), labels.to(torch.uint8)), expected)


def test_likelihood_is_a_cross_entropy(generator):
    q = torch.randn(4, dtype=torch.float64, generator=generator).softmax(0)
    labels = torch.randint(0, 4, (50,), generator=generator)
    nll = negative_log_likelihood(q.log().expand(50, 4), labels)
    assert_close(nll, cross_entropy(empirical_distribution(labels, 4), q))


def test_likelihood_at_its_limits(generator):
    sure = torch.tensor([[1.0, 0.0]]).log()
    zero, one = torch.tensor([0]), torch.tensor([1])
    assert negative_log_likelihood(sure, one) == math.inf and log_likelihood(sure, one) == -math.inf
    assert negative_log_likelihood(sure, zero) == 0 and not torch.signbit(negative_log_likelihood(sure, zero))
    many = torch.full((2000, 2), 0.5, dtype=torch.float64).log()  # the product of the probabilities underflows
    assert log_likelihood(many, torch.zeros(2000, dtype=torch.long)).item() == pytest.approx(-math.log(2))
    scores = torch.randn(6, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    assert torch.autograd.gradcheck(lambda s: negative_log_likelihood(s.log_softmax(1), labels), scores)
    negative_log_likelihood(scores.log_softmax(1), labels).backward()
    assert_close(scores.grad, (scores.detach().softmax(1) - F.one_hot(labels, 3)) / 6)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("function", [log_likelihood, negative_log_likelihood])
def test_errors_of_likelihoods(function):
    good = torch.tensor([[0.5, 0.5]]).log()
    label = torch.tensor([1])
    message = "expected rows of log_softmax, whose exponentials sum to 1, got a sum of "
    with raises(ValueError, message + "2.0"):
        function(torch.zeros(2, 2), torch.tensor([1, 1]))
    with raises(ValueError, message + "4.0"):
        function(torch.zeros(1, 4), label)
    with raises(ValueError, message + "inf"):
        function(torch.tensor([[1000.0, 0.0]]), label)
    with raises(ValueError, message + "0.25"):  # the worst of two
        function(torch.tensor([[0.5, 0.25], [0.25, 0.0]]).log(), torch.tensor([0, 0]))
    with raises(ValueError, message + "nan"):
        function(torch.tensor([[0.0, math.nan]]), label)
    with raises(ValueError, "expected log_probs of shape (m, k), neither of them 0, got (2,)"):
        function(good[0], label)
    with raises(ValueError, "expected log_probs of shape (m, k), neither of them 0, got (0, 2)"):
        function(good[:0], label[:0])
    with raises(ValueError, "expected labels of shape (1,), got (2,)"):
        function(good, torch.tensor([0, 1]))
    with raises(ValueError, "expected labels of shape (1,), got (1, 1)"):
        function(good, torch.tensor([[0]]))
    with raises(ValueError, "expected labels in [0, 2), got 2"):
        function(good, torch.tensor([2]))
    with raises(ValueError, "expected labels in [0, 2), got -1"):
        function(good.expand(2, 2), torch.tensor([-1, 1]))
    with raises(ValueError, "expected labels in [0, 2), got 3"):
        function(good.expand(2, 2), torch.tensor([0, 3]))
    with raises(TypeError, "expected labels to be of integer type, got torch.float32"):
        function(good, torch.tensor([1.0]))
    with raises(TypeError, "expected log_probs to be of floating type, got torch.int64"):
        function(torch.zeros(1, 1, dtype=torch.long), label)


def test_tolerance_of_rows_follows_the_type():
    label = torch.tensor([0])
    row = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log()
    off = row + 1e-5
    assert negative_log_likelihood(off.float(), label) > 0
    with pytest.raises(ValueError, match="got a sum of 1.00001"):
        negative_log_likelihood(off, label)
    assert negative_log_likelihood(row + 5e-7, label) > 0


# The Gumbel distribution


def test_log_density_agrees_with_scipy_and_torch(generator, device, dtype):
    x = torch.linspace(-6, 30, 50).to(device, dtype)
    loc, scale = torch.tensor([[0.5], [-2.0]]).to(device, dtype), torch.tensor([[1.5], [0.7]]).to(device, dtype)
    result = gumbel_log_density(x, loc, scale)
    expected = scipy.stats.gumbel_r.logpdf(x.cpu().double(), loc.cpu().double(), scale.cpu().double())
    assert result.shape == (2, 50) and result.dtype == dtype and result.device.type == device.type
    assert_close(
        result.cpu().double(), torch.from_numpy(expected), rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=1e-5
    )
    assert_close(result, torch.distributions.Gumbel(loc, scale).log_prob(x), rtol=1e-4, atol=1e-4)
    assert_close(gumbel_log_density(x, 0.5, 1.5), result[0])
    assert_close(gumbel_log_density(x, 1, 2), gumbel_log_density(x, 1.0, 2.0))


def test_density_integrates_to_one_and_does_not_break_far_out():
    x = torch.linspace(-20, 60, 100_001, dtype=torch.float64)
    assert torch.trapezoid(gumbel_log_density(x, 1.0, 2.0).exp(), x).item() == pytest.approx(1, abs=1e-8)
    assert gumbel_log_density(torch.tensor([-1e4, 1e30]), 0.0, 1.0).tolist() == [-math.inf, -torch.tensor(1e30).item()]


def test_negative_log_likelihood_and_score_agree_with_density_and_autograd(generator):
    x = 3 * torch.randn(40, dtype=torch.float64, generator=generator)
    loc = torch.tensor([[0.3], [1.0]], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([0.8, 2.0, 5.0], dtype=torch.float64, requires_grad=True)
    nll = gumbel_negative_log_likelihood(x, loc, scale)
    assert nll.shape == (2, 3)
    assert_close(nll[1, 2], -gumbel_log_density(x, loc[1], scale[2]).sum())
    assert_close(nll[1, 2], gumbel_negative_log_likelihood(x, 1.0, 5.0))
    by_loc, by_scale = gumbel_score(x, loc, scale)
    assert by_loc.shape == by_scale.shape == (2, 3)
    grads = torch.autograd.grad(nll.sum(), (loc, scale))
    assert_close(by_loc.sum(1, keepdim=True), grads[0])
    assert_close(by_scale.sum(0), grads[1])
    assert torch.autograd.gradcheck(lambda a, b: gumbel_negative_log_likelihood(x, a, b), (loc, scale))
    assert torch.autograd.gradcheck(lambda v: gumbel_log_density(v, 0.3, 2.0), x.requires_grad_())


def test_score_of_one_datum_near_the_mode_does_not_cancel():
    by_loc, by_scale = gumbel_score(torch.tensor([1e-9]), 0.0, 1.0)
    assert by_loc.item() == pytest.approx(-1e-9, rel=1e-6)  # e^{-z} - 1 would be 0 in float32
    assert by_scale.item() == 1


def test_samples_follow_the_distribution(generator):
    x = gumbel_sample(2.0, 3.0, 20_000, generator)
    assert x.shape == (20_000,) and x.dtype == torch.float64
    assert scipy.stats.kstest(x.numpy(), scipy.stats.gumbel_r(2, 3).cdf).pvalue > 0.01
    assert x.mean().item() == pytest.approx(2 + 3 * 0.5772156649, abs=0.1)
    assert torch.equal(x[:5], gumbel_sample(2.0, 3.0, 20_000, torch.Generator().manual_seed(0))[:5])
    assert not torch.equal(x[:5], gumbel_sample(2.0, 3.0, 20_000, generator)[:5])
    assert gumbel_sample(0.0, 1.0, 0, generator).shape == (0,)


def test_samples_come_from_the_generator_alone(device):
    before = torch.random.get_rng_state()
    x = gumbel_sample(0.0, 1.0, 10, torch.Generator(device).manual_seed(0))
    assert x.device.type == device.type
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_rare_zero_of_the_uniform_generator_gives_a_finite_sample(generator, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *size, generator, **kwargs: torch.zeros(*size, **kwargs))
    assert gumbel_sample(0.0, 1.0, 1, generator).item() == pytest.approx(-math.log(-math.log(2.2250738585072014e-308)))


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30).filter(lambda x: max(x) - min(x) > 1e-3))
def test_fit_is_where_both_derivatives_vanish(data):
    x = torch.tensor(data, dtype=torch.float64)
    loc, scale = fit_gumbel(x)
    assert 0 < scale <= (x.mean() - x.min()).item() * (1 + 1e-12)
    for derivative in gumbel_score(x, loc, scale):
        assert abs(derivative.item()) * scale <= 1e-9 * len(x) * max(1, x.abs().max().item() / scale)
    best = gumbel_negative_log_likelihood(x, loc, scale)
    for shift, factor in ((0.01, 1), (-0.01, 1), (0, 1.01), (0, 0.99)):
        assert gumbel_negative_log_likelihood(x, loc + shift * scale, factor * scale) > best


def test_fit_agrees_with_scipy(generator):
    for loc, scale in ((0.0, 1.0), (-5.0, 0.01), (1e3, 20.0)):
        x = gumbel_sample(loc, scale, 300, generator)
        assert fit_gumbel(x) == pytest.approx(scipy.stats.gumbel_r.fit(x.numpy()), rel=1e-6)


@pytest.mark.parametrize("size", [5, 50, 5000])
def test_fit_converges_as_fast_as_newton_should(size, generator, monkeypatch):
    steps = []
    softmax = torch.softmax
    monkeypatch.setattr(torch, "softmax", lambda x, dim: steps.append(1) or softmax(x, dim))
    for _ in range(20):
        steps.clear()
        fit_gumbel(gumbel_sample(3.0, 0.5, size, generator))
        assert 2 <= len(steps) <= 5
    steps.clear()
    fit_gumbel(torch.tensor([0.0] + [1.0] * 9))  # skewed the other way, the moments are a poor start
    assert len(steps) <= 6
    steps.clear()
    x = torch.tensor([0.0] + [1.0] * 99_999, dtype=torch.float64)  # here Newton leaves the bracket again and again
    loc, scale = fit_gumbel(x)
    assert len(steps) <= 24
    assert [d.item() for d in gumbel_score(x, loc, scale)] == pytest.approx([0, 0], abs=1e-6)


def test_fit_approaches_the_parameters_of_the_samples(generator, device, dtype):
    x = gumbel_sample(2.0, 3.0, 50_000, generator).to(device, dtype)
    assert fit_gumbel(x) == pytest.approx((2, 3), abs=0.05)


@given(st.floats(-1e3, 1e3), st.sampled_from([1e-100, 1e-3, 1.0, 1e6, 1e100]))
def test_fit_moves_with_the_data(shift, factor):
    x = torch.tensor([0.0, 1.0, 2.5, 7.0, 0.3], dtype=torch.float64)
    loc, scale = fit_gumbel(x)
    assert fit_gumbel(x * factor) == pytest.approx((loc * factor, scale * factor), rel=1e-12)
    assert fit_gumbel(x + shift) == pytest.approx((loc + shift, scale), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    "data", [[0.0, 1.0], [0.0] * 999 + [1.0], [0.0] + [1.0] * 999, [1.0, 1.0 + 2**-40], [-1e9, 0.0, 1e9]]
)
def test_fit_of_awkward_data(data):
    x = torch.tensor(data, dtype=torch.float64)
    loc, scale = fit_gumbel(x)
    y = (x - x[0]) / (x.max() - x.min())  # where the derivatives can be computed to the end
    unit = (loc - x[0].item()) / (x.max() - x.min()).item(), scale / (x.max() - x.min()).item()
    assert [d.item() / len(x) for d in gumbel_score(y, *unit)] == pytest.approx([0, 0], abs=1e-3)
    assert unit == pytest.approx(fit_gumbel(y), abs=1e-4)


def test_errors_of_parameters(generator):
    x = torch.tensor([1.0, 2.0])
    functions = [
        lambda a, b, f=f: f(x, a, b) for f in (gumbel_log_density, gumbel_negative_log_likelihood, gumbel_score)
    ]
    for function in (*functions, lambda a, b: gumbel_sample(a, b, 3, generator)):
        with raises(ValueError, "expected scale to be positive, got 0.0"):
            function(0.0, 0.0)
        with raises(ValueError, "expected scale to be finite, got inf"):
            function(0.0, math.inf)
        with raises(ValueError, "expected loc to be finite, got nan"):
            function(math.nan, 1.0)
    with raises(ValueError, "expected a size of at least 0, got -1"):
        gumbel_sample(0.0, 1.0, -1, generator)


@pytest.mark.usefixtures("unchecked")
def test_errors_of_data():
    for function, least in ((gumbel_negative_log_likelihood, 1), (gumbel_score, 1), (lambda x, *_: fit_gumbel(x), 2)):
        with raises(ValueError, f"expected x of shape (m,) with m of at least {least}, got ({least - 1},)"):
            function(torch.zeros(least - 1), 0.0, 1.0)
        with raises(ValueError, f"expected x of shape (m,) with m of at least {least}, got (2, 2)"):
            function(torch.zeros(2, 2), 0.0, 1.0)
        with raises(TypeError, "expected x to be of floating type, got torch.int64"):
            function(torch.zeros(2, dtype=torch.long), 0.0, 1.0)
        with raises(ValueError, "expected x to be finite, got inf"):
            function(torch.tensor([0.0, math.inf]), 0.0, 1.0)
    assert gumbel_negative_log_likelihood(torch.zeros(1), 0.0, 1.0) == 1
    with raises(ValueError, "expected x to be finite, got nan"):
        gumbel_log_density(torch.tensor(math.nan), 0.0, 1.0)
    with raises(TypeError, "expected x to be of floating type, got torch.int64"):
        gumbel_log_density(torch.tensor(1), 0.0, 1.0)
    with raises(TypeError, "expected x to be of floating type, got torch.int64"):
        log_sum_exp(torch.tensor([1]))
    with raises(ValueError, "expected data that vary within the range of float64, got a mean 0.0 above the least"):
        fit_gumbel(torch.tensor([2.0, 2.0, 2.0]))
    with raises(ValueError, "expected data that vary within the range of float64, got a mean inf above the least"):
        fit_gumbel(torch.tensor([1.5e308, 1.5e308, 0], dtype=torch.float64))
