r"""Likelihoods on the logarithmic scale, and maximum likelihood for the Gumbel distribution.

The likelihood of m independent data is a product that underflows; its logarithm is a sum that does not. Maximum
likelihood minimizes

.. math:: \mathrm{NLL}(\theta) = -\sum_{i=1}^{m} \log p_\theta(x_i),

which is m times the cross entropy between the empirical distribution of the data and the model. For a finite number of
outcomes the minimum is the empirical distribution itself (:func:`chainrule.information.empirical_distribution`); for
the Gumbel distribution it is found by solving one equation in one unknown. All results are in nats.

Reference: I. Goodfellow, Y. Bengio and A. Courville, *Deep Learning*, MIT Press 2016, sections 4.1 and 5.5;
E. J. Gumbel, *Statistics of Extremes*, Columbia University Press 1958.
The book's chapter ``information-theory`` teaches this module.
"""

import math

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from chainrule._validate import check_finite, check_positive, check_tensor

__all__ = [
    "fit_gumbel",
    "gumbel_log_density",
    "gumbel_negative_log_likelihood",
    "gumbel_sample",
    "gumbel_score",
    "log_likelihood",
    "log_sum_exp",
    "negative_log_likelihood",
]

_GUMBEL_DEVIATION = math.pi / math.sqrt(6)  # of the Gumbel distribution of scale 1
_PRECISION = 1e-15  # relative, of the scale; about four units in the last place
_MAX_STEPS = 200  # Newton takes about 5; halving alone would take 50


def log_sum_exp(x: Float[Tensor, "*shape"], dim: int = -1) -> Float[Tensor, "*reduced"]:
    r"""Logarithm of a sum of exponentials, without overflow or underflow.

    .. math:: \log \sum_j e^{x_j} = c + \log \sum_j e^{x_j - c}, \qquad c = \max_j x_j

    Args:
        x: numbers in [-inf, inf), at least one along ``dim``.
        dim: the dimension to sum over.

    Returns:
        The logarithms, with ``dim`` removed; ``-inf`` where all numbers are ``-inf``. The gradient is the softmax.

    Raises:
        ValueError: if there is nothing to sum, or ``dim`` does not exist.

    Source: Goodfellow, Bengio and Courville, section 4.1.

    >>> log_sum_exp(torch.tensor([1000.0, 1000.0]))
    tensor(1000.6932)
    """
    check_tensor("x", x)
    if not -x.dim() <= dim < x.dim():
        raise ValueError(f"expected dim in [{-x.dim()}, {x.dim()}), got {dim}")
    if x.shape[dim] == 0:
        raise ValueError(f"expected at least one number along dim {dim}, got shape {tuple(x.shape)}")
    # The naive form overflows for x > 88 in float32 and gives log(0) for x < -104. The largest exponent here is 0.
    # The shift cancels from the derivative, so it is a constant; an infinite one would give inf - inf = nan.
    shift = x.detach().amax(dim=dim, keepdim=True)
    shift = shift.masked_fill(shift.isinf(), 0)
    return torch.log(torch.exp(x - shift).sum(dim=dim)) + shift.squeeze(dim)


def log_likelihood(log_probs: Float[Tensor, "m k"], labels: Integer[Tensor, "m"]) -> Float[Tensor, ""]:
    r"""Mean log-likelihood of observed outcomes.

    .. math:: \frac{1}{m} \sum_{i=1}^{m} \log p_i(y_i)

    Args:
        log_probs: for each of the m observations the logarithms of the k probabilities; rows as ``log_softmax`` gives.
        labels: the m outcomes that were observed, integers in [0, k).

    Returns:
        The mean, in nats an observation, at most 0; ``-inf`` if an outcome of probability zero was observed.

    Raises:
        ValueError: if a row is no distribution (scores without ``log_softmax``), the shapes do not fit, or a label lies
            outside [0, k).

    Source: Goodfellow, Bengio and Courville, section 5.5.

    >>> log_likelihood(torch.tensor([[0.5, 0.5], [0.25, 0.75]]).log(), torch.tensor([0, 0]))
    tensor(-1.0397)
    """
    check_tensor("log_probs", log_probs)
    check_tensor("labels", labels, integer=True)
    if log_probs.dim() != 2 or log_probs.numel() == 0:
        raise ValueError(f"expected log_probs of shape (m, k), neither of them 0, got {tuple(log_probs.shape)}")
    if labels.shape != log_probs.shape[:1]:
        raise ValueError(f"expected labels of shape ({len(log_probs)},), got {tuple(labels.shape)}")
    low, high = int(labels.min()), int(labels.max())
    num_outcomes = log_probs.shape[1]
    if low < 0 or high >= num_outcomes:
        raise ValueError(f"expected labels in [0, {num_outcomes}), got {low if low < 0 else high}")
    total = log_probs.detach().exp().sum(dim=1)  # (m,)
    error = (total - 1).abs()
    if not (error <= max(torch.finfo(log_probs.dtype).eps ** 0.5, 1e-6)).all():
        worst = total[error.argmax()].item()
        raise ValueError(f"expected rows of log_softmax, whose exponentials sum to 1, got a sum of {worst}")
    return log_probs.gather(1, labels.long().unsqueeze(1)).mean()


def negative_log_likelihood(log_probs: Float[Tensor, "m k"], labels: Integer[Tensor, "m"]) -> Float[Tensor, ""]:
    r"""Mean negative log-likelihood of observed outcomes, the usual loss of a classifier.

    .. math:: -\frac{1}{m} \sum_{i=1}^{m} \log p_i(y_i)

    Args:
        log_probs: for each of the m observations the logarithms of the k probabilities; rows as ``log_softmax`` gives.
        labels: the m outcomes that were observed, integers in [0, k).

    Returns:
        The mean, in nats an observation, at least 0; ``inf`` if an outcome of probability zero was observed.

    Raises:
        ValueError: as :func:`log_likelihood`.

    Source: Goodfellow, Bengio and Courville, section 5.5.

    >>> negative_log_likelihood(torch.tensor([[0.5, 0.5], [0.25, 0.75]]).log(), torch.tensor([0, 0]))
    tensor(1.0397)
    """
    return 0 - log_likelihood(log_probs, labels)


def gumbel_log_density(
    x: Float[Tensor, "*#batch"], loc: Float[Tensor, "*#batch"] | float, scale: Float[Tensor, "*#batch"] | float
) -> Float[Tensor, "*batch"]:
    r"""Logarithm of the density of the Gumbel distribution (of maxima).

    .. math:: \log p(x) = -\log\beta - z - e^{-z}, \qquad z = \frac{x - \mu}{\beta}

    Args:
        x: points, finite.
        loc: location :math:`\mu`, the mode.
        scale: scale :math:`\beta`, positive. All three broadcast.

    Returns:
        The log-densities, of the broadcast shape.

    Raises:
        ValueError: if a number is not finite or a scale not positive.

    Source: Gumbel 1958, section 5.2.

    >>> gumbel_log_density(torch.tensor([0.0, 1.0]), loc=0.0, scale=1.0)
    tensor([-1.0000, -1.3679])
    """
    check_tensor("x", x)
    check_finite("x", x)
    loc, scale = _parameters(loc, scale, x)
    z = (x - loc) / scale
    return -torch.log(scale) - z - torch.exp(-z)


def gumbel_negative_log_likelihood(
    x: Float[Tensor, "m"], loc: Float[Tensor, "*#batch"] | float, scale: Float[Tensor, "*#batch"] | float
) -> Float[Tensor, "*batch"]:
    r"""Negative log-likelihood of Gumbel parameters, summed over the data.

    .. math:: \mathrm{NLL}(\mu, \beta) = m \log\beta + \sum_{i=1}^{m} (z_i + e^{-z_i}),
        \qquad z_i = \frac{x_i - \mu}{\beta}

    Args:
        x: the m data, finite.
        loc: location :math:`\mu`; a tensor of candidates gives one result each.
        scale: scale :math:`\beta`, positive; broadcasts against ``loc``.

    Returns:
        The sums in nats, of the shape of the parameters.

    Raises:
        ValueError: if there are no data, a number is not finite, or a scale not positive.

    Source: Gumbel 1958, section 6.2.

    >>> gumbel_negative_log_likelihood(torch.tensor([0.0, 1.0]), loc=0.0, scale=1.0)
    tensor(2.3679)
    """
    _check_data(x, 1)
    loc, scale = _parameters(loc, scale, x)
    z = (x - loc.unsqueeze(-1)) / scale.unsqueeze(-1)  # (*batch, m)
    return len(x) * torch.log(scale) + (z + torch.exp(-z)).sum(dim=-1)


def gumbel_score(
    x: Float[Tensor, "m"], loc: Float[Tensor, "*#batch"] | float, scale: Float[Tensor, "*#batch"] | float
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    r"""The two derivatives of the Gumbel negative log-likelihood; both vanish at the maximum likelihood estimate.

    .. math:: \frac{\partial\,\mathrm{NLL}}{\partial\mu} = \frac{1}{\beta} \sum_{i=1}^{m} (e^{-z_i} - 1),
        \qquad \frac{\partial\,\mathrm{NLL}}{\partial\beta}
        = \frac{1}{\beta} \sum_{i=1}^{m} \bigl(1 + z_i (e^{-z_i} - 1)\bigr)

    Args:
        x: the m data, finite.
        loc: location :math:`\mu`; a tensor of candidates gives one result each.
        scale: scale :math:`\beta`, positive; broadcasts against ``loc``.

    Returns:
        The derivatives with respect to the location and to the scale. (Statistics calls the derivatives of the
        log-likelihood the score; these have the opposite sign, to go with the loss.)

    Raises:
        ValueError: if there are no data, a number is not finite, or a scale not positive.

    Source: Gumbel 1958, section 6.2.

    >>> gumbel_score(torch.tensor([0.0, 1.0]), loc=0.0, scale=1.0)
    (tensor(-0.6321), tensor(1.3679))
    """
    _check_data(x, 1)
    loc, scale = torch.broadcast_tensors(*_parameters(loc, scale, x))
    z = (x - loc.unsqueeze(-1)) / scale.unsqueeze(-1)  # (*batch, m)
    excess = torch.expm1(-z)  # e^{-z} - 1 without cancellation near the mode
    return excess.sum(dim=-1) / scale, (1 + z * excess).sum(dim=-1) / scale


def gumbel_sample(loc: float, scale: float, size: int, generator: torch.Generator) -> Float[Tensor, "size"]:
    r"""Draw from a Gumbel distribution by inverting its distribution function.

    .. math:: x = \mu - \beta \log(-\log u), \qquad u \sim \mathrm{Uniform}(0, 1)

    Args:
        loc: location :math:`\mu`.
        scale: scale :math:`\beta`, positive.
        size: how many to draw, at least 0.
        generator: the source of randomness; its device is the device of the result.

    Returns:
        The draws, in float64.

    Raises:
        ValueError: if a parameter is not finite, the scale not positive, or the size negative.

    Source: Gumbel 1958, section 5.2.

    >>> gumbel_sample(0.0, 1.0, 2, torch.Generator().manual_seed(0)).shape
    torch.Size([2])
    """
    if size < 0:
        raise ValueError(f"expected a size of at least 0, got {size}")
    u = torch.rand(size, dtype=torch.float64, device=generator.device, generator=generator)
    loc_, scale_ = _parameters(loc, scale, u)
    # rand may return 0, whose -log(-log(0)) is -inf; it cannot return 1, and in float64 1 - u stays well above 0.
    return loc_ - scale_ * torch.log(-torch.log(u.clamp(min=torch.finfo(u.dtype).tiny)))


def fit_gumbel(x: Float[Tensor, "m"]) -> tuple[float, float]:
    r"""Maximum likelihood estimate of the Gumbel distribution.

    Setting both derivatives to zero and eliminating the location leaves one equation for the scale,

    .. math:: g(\beta) = \beta - \bar x + \frac{\sum_i x_i e^{-x_i/\beta}}{\sum_i e^{-x_i/\beta}} = 0,
        \qquad \mu = -\beta \log \frac{1}{m} \sum_i e^{-x_i/\beta}.

    g increases, so its root is unique and lies below :math:`\bar x - \min_i x_i`. Newton steps find it; a step that
    would leave the bracket is replaced by halving it.

    Args:
        x: at least 2 data, finite, not all equal.

    Returns:
        Location and scale.

    Raises:
        ValueError: if there are fewer than 2 data, one is not finite, all are equal (the likelihood then grows without
            bound as the scale shrinks), or they spread beyond the range of float64.

    Source: Gumbel 1958, section 6.2.

    >>> loc, scale = fit_gumbel(torch.tensor([0.0, 1.0, 2.0, 4.0]))
    >>> f"{loc:.4f} {scale:.4f}"
    '1.0491 1.1830'
    """
    _check_data(x, 2)
    data = x.detach().double()
    low = data.min()
    width = (data.mean() - low).item()
    if not 0 < width < math.inf:
        raise ValueError(f"expected data that vary within the range of float64, got a mean {width} above the least")
    y = (data - low) / width  # the equation in units that make the root lie in (0, 1] whatever the data's own
    lower, upper = 0.0, 1.0
    scale = min(y.std().item() / _GUMBEL_DEVIATION, upper)  # by the method of moments
    for _ in range(_MAX_STEPS):
        weights = torch.softmax(-y / scale, dim=0)
        mean = (weights * y).sum()
        value = (scale - 1 + mean).item()
        slope = (1 + (weights * (y - mean).square()).sum() / scale**2).item()
        if value > 0:
            upper = scale
        else:
            lower = scale
        previous, scale = scale, scale - value / slope
        if abs(scale - previous) <= _PRECISION * previous:
            break
        if not lower < scale < upper:
            scale = 0.5 * (lower + upper)
    loc = -scale * (log_sum_exp(-y / scale).item() - math.log(len(y)))
    return low.item() + width * loc, width * scale


def _check_data(x: Tensor, least: int) -> None:
    check_tensor("x", x)
    if x.dim() != 1 or len(x) < least:
        raise ValueError(f"expected x of shape (m,) with m of at least {least}, got {tuple(x.shape)}")
    check_finite("x", x)


def _parameters(loc: Tensor | float, scale: Tensor | float, x: Tensor) -> tuple[Tensor, Tensor]:
    loc = torch.as_tensor(loc, dtype=x.dtype, device=x.device)
    scale = torch.as_tensor(scale, dtype=x.dtype, device=x.device)
    check_finite("loc", loc)
    check_positive("scale", scale)
    return loc, scale
