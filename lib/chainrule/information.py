r"""Entropy and its relatives, for finite distributions and for Gaussians.

The measures of information of a distribution :math:`p` over :math:`k` outcomes all come from the surprisal
:math:`-\log p(x)`: its mean is the entropy,

.. math:: H(p) = -\sum_{x=1}^{k} p(x) \log p(x),

its mean under another distribution is the cross entropy, and differences of these are the Kullback-Leibler and
Jensen-Shannon divergences, the conditional entropy and the mutual information.

The last dimension of a tensor holds the distribution (the last two for a joint one); dimensions before it are a batch.
Logarithms are natural, so results are in nats, unless ``base`` says otherwise (``base=2`` gives bits).
By convention :math:`0 \log 0 = 0`, the limit. The infinite slope there counts as zero, so that a softmax that
underflowed to zero trains on with finite gradients.

Reference: T. M. Cover and J. A. Thomas, *Elements of Information Theory*, second edition, Wiley 2006, chapters 2 and 8.
The book's chapter ``information-theory`` teaches this module.
"""

import math

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from chainrule._validate import (
    check_base,
    check_distribution,
    check_finite,
    check_positive,
    check_same_outcomes,
    check_tensor,
)

__all__ = [
    "conditional_entropy",
    "cross_entropy",
    "empirical_distribution",
    "entropy",
    "gaussian_entropy",
    "gaussian_kl_divergence",
    "jensen_shannon_divergence",
    "joint_entropy",
    "kl_divergence",
    "mutual_information",
    "surprisal",
]


def _times_log(p: Tensor, q: Tensor) -> Tensor:
    # p log q with 0 log 0 = 0. The naive p * torch.log(q) is 0 * -inf = nan there. xlogy has the right value, but its
    # gradient with respect to q is p / q = 0 / 0 = nan; a stand-in q = 1 makes it 0.
    return torch.special.xlogy(p, q.masked_fill((p == 0) & (q == 0), 1))


def surprisal(p: Float[Tensor, "*batch"], *, base: float = math.e) -> Float[Tensor, "*batch"]:
    r"""Surprisal (self-information) of events of probability ``p``.

    .. math:: s(p) = -\log p

    Args:
        p: probabilities of single events, each in [0, 1]; they need not sum to 1.
        base: base of the logarithm, above 1; ``math.e`` gives nats, 2 gives bits.

    Returns:
        The surprisals, of the shape of ``p``, in [0, inf]; ``inf`` for an impossible event.

    Raises:
        ValueError: if a probability lies outside [0, 1] or the base is not above 1.

    Source: Cover and Thomas, section 2.1.

    >>> surprisal(torch.tensor([1.0, 0.5, 0.25]), base=2)
    tensor([0., 1., 2.])
    """
    check_base(base)
    check_tensor("p", p)
    outside = ~((p >= 0) & (p <= 1))
    if outside.any():
        raise ValueError(f"expected p to lie in [0, 1], got {p[outside][0].item()}")
    return (0 - torch.log(p)) / math.log(base)  # 0 - 0 is 0, where -log(1) would show as -0


def entropy(p: Float[Tensor, "*batch k"], *, base: float = math.e) -> Float[Tensor, "*batch"]:
    r"""Shannon entropy, the mean surprisal of a distribution.

    .. math:: H(p) = -\sum_{x=1}^{k} p(x) \log p(x)

    Args:
        p: distributions over k outcomes in the last dimension.
        base: base of the logarithm, above 1; ``math.e`` gives nats, 2 gives bits.

    Returns:
        The entropies, one a distribution, in [0, log k].

    Raises:
        ValueError: if ``p`` is no distribution or the base is not above 1.

    Source: Shannon 1948, section 6; Cover and Thomas, section 2.1.

    >>> entropy(torch.tensor([0.5, 0.25, 0.25, 0.0]), base=2)
    tensor(1.5000)
    """
    check_base(base)
    check_distribution("p", p)
    return 0 - _times_log(p, p).sum(dim=-1) / math.log(base)


def cross_entropy(
    p: Float[Tensor, "*#batch k"], q: Float[Tensor, "*#batch k"], *, base: float = math.e
) -> Float[Tensor, "*batch"]:
    r"""Cross entropy, the mean surprisal under ``q`` of outcomes that follow ``p``.

    .. math:: H(p, q) = -\sum_{x=1}^{k} p(x) \log q(x)

    Unlike ``torch.nn.functional.cross_entropy`` it takes two distributions, the true one first, and no scores.

    Args:
        p: distributions over k outcomes in the last dimension, the truth.
        q: distributions over the same outcomes, the model; batch dimensions broadcast against those of ``p``.
        base: base of the logarithm, above 1; ``math.e`` gives nats, 2 gives bits.

    Returns:
        The cross entropies, at least the entropy of ``p``; ``inf`` where ``q`` excludes an outcome that ``p`` allows.

    Raises:
        ValueError: if ``p`` or ``q`` is no distribution, their shapes do not fit, or the base is not above 1.

    Source: Cover and Thomas, theorem 5.4.3 (the cost of the wrong code).

    >>> cross_entropy(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]), base=2)
    tensor(1.2075)
    """
    _check_pair(p, q, base)
    return 0 - _times_log(p, q).sum(dim=-1) / math.log(base)


def kl_divergence(
    p: Float[Tensor, "*#batch k"], q: Float[Tensor, "*#batch k"], *, base: float = math.e
) -> Float[Tensor, "*batch"]:
    r"""Kullback-Leibler divergence, the surprisal wasted by believing ``q`` where ``p`` is true.

    .. math:: D_{KL}(p \,\|\, q) = \sum_{x=1}^{k} p(x) \log \frac{p(x)}{q(x)} = H(p, q) - H(p)

    Mind the order: ``torch.nn.functional.kl_div(log_q, p)`` takes the logarithm of the second argument first.

    Args:
        p: distributions over k outcomes in the last dimension, the truth.
        q: distributions over the same outcomes, the model; batch dimensions broadcast against those of ``p``.
        base: base of the logarithm, above 1; ``math.e`` gives nats, 2 gives bits.

    Returns:
        The divergences, in [0, inf]; ``inf`` where ``q`` excludes an outcome that ``p`` allows.

    Raises:
        ValueError: if ``p`` or ``q`` is no distribution, their shapes do not fit, or the base is not above 1.

    Source: Cover and Thomas, section 2.3.

    >>> kl_divergence(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]), base=2)
    tensor(0.2075)
    """
    _check_pair(p, q, base)
    # A difference of logarithms, because the ratio p / q can overflow where its logarithm is harmless. Rounding may
    # leave a sum just below the true minimum 0 where p and q nearly agree.
    return (_times_log(p, p) - _times_log(p, q)).sum(dim=-1).clamp(min=0) / math.log(base)


def jensen_shannon_divergence(
    p: Float[Tensor, "*#batch k"], q: Float[Tensor, "*#batch k"], *, base: float = math.e
) -> Float[Tensor, "*batch"]:
    r"""Jensen-Shannon divergence, the mean divergence of ``p`` and ``q`` from their midpoint.

    .. math:: \mathrm{JSD}(p \,\|\, q) = \tfrac12 D_{KL}(p \,\|\, m) + \tfrac12 D_{KL}(q \,\|\, m),
        \qquad m = \tfrac12 (p + q)

    Args:
        p: distributions over k outcomes in the last dimension.
        q: distributions over the same outcomes; batch dimensions broadcast against those of ``p``.
        base: base of the logarithm, above 1; ``math.e`` gives nats, 2 gives bits.

    Returns:
        The divergences, in [0, log 2], symmetric in ``p`` and ``q``; their square root is a metric.

    Raises:
        ValueError: if ``p`` or ``q`` is no distribution, their shapes do not fit, or the base is not above 1.

    Source: J. Lin, Divergence measures based on the Shannon entropy, IEEE Transactions on Information Theory 37, 1991.

    >>> jensen_shannon_divergence(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), base=2)
    tensor(1.)
    """
    _check_pair(p, q, base)
    # log m is taken as log(p + q) - log 2: halving the smallest numbers underflows to m = 0, a divergence of inf.
    total = p + q
    terms = _times_log(p, p) + _times_log(q, q) - _times_log(total, total) + total * math.log(2)
    return terms.sum(dim=-1).clamp(min=0) / (2 * math.log(base))


def gaussian_entropy(std: Float[Tensor, "*batch"], *, base: float = math.e) -> Float[Tensor, "*batch"]:
    r"""Differential entropy of a univariate Gaussian.

    .. math:: h(\sigma) = \tfrac12 \log(2 \pi e) + \log \sigma

    Args:
        std: standard deviations, positive.
        base: base of the logarithm, above 1; ``math.e`` gives nats, 2 gives bits.

    Returns:
        The differential entropies, of the shape of ``std``; negative for small ``std``.

    Raises:
        ValueError: if a standard deviation is not positive and finite or the base is not above 1.

    Source: Cover and Thomas, example 8.1.2.

    >>> gaussian_entropy(torch.tensor(1.0))
    tensor(1.4189)
    """
    check_base(base)
    check_tensor("std", std)
    check_positive("std", std)
    return (0.5 * math.log(2 * math.pi * math.e) + torch.log(std)) / math.log(base)


def gaussian_kl_divergence(
    mean_p: Float[Tensor, "*#batch"],
    std_p: Float[Tensor, "*#batch"],
    mean_q: Float[Tensor, "*#batch"],
    std_q: Float[Tensor, "*#batch"],
    *,
    base: float = math.e,
) -> Float[Tensor, "*batch"]:
    r"""Kullback-Leibler divergence between univariate Gaussians.

    .. math:: D_{KL}(p \,\|\, q) = \log \frac{\sigma_q}{\sigma_p}
        + \frac{\sigma_p^2 + (\mu_p - \mu_q)^2}{2 \sigma_q^2} - \frac12

    Args:
        mean_p: means of the true Gaussians.
        std_p: their standard deviations, positive.
        mean_q: means of the model Gaussians.
        std_q: their standard deviations, positive. All four broadcast.
        base: base of the logarithm, above 1; ``math.e`` gives nats, 2 gives bits.

    Returns:
        The divergences, non-negative, of the broadcast shape.

    Raises:
        ValueError: if a mean is not finite, a standard deviation not positive and finite, or the base not above 1.

    Source: Cover and Thomas, section 8.5 with example 8.1.2.

    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> gaussian_kl_divergence(one, one, zero, one)
    tensor(0.5000)
    """
    check_base(base)
    for name, value in (("mean_p", mean_p), ("mean_q", mean_q)):
        check_tensor(name, value)
        check_finite(name, value)
    for name, value in (("std_p", std_p), ("std_q", std_q)):
        check_tensor(name, value)
        check_positive(name, value)
    # With t = log(std_p / std_q) the spread costs (e^{2t} - 1) / 2 - t. Squaring the deviations one by one over- or
    # underflows early, and subtracting 1/2 from the ratio cancels where the deviations nearly agree: hence expm1.
    t = torch.log(std_p) - torch.log(std_q)
    shift = (mean_p - mean_q) / std_q
    return (0.5 * (torch.expm1(2 * t) + shift.square()) - t).clamp(min=0) / math.log(base)


def empirical_distribution(samples: Integer[Tensor, "m"], num_outcomes: int) -> Float[Tensor, "k"]:
    r"""Relative frequencies of observed outcomes, which are the maximum likelihood estimate of their probabilities.

    .. math:: \hat p(x) = \frac{1}{m} \sum_{i=1}^{m} [x_i = x]

    Args:
        samples: m observed outcomes, integers in [0, num_outcomes).
        num_outcomes: how many outcomes k there are, at least 1.

    Returns:
        The distribution, k probabilities in float64, on the device of the samples.

    Raises:
        ValueError: if there are no samples, they are not one-dimensional, or one lies outside [0, num_outcomes).

    Source: Cover and Thomas, section 11.1 (the type of a sequence).

    >>> empirical_distribution(torch.tensor([0, 2, 2, 0]), num_outcomes=3)
    tensor([0.5000, 0.0000, 0.5000], dtype=torch.float64)
    """
    check_tensor("samples", samples, integer=True)
    if num_outcomes < 1:
        raise ValueError(f"expected num_outcomes to be at least 1, got {num_outcomes}")
    if samples.dim() != 1 or len(samples) == 0:
        raise ValueError(f"expected samples of shape (m,) with m of at least 1, got {tuple(samples.shape)}")
    samples = samples.long()
    low, high = int(samples.min()), int(samples.max())
    if low < 0 or high >= num_outcomes:
        raise ValueError(f"expected samples in [0, {num_outcomes}), got {low if low < 0 else high}")
    return torch.bincount(samples, minlength=num_outcomes).double() / len(samples)


def joint_entropy(joint: Float[Tensor, "*batch a b"], *, base: float = math.e) -> Float[Tensor, "*batch"]:
    r"""Entropy of a pair of variables.

    .. math:: H(X, Y) = -\sum_{x,y} p(x, y) \log p(x, y)

    Args:
        joint: joint distributions, x along the last dimension but one (a outcomes), y along the last (b outcomes).
        base: base of the logarithm, above 1; ``math.e`` gives nats, 2 gives bits.

    Returns:
        The entropies, one a joint distribution, in [0, log(a b)].

    Raises:
        ValueError: if ``joint`` is no joint distribution or the base is not above 1.

    Source: Cover and Thomas, section 2.2.

    >>> joint_entropy(torch.tensor([[0.5, 0.0], [0.25, 0.25]]), base=2)
    tensor(1.5000)
    """
    check_base(base)
    check_distribution("joint", joint, num_dims=2)
    return 0 - _times_log(joint, joint).sum(dim=(-2, -1)) / math.log(base)


def conditional_entropy(joint: Float[Tensor, "*batch a b"], *, base: float = math.e) -> Float[Tensor, "*batch"]:
    r"""Entropy that is left in Y once X is known.

    .. math:: H(Y \mid X) = -\sum_{x,y} p(x, y) \log \frac{p(x, y)}{p(x)} = H(X, Y) - H(X)

    Args:
        joint: joint distributions, x along the last dimension but one (a outcomes), y along the last (b outcomes).
        base: base of the logarithm, above 1; ``math.e`` gives nats, 2 gives bits.

    Returns:
        The conditional entropies, one a joint distribution, in [0, H(Y)].

    Raises:
        ValueError: if ``joint`` is no joint distribution or the base is not above 1.

    Source: Cover and Thomas, section 2.2.

    >>> conditional_entropy(torch.tensor([[0.5, 0.0], [0.25, 0.25]]), base=2)
    tensor(0.5000)
    """
    check_base(base)
    check_distribution("joint", joint, num_dims=2)
    p_x = joint.sum(dim=-1, keepdim=True)  # (*batch, a, 1)
    # Every term is non-negative, so nothing cancels, as it would in H(X, Y) - H(X).
    terms = _times_log(joint, p_x) - _times_log(joint, joint)  # (*batch, a, b)
    return terms.sum(dim=(-2, -1)) / math.log(base)


def mutual_information(joint: Float[Tensor, "*batch a b"], *, base: float = math.e) -> Float[Tensor, "*batch"]:
    r"""Mutual information, what X and Y tell about each other.

    .. math:: I(X; Y) = \sum_{x,y} p(x, y) \log \frac{p(x, y)}{p(x)\,p(y)} = H(Y) - H(Y \mid X)

    Args:
        joint: joint distributions, x along the last dimension but one (a outcomes), y along the last (b outcomes).
        base: base of the logarithm, above 1; ``math.e`` gives nats, 2 gives bits.

    Returns:
        The mutual informations, one a joint distribution, in [0, min(H(X), H(Y))]; 0 if and only if X and Y are
        independent.

    Raises:
        ValueError: if ``joint`` is no joint distribution or the base is not above 1.

    Source: Cover and Thomas, section 2.3.

    >>> mutual_information(torch.tensor([[0.5, 0.0], [0.0, 0.5]]), base=2)
    tensor(1.)
    """
    check_base(base)
    check_distribution("joint", joint, num_dims=2)
    p_x = joint.sum(dim=-1, keepdim=True)  # (*batch, a, 1)
    p_y = joint.sum(dim=-2, keepdim=True)  # (*batch, 1, b)
    # Three logarithms, because the product p(x) p(y) can underflow to 0 where p(x, y) does not.
    terms = _times_log(joint, joint) - _times_log(joint, p_x) - _times_log(joint, p_y)  # (*batch, a, b)
    return terms.sum(dim=(-2, -1)).clamp(min=0) / math.log(base)


def _check_pair(p: Tensor, q: Tensor, base: float) -> None:
    check_base(base)
    check_distribution("p", p)
    check_distribution("q", q)
    check_same_outcomes(p, q)
