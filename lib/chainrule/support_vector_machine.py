r"""Support vector machines: the hyperplane of largest margin, exact by its dual problem, and with slack if need be.

For labels :math:`y_i \in \{-1, +1\}` and a penalty C, the machine minimizes

.. math:: P(w, b) = \tfrac12 \lVert w \rVert^2
    + C \sum_{i=1}^{m} \max\bigl(0, 1 - y_i (\langle w, x_i \rangle + b)\bigr);

:math:`C = \infty` allows no slack and gives the largest margin, :math:`1 / \lVert w \rVert`. The samples enter the dual
problem by their inner products only. With :math:`\beta_i = \alpha_i y_i`,

.. math:: \max_\beta \; \sum_i y_i \beta_i - \tfrac12 \sum_{i,j} \beta_i \beta_j \langle x_i, x_j \rangle
    \qquad\text{subject to}\qquad \sum_i \beta_i = 0, \quad 0 \le y_i \beta_i \le C .

Reference: C. Cortes and V. Vapnik, Support-vector networks, Machine Learning 20, 1995; R.-E. Fan, P.-H. Chen and
C.-J. Lin, Working set selection using second order information for training support vector machines, JMLR 6, 2005.
The book's chapter ``learning-from-data`` teaches this module. Half-spaces and margins are in
:mod:`chainrule.perceptron`.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from chainrule._validate import check_finite, check_tensor

__all__ = [
    "DualSolution",
    "LinearSVM",
    "dual_objective",
    "fit_linear_svm",
    "hinge_loss",
    "primal_objective",
    "solve_dual",
]


class DualSolution(NamedTuple):
    r"""What :func:`solve_dual` found.

    .. math:: f(x) = \sum_i \beta_i \langle x_i, x \rangle + b, \qquad \beta_i = \alpha_i y_i

    Args:
        coefficients: :math:`\beta_i`, of the sign of the label, 0 except for the support vectors.
        bias: b.
        steps: how many pairs of coefficients were adjusted.

    Returns:
        The three values, as a named tuple.

    Raises:
        TypeError: if a value is missing.

    Source: Cortes and Vapnik 1995, section 2.

    >>> solve_dual(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), torch.tensor([1, -1])).coefficients
    tensor([ 0.5000, -0.5000])
    """

    coefficients: Float[Tensor, "m"]
    bias: Float[Tensor, ""]
    steps: int


class LinearSVM(NamedTuple):
    r"""What :func:`fit_linear_svm` found.

    .. math:: w = \sum_i \beta_i x_i

    Args:
        weight: w, of shape (d,).
        bias: b.
        coefficients: :math:`\beta_i` of each sample.
        support: which samples are support vectors, that is, have a coefficient other than 0.

    Returns:
        The four values, as a named tuple.

    Raises:
        TypeError: if a value is missing.

    Source: Cortes and Vapnik 1995, section 2.

    >>> fit_linear_svm(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([-1, -1, 1])).support
    tensor([False,  True,  True])
    """

    weight: Float[Tensor, "d"]
    bias: Float[Tensor, ""]
    coefficients: Float[Tensor, "m"]
    support: Bool[Tensor, "m"]


def hinge_loss(scores: Float[Tensor, "m"], y: Shaped[Tensor, "m"]) -> Float[Tensor, "m"]:
    r"""The hinge loss of each sample: how far its score falls short of 1 on the right side.

    .. math:: \ell(s, y) = \max(0, 1 - y s)

    Args:
        scores: :math:`s_i = \langle w, x_i \rangle + b`.
        y: labels, -1 or +1, integers or floats.

    Returns:
        The losses, at least 0; each is at least 1 where the sign is wrong.

    Raises:
        ValueError: if the shapes do not fit or a label is neither -1 nor +1.

    Source: Cortes and Vapnik 1995, section 3.

    >>> hinge_loss(torch.tensor([2.0, 0.5, -1.0]), torch.tensor([1, 1, 1]))
    tensor([0.0000, 0.5000, 2.0000])
    """
    check_tensor("scores", scores)
    if scores.dim() != 1 or y.shape != scores.shape:
        raise ValueError(f"expected scores and y of one shape (m,), got {tuple(scores.shape)} and {tuple(y.shape)}")
    return (1 - _signs(y, scores) * scores).clamp(min=0)


def primal_objective(
    x: Float[Tensor, "m d"],
    y: Shaped[Tensor, "m"],
    weight: Float[Tensor, "d"],
    bias: Float[Tensor, ""] | float,
    penalty: float,
) -> Float[Tensor, ""]:
    r"""What the soft-margin machine minimizes: half the squared length of w, plus C times the sum of hinge losses.

    .. math:: P(w, b) = \tfrac12 \lVert w \rVert^2 + C \sum_{i} \max\bigl(0, 1 - y_i (\langle w, x_i \rangle + b)\bigr)

    Args:
        x: samples, as rows.
        y: labels, -1 or +1.
        weight: w.
        bias: b.
        penalty: C, finite and positive.

    Returns:
        The value, at least 0. It is convex in w and b.

    Raises:
        ValueError: if the shapes do not fit, a label is neither -1 nor +1, or the penalty is not finite and positive.

    Source: Cortes and Vapnik 1995, section 3.

    >>> x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([-1, 1])
    >>> primal_objective(x, y, torch.tensor([1.0]), -0.5, penalty=2.0)
    tensor(1.5000)
    """
    _check_samples(x, y)
    if weight.shape != x.shape[1:]:
        raise ValueError(f"expected weight of shape ({x.shape[1]},), got {tuple(weight.shape)}")
    if not 0 < penalty < math.inf:
        raise ValueError(f"expected a finite positive penalty, got {penalty}")
    return weight.square().sum() / 2 + penalty * hinge_loss(x @ weight + bias, y).sum()


def dual_objective(
    gram: Float[Tensor, "m m"], y: Shaped[Tensor, "m"], coefficients: Float[Tensor, "m"]
) -> Float[Tensor, ""]:
    r"""What the dual problem maximizes; for feasible coefficients a lower bound of :func:`primal_objective`.

    .. math:: D(\beta) = \sum_i y_i \beta_i - \tfrac12 \beta^\top K \beta

    Args:
        gram: inner products of the samples, or any kernel's matrix K.
        y: labels, -1 or +1.
        coefficients: :math:`\beta_i = \alpha_i y_i`.

    Returns:
        The value.

    Raises:
        ValueError: if the shapes do not fit or a label is neither -1 nor +1.

    Source: Cortes and Vapnik 1995, section 3.

    >>> K = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> dual_objective(K, torch.tensor([1, -1]), torch.tensor([0.5, -0.5]))
    tensor(0.5000)
    """
    sign = _check_gram(gram, y)
    if coefficients.shape != sign.shape:
        raise ValueError(f"expected coefficients of shape ({len(sign)},), got {tuple(coefficients.shape)}")
    return sign @ coefficients - coefficients @ gram @ coefficients / 2


def solve_dual(
    gram: Float[Tensor, "m m"],
    y: Shaped[Tensor, "m"],
    penalty: float = math.inf,
    *,
    tolerance: float = 1e-4,
    max_steps: int = 100_000,
) -> DualSolution:
    r"""Solve the dual problem by adjusting two coefficients at a time (sequential minimal optimization).

    .. math:: \beta_i \leftarrow \beta_i + t, \quad \beta_j \leftarrow \beta_j - t, \qquad
        t = \frac{r_i - r_j}{K_{ii} + K_{jj} - 2 K_{ij}} \text{ or less}, \qquad r = y - K \beta

    A pair leaves the sum of the coefficients at 0. At the optimum there is a b with :math:`r_i \le b` wherever
    :math:`\beta_i` could grow and :math:`r_j \ge b` wherever :math:`\beta_j` could shrink. Each step takes the i with
    the largest :math:`r_i` and the j that promises the largest gain.

    Args:
        gram: inner products of the samples, or any kernel's matrix K: symmetric, positive semi-definite, finite.
        y: labels, -1 or +1, both present.
        penalty: C, positive. Infinity (default) asks for a separation without slack.
        tolerance: by how much the condition above may fail, in units of the score; positive.
        max_steps: where to give up.

    Returns:
        The coefficients, the bias and the number of steps.

    Raises:
        ValueError: if the shapes do not fit, a number is not finite, a class is missing, the penalty or tolerance is
            not positive, or the steps do not suffice, as happens without end if C is infinite and nothing separates.

    Source: Fan, Chen and Lin 2005, algorithm 2.

    >>> x = torch.tensor([[0.0], [1.0], [3.0]])
    >>> solution = solve_dual(x @ x.T, torch.tensor([-1, -1, 1]))
    >>> solution.coefficients, solution.bias
    (tensor([ 0.0000, -0.5000,  0.5000]), tensor(-2.))
    """
    sign = _check_gram(gram, y)
    check_finite("gram", gram)
    if not penalty > 0:
        raise ValueError(f"expected a positive penalty, got {penalty}")
    if not tolerance > 0:
        raise ValueError(f"expected a positive tolerance, got {tolerance}")
    if (sign > 0).all() or (sign < 0).all():
        raise ValueError(f"expected both classes, -1 and 1, got only {int(sign[0])}")
    lower, upper = (sign * penalty).clamp(max=0), (sign * penalty).clamp(min=0)  # the bounds of each coefficient
    beta = torch.zeros_like(sign)
    residual = sign.clone()  # y - K beta, kept up to date
    diagonal = gram.diagonal()
    smallest = torch.finfo(gram.dtype).eps
    for step in range(max_steps + 1):
        can_grow = residual.masked_fill(beta >= upper, -math.inf)
        can_shrink = residual.masked_fill(beta <= lower, math.inf)
        i = int(can_grow.argmax())
        highest, lowest = float(can_grow[i]), float(can_shrink.min())
        if highest - lowest <= tolerance:
            return DualSolution(beta, residual.new_tensor((highest + lowest) / 2), step)
        gap = (highest - can_shrink).clamp(min=0)  # (m,), 0 where there is nothing to gain
        curvature = (diagonal[i] + diagonal - 2 * gram[i]).clamp(min=smallest)
        j = int((gap.square() / curvature).masked_fill(can_shrink.isinf(), -math.inf).argmax())
        room_i, room_j = float(upper[i] - beta[i]), float(beta[j] - lower[j])
        change = min(float(gap[j] / curvature[j]), room_i, room_j)
        # A bound is reached exactly or not at all: what rounding leaves over would be taken for room.
        beta[i] = upper[i] if change == room_i else beta[i] + change
        beta[j] = lower[j] if change == room_j else beta[j] - change
        residual -= change * (gram[i] - gram[j])
    advice = "; with an infinite penalty this means that nothing separates the classes" if math.isinf(penalty) else ""
    raise ValueError(f"expected to be done after {max_steps} steps, got a gap of {highest - lowest:.3g}{advice}")


def fit_linear_svm(
    x: Float[Tensor, "m d"],
    y: Shaped[Tensor, "m"],
    penalty: float = math.inf,
    *,
    tolerance: float = 1e-4,
    max_steps: int = 100_000,
) -> LinearSVM:
    r"""The linear support vector machine: the separating hyperplane of largest margin, or the best one with slack.

    .. math:: \min_{w, b} \; \tfrac12 \lVert w \rVert^2
        + C \sum_i \max\bigl(0, 1 - y_i (\langle w, x_i \rangle + b)\bigr)

    Args:
        x: samples, as rows, finite.
        y: labels, -1 or +1, both present.
        penalty: C; infinity (default) allows no slack.
        tolerance: as for :func:`solve_dual`.
        max_steps: where to give up.

    Returns:
        The weights, the bias, the coefficients of the samples, and which samples are support vectors.

    Raises:
        ValueError: as :func:`solve_dual`.

    Source: Cortes and Vapnik 1995.

    >>> x = torch.tensor([[0.0, 0.0], [-1.0, 0.0], [2.0, 2.0], [3.0, 1.0]])
    >>> machine = fit_linear_svm(x, torch.tensor([-1, -1, 1, 1]))
    >>> machine.weight, machine.bias
    (tensor([0.5000, 0.5000]), tensor(-1.))
    """
    _check_samples(x, y)
    # Inner products of centred points round less; w stays the same and b is moved back.
    center = x.mean(dim=0)
    centred = x - center
    solution = solve_dual(centred @ centred.T, y, penalty, tolerance=tolerance, max_steps=max_steps)
    weight = solution.coefficients @ centred
    return LinearSVM(weight, solution.bias - weight @ center, solution.coefficients, solution.coefficients != 0)


def _signs(y: Tensor, like: Tensor) -> Tensor:
    """The labels in the type of ``like``, once they are found to be -1 or +1."""
    sign = y.to(like)
    bad = sign.abs() != 1
    if bad.any():
        raise ValueError(f"expected labels of -1 or 1, got {y[bad][0].item()}")
    return sign


def _check_samples(x: Tensor, y: Tensor) -> None:
    check_tensor("x", x)
    if x.dim() != 2 or y.shape != x.shape[:1] or len(x) == 0:
        got = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise ValueError(f"expected x of shape (m, d) and y of shape (m,), m at least 1, got {got}")
    check_finite("x", x)


def _check_gram(gram: Tensor, y: Tensor) -> Tensor:
    check_tensor("gram", gram)
    if gram.dim() != 2 or gram.shape != (len(y), len(y)) or y.dim() != 1 or len(y) == 0:
        got = f"{tuple(gram.shape)} and {tuple(y.shape)}"
        raise ValueError(f"expected gram of shape (m, m) and y of shape (m,), m at least 1, got {got}")
    return _signs(y, gram)
