r"""Loss functions: how wrong a prediction is, and in which direction it should move.

Scores s in R^k are a network's raw outputs, one a class; a single score s decides between class 1 (s > 0) and class 0.
All losses are means over the m samples, in nats where a logarithm is involved.

.. math::

    \ell_{\mathrm{CE}}(s, y) = -s_y + \log \sum_{c} e^{s_c}, \qquad
    \ell_{\mathrm{BCE}}(s, y) = \log(1 + e^s) - y s, \qquad
    \ell_{\mathrm{hinge}}(s, y) = \sum_{c \ne y} \max(0, s_c - s_y + \Delta), \qquad
    \ell_2(\hat y, y) = \lVert \hat y - y \rVert^2

The forms that start from scores are the only ones here for cross entropies: a probability that has been rounded to 0 or
1 has lost what its logarithm needs.

Reference: C. M. Bishop and H. Bishop, *Deep Learning: Foundations and Concepts*, Springer 2024, section 6.4.
The book's chapter ``neural-networks`` teaches this module.
"""

import math

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from chainrule._validate import check_positive, check_tensor
from chainrule.likelihood import log_sum_exp

__all__ = [
    "absolute_error_loss",
    "binary_cross_entropy_loss",
    "categorical_cross_entropy_loss",
    "huber_loss",
    "multiclass_hinge_loss",
    "project_to_unit_circle",
    "softmax_cross_entropy_loss",
    "squared_error_loss",
    "zero_one_loss",
]


def zero_one_loss(scores: Float[Tensor, "m k"], labels: Integer[Tensor, "m"]) -> Float[Tensor, ""]:
    r"""Share of the samples whose highest score is not that of their class; 1 minus the accuracy.

    .. math:: L_{0,1} = \frac{1}{m} \sum_{i=1}^{m} \mathbf{1}\big[\arg\max_c s_{ic} \ne y_i\big]

    Args:
        scores: one a class; of equal highest scores the first counts.
        labels: the classes, integers in [0, k).

    Returns:
        The share, in [0, 1]. It is constant almost everywhere, so it has no derivative to follow.

    Raises:
        ValueError: if the shapes do not fit or a label lies outside [0, k).

    Source: Shalev-Shwartz and Ben-David, *Understanding Machine Learning*, section 2.1.

    >>> zero_one_loss(torch.tensor([[2.0, 1.0], [0.5, 0.1]]), torch.tensor([0, 1]))
    tensor(0.5000)
    """
    _check_scores(scores, labels)
    return (scores.argmax(dim=1) != labels).to(scores.dtype).mean()


def binary_cross_entropy_loss(scores: Float[Tensor, "m"], labels: Float[Tensor, "m"]) -> Float[Tensor, ""]:
    r"""Mean negative log-likelihood of two classes, where class 1 has probability :math:`\sigma(s)`.

    .. math::

        L = -\frac{1}{m} \sum_{i=1}^{m} \big[ y_i \log \sigma(s_i) + (1 - y_i) \log(1 - \sigma(s_i)) \big]
          = \frac{1}{m} \sum_{i=1}^{m} \big[ \log(1 + e^{s_i}) - y_i s_i \big]

    Args:
        scores: the log-odds of class 1.
        labels: 0 or 1, or the probability of class 1 in between, of the same floating type.

    Returns:
        The mean, in nats, at least 0; its derivative in a score is :math:`(\sigma(s_i) - y_i) / m`.

    Raises:
        ValueError: if the shapes differ, there is no sample, or a label lies outside [0, 1].

    Source: Bishop and Bishop, section 6.4.2.

    >>> binary_cross_entropy_loss(torch.tensor([0.0, 1000.0]), torch.tensor([1.0, 1.0]))
    tensor(0.3466)
    """
    _check_pair("scores", scores, labels)
    if not ((labels >= 0) & (labels <= 1)).all():
        bad = labels[~((labels >= 0) & (labels <= 1))][0].item()
        raise ValueError(f"expected labels in [0, 1], got {bad}")
    # log(1 + e^s) overflows for s > 88 in float32. As max(s, 0) + log(1 + e^-|s|) no exponent is above 0.
    return (scores.clamp(min=0) - labels * scores + torch.log1p(torch.exp(-scores.abs()))).mean()


def softmax_cross_entropy_loss(
    scores: Float[Tensor, "m k"], labels: Integer[Tensor, "m"] | Float[Tensor, "m k"]
) -> Float[Tensor, ""]:
    r"""Mean cross entropy between the labels and the softmax of the scores, computed from the scores in one step.

    .. math:: L = \frac{1}{m} \sum_{i=1}^{m} \Big[ \log \sum_{c} e^{s_{ic}} - \sum_{c} p_{ic} s_{ic} \Big]

    For a class y the target p is one-hot, and the second term is :math:`s_{iy}`.

    Args:
        scores: one a class.
        labels: classes, integers in [0, k), or one distribution over the classes a row.

    Returns:
        The mean, in nats; its derivative in the scores is :math:`(\mathrm{softmax}(s_i) - p_i) / m`.

    Raises:
        ValueError: if the shapes do not fit, or a label lies outside [0, k) or a row of them is no distribution.

    Source: Bishop and Bishop, section 6.4.3.

    >>> softmax_cross_entropy_loss(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([2]))
    tensor(0.4076)
    """
    if labels.is_floating_point():
        _check_targets(scores, labels)
        chosen = (labels * scores).sum(dim=1)  # (m,)
    else:
        _check_scores(scores, labels)
        chosen = scores.gather(1, labels.long().unsqueeze(1)).squeeze(1)
    return (log_sum_exp(scores, dim=1) - chosen).mean()


def categorical_cross_entropy_loss(log_probs: Float[Tensor, "m k"], targets: Float[Tensor, "m k"]) -> Float[Tensor, ""]:
    r"""Mean cross entropy of predicted distributions, given as logarithms, relative to target distributions.

    .. math:: L = -\frac{1}{m} \sum_{i=1}^{m} \sum_{c=1}^{k} y_{ic} \log h_{ic}

    Args:
        log_probs: logarithms of the predicted probabilities, rows as ``log_softmax`` gives; -inf is allowed.
        targets: one distribution over the classes a row; one-hot for a class that is certain.

    Returns:
        The mean, in nats; ``inf`` if something of positive target was given probability 0.

    Raises:
        ValueError: if the shapes do not fit or a row of ``targets`` is no distribution.

    Source: Goodfellow, Bengio and Courville, section 5.5.

    >>> categorical_cross_entropy_loss(torch.tensor([[0.25, 0.75]]).log(), torch.tensor([[0.0, 1.0]]))
    tensor(0.2877)
    """
    _check_targets(log_probs, targets)
    # 0 * log 0 counts as 0, but 0 * -inf is nan in floating point.
    return 0 - (targets * log_probs.masked_fill(targets == 0, 0)).sum() / len(targets)


def multiclass_hinge_loss(
    scores: Float[Tensor, "m k"], labels: Integer[Tensor, "m"], margin: float = 1.0
) -> Float[Tensor, ""]:
    r"""Mean of the amounts by which other classes come closer to the true one than a margin.

    .. math:: L = \frac{1}{m} \sum_{i=1}^{m} \sum_{c \ne y_i} \max(0, s_{ic} - s_{iy_i} + \Delta)

    Args:
        scores: one a class.
        labels: the classes, integers in [0, k).
        margin: the gap :math:`\Delta` asked for, positive, in units of the scores.

    Returns:
        The mean, at least 0, and exactly 0 once every margin is kept.

    Raises:
        ValueError: if the shapes do not fit, a label lies outside [0, k), or the margin is not positive.

    Source: Weston and Watkins, *Support vector machines for multi-class pattern recognition*, 1999.

    >>> multiclass_hinge_loss(torch.tensor([[2.0, 3.0, -1.0, 2.5]]), torch.tensor([0]))
    tensor(3.5000)
    """
    _check_scores(scores, labels)
    _check_width("margin", margin)
    true = scores.gather(1, labels.long().unsqueeze(1))  # (m, 1)
    excess = torch.relu(scores - true + margin)  # no push where a margin is kept exactly, unlike clamp
    return (excess.sum(dim=1) - margin).mean()  # the true class itself gave exactly the margin


def squared_error_loss(prediction: Float[Tensor, "m *d"], target: Float[Tensor, "m *d"]) -> Float[Tensor, ""]:
    r"""Mean over the samples of the squared Euclidean distance.

    .. math:: L = \frac{1}{m} \sum_{i=1}^{m} \lVert \hat y_i - y_i \rVert^2

    The squares are summed over the features; ``torch.nn.MSELoss`` divides by their number too.

    Args:
        prediction: one row a sample.
        target: of exactly the same shape.

    Returns:
        The mean, in squared units of the target.

    Raises:
        ValueError: if the shapes differ: ``(m, 1)`` against ``(m,)`` would broadcast to m times m differences.

    Source: Bishop and Bishop, section 6.4.1.

    >>> squared_error_loss(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [3.0, 4.0]]))
    tensor(14.5000)
    """
    _check_pair("prediction", prediction, target)
    return (prediction - target).square().sum() / len(prediction)


def absolute_error_loss(prediction: Float[Tensor, "m *d"], target: Float[Tensor, "m *d"]) -> Float[Tensor, ""]:
    r"""Mean over the samples of the sum of absolute errors; the best constant is the median.

    .. math:: L = \frac{1}{m} \sum_{i=1}^{m} \lVert \hat y_i - y_i \rVert_1

    Args:
        prediction: one row a sample.
        target: of exactly the same shape.

    Returns:
        The mean, in units of the target.

    Raises:
        ValueError: if the shapes differ.

    Source: Hastie, Tibshirani and Friedman, *The Elements of Statistical Learning*, section 10.6.

    >>> absolute_error_loss(torch.tensor([1.0, 5.0]), torch.tensor([2.0, 2.0]))
    tensor(2.)
    """
    _check_pair("prediction", prediction, target)
    return (prediction - target).abs().sum() / len(prediction)


def huber_loss(
    prediction: Float[Tensor, "m *d"], target: Float[Tensor, "m *d"], threshold: float = 1.0
) -> Float[Tensor, ""]:
    r"""Squared for small errors, absolute for large ones, with one tangent where they meet.

    .. math::

        L = \frac{1}{m} \sum_{i=1}^{m} \sum_j h(\hat y_{ij} - y_{ij}), \qquad
        h(r) = \begin{cases} \tfrac12 r^2 & |r| \le \delta \\ \delta \,(|r| - \tfrac12 \delta) & |r| > \delta
        \end{cases}

    Args:
        prediction: one row a sample.
        target: of exactly the same shape.
        threshold: the size :math:`\delta` from which an error counts as large, positive, in units of the target.

    Returns:
        The mean, in squared units of the target.

    Raises:
        ValueError: if the shapes differ or the threshold is not positive.

    Source: Huber, *Robust estimation of a location parameter*, 1964.

    >>> huber_loss(torch.tensor([0.5, 10.0]), torch.tensor([0.0, 0.0]))
    tensor(4.8125)
    """
    _check_pair("prediction", prediction, target)
    _check_width("threshold", threshold)
    size = (prediction - target).abs()
    inner = size.clamp(max=threshold)  # r where small, the threshold where large
    return (inner * (size - inner / 2)).sum() / len(prediction)


def project_to_unit_circle(outputs: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
    r"""Send points of the plane along their rays to the unit circle, as an output layer for angles.

    .. math:: (x, y) \mapsto \frac{(x, y)}{\sqrt{x^2 + y^2}}

    Args:
        outputs: points; none may be the origin, which lies on every ray.

    Returns:
        Points of norm 1, of the same shape.

    Raises:
        ValueError: if a point is the origin or not finite.

    Source: Bishop and Bishop, section 6.4.

    >>> project_to_unit_circle(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    check_tensor("outputs", outputs)
    # Without the division by the larger coordinate the squares overflow for coordinates above 1e19 in float32.
    largest = outputs.detach().abs().amax(dim=-1, keepdim=True)
    check_positive("the distances of outputs from the origin", largest)
    scaled = outputs / largest
    return scaled / scaled.square().sum(dim=-1, keepdim=True).sqrt()


def _check_scores(scores: Tensor, labels: Tensor) -> None:
    check_tensor("scores", scores)
    check_tensor("labels", labels, integer=True)
    if scores.dim() != 2 or scores.numel() == 0:
        raise ValueError(f"expected scores of shape (m, k), neither of them 0, got {tuple(scores.shape)}")
    if labels.shape != scores.shape[:1]:
        raise ValueError(f"expected labels of shape ({len(scores)},), got {tuple(labels.shape)}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= scores.shape[1]:
        raise ValueError(f"expected labels in [0, {scores.shape[1]}), got {low if low < 0 else high}")


def _check_targets(scores: Tensor, targets: Tensor) -> None:
    _check_pair("scores", scores, targets)
    if scores.dim() != 2:
        raise ValueError(f"expected scores of shape (m, k), got {tuple(scores.shape)}")
    tolerance = max(torch.finfo(targets.dtype).eps ** 0.5, 1e-6)
    total = targets.sum(dim=1)
    if not ((targets >= 0).all() and ((total - 1).abs() <= tolerance).all()):
        worst = total[(total - 1).abs().argmax()].item()
        raise ValueError(f"expected a distribution in each row of the target, got a sum of {worst} or a negative entry")


def _check_pair(name: str, prediction: Tensor, target: Tensor) -> None:
    check_tensor(name, prediction)
    check_tensor("target", target)
    if prediction.shape != target.shape:
        raise ValueError(
            f"expected {name} and target of the same shape, got {tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    if prediction.numel() == 0:
        raise ValueError(f"expected at least one sample, got shape {tuple(prediction.shape)}")


def _check_width(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"expected {name} to be finite and positive, got {value}")
