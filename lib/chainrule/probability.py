r"""Tables of probabilities, moments, Bayes' rule, and the normal distribution in several dimensions.

.. math:: P(x) = \sum_y P(x, y), \qquad P(x \mid y) = \frac{P(x, y)}{P(y)}, \qquad
    P(\theta \mid x) = \frac{P(\theta)\,P(x \mid \theta)}{\sum_{\theta'} P(\theta')\,P(x \mid \theta')}

Reference: J. K. Blitzstein and J. Hwang, *Introduction to Probability*, 2nd edition, CRC Press 2019.
The book's chapter ``mathematical-tools`` teaches this module.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from chainrule._validate import check_distribution, check_finite, check_tensor

__all__ = [
    "bayes_posterior",
    "conditional",
    "covariance",
    "dependence",
    "expectation",
    "marginal",
    "multivariate_normal_log_density",
    "multivariate_normal_sample",
    "variance",
    "variance_of_product",
]


def marginal(joint: Float[Tensor, "*batch a b"], dim: int = -1) -> Float[Tensor, "*batch k"]:
    r"""Distribution of one of two variables, the other summed away.

    .. math:: P(y) = \sum_x P(x, y)

    Args:
        joint: joint distributions, the first variable in axis -2, the second in axis -1.
        dim: the axis of the variable to keep, -1 or -2.

    Returns:
        Its distribution.

    Raises:
        ValueError: if ``joint`` is no distribution over its last two axes, or ``dim`` is another axis.

    Source: Blitzstein and Hwang, section 7.1.

    >>> marginal(torch.tensor([[0.1, 0.2], [0.3, 0.4]]))
    tensor([0.4000, 0.6000])
    """
    check_distribution("joint", joint, num_dims=2)
    return joint.sum(dim=_other(dim))


def conditional(joint: Float[Tensor, "*batch a b"], given: int = -1) -> Float[Tensor, "*batch a b"]:
    r"""Distributions of one variable, one for each value of the other.

    .. math:: P(x \mid y) = \frac{P(x, y)}{P(y)}

    Args:
        joint: joint distributions, the first variable in axis -2, the second in axis -1.
        given: the axis of the variable that is known, -1 or -2. Each of its values must have positive probability.

    Returns:
        A table of the same shape that sums to 1 along the *other* axis, for each value of the given variable.

    Raises:
        ValueError: if ``joint`` is no distribution, ``given`` is another axis, or a value to be given never happens.

    Source: Blitzstein and Hwang, section 7.1.

    >>> conditional(torch.tensor([[0.1, 0.3], [0.3, 0.3]]))
    tensor([[0.2500, 0.5000],
            [0.7500, 0.5000]])
    """
    known = marginal(joint, given)
    if (known == 0).any():
        raise ValueError("expected every given value to have positive probability, got one of probability 0")
    return joint / known.unsqueeze(_other(given))


def dependence(joint: Float[Tensor, "*batch a b"]) -> Float[Tensor, "*batch"]:
    r"""How far two variables are from being independent; 0 exactly if they are.

    .. math:: \max_{x, y} |P(x, y) - P(x)\,P(y)|

    Args:
        joint: joint distributions, the first variable in axis -2, the second in axis -1.

    Returns:
        The largest difference between a probability and what independence would make it, at most 1/4.

    Raises:
        ValueError: if ``joint`` is no distribution over its last two axes.

    Source: Blitzstein and Hwang, section 7.1.

    >>> dependence(torch.tensor([[0.5, 0.0], [0.0, 0.5]]))
    tensor(0.2500)
    """
    independent = marginal(joint, -2).unsqueeze(-1) * marginal(joint, -1).unsqueeze(-2)
    return (joint - independent).abs().amax(dim=(-2, -1))


def bayes_posterior(
    prior: Float[Tensor, "*#batch k"], log_likelihood: Float[Tensor, "*#batch k"]
) -> Float[Tensor, "*batch k"]:
    r"""What to believe of k hypotheses after the data, by Bayes' rule.

    .. math:: P(\theta \mid x) = \frac{P(\theta)\,P(x \mid \theta)}{\sum_{\theta'} P(\theta')\,P(x \mid \theta')}

    Args:
        prior: probabilities of the hypotheses before the data.
        log_likelihood: logarithm of the probability (or density) of the data under each hypothesis, below infinity; for
            independent data the sum of their logarithms. A constant added to all changes nothing.

    Returns:
        Probabilities of the hypotheses after the data.

    Raises:
        ValueError: if ``prior`` is no distribution, a log-likelihood is nan or infinite, the numbers of hypotheses
            differ, or the data are impossible under every hypothesis that the prior holds possible.

    Source: Blitzstein and Hwang, section 2.3.

    >>> bayes_posterior(torch.tensor([0.01, 0.99]), torch.tensor([0.9, 0.09]).log())  # a positive test
    tensor([0.0917, 0.9083])
    """
    check_distribution("prior", prior)
    check_tensor("log_likelihood", log_likelihood)
    if prior.shape[-1] != log_likelihood.shape[-1]:
        got = f"{prior.shape[-1]} and {log_likelihood.shape[-1]}"
        raise ValueError(f"expected prior and log_likelihood over the same hypotheses, got {got}")
    if not (log_likelihood < math.inf).all():  # false for nan too
        raise ValueError("expected log-likelihoods below infinity, got inf or nan")
    # The likelihood of a thousand data underflows, and 0 / 0 would follow. Softmax subtracts the largest logarithm.
    log_joint = torch.log(prior) + log_likelihood
    if (log_joint.amax(dim=-1) == -math.inf).any():
        raise ValueError("expected data that some hypothesis of the prior can produce, got evidence 0")
    return torch.softmax(log_joint, dim=-1)


def expectation(p: Float[Tensor, "*#batch k"], values: Float[Tensor, "*#batch k"]) -> Float[Tensor, "*batch"]:
    r"""Mean of a function of the outcome, weighted with the probabilities.

    .. math:: \mathbb{E}[f(X)] = \sum_x P(x)\,f(x)

    Args:
        p: a distribution along the last axis.
        values: :math:`f(x)` for each outcome; may be infinite where the probability is 0.

    Returns:
        The expectations.

    Raises:
        ValueError: if ``p`` is no distribution or the numbers of outcomes differ.

    Source: Blitzstein and Hwang, section 4.1.

    >>> expectation(torch.full((6,), 1 / 6), torch.arange(1.0, 7.0))  # a die
    tensor(3.5000)
    """
    check_distribution("p", p)
    check_tensor("values", values)
    if p.shape[-1] != values.shape[-1]:
        raise ValueError(f"expected p and values over the same outcomes, got {p.shape[-1]} and {values.shape[-1]}")
    return (p * values.masked_fill(p == 0, 0)).sum(dim=-1)  # an outcome that never happens counts 0, not 0 * inf


def variance(p: Float[Tensor, "*#batch k"], values: Float[Tensor, "*#batch k"]) -> Float[Tensor, "*batch"]:
    r"""Mean squared distance from the mean.

    .. math:: \operatorname{Var}[f(X)] = \mathbb{E}\bigl[(f(X) - \mu)^2\bigr], \qquad \mu = \mathbb{E}[f(X)]

    Args:
        p: a distribution along the last axis.
        values: :math:`f(x)` for each outcome; may be infinite where the probability is 0.

    Returns:
        The variances, never negative.

    Raises:
        ValueError: if ``p`` is no distribution or the numbers of outcomes differ.

    Source: Blitzstein and Hwang, section 4.6.

    >>> variance(torch.tensor([0.5, 0.5]), torch.tensor([9999.0, 10001.0]))
    tensor(1.)
    """
    # The other formula, E[f^2] - mu^2, is a difference of two large numbers where the mean is large: it would give 0.
    mean = expectation(p, values)
    return expectation(p, (values - mean.unsqueeze(-1)).square())


def covariance(
    joint: Float[Tensor, "a b"], x_values: Float[Tensor, "a"], y_values: Float[Tensor, "b"]
) -> Float[Tensor, ""]:
    r"""Mean product of the distances of two variables from their means.

    .. math:: \operatorname{Cov}[X, Y] = \mathbb{E}[(X - \mu_X)(Y - \mu_Y)]

    Args:
        joint: joint distribution of the two.
        x_values: the value of the first variable for each row.
        y_values: the value of the second variable for each column.

    Returns:
        The covariance; 0 for independent variables (and for some dependent ones).

    Raises:
        ValueError: if ``joint`` is no distribution, or the numbers of values do not fit.

    Source: Blitzstein and Hwang, section 7.3.

    >>> covariance(torch.tensor([[0.5, 0.0], [0.0, 0.5]]), torch.tensor([0.0, 2.0]), torch.tensor([0.0, 2.0]))
    tensor(1.)
    """
    x_centred = x_values - expectation(marginal(joint, -2), x_values)
    y_centred = y_values - expectation(marginal(joint, -1), y_values)
    return x_centred @ joint @ y_centred


def variance_of_product(
    mean_x: Float[Tensor, "*#batch"] | float,
    variance_x: Float[Tensor, "*#batch"] | float,
    mean_y: Float[Tensor, "*#batch"] | float,
    variance_y: Float[Tensor, "*#batch"] | float,
) -> Float[Tensor, "*batch"]:
    r"""Variance of the product of two independent variables.

    .. math:: \operatorname{Var}[XY] = \sigma_X^2 \sigma_Y^2 + \sigma_X^2 \mu_Y^2 + \sigma_Y^2 \mu_X^2

    Args:
        mean_x: mean of the first variable, finite.
        variance_x: its variance, finite and at least 0.
        mean_y: mean of the second variable, independent of the first.
        variance_y: its variance. All four broadcast; numbers are taken as float64 where no tensor is given.

    Returns:
        The variances.

    Raises:
        ValueError: if an argument is not finite or a variance is negative.

    Source: L. A. Goodman, On the exact variance of products, JASA 55 (1960), 708-713.

    >>> variance_of_product(2.0, 9.0, -1.0, 0.25).item()
    12.25
    """
    given = {"mean_x": mean_x, "variance_x": variance_x, "mean_y": mean_y, "variance_y": variance_y}
    like = next((value for value in given.values() if isinstance(value, Tensor)), torch.zeros((), dtype=torch.float64))
    values = {name: torch.as_tensor(value, dtype=like.dtype, device=like.device) for name, value in given.items()}
    for name, value in values.items():
        check_finite(name, value)
        if name.startswith("variance") and (value < 0).any():
            raise ValueError(f"expected {name} to be at least 0, got {value.min().item()}")
    mu_x, var_x, mu_y, var_y = values.values()
    return var_x * var_y + var_x * mu_y.square() + var_y * mu_x.square()


def multivariate_normal_log_density(
    x: Float[Tensor, "*batch d"], mean: Float[Tensor, "d"], covariance: Float[Tensor, "d d"]
) -> Float[Tensor, "*batch"]:
    r"""Logarithm of the density of a normal distribution in d dimensions.

    .. math:: \log p(x) = -\tfrac{d}{2} \log 2\pi - \sum_i \log L_{ii} - \tfrac12 \|L^{-1}(x - \mu)\|^2,
        \qquad \Sigma = L L^\top

    which is :math:`\log\bigl((2\pi)^{-d/2} \det(\Sigma)^{-1/2} e^{-\frac12 (x-\mu)^\top \Sigma^{-1} (x-\mu)}\bigr)`
    with the Cholesky factor L.

    Args:
        x: points along the last axis, finite.
        mean: the mean.
        covariance: the covariance matrix, symmetric and positive definite; only its lower triangle is read.

    Returns:
        The log-densities in nats.

    Raises:
        ValueError: if the shapes do not fit, a number is not finite, or the covariance is not positive definite.

    Source: Blitzstein and Hwang, section 7.5; Golub and Van Loan, *Matrix Computations*, section 4.2.

    >>> multivariate_normal_log_density(torch.zeros(2), torch.zeros(2), torch.eye(2)).exp()
    tensor(0.1592)
    """
    check_tensor("x", x)
    check_finite("x", x)
    factor = _cholesky(mean, covariance)
    if x.dim() < 1 or x.shape[-1] != len(mean):
        raise ValueError(f"expected x with {len(mean)} coordinates in its last axis, got shape {tuple(x.shape)}")
    # Neither the inverse nor the determinant is formed: in a few hundred dimensions the latter under- or overflows.
    centred = (x - mean).unsqueeze(-1)  # (*batch, d, 1)
    white = torch.linalg.solve_triangular(factor, centred, upper=False).squeeze(-1)  # (*batch, d)
    log_volume = factor.diagonal().log().sum() + 0.5 * len(mean) * math.log(2 * math.pi)
    return -0.5 * white.square().sum(dim=-1) - log_volume


def multivariate_normal_sample(
    mean: Float[Tensor, "d"], covariance: Float[Tensor, "d d"], size: int, generator: torch.Generator
) -> Float[Tensor, "size d"]:
    r"""Draw from a normal distribution in d dimensions.

    .. math:: x = \mu + L z, \qquad z \sim \mathcal{N}(0, I), \qquad \Sigma = L L^\top

    Args:
        mean: the mean.
        covariance: the covariance matrix, symmetric and positive definite; only its lower triangle is read.
        size: how many to draw, at least 0.
        generator: the source of randomness, on the device of the parameters.

    Returns:
        The draws, one in each row.

    Raises:
        ValueError: if the shapes do not fit, a number is not finite, the covariance is not positive definite, or the
            size is negative.

    Source: Blitzstein and Hwang, section 7.5.

    >>> multivariate_normal_sample(torch.zeros(2), torch.eye(2), 5, torch.Generator().manual_seed(0)).shape
    torch.Size([5, 2])
    """
    factor = _cholesky(mean, covariance)
    if size < 0:
        raise ValueError(f"expected a size of at least 0, got {size}")
    z = torch.randn(size, len(mean), generator=generator, dtype=mean.dtype, device=mean.device)
    return mean + z @ factor.T  # a draw is a row, so L acts from the right, transposed


def _other(dim: int) -> int:
    if dim not in (-1, -2):
        raise ValueError(f"expected the axis of a variable, -1 or -2, got {dim}")
    return -3 - dim


def _cholesky(mean: Tensor, covariance: Tensor) -> Tensor:
    """The lower triangular L with covariance = L L^T."""
    for name, value in (("mean", mean), ("covariance", covariance)):
        check_tensor(name, value)
        check_finite(name, value)
    if mean.dim() != 1 or covariance.shape != (*mean.shape, *mean.shape):
        shapes = f"{tuple(mean.shape)} and {tuple(covariance.shape)}"
        raise ValueError(f"expected a mean of shape (d,) and a covariance of shape (d, d), got {shapes}")
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if failed.item():
        raise ValueError("expected a positive definite covariance, got one that is not")
    return factor
