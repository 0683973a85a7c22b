"""Probabilities and moments against torch, SciPy and counting, and the normal distribution against both."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal
from torch.testing import assert_close

from chainrule.information import mutual_information
from chainrule.probability import (
    bayes_posterior,
    conditional,
    covariance,
    dependence,
    expectation,
    marginal,
    multivariate_normal_log_density,
    multivariate_normal_sample,
    variance,
    variance_of_product,
)

from .reference import distributions, joints, normalized, raises

F64 = torch.float64
numbers = st.floats(-100, 100)


def random_joint(generator, *shape):
    return torch.rand(*shape, generator=generator, dtype=F64).flatten(-2).softmax(-1).unflatten(-1, shape[-2:])


def random_covariance(d, generator):
    a = torch.randn(d, d + 2, generator=generator, dtype=F64)
    return a @ a.T / d


# Tables


def test_marginals_and_conditionals_by_loops(generator, device, dtype):
    joint = random_joint(generator, 2, 3, 4).to(device, dtype)
    px, py = marginal(joint, -2), marginal(joint)
    given_y, given_x = conditional(joint), conditional(joint, -2)
    assert px.shape == (2, 3) and py.shape == (2, 4) and given_y.shape == given_x.shape == joint.shape
    for result in (px, py, given_x, given_y):
        assert result.dtype == dtype and result.device.type == device.type
    for n in range(2):
        for x in range(3):
            assert_close(px[n, x], sum(joint[n, x, y] for y in range(4)))
            for y in range(4):
                assert_close(given_y[n, x, y] * py[n, y], joint[n, x, y])
                assert_close(given_x[n, x, y] * px[n, x], joint[n, x, y])
    assert_close(marginal(joint, -1), py)
    assert_close(conditional(joint, -1), given_y)


@given(joints())
def test_conditionals_are_distributions(joint):
    for given_dim, other in ((-1, -2), (-2, -1)):
        if (marginal(joint, given_dim) > 0).all():
            total = conditional(joint, given_dim).sum(dim=other)
            assert_close(total, torch.ones_like(total))


@given(distributions(), distributions())
def test_dependence_of_a_product_is_zero(p, q):
    assert dependence(torch.outer(p, q)) < 1e-15


@given(joints())
def test_dependence_and_information_vanish_together(joint):
    assert 0 <= dependence(joint) <= 0.25 + 1e-12
    assert (dependence(joint) < 1e-9) or mutual_information(joint) > 0
    assert dependence(joint).item() == pytest.approx(dependence(joint.T).item())


def test_dependence_of_a_batch(generator):
    p = torch.tensor([0.25, 0.75], dtype=F64)
    both = torch.stack([torch.outer(p, p), torch.diag(p)])
    assert_close(dependence(both), torch.tensor([0, 0.1875], dtype=F64))


# Bayes


def test_posterior_by_counting(generator, device, dtype):
    prior = torch.rand(5, 3, generator=generator).softmax(-1).to(device, dtype)
    likelihood = torch.rand(1, 3, generator=generator).to(device, dtype)
    result = bayes_posterior(prior, likelihood.log())
    joint = prior * likelihood
    assert_close(result, joint / joint.sum(dim=-1, keepdim=True))
    assert result.shape == (5, 3) and result.dtype == dtype and result.device.type == device.type


@given(distributions(2, 5), st.lists(st.floats(0.01, 1), min_size=5, max_size=5), st.floats(-1e4, 1e4))
def test_posterior_is_a_distribution_and_a_constant_is_free(prior, likelihood, shift):
    logs = torch.tensor(likelihood[: len(prior)], dtype=F64).log()
    result = bayes_posterior(prior, logs)
    assert_close(result.sum(), torch.tensor(1.0, dtype=F64))
    assert_close(bayes_posterior(prior, logs + shift), result, atol=1e-10, rtol=1e-8)
    assert_close(bayes_posterior(bayes_posterior(prior, logs), logs), bayes_posterior(prior, 2 * logs))


def test_posterior_at_its_limits():
    prior = torch.tensor([0.5, 0.5, 0.0], dtype=F64)
    far = torch.tensor([-5000.0, -5001.0, 0.0], dtype=F64)  # both likelihoods underflow, the third is ruled out
    assert_close(bayes_posterior(prior, far), normalized([math.e, 1.0, 0.0]))
    assert bayes_posterior(prior, torch.tensor([-math.inf, 0.0, 0.0], dtype=F64)).tolist() == [0, 1, 0]
    assert bayes_posterior(torch.tensor([1.0]), torch.tensor([-3.0])).tolist() == [1.0]


# Moments


def test_moments_agree_with_scipy(generator, device, dtype):
    p = torch.rand(4, generator=generator).softmax(0).to(device, dtype)
    values = torch.randn(4, generator=generator).to(device, dtype)
    reference = scipy.stats.rv_discrete(values=(np.arange(4), p.cpu().double().numpy()))
    mean = reference.expect(lambda i: values.cpu().double().numpy()[i.astype(int)])
    square = reference.expect(lambda i: values.cpu().double().numpy()[i.astype(int)] ** 2)
    for result, expected in ((expectation(p, values), mean), (variance(p, values), square - mean**2)):
        assert result.dtype == dtype and result.device.type == device.type
        assert result.item() == pytest.approx(expected, rel=1e-4)


def test_moments_broadcast(generator):
    p = torch.rand(3, 1, 4, generator=generator, dtype=F64).softmax(-1)
    values = torch.randn(2, 4, generator=generator, dtype=F64)
    mean, spread = expectation(p, values), variance(p, values)
    assert mean.shape == spread.shape == (3, 2)
    for i in range(3):
        for j in range(2):
            assert_close(mean[i, j], p[i, 0] @ values[j])
            assert_close(spread[i, j], p[i, 0] @ (values[j] - mean[i, j]) ** 2)


@given(distributions(3, 3), st.lists(numbers, min_size=3, max_size=3), st.floats(-1e6, 1e6))
def test_variance_is_never_negative_and_ignores_a_shift(p, values, shift):
    values = torch.tensor(values, dtype=F64)
    assert variance(p, values) >= 0
    assert_close(variance(p, values + shift), variance(p, values), rtol=1e-6, atol=1e-6)
    assert_close(variance(p, 3 * values), 9 * variance(p, values))


def test_impossible_outcomes_do_not_count():
    p = torch.tensor([0.5, 0.0, 0.5])
    values = torch.tensor([1.0, math.inf, 3.0])
    assert expectation(p, values) == 2 and variance(p, values) == 1
    assert variance(torch.tensor([0.5, 0.5]), torch.tensor([9999.0, 10001.0])) == 1


def test_covariance_by_loops(generator):
    joint = random_joint(generator, 3, 4)
    x, y = torch.randn(3, dtype=F64, generator=generator), torch.randn(4, dtype=F64, generator=generator)
    mean_x = sum(joint[i, j] * x[i] for i in range(3) for j in range(4))
    mean_y = sum(joint[i, j] * y[j] for i in range(3) for j in range(4))
    loops = sum(joint[i, j] * (x[i] - mean_x) * (y[j] - mean_y) for i in range(3) for j in range(4))
    assert_close(covariance(joint, x, y), loops)
    assert_close(covariance(joint.T, y, x), loops)
    product = torch.outer(marginal(joint, -2), marginal(joint))
    assert abs(covariance(product, x, y)) < 1e-15
    assert_close(covariance(torch.eye(2) / 2, torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])), torch.tensor(0.25))


@given(distributions(3, 3), distributions(2, 2), st.lists(numbers, min_size=5, max_size=5))
def test_variance_of_product_is_that_of_the_table(p, q, values):
    x, y = torch.tensor(values[:3], dtype=F64), torch.tensor(values[3:], dtype=F64)
    joint, product = torch.outer(p, q).flatten(), torch.outer(x, y).flatten()
    result = variance_of_product(expectation(p, x), variance(p, x), expectation(q, y), variance(q, y))
    assert_close(result, variance(joint, product), rtol=1e-6, atol=1e-4)


def test_variance_of_product_of_numbers_and_tensors(device, dtype):
    assert variance_of_product(2.0, 9.0, -1.0, 0.25).item() == 12.25
    assert variance_of_product(2.0, 9.0, -1.0, 0.25).dtype == F64
    means = torch.tensor([[0.0], [2.0]], dtype=dtype, device=device)
    result = variance_of_product(means, 9.0, torch.tensor([-1.0, 0.0], dtype=dtype, device=device), 0.25)
    assert result.dtype == dtype and result.device.type == device.type
    assert result.tolist() == [[11.25, 2.25], [12.25, 3.25]]
    assert variance_of_product(3.0, 0.0, 1.0, 0.0) == 0


# The normal distribution


@pytest.mark.parametrize("d", [1, 2, 5])
def test_density_agrees_with_torch(d, generator, device, dtype):
    sigma = random_covariance(d, generator).to(device, dtype)
    mu = torch.randn(d, generator=generator).to(device, dtype)
    x = torch.randn(3, 4, d, generator=generator).to(device, dtype)
    result = multivariate_normal_log_density(x, mu, sigma)
    assert result.shape == (3, 4) and result.dtype == dtype and result.device.type == device.type
    assert_close(result, MultivariateNormal(mu, sigma).log_prob(x))


def test_density_is_the_formula_with_inverse_and_determinant(generator):
    sigma, mu = random_covariance(3, generator), torch.randn(3, generator=generator, dtype=F64)
    x = torch.randn(3, generator=generator, dtype=F64)
    power = -0.5 * (x - mu) @ torch.linalg.inv(sigma) @ (x - mu)
    density = (2 * math.pi) ** -1.5 * torch.linalg.det(sigma) ** -0.5 * power.exp()
    assert_close(multivariate_normal_log_density(x, mu, sigma).exp(), density)


def test_density_where_the_determinant_underflows():
    d = 400
    result = multivariate_normal_log_density(torch.zeros(d), torch.zeros(d), 1e-2 * torch.eye(d))
    assert result.item() == pytest.approx(-0.5 * d * math.log(2 * math.pi * 1e-2))


def test_density_can_be_differentiated(generator):
    sigma = random_covariance(3, generator).requires_grad_()
    mu = torch.randn(3, generator=generator, dtype=F64, requires_grad=True)
    x = torch.randn(2, 3, generator=generator, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, m, s: multivariate_normal_log_density(x, m, (s + s.T) / 2), (x, mu, sigma)
    )


def test_samples_have_the_moments(device):
    source = torch.Generator(device).manual_seed(0)
    sigma = torch.tensor([[2.0, -0.9], [-0.9, 0.5]], dtype=F64, device=device)
    mu = torch.tensor([3.0, -1.0], dtype=F64, device=device)
    x = multivariate_normal_sample(mu, sigma, 100_000, source)
    assert x.shape == (100_000, 2) and x.dtype == F64 and x.device.type == device.type
    assert_close(x.mean(dim=0), mu, atol=0.02, rtol=0)
    assert_close(x.T.cov(), sigma, atol=0.04, rtol=0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(sigma), (x - mu).T, upper=False)
    assert scipy.stats.kstest(white[1].cpu().numpy(), "norm").pvalue > 0.01
    assert multivariate_normal_sample(mu, sigma, 0, source).shape == (0, 2)
    again = [multivariate_normal_sample(mu, sigma, 3, torch.Generator(device).manual_seed(5)) for _ in range(2)]
    assert torch.equal(*again)
    single = multivariate_normal_sample(mu.float(), sigma.float(), 1, source)
    assert single.shape == (1, 2) and single.dtype == torch.float32


# Errors


def test_errors_of_tables():
    joint = torch.tensor([[0.5, 0.0], [0.5, 0.0]])
    for function in (marginal, conditional):
        for dim in (0, -3, 1):
            with raises(ValueError, f"expected the axis of a variable, -1 or -2, got {dim}"):
                function(joint, dim)
        with raises(ValueError, "expected joint to sum to 1, got a sum of 2.0"):
            function(2 * joint)
    with raises(ValueError, "expected every given value to have positive probability, got one of probability 0"):
        conditional(joint)
    assert conditional(joint, -2).tolist() == [[1, 0], [1, 0]]
    with raises(ValueError, "expected joint to sum to 1, got a sum of 2.0"):
        dependence(2 * joint)


def test_errors_of_bayes():
    prior = torch.tensor([0.5, 0.5, 0.0])
    with raises(ValueError, "expected prior to sum to 1, got a sum of 2.0"):
        bayes_posterior(2 * prior, prior)
    for bad in (math.inf, math.nan):
        with raises(ValueError, "expected log-likelihoods below infinity, got inf or nan"):
            bayes_posterior(prior, torch.tensor([0.0, bad, 0.0]))
    message = "expected data that some hypothesis of the prior can produce, got evidence 0"
    with raises(ValueError, message):
        bayes_posterior(prior, torch.tensor([-math.inf, -math.inf, 0.0]))
    with raises(ValueError, message):
        bayes_posterior(prior, torch.tensor([[0.0, 0.0, 0.0], [-math.inf, -math.inf, 0.0]]))


@pytest.mark.usefixtures("unchecked")
def test_errors_of_shapes_and_types(generator):
    p, three = torch.tensor([0.5, 0.5]), torch.zeros(3)
    with raises(ValueError, "expected prior and log_likelihood over the same hypotheses, got 2 and 3"):
        bayes_posterior(p, three)
    with raises(TypeError, "expected log_likelihood to be of floating type, got torch.int64"):
        bayes_posterior(p, torch.tensor([0, 0]))
    for function in (expectation, variance):
        with raises(ValueError, "expected p and values over the same outcomes, got 2 and 3"):
            function(p, three)
        with raises(TypeError, "expected values to be of floating type, got torch.int64"):
            function(p, torch.tensor([0, 0]))
        with raises(ValueError, "expected p to sum to 1, got a sum of 0.0"):
            function(three, three)
    with raises(ValueError, "expected p and values over the same outcomes, got 2 and 3"):
        covariance(torch.eye(2) / 2, p, three)
    with raises(ValueError, "expected p and values over the same outcomes, got 2 and 3"):
        covariance(torch.eye(2) / 2, three, p)
    for bad, name in enumerate(("mean_x", "variance_x", "mean_y", "variance_y")):
        arguments = [1.0, 1.0, 1.0, 1.0]
        arguments[bad] = math.inf
        with raises(ValueError, f"expected {name} to be finite, got inf"):
            variance_of_product(*arguments)
    with raises(ValueError, "expected variance_x to be at least 0, got -1.0"):
        variance_of_product(-2.0, -1.0, 0.0, 1.0)
    with raises(ValueError, "expected variance_y to be at least 0, got -2.0"):
        variance_of_product(0.0, 1.0, -2.0, torch.tensor([1.0, -2.0]))


@pytest.mark.usefixtures("unchecked")
def test_errors_of_the_normal_distribution(generator):
    mu, sigma = torch.zeros(2), torch.eye(2)
    for function in (
        lambda m, s: multivariate_normal_log_density(torch.zeros(2), m, s),
        lambda m, s: multivariate_normal_sample(m, s, 1, generator),
    ):
        with raises(ValueError, "expected a positive definite covariance, got one that is not"):
            function(mu, torch.tensor([[1.0, 2.0], [2.0, 1.0]]))
        shapes = "expected a mean of shape (d,) and a covariance of shape (d, d), got"
        with raises(ValueError, f"{shapes} (2,) and (2, 3)"):
            function(mu, torch.zeros(2, 3))
        with raises(ValueError, f"{shapes} (2, 2) and (2, 2)"):
            function(sigma, sigma)
        with raises(ValueError, "expected mean to be finite, got nan"):
            function(mu * math.nan, sigma)
        with raises(ValueError, "expected covariance to be finite, got inf"):
            function(mu, sigma + math.inf)
        with raises(TypeError, "expected mean to be of floating type, got torch.int64"):
            function(mu.long(), sigma)
        with raises(TypeError, "expected covariance to be of floating type, got torch.int64"):
            function(mu, sigma.long())
    with raises(ValueError, "expected x with 2 coordinates in its last axis, got shape (2, 3)"):
        multivariate_normal_log_density(torch.zeros(2, 3), mu, sigma)
    with raises(ValueError, "expected x with 2 coordinates in its last axis, got shape ()"):
        multivariate_normal_log_density(torch.tensor(0.0), mu, sigma)
    with raises(ValueError, "expected x to be finite, got nan"):
        multivariate_normal_log_density(torch.tensor([math.nan, 0.0]), mu, sigma)
    with raises(TypeError, "expected x to be of floating type, got torch.int64"):
        multivariate_normal_log_density(torch.tensor([0, 0]), mu, sigma)
    with raises(ValueError, "expected a size of at least 0, got -1"):
        multivariate_normal_sample(mu, sigma, -1, generator)
