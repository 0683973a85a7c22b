r"""From the error on a sample to the error on new data: estimates, Hoeffding's inequality, decompositions.

A loss in [0, M] has a mean over the distribution of the data, the risk, and a mean over m samples, the empirical risk.
For a function chosen before the samples were seen, Hoeffding's inequality bounds their distance,

.. math:: P\big(|\hat L - L| \ge \varepsilon\big) \le 2 \exp\Big(-\frac{2 m \varepsilon^2}{M^2}\Big),

and for a function chosen among N by looking at the samples the bound holds with N times the right side. Two exact
identities take an error apart: into generalization, optimization, statistical and approximation error, and, for the
squared loss averaged over training sets, into squared bias and variance.

Reference: S. Shalev-Shwartz and S. Ben-David, *Understanding Machine Learning*, Cambridge 2014, chapters 4 and 5 and
appendix B; T. Hastie, R. Tibshirani and J. Friedman, *The Elements of Statistical Learning*, second edition, Springer
2009, section 7.3. The book's chapter ``learning-from-data`` teaches this module.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from chainrule._validate import check_finite, check_tensor

__all__ = [
    "ErrorDecomposition",
    "bias_variance",
    "decompose_error",
    "estimate_risk",
    "hoeffding_probability",
    "hoeffding_radius",
    "hoeffding_sample_size",
    "zero_one_error",
]


def zero_one_error(
    predicted: Integer[Tensor, "*#batch m"], labels: Integer[Tensor, "*#batch m"]
) -> Float[Tensor, "*batch"]:
    r"""The share of samples whose predicted class is wrong, the empirical risk of the 0-1 loss.

    .. math:: \hat L = \frac{1}{m} \sum_{i=1}^{m} \mathbf{1}[\hat y_i \ne y_i]

    Args:
        predicted: predicted classes of m samples; batch dimensions hold different predictors.
        labels: the right classes; batch dimensions broadcast.

    Returns:
        The errors in [0, 1], in torch's default floating type.

    Raises:
        ValueError: if there is no sample or the numbers of samples differ.

    Source: Shalev-Shwartz and Ben-David, section 2.2.

    >>> zero_one_error(torch.tensor([[0, 1, 1, 2], [0, 0, 0, 0]]), torch.tensor([0, 1, 2, 2]))
    tensor([0.2500, 0.7500])
    """
    check_tensor("predicted", predicted, integer=True)
    check_tensor("labels", labels, integer=True)
    for name, value in (("predicted", predicted), ("labels", labels)):
        if value.dim() == 0 or value.shape[-1] == 0:
            raise ValueError(f"expected {name} of shape (..., m) with m of at least 1, got {tuple(value.shape)}")
    if predicted.shape[-1] != labels.shape[-1]:  # one label would broadcast against all samples
        raise ValueError(f"expected as many labels as predictions, got {labels.shape[-1]} and {predicted.shape[-1]}")
    return (predicted != labels).to(torch.get_default_dtype()).mean(dim=-1)


def estimate_risk(losses: Float[Tensor, "*batch m"]) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    r"""Monte Carlo estimate of a risk from the losses on independent samples, with its standard error.

    .. math:: \hat L = \frac{1}{m} \sum_{i=1}^{m} \ell_i, \qquad
        \mathrm{SE} = \sqrt{\frac{1}{m (m - 1)} \sum_{i=1}^{m} (\ell_i - \hat L)^2}

    About 95 of 100 intervals :math:`\hat L \pm 2\,\mathrm{SE}` hold the risk, if m is large and the predictor was not
    chosen by these samples.

    Args:
        losses: the losses on m samples, at least 2.

    Returns:
        The mean and its standard error.

    Raises:
        ValueError: if there are fewer than 2 losses, or one is not finite.

    Source: Shalev-Shwartz and Ben-David, section 4.2.

    >>> estimate_risk(torch.tensor([0.0, 1.0, 1.0, 0.0]))
    (tensor(0.5000), tensor(0.2887))
    """
    check_tensor("losses", losses)
    if losses.dim() == 0 or losses.shape[-1] < 2:
        raise ValueError(f"expected losses of shape (..., m) with m of at least 2, got {tuple(losses.shape)}")
    check_finite("losses", losses)
    return losses.mean(dim=-1), losses.std(dim=-1) / losses.shape[-1] ** 0.5


def hoeffding_probability(size: int, radius: float, *, num_choices: int = 1, width: float = 1.0) -> float:
    r"""Bound on the probability that an empirical risk misses its risk by ``radius`` or more.

    .. math:: P\Big(\max_{j \le N} |\hat L_j - L_j| \ge \varepsilon\Big)
        \le \min\Big(1,\ 2 N \exp\Big(-\frac{2 m \varepsilon^2}{M^2}\Big)\Big)

    Args:
        size: number m of independent samples, at least 1.
        radius: :math:`\varepsilon`, at least 0.
        num_choices: number N of functions among which one may have been chosen by looking at the samples; 1 means that
            it was fixed before.
        width: length M of the interval that holds the losses.

    Returns:
        The bound, in (0, 1].

    Raises:
        ValueError: if an argument lies outside its range.

    Source: Hoeffding 1963, theorem 2; Shalev-Shwartz and Ben-David, lemma 4.5.

    >>> round(hoeffding_probability(100, 0.1), 4)
    0.2707
    """
    _check_range(size, num_choices, width)
    if not 0 <= radius < math.inf:
        raise ValueError(f"expected a finite radius of at least 0, got {radius}")
    # N e^{-a} as e^{log N - a}, which cannot overflow; for huge N the count is an int that no float holds.
    exponent = math.log(2 * num_choices) - 2 * size * (radius / width) ** 2
    return 1.0 if exponent >= 0 else math.exp(exponent)


def hoeffding_radius(size: int, delta: float, *, num_choices: int = 1, width: float = 1.0) -> float:
    r"""How far the empirical risk can be from the risk, except with probability at most ``delta``.

    .. math:: \varepsilon = M \sqrt{\frac{\ln (2 N / \delta)}{2 m}}

    Args:
        size: number m of independent samples, at least 1.
        delta: the probability of a miss, in (0, 1).
        num_choices: number N of functions among which one may have been chosen by looking at the samples.
        width: length M of the interval that holds the losses.

    Returns:
        The radius, in the unit of the loss.

    Raises:
        ValueError: if an argument lies outside its range.

    Source: Shalev-Shwartz and Ben-David, lemma 4.5 and corollary 4.6.

    >>> round(hoeffding_radius(1000, 0.05), 4)
    0.0429
    """
    _check_range(size, num_choices, width)
    _check_delta(delta)
    return width * math.sqrt((math.log(2 * num_choices) - math.log(delta)) / (2 * size))


def hoeffding_sample_size(radius: float, delta: float, *, num_choices: int = 1, width: float = 1.0) -> int:
    r"""How many samples make the empirical risk right within ``radius``, except with probability ``delta``.

    .. math:: m = \Big\lceil \frac{M^2 \ln (2 N / \delta)}{2 \varepsilon^2} \Big\rceil

    Args:
        radius: :math:`\varepsilon`, above 0.
        delta: the probability of a miss, in (0, 1).
        num_choices: number N of functions among which one may have been chosen by looking at the samples.
        width: length M of the interval that holds the losses.

    Returns:
        The least number of samples for which the bound holds.

    Raises:
        ValueError: if an argument lies outside its range.

    Source: Shalev-Shwartz and Ben-David, corollary 4.6.

    >>> hoeffding_sample_size(0.01, 0.05)
    18445
    """
    _check_range(1, num_choices, width)
    _check_delta(delta)
    if not 0 < radius < math.inf:
        raise ValueError(f"expected a finite radius above 0, got {radius}")
    return math.ceil((math.log(2 * num_choices) - math.log(delta)) / (2 * (radius / width) ** 2))


@dataclass(frozen=True)
class ErrorDecomposition:
    """The four terms of an error, as :func:`decompose_error` gives them; their sum is the risk.

    Args:
        generalization: risk minus empirical risk of the trained parameters
        optimization: empirical risk of the trained parameters minus that of the best ones; negative where training
            fits the samples better than the best parameters do
        statistical: empirical risk minus risk of the best parameters
        approximation: risk of the best parameters

    Returns:
        A record that cannot be changed.

    Raises:
        TypeError: if a term is missing.

    Source: L. Bottou and O. Bousquet, *The tradeoffs of large scale learning*, NeurIPS 2007.

    >>> ErrorDecomposition(0.5, -0.25, 0.25, 1.0).total
    1.5
    """

    generalization: float
    optimization: float
    statistical: float
    approximation: float

    @property
    def total(self) -> float:
        """The sum of the four terms, the risk of the trained parameters."""
        return self.generalization + self.optimization + self.statistical + self.approximation


def decompose_error(
    *, risk: float, empirical_risk: float, best_risk: float, best_empirical_risk: float
) -> ErrorDecomposition:
    r"""Take a risk apart into generalization, optimization, statistical and approximation error.

    .. math:: L(\hat\theta) = [L(\hat\theta) - \hat L(\hat\theta)] + [\hat L(\hat\theta) - \hat L(\theta^*)]
        + [\hat L(\theta^*) - L(\theta^*)] + L(\theta^*)

    Args:
        risk: :math:`L(\hat\theta)`, the mean loss over the distribution of the trained parameters.
        empirical_risk: :math:`\hat L(\hat\theta)`, their mean loss over the training samples.
        best_risk: :math:`L(\theta^*)`, the risk of the parameters of least risk.
        best_empirical_risk: :math:`\hat L(\theta^*)`, their mean loss over the same training samples.

    Returns:
        The four terms.

    Raises:
        ValueError: if a number is not finite, or ``best_risk`` exceeds ``risk``, which no best parameters allow.

    Source: L. Bottou and O. Bousquet, *The tradeoffs of large scale learning*, NeurIPS 2007.

    >>> decompose_error(risk=1.5, empirical_risk=1.0, best_risk=1.0, best_empirical_risk=1.25)
    ErrorDecomposition(generalization=0.5, optimization=-0.25, statistical=0.25, approximation=1.0)
    """
    for name, value in (
        ("risk", risk),
        ("empirical_risk", empirical_risk),
        ("best_risk", best_risk),
        ("best_empirical_risk", best_empirical_risk),
    ):
        if not math.isfinite(value):
            raise ValueError(f"expected {name} to be finite, got {value}")
    if best_risk > risk + 1e-9 * abs(risk):
        raise ValueError(f"expected best_risk to be at most the risk {risk}, got {best_risk}")
    return ErrorDecomposition(
        generalization=risk - empirical_risk,
        optimization=empirical_risk - best_empirical_risk,
        statistical=best_empirical_risk - best_risk,
        approximation=best_risk,
    )


def bias_variance(
    predictions: Float[Tensor, "runs m"], target: Float[Tensor, "m"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    r"""Squared bias and variance of predictions from several training sets, averaged over m test points.

    .. math:: \frac{1}{R} \sum_{r=1}^{R} (\hat y_r - f)^2 = (\bar y - f)^2 + \frac{1}{R} \sum_{r=1}^{R}
        (\hat y_r - \bar y)^2, \qquad \bar y = \frac{1}{R} \sum_{r=1}^{R} \hat y_r

    The divisor of the variance is R, so that the two add up exactly.

    Args:
        predictions: the predictions at m points after training on each of R sets, one set a row.
        target: the noiseless truth at these points.

    Returns:
        The squared bias and the variance.

    Raises:
        ValueError: if the shapes do not fit, there is nothing to average, or a number is not finite.

    Source: Hastie, Tibshirani and Friedman, section 7.3.

    >>> bias_variance(torch.tensor([[1.0, 2.0], [3.0, 2.0]]), torch.tensor([1.0, 1.0]))
    (tensor(1.), tensor(0.5000))
    """
    check_tensor("predictions", predictions)
    check_tensor("target", target)
    if predictions.dim() != 2 or predictions.numel() == 0:
        raise ValueError(f"expected predictions of shape (runs, m), neither of them 0, got {tuple(predictions.shape)}")
    if target.shape != predictions.shape[1:]:
        raise ValueError(f"expected target of shape ({predictions.shape[1]},), got {tuple(target.shape)}")
    check_finite("predictions", predictions)
    check_finite("target", target)
    mean = predictions.mean(dim=0)
    # Two passes: the mean of the squares minus the square of the mean would cancel.
    return (mean - target).square().mean(), (predictions - mean).square().mean()


def _check_range(size: int, num_choices: int, width: float) -> None:
    if size < 1:
        raise ValueError(f"expected a size of at least 1, got {size}")
    if num_choices < 1:
        raise ValueError(f"expected num_choices of at least 1, got {num_choices}")
    if not 0 < width < math.inf:
        raise ValueError(f"expected a finite width above 0, got {width}")


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"expected delta in (0, 1), got {delta}")
