r"""Empirical risk and its minimisation, with a family of rules small enough to be searched completely.

The empirical risk of a rule :math:`h` is its mean loss on the sample, and empirical risk minimisation takes the rule of
the family :math:`\mathcal H` where it is least,

.. math:: \hat L(h) = \frac1m \sum_{i=1}^{m} \ell(h(x_i), y_i), \qquad
    \hat h = \operatorname*{argmin}_{h \in \mathcal H} \hat L(h).

The family here is that of the stumps: compare one feature with a threshold. On m samples it has finitely many members
that can be told apart, so the search is exact.

Reference: V. N. Vapnik, Principles of risk minimization for learning theory, Advances in Neural Information Processing
Systems 4, 1991.
The book's chapter ``learning-from-data`` teaches this module.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, Integer
from torch import Tensor

from chainrule._validate import check_finite, check_tensor

__all__ = ["Stump", "empirical_risk", "fit_stump", "predict_stump"]


class Stump(NamedTuple):
    r"""A rule that compares one feature with a threshold.

    .. math:: h(x) = [x_j > t] \text{ if the sign is } 1, \qquad h(x) = [x_j \le t] \text{ if it is } -1

    Args:
        feature: which feature j.
        threshold: the threshold t; infinite for a rule that always says the same.
        sign: 1 if larger values mean class 1, -1 if smaller ones do.
        risk: its empirical risk on the sample it was fitted to, from 0 to 1/2.

    Returns:
        A named tuple.

    Raises:
        TypeError: if a field is missing.

    Source: Iba and Langley, Induction of one-level decision trees, International Conference on Machine Learning 1992.

    >>> Stump(feature=0, threshold=1.5, sign=1, risk=0.25).threshold
    1.5
    """

    feature: int
    threshold: float
    sign: int
    risk: float


def empirical_risk(predictions: Tensor, targets: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Float[Tensor, ""]:
    r"""Mean loss of predictions on a sample.

    .. math:: \hat L(h) = \frac1m \sum_{i=1}^{m} \ell(h(x_i), y_i)

    Args:
        predictions: h(x_i) for each of m samples, in the first axis.
        targets: y_i for each sample, in the first axis.
        loss: from all predictions and all targets to the m losses, one for each sample.

    Returns:
        The mean, a tensor of no axes.

    Raises:
        ValueError: if there are no samples, their numbers differ, or the loss does not give one number a sample.

    Source: Vapnik 1991, section 2.

    >>> empirical_risk(torch.tensor([1, 0, 2, 2]), torch.tensor([1, 1, 2, 0]), lambda guess, y: guess != y)
    tensor(0.5000)
    """
    if predictions.dim() == 0 or targets.dim() == 0 or len(predictions) != len(targets) or len(targets) == 0:
        got = f"{tuple(predictions.shape)} and {tuple(targets.shape)}"
        raise ValueError(f"expected a prediction and a target for each sample, got shapes {got}")
    losses = loss(predictions, targets)
    if losses.shape != targets.shape[:1]:
        # A mean over what broadcasting made of (m, 1) and (m,) would be a plausible and wrong number.
        raise ValueError(f"expected one loss for each of {len(targets)} samples, got shape {tuple(losses.shape)}")
    return losses.mean() if losses.is_floating_point() else losses.to(torch.get_default_dtype()).mean()


def fit_stump(x: Float[Tensor, "m d"], y: Integer[Tensor, "m"]) -> Stump:
    r"""The stump of least empirical risk, by exhaustive search over features, thresholds and signs.

    .. math:: \min_{j,\, t,\, s} \frac1m \sum_{i=1}^{m} [h_{j,t,s}(x_i) \ne y_i]

    After sorting a feature, the errors of all its thresholds are two running sums, so the search takes
    :math:`O(d\, m \log m)` steps. Thresholds lie midway between neighbouring values, or beyond all of them.

    Args:
        x: m samples with d features, finite, m and d at least 1.
        y: their classes, 0 or 1.

    Returns:
        The best stump; of equally good ones that of the smallest feature, then sign 1, then the smallest threshold.

    Raises:
        ValueError: if shapes do not fit, a number is not finite or a class is neither 0 nor 1.

    Source: Shalev-Shwartz and Ben-David, *Understanding Machine Learning*, Cambridge 2014, section 10.1.1.

    >>> fit_stump(torch.tensor([[1.0], [2.0], [3.0], [6.0]]), torch.tensor([0, 1, 0, 1]))
    Stump(feature=0, threshold=1.5, sign=1, risk=0.25)
    """
    check_tensor("x", x)
    check_tensor("y", y, integer=True)
    if x.dim() != 2 or x.numel() == 0 or y.shape != x.shape[:1]:
        got = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise ValueError(f"expected x of shape (m, d) and y of shape (m,), both at least 1, got {got}")
    check_finite("x", x)
    if not ((y == 0) | (y == 1)).all():
        raise ValueError(f"expected classes 0 and 1, got {y[(y != 0) & (y != 1)][0].item()}")
    m, d = x.shape
    values, order = x.sort(dim=0)
    ones = torch.cat([y.new_zeros(1, d), y[order].cumsum(dim=0)])  # (m + 1, d), ones among the r smallest values
    below = torch.arange(m + 1, device=x.device).unsqueeze(1)  # (m + 1, 1), how many values are below the threshold
    errors = ones + (m - below) - (ones[-1] - ones)  # (m + 1, d) with sign 1: ones below and zeros above
    tied = torch.zeros_like(errors, dtype=torch.bool)
    tied[1:-1] = values[1:] == values[:-1]  # no threshold fits between equal values
    errors = torch.stack([errors, m - errors])  # (2, m + 1, d)
    errors = errors.masked_fill(tied, m + 1)
    best = int(errors.permute(2, 0, 1).flatten().argmin())  # the first of the smallest, in the order of the docstring
    feature, sign, rank = best // (2 * (m + 1)), best // (m + 1) % 2, best % (m + 1)
    if 0 < rank < m:
        low, high = values[rank - 1, feature], values[rank, feature]
        middle = low / 2 + high / 2  # high - low could overflow
        # Between neighbouring floats there is none, and the middle may round up to the higher one.
        threshold = float(middle if low <= middle < high else low)
    else:
        threshold = float("-inf") if rank == 0 else float("inf")
    return Stump(feature, threshold, 1 - 2 * sign, int(errors[sign, rank, feature]) / m)


def predict_stump(stump: Stump, x: Float[Tensor, "m d"]) -> Int64[Tensor, "m"]:
    r"""Classes that a stump gives to samples.

    .. math:: h(x) = [x_j > t] \text{ or } [x_j \le t]

    Args:
        stump: the rule.
        x: m samples with d features.

    Returns:
        The classes, 0 or 1.

    Raises:
        ValueError: if the samples are no rows or lack the stump's feature.

    Source: Iba and Langley 1992.

    >>> predict_stump(Stump(feature=0, threshold=1.5, sign=-1, risk=0.0), torch.tensor([[1.0], [2.0]]))
    tensor([1, 0])
    """
    check_tensor("x", x)
    if x.dim() != 2 or not 0 <= stump.feature < x.shape[1]:
        raise ValueError(f"expected rows with a feature {stump.feature}, got shape {tuple(x.shape)}")
    above = x[:, stump.feature] > stump.threshold
    return (above if stump.sign == 1 else ~above).long()
