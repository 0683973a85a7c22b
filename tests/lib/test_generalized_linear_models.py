"""Generalized linear models against torch's losses and distributions, autograd, and scikit-learn's fits."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from torch.distributions import Bernoulli, Normal, Poisson
from torch.testing import assert_close

from chainrule.generalized_linear_models import (
    fit_glm,
    fit_softmax_regression,
    glm_link,
    glm_log_partition,
    glm_mean,
    glm_negative_log_likelihood,
    glm_variance,
)

from .reference import raises

F64 = torch.float64
FAMILIES = ["gaussian", "bernoulli", "poisson"]
each_family = pytest.mark.parametrize("family", FAMILIES)


def distribution(family, eta):
    if family == "gaussian":
        return Normal(eta, torch.ones_like(eta))
    return Bernoulli(logits=eta) if family == "bernoulli" else Poisson(eta.exp())


def sample(family, m, generator, d=3, bias=0.3):
    x = torch.randn(m, d, generator=generator, dtype=F64)
    weight = torch.tensor([0.8, -0.6, 0.4, 0.2], dtype=F64)[:d]
    eta = x @ weight + bias
    if family == "gaussian":
        return x, eta + torch.randn(m, generator=generator, dtype=F64)
    draw = torch.bernoulli if family == "bernoulli" else torch.poisson
    return x, draw(glm_mean(eta, family), generator=generator)


# The families


@each_family
def test_families_are_those_of_torch(family, generator, device, dtype):
    eta = (2 * torch.randn(3, 7, generator=generator)).to(device, dtype)
    law = distribution(family, eta)
    assert_close(glm_mean(eta, family), law.mean)
    assert_close(glm_variance(eta, family), law.variance, rtol=1e-5, atol=1e-6)
    y = law.sample()
    assert glm_negative_log_likelihood(eta, y.double(), family).dtype == dtype
    loss = glm_negative_log_likelihood(eta, y, family)
    assert loss.dtype == dtype and loss.device.type == device.type and loss.shape == ()
    assert_close(loss, -law.log_prob(y).mean(), rtol=1e-5, atol=1e-5)
    for function in (glm_mean, glm_variance, glm_log_partition):
        assert function(eta, family).dtype == dtype


@each_family
def test_mean_and_variance_are_derivatives_of_the_log_partition(family, generator):
    eta = torch.randn(9, generator=generator, dtype=F64, requires_grad=True)
    (mean,) = torch.autograd.grad(glm_log_partition(eta, family).sum(), eta, create_graph=True)
    (variance,) = torch.autograd.grad(mean.sum() + 0 * (eta**2).sum(), eta)
    assert_close(glm_mean(eta, family), mean)
    assert_close(glm_variance(eta, family), variance)


@each_family
def test_the_slope_of_the_loss_is_the_residual(family, generator):
    eta = torch.randn(12, generator=generator, dtype=F64, requires_grad=True)
    y = distribution(family, eta.detach()).sample()
    (slope,) = torch.autograd.grad(glm_negative_log_likelihood(eta, y, family), eta)
    assert_close(slope, (glm_mean(eta, family) - y) / 12)


@given(st.sampled_from(FAMILIES), st.floats(-30, 30))
def test_the_link_leads_back(family, number):
    eta = torch.tensor([number], dtype=F64)
    mean = glm_mean(eta, family)
    assert_close(glm_link(mean, family), eta, rtol=1e-3 if family == "bernoulli" else 1e-9, atol=1e-9)


def test_links_in_numbers():
    mean = torch.tensor([0.25, 0.5], dtype=F64)
    assert_close(glm_link(mean, "bernoulli"), torch.tensor([-math.log(3), 0.0], dtype=F64))
    assert_close(glm_link(mean, "poisson"), mean.log())
    assert glm_link(mean, "gaussian").tolist() == [0.25, 0.5]
    assert glm_link(torch.tensor([-1e30]), "gaussian") == -1e30
    assert glm_link(torch.tensor([3.0]), "poisson").item() == pytest.approx(math.log(3))


def test_bernoulli_far_from_zero(dtype):
    eta = torch.tensor([-1000.0, -50.0, 50.0, 1000.0], dtype=dtype)
    assert glm_log_partition(eta, "bernoulli").tolist() == pytest.approx([0, math.exp(-50), 50, 1000], rel=1e-5)
    assert glm_variance(eta, "bernoulli").tolist() == pytest.approx([0, math.exp(-50), math.exp(-50), 0], rel=1e-5)
    assert glm_negative_log_likelihood(eta, torch.tensor([1, 0, 0, 1]), "bernoulli").item() == pytest.approx(262.5)


def test_losses_are_torchs_losses(generator):
    eta, y = torch.randn(2, 30, generator=generator, dtype=F64)
    half_square = F.mse_loss(eta, y) / 2
    assert_close(glm_negative_log_likelihood(eta, y, "gaussian"), half_square + math.log(2 * math.pi) / 2)
    yes = (y > 0).long()
    loss = F.binary_cross_entropy_with_logits(eta, yes.double())
    assert_close(glm_negative_log_likelihood(eta, yes, "bernoulli"), loss)
    counts = torch.arange(30) % 5
    loss = F.poisson_nll_loss(eta, counts.double()) + torch.lgamma(counts + 1.0).mean().double()
    assert_close(glm_negative_log_likelihood(eta, counts, "poisson"), loss, rtol=1e-6, atol=1e-6)


# Newton's method


@each_family
@pytest.mark.parametrize("fit_bias", [True, False])
def test_fits_satisfy_the_score_equations(family, fit_bias, generator, device, dtype):
    for ridge in (0.0, 0.1):
        x, y = sample(family, 80, generator)
        weight, bias = fit_glm(x.to(device, dtype), y.to(device, dtype), family, fit_bias=fit_bias, ridge=ridge)
        assert weight.dtype == bias.dtype == dtype and weight.device.type == device.type
        assert weight.shape == (3,) and bias.shape == ()
        residual = glm_mean(x @ weight.double().cpu() + bias.double().cpu(), family) - y
        tolerance = {torch.float32: 1e-5, torch.float64: 1e-11}[dtype]
        slope = x.T @ residual / 80 + ridge * weight.double().cpu()
        assert_close(slope, torch.zeros(3, dtype=F64), rtol=0, atol=tolerance)
        assert abs(residual.mean()) < tolerance if fit_bias else bias == 0


def test_fits_are_those_of_scikit_learn(generator):
    x, y = sample("bernoulli", 200, generator)
    theirs = LogisticRegression(C=1 / (200 * 0.05), tol=1e-10, max_iter=1000).fit(x.numpy(), y.numpy())
    weight, bias = fit_glm(x, y, "bernoulli", ridge=0.05)
    np.testing.assert_allclose([*weight, bias], [*theirs.coef_[0], *theirs.intercept_], rtol=1e-4)
    x, y = sample("poisson", 200, generator)
    theirs = PoissonRegressor(alpha=0.05, tol=1e-10, max_iter=1000).fit(x.numpy(), y.numpy())
    weight, bias = fit_glm(x, y, "poisson", ridge=0.05)
    np.testing.assert_allclose([*weight, bias], [*theirs.coef_, theirs.intercept_], rtol=1e-4)
    x, y = sample("gaussian", 50, generator)
    ones = torch.cat([x, torch.ones(50, 1, dtype=F64)], 1)
    weight, bias = fit_glm(x, y, "gaussian")
    assert_close(torch.cat([weight, bias.reshape(1)]), torch.linalg.lstsq(ones, y.unsqueeze(1)).solution[:, 0])


def test_known_fits():
    degrees = [66, 70, 69, 68, 67, 72, 73, 70, 57, 63, 70, 78, 67, 53, 67, 75, 70, 81, 76, 79, 75, 76, 58]
    damage = [0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1]
    weight, bias = fit_glm(torch.tensor(degrees, dtype=F64).unsqueeze(1), torch.tensor(damage), "bernoulli")
    assert weight.item() == pytest.approx(-0.2322, abs=5e-5) and bias.item() == pytest.approx(15.0429, abs=5e-5)
    weight, bias = fit_glm(torch.eye(4)[:, :1], torch.tensor([6, 1, 2, 3]), "poisson")
    assert bias.item() == pytest.approx(math.log(2)) and weight.item() == pytest.approx(math.log(3))


def test_fits_of_awkward_sizes(generator):
    x, y = sample("poisson", 100, generator)
    weight, bias = fit_glm(x, y, "poisson")
    scaled, same = fit_glm(1e4 * x, y, "poisson")  # measured in other units
    assert_close(1e4 * scaled, weight)
    assert_close(same, bias)
    tiny, same = fit_glm(1e-6 * x, y, "poisson")
    assert_close(1e-6 * tiny, weight)
    assert_close(same, bias)
    large, _ = fit_glm(x, y, "poisson", ridge=1e6)
    assert large.norm() < 1e-4
    far = torch.tensor([[0.0], [1.0], [2.0]], dtype=F64)
    weight, bias = fit_glm(far, torch.tensor([1, 1000, 1_000_000]), "poisson")  # long first steps
    assert_close((far[:, 0] * weight + bias).exp(), torch.tensor([1.0, 1000, 1_000_000], dtype=F64), rtol=1e-8, atol=0)
    weight, _ = fit_glm(far, torch.tensor([1, 1000, 1_000_000]), "poisson", fit_bias=False)
    mean = (far[:, 0] * weight).exp()
    assert_close((far[:, 0] * mean).sum(), torch.tensor(2_001_000.0, dtype=F64))
    weight, _ = fit_glm(torch.tensor([[2.0]], dtype=F64), torch.tensor([3]), "poisson", fit_bias=False)  # one sample
    assert_close(weight, torch.tensor([math.log(3) / 2], dtype=F64))
    weight, bias = fit_glm(far, torch.zeros(3, dtype=F64), "gaussian")
    assert weight == 0 and bias == 0


CAUSES = {
    "gaussian": "features that are linearly dependent",
    "bernoulli": "classes that a hyperplane separates, or features that are linearly dependent",
    "poisson": "counts that are 0 on one side of a hyperplane, or features that are linearly dependent",
}


@pytest.mark.parametrize(
    ("x", "y", "family"),
    [
        ([[0.0], [1.0], [2.0]], [0, 0, 1], "bernoulli"),
        ([[0.0], [1.0], [1.0], [2.0]], [0, 0, 1, 1], "bernoulli"),  # they touch
        ([[2.0], [1.0], [1.0], [2.0]], [1, 0, 1, 1], "bernoulli"),
        ([[0.3], [1.0], [2.0]], [1, 1, 1], "bernoulli"),
        ([[0.3], [1.0], [2.0]], [0, 0, 0], "poisson"),
        ([[0.0], [1.0], [2.0]], [0, 0, 7], "poisson"),
        ([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]], [1.0, 5.0, 2.0], "gaussian"),
        ([[1.0], [1.0], [1.0]], [1.0, 5.0, 2.0], "gaussian"),  # the same as the bias
        ([[0.0], [0.0]], [1, 3], "poisson"),
        ([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]], [0, 1, 0], "bernoulli"),
    ],
)
def test_likelihoods_without_one_maximum_are_refused(x, y, family):
    message = f"expected data whose likelihood has one maximum, got {CAUSES[family]}; try a positive ridge"
    with raises(ValueError, message):
        fit_glm(torch.tensor(x, dtype=F64), torch.tensor(y), family)


def test_a_ridge_makes_separable_classes_fit():
    x, y = torch.tensor([[0.0], [1.0], [2.0]], dtype=F64), torch.tensor([0, 0, 1])
    light, heavy = (fit_glm(x, y, "bernoulli", ridge=r)[0].item() for r in (1e-4, 1e-2))
    assert light > heavy > 0
    with raises(ValueError, f"expected data whose likelihood has one maximum, got {CAUSES['bernoulli']}; "
                            "try a positive ridge"):  # fmt: skip
        fit_glm(x, y, "bernoulli", ridge=1e-4, max_steps=2)


# Softmax regression


def test_softmax_regression_is_that_of_scikit_learn(generator, device, dtype):
    x = torch.randn(90, 4, generator=generator, dtype=F64)
    labels = (x @ torch.randn(4, 3, generator=generator, dtype=F64)).argmax(1)
    weight, bias = fit_softmax_regression(x.to(device, dtype), labels.to(device), 3, ridge=0.02)
    assert weight.dtype == bias.dtype == dtype and weight.device.type == device.type and weight.shape == (3, 4)
    assert not weight.requires_grad and not bias.requires_grad
    theirs = LogisticRegression(C=1 / (90 * 0.02), tol=1e-10, max_iter=2000).fit(x.numpy(), labels.numpy())
    ours = (x @ weight.cpu().double().T + bias.cpu().double()).softmax(1)
    assert_close(ours, torch.from_numpy(theirs.predict_proba(x.numpy())), rtol=0, atol=1e-4)
    residual = ours - F.one_hot(labels, 3)
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-7}[dtype]
    assert_close(
        residual.T @ x / 90 + 0.02 * weight.cpu().double(), torch.zeros(3, 4, dtype=F64), rtol=0, atol=tolerance
    )
    assert residual.mean(0).abs().max() < tolerance


def test_softmax_regression_of_two_classes_is_logistic_regression(generator):
    x, y = sample("bernoulli", 120, generator)
    W, b = fit_softmax_regression(x, y.long(), 2)
    weight, bias = fit_glm(x, y, "bernoulli")
    assert_close(W[1] - W[0], weight, rtol=0, atol=1e-6)
    assert_close(b[1] - b[0], bias, rtol=0, atol=1e-6)
    few, _ = fit_softmax_regression(x, y.long(), 2, max_steps=1)
    assert (few[1] - few[0] - weight).abs().max() > 1e-3
    with torch.no_grad():
        again, _ = fit_softmax_regression(x, y.to(torch.int32), 3)  # no sample of the third class
    assert again.shape == (3, 3)


# Errors


@pytest.mark.usefixtures("unchecked")
def test_errors_of_families():
    eta = torch.tensor([0.1])
    for function in (glm_log_partition, glm_mean, glm_variance, glm_link):
        with raises(ValueError, "expected a family of gaussian, bernoulli, poisson, got 'binomial'"):
            function(eta, "binomial")
        name = "mean" if function is glm_link else "eta"
        with raises(TypeError, f"expected {name} to be of floating type, got torch.int64"):
            function(torch.tensor([1]), "poisson")
    for family, bad, interval in (
        ("bernoulli", 1.0, "(0, 1)"),
        ("bernoulli", 0.0, "(0, 1)"),
        ("poisson", 0.0, "(0, inf)"),
        ("poisson", math.inf, "(0, inf)"),
        ("gaussian", math.nan, "(-inf, inf)"),
    ):
        with raises(ValueError, f"expected means of the {family} family, in {interval}, got {bad}"):
            glm_link(torch.tensor([0.5, bad]), family)


@pytest.mark.usefixtures("unchecked")
def test_errors_of_responses():
    eta, x = torch.zeros(2), torch.tensor([[1.0], [2.0]])
    for family, bad, kind in (
        ("gaussian", math.inf, "finite numbers"),
        ("bernoulli", 0.5, "0 or 1"),
        ("bernoulli", -1.0, "0 or 1"),
        ("poisson", 1.5, "whole numbers of at least 0"),
        ("poisson", -1.0, "whole numbers of at least 0"),
        ("poisson", math.inf, "whole numbers of at least 0"),
    ):
        for call in (glm_negative_log_likelihood, fit_glm):
            with raises(ValueError, f"expected responses that are {kind}, got {bad}"):
                call(eta if call is glm_negative_log_likelihood else x, torch.tensor([1.0, bad]), family)
    with raises(ValueError, "expected eta and y of one shape, not empty, got (2,) and (3,)"):
        glm_negative_log_likelihood(eta, torch.zeros(3), "gaussian")
    with raises(ValueError, "expected eta and y of one shape, not empty, got (0,) and (0,)"):
        glm_negative_log_likelihood(eta[:0], eta[:0], "gaussian")
    with raises(ValueError, "expected a family of gaussian, bernoulli, poisson, got 'normal'"):
        fit_glm(x, eta, "normal")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "fit", [lambda x, y, **k: fit_glm(x, y, "bernoulli", **k), lambda x, y, **k: fit_softmax_regression(x, y, 2, **k)]
)
def test_errors_of_fits(fit):
    x, y = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0, 1, 0])
    shapes = "expected x of shape (m, d), not empty, and one label or response for each row, got "
    for bad_x, bad_y, got in ((x, y[:2], "(3, 1) and (2,)"), (x[:0], y[:0], "(0, 1) and (0,)"),
                              (x[:, 0], y, "(3,) and (3,)"), (x[:, :0], y, "(3, 0) and (3,)")):  # fmt: skip
        with raises(ValueError, shapes + got):
            fit(bad_x, bad_y)
    with raises(ValueError, "expected x to be finite, got nan"):
        fit(torch.tensor([[1.0], [math.nan], [3.0]]), y)
    for ridge in (-0.1, math.inf, math.nan):
        with raises(ValueError, f"expected a ridge of at least 0, finite, got {ridge}"):
            fit(x, y, ridge=ridge)
    with raises(ValueError, "expected max_steps of at least 1, got 0"):
        fit(x, y, max_steps=0)
    with raises(TypeError, "expected x to be of floating type, got torch.int64"):
        fit(x.long(), y)


@pytest.mark.usefixtures("unchecked")
def test_errors_of_labels():
    x = torch.tensor([[1.0], [2.0]])
    with raises(ValueError, "expected num_classes of at least 2, got 1"):
        fit_softmax_regression(x, torch.tensor([0, 0]), 1)
    with raises(ValueError, "expected labels in [0, 2), got 2"):
        fit_softmax_regression(x, torch.tensor([0, 2]), 2)
    with raises(ValueError, "expected labels in [0, 2), got -1"):
        fit_softmax_regression(x, torch.tensor([-1, 2]), 2)
    with raises(TypeError, "expected labels to be of integer type, got torch.float32"):
        fit_softmax_regression(x, torch.tensor([0.0, 1.0]), 2)
