r"""Half-spaces, margins, and the perceptron, which finds a hyperplane between two classes where there is one.

A weight vector w and a bias b cut the space in two: the sign of

.. math:: \langle w, x \rangle + b

says on which side x lies, and its absolute value divided by the length of w how far from the boundary. The perceptron
adds :math:`y_i x_i` to w (and :math:`y_i` to b) for each sample with :math:`y_i (\langle w, x_i \rangle + b) \le 0`
until none is left. If some w separates the samples with the margin :math:`\gamma` and they lie within the radius R,
this takes at most :math:`(R / \gamma)^2` updates (Novikoff's theorem).

Reference: F. Rosenblatt, "The perceptron: a probabilistic model for information storage and organization in the
brain", Psychological Review 65, 1958; A. B. J. Novikoff, "On convergence proofs on perceptrons", Symposium on the
Mathematical Theory of Automata, 1962.
The book's chapter ``neural-networks`` teaches this module.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Integer, Shaped
from torch import Tensor

from chainrule._validate import check_finite, check_tensor

__all__ = ["PerceptronFit", "fit_perceptron", "half_space", "margin", "mistake_bound", "signed_distance"]


class PerceptronFit(NamedTuple):
    r"""What :func:`fit_perceptron` found.

    .. math:: w = \sum_{t=1}^{T} y_{i_t} x_{i_t}, \qquad b = \sum_{t=1}^{T} y_{i_t}

    Args:
        weight: the weights w, of shape (d,).
        bias: the bias b, of shape (); 0 if none was fitted.
        updates: the samples :math:`i_1, \dots, i_T` that caused the updates, in order; with their labels they give
            the weights after each step.
        converged: whether no mistake is left.

    Returns:
        The four values, as a named tuple.

    Raises:
        TypeError: if a value is missing.

    Source: Rosenblatt 1958.

    >>> x = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> fit_perceptron(x, torch.tensor([1, -1]), fit_bias=False).updates
    tensor([0, 1])
    """

    weight: Float[Tensor, "d"]
    bias: Float[Tensor, ""]
    updates: Integer[Tensor, "t"]
    converged: bool


def half_space(
    x: Float[Tensor, "*batch d"], weight: Float[Tensor, "d"], bias: Float[Tensor, ""] | float = 0.0
) -> Float[Tensor, "*batch"]:
    r"""Classify by the side of a hyperplane.

    .. math:: h_{w,b}(x) = \begin{cases} +1 & \langle w, x \rangle + b \ge 0 \\ -1 & \text{otherwise} \end{cases}

    Args:
        x: points, as rows.
        weight: the normal vector w of the hyperplane; it points to the side of +1.
        bias: b; the hyperplane is where :math:`\langle w, x \rangle = -b`.

    Returns:
        +1 or -1 for each point; points on the hyperplane itself get +1.

    Raises:
        ValueError: if the shapes do not fit.

    Source: Rosenblatt 1958.

    >>> half_space(torch.tensor([[1.0, 2.0, 3.0], [-1.0, -2.0, -1.0]]), torch.tensor([1.0, 2.0, 3.0]))
    tensor([ 1., -1.])
    """
    score = _score(x, weight, bias)
    return torch.where(score >= 0, 1.0, -1.0).to(score.dtype)


def signed_distance(
    x: Float[Tensor, "*batch d"], weight: Float[Tensor, "d"], bias: Float[Tensor, ""] | float = 0.0
) -> Float[Tensor, "*batch"]:
    r"""Distance of points to a hyperplane, positive on the side to which the normal points.

    .. math:: \frac{\langle w, x \rangle + b}{\lVert w \rVert}

    Args:
        x: points, as rows.
        weight: the normal vector w, not 0.
        bias: b.

    Returns:
        The distances, in the units of x.

    Raises:
        ValueError: if the shapes do not fit, or the weights are all 0.

    Source: Novikoff 1962.

    >>> signed_distance(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([3.0, 4.0]), -5.0)
    tensor([ 4., -1.])
    """
    score = _score(x, weight, bias)
    if not weight.any():
        raise ValueError("expected weights that are not all 0, for they give no hyperplane")
    return score / torch.linalg.vector_norm(weight)


def margin(
    x: Float[Tensor, "m d"],
    y: Shaped[Tensor, "m"],
    weight: Float[Tensor, "d"],
    bias: Float[Tensor, ""] | float = 0.0,
) -> Float[Tensor, ""]:
    r"""The least distance of the samples to the hyperplane, counted negative on the wrong side.

    .. math:: \min_i \; y_i \, \frac{\langle w, x_i \rangle + b}{\lVert w \rVert}

    Args:
        x: samples, as rows.
        y: their labels, -1 or +1, integers or floats.
        weight: the normal vector w, not 0.
        bias: b.

    Returns:
        The margin; it is positive exactly if the hyperplane separates the two classes.

    Raises:
        ValueError: if the shapes do not fit, there are no samples, a label is neither -1 nor +1, or the weights are
            all 0.

    Source: Novikoff 1962.

    >>> x = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> margin(x, torch.tensor([1, -1]), torch.tensor([1.0, 0.0]), -0.5)
    tensor(0.5000)
    """
    sign = _check_samples(x, y)
    return (sign * signed_distance(x, weight, bias)).min()


def mistake_bound(
    x: Float[Tensor, "m d"],
    y: Shaped[Tensor, "m"],
    weight: Float[Tensor, "d"],
    bias: Float[Tensor, ""] | float | None = None,
) -> Float[Tensor, ""]:
    r"""Novikoff's bound on the number of updates of the perceptron, from any hyperplane that separates the samples.

    .. math:: \Bigl(\frac{R}{\gamma}\Bigr)^2, \qquad R = \max_i \lVert x_i \rVert, \qquad
        \gamma = \min_i \frac{y_i \langle w, x_i \rangle}{\lVert w \rVert}

    With a bias each sample gets a further entry 1 and w the further entry b, as in the perceptron itself.

    Args:
        x: samples, as rows.
        y: their labels, -1 or +1.
        weight: the weights w of a hyperplane that separates them; the larger its margin, the better the bound.
        bias: b; None (default) bounds the perceptron without a bias.

    Returns:
        The bound, at least 1.

    Raises:
        ValueError: as :func:`margin`, or if the hyperplane does not separate the samples.

    Source: Novikoff 1962.

    >>> mistake_bound(torch.eye(4), torch.tensor([1, 1, 1, 1]), torch.ones(4))
    tensor(4.)
    """
    _check_samples(x, y)
    if bias is not None:
        bias = torch.as_tensor(bias, dtype=x.dtype, device=x.device)
        x, weight = _append_one(x), torch.cat([weight, bias.reshape(1)])
    gamma = margin(x, y, weight)
    if not gamma > 0:
        raise ValueError(f"expected a hyperplane that separates the samples, got the margin {gamma.item()}")
    return (torch.linalg.vector_norm(x, dim=1).max() / gamma).square()


def fit_perceptron(
    x: Float[Tensor, "m d"], y: Shaped[Tensor, "m"], *, fit_bias: bool = True, max_updates: int = 10_000
) -> PerceptronFit:
    r"""The perceptron's learning rule: correct each mistake by adding the sample, until no mistake is left.

    .. math:: w \leftarrow w + y_i x_i, \quad b \leftarrow b + y_i
        \qquad\text{where}\qquad y_i (\langle w, x_i \rangle + b) \le 0

    It starts from 0 and takes the samples in turn, so that the result is the same in every run.

    Args:
        x: samples, as rows.
        y: their labels, -1 or +1, integers or floats.
        fit_bias: whether to learn b; without it the hyperplane goes through the origin.
        max_updates: where to stop if mistakes remain, at least 0. On classes that no hyperplane separates, mistakes
            remain for ever.

    Returns:
        The weights, the bias, the samples that caused the updates, and whether all samples are right.

    Raises:
        ValueError: if the shapes do not fit, a number is not finite, a label is neither -1 nor +1, or max_updates is
            negative.

    Source: Rosenblatt 1958; Novikoff 1962.

    >>> x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> fit = fit_perceptron(x, torch.tensor([-1, -1, -1, 1]))
    >>> fit.weight, fit.bias, len(fit.updates)
    (tensor([3., 2.]), tensor(-4.), 18)
    """
    sign = _check_samples(x, y)
    check_finite("x", x)
    if max_updates < 0:
        raise ValueError(f"expected max_updates of at least 0, got {max_updates}")
    signed = sign.unsqueeze(1) * (_append_one(x) if fit_bias else x)  # (m, d+1): a mistake is a score of at most 0
    w = signed.new_zeros(signed.shape[1])
    updates: list[int] = []
    start = 0
    while True:
        wrong = (signed @ w <= 0).nonzero()[:, 0]
        if len(wrong) == 0 or len(updates) == max_updates:
            break
        # The next mistake in turn: the first one from `start` on, else the first one from the beginning.
        later = wrong[wrong >= start]
        i = int(later[0] if len(later) else wrong[0])
        w = w + signed[i]
        updates.append(i)
        start = i + 1
    order = torch.tensor(updates, dtype=torch.long, device=x.device)
    return PerceptronFit(w[: x.shape[1]], w[-1] if fit_bias else w.new_zeros(()), order, converged=not len(wrong))


def _append_one(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1)  # (m, d+1)


def _score(x: Tensor, weight: Tensor, bias: Tensor | float) -> Tensor:
    check_tensor("x", x)
    check_tensor("weight", weight)
    if weight.dim() != 1 or x.dim() == 0 or x.shape[-1] != len(weight):
        got = f"{tuple(x.shape)} and {tuple(weight.shape)}"
        raise ValueError(f"expected x of shape (..., d) and weight of shape (d,), got {got}")
    return x @ weight + bias


def _check_samples(x: Tensor, y: Tensor) -> Tensor:
    """The labels in the type of x, once they and the shapes are found right."""
    check_tensor("x", x)
    if x.dim() != 2 or y.shape != x.shape[:1] or len(x) == 0:
        got = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise ValueError(f"expected x of shape (m, d) and y of shape (m,), m at least 1, got {got}")
    bad = (y != 1) & (y != -1)
    if bad.any():
        raise ValueError(f"expected labels -1 or +1, got {y[bad][0].item()}")
    return y.to(x.dtype)
