r"""Kernels: inner products of features that are never computed, and machines built on them.

A kernel is a function that is an inner product after some feature map :math:`\Phi`,

.. math:: k(x, x') = \langle \Phi(x), \Phi(x') \rangle .

A method that uses its data by inner products alone works in the feature space once each is replaced by the kernel. The
features may be many (:func:`quadratic_features`) or infinitely many (:func:`rbf_features` gives the first ones).

Reference: B. E. Boser, I. M. Guyon and V. N. Vapnik, A training algorithm for optimal margin classifiers, COLT 1992;
B. Schoelkopf and A. J. Smola, *Learning with Kernels*, MIT Press 2002.
The book's chapter ``learning-from-data`` teaches this module.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from chainrule._validate import check_finite, check_tensor
from chainrule.support_vector_machine import solve_dual

__all__ = [
    "KernelSVM",
    "fit_kernel_svm",
    "kernel_scores",
    "polynomial_kernel",
    "quadratic_features",
    "rbf_features",
    "rbf_kernel",
]

_Kernel = Callable[[Tensor, Tensor], Tensor]


class KernelSVM(NamedTuple):
    r"""What :func:`fit_kernel_svm` found.

    .. math:: f(x) = \sum_{i \in S} \beta_i \, k(x_i, x) + b

    Args:
        support_vectors: the samples with a coefficient other than 0, of shape (s, d).
        coefficients: their :math:`\beta_i`, of shape (s,).
        bias: b.
        kernel: the function k, from points (m, d) and (n, d) to a matrix (m, n).

    Returns:
        The four values, as a named tuple.

    Raises:
        TypeError: if a value is missing.

    Source: Boser, Guyon and Vapnik 1992.

    >>> x = torch.tensor([[-2.0], [0.0], [2.0]])
    >>> machine = fit_kernel_svm(x, torch.tensor([1, -1, 1]), polynomial_kernel)
    >>> len(machine.support_vectors)
    3
    """

    support_vectors: Float[Tensor, "s d"]
    coefficients: Float[Tensor, "s"]
    bias: Float[Tensor, ""]
    kernel: _Kernel


def polynomial_kernel(
    a: Float[Tensor, "m d"], b: Float[Tensor, "n d"], degree: int = 2, offset: float = 1.0
) -> Float[Tensor, "m n"]:
    r"""Polynomial kernel: a power of the inner product.

    .. math:: k(x, x') = (c + \langle x, x' \rangle)^p

    Its features are all monomials up to degree p (of degree p alone if c = 0), each with a weight.

    Args:
        a: m points, finite.
        b: n points, finite.
        degree: p, at least 1.
        offset: c, at least 0.

    Returns:
        The kernel of each pair.

    Raises:
        ValueError: if the points do not fit, the degree is below 1 or the offset below 0.

    Source: Boser, Guyon and Vapnik 1992.

    >>> polynomial_kernel(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 1.0], [0.0, 0.0]]))
    tensor([[36.,  1.]])
    """
    _check_points(a, b)
    if degree < 1:
        raise ValueError(f"expected a degree of at least 1, got {degree}")
    if not offset >= 0:
        raise ValueError(f"expected an offset of at least 0, got {offset}")
    return (a @ b.T + offset) ** degree


def quadratic_features(x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch features"]:
    r"""The feature map of the polynomial kernel of degree 2 with offset 1.

    .. math:: \Phi(x) = \bigl(1, \; \sqrt2\, x_i, \; x_i^2, \; \sqrt2\, x_i x_j \;(i < j)\bigr), \qquad
        \langle \Phi(x), \Phi(x') \rangle = (1 + \langle x, x' \rangle)^2

    Args:
        x: points with d features.

    Returns:
        (d + 1)(d + 2) / 2 features: the constant, the d linear ones, the d squares, the products of two.

    Raises:
        ValueError: if x has no axis of features.

    Source: Boser, Guyon and Vapnik 1992.

    >>> quadratic_features(torch.tensor([1.0, 2.0]))
    tensor([1.0000, 1.4142, 2.8284, 1.0000, 4.0000, 2.8284])
    """
    check_tensor("x", x)
    if x.dim() == 0:
        raise ValueError("expected x with a last axis of features, got shape ()")
    i, j = torch.triu_indices(x.shape[-1], x.shape[-1], offset=1, device=x.device)
    root = math.sqrt(2)
    return torch.cat([torch.ones_like(x[..., :1]), root * x, x.square(), root * x[..., i] * x[..., j]], dim=-1)


def rbf_kernel(a: Float[Tensor, "m d"], b: Float[Tensor, "n d"], gamma: float = 1.0) -> Float[Tensor, "m n"]:
    r"""Gaussian (RBF) kernel: 1 for equal points, falling to 0 with their distance.

    .. math:: k(x, x') = \exp(-\gamma \lVert x - x' \rVert^2)

    Args:
        a: m points, finite.
        b: n points, finite.
        gamma: :math:`\gamma`, positive and finite; one over twice the square of the width.

    Returns:
        The kernel of each pair, from 0 to 1.

    Raises:
        ValueError: if the points do not fit or gamma is not positive and finite.

    Source: Schoelkopf and Smola 2002, section 2.3.

    >>> rbf_kernel(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]]), gamma=2.0)
    tensor([[1.0000, 0.1353]])
    """
    _check_points(a, b)
    _check_gamma(gamma)
    # From |a|^2 + |b|^2 - 2 ab it would be faster, but rounding then gives equal points a kernel other than 1.
    return torch.exp(-gamma * torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square())


def rbf_features(x: Float[Tensor, "*batch"], gamma: float, num_features: int) -> Float[Tensor, "*batch features"]:
    r"""The first features of the Gaussian kernel of numbers; all of them would be infinitely many.

    .. math:: \Phi_n(x) = e^{-\gamma x^2} \sqrt{\frac{(2 \gamma)^n}{n!}} \; x^n, \qquad n = 0, 1, 2, \dots

    Args:
        x: numbers.
        gamma: :math:`\gamma`, positive and finite.
        num_features: how many, at least 1.

    Returns:
        The features, in a new last axis.

    Raises:
        ValueError: if gamma is not positive and finite, or num_features is below 1.

    Source: Schoelkopf and Smola 2002, section 2.3; it is the Taylor series of :math:`e^{2 \gamma x x'}`.

    >>> phi = rbf_features(torch.tensor([0.5, -1.0]), 1.0, 20)
    >>> phi[0] @ phi[1], rbf_kernel(torch.tensor([[0.5]]), torch.tensor([[-1.0]]))
    (tensor(0.1054), tensor([[0.1054]]))
    """
    check_tensor("x", x)
    _check_gamma(gamma)
    if num_features < 1:
        raise ValueError(f"expected num_features of at least 1, got {num_features}")
    # Each feature is the one before times x sqrt(2 gamma / n): powers and factorials on their own would overflow.
    ratio = (2 * gamma / torch.arange(1, num_features, dtype=x.dtype, device=x.device)).sqrt()
    steps = torch.cat([torch.exp(-gamma * x.square()).unsqueeze(-1), x.unsqueeze(-1) * ratio], dim=-1)
    return steps.cumprod(dim=-1)


def fit_kernel_svm(
    x: Float[Tensor, "m d"],
    y: Shaped[Tensor, "m"],
    kernel: _Kernel,
    penalty: float = math.inf,
    *,
    tolerance: float = 1e-4,
    max_steps: int = 100_000,
) -> KernelSVM:
    r"""The support vector machine in the feature space of a kernel.

    .. math:: \max_\beta \; \sum_i y_i \beta_i - \tfrac12 \sum_{i,j} \beta_i \beta_j\, k(x_i, x_j)
        \qquad\text{subject to}\qquad \sum_i \beta_i = 0, \quad 0 \le y_i \beta_i \le C

    Args:
        x: samples, as rows, finite.
        y: labels, -1 or +1, both present.
        kernel: from points (m, d) and (n, d) to the matrix of their kernels (m, n).
        penalty: C; infinity (default) allows no slack.
        tolerance: as for :func:`chainrule.support_vector_machine.solve_dual`.
        max_steps: where to give up.

    Returns:
        The machine; :func:`kernel_scores` evaluates it.

    Raises:
        ValueError: if the shapes do not fit, and as :func:`chainrule.support_vector_machine.solve_dual`.

    Source: Boser, Guyon and Vapnik 1992.

    >>> x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    >>> xor = fit_kernel_svm(x, torch.tensor([-1, -1, 1, 1]), rbf_kernel)
    >>> kernel_scores(xor, x).sign()
    tensor([-1., -1.,  1.,  1.])
    """
    _check_points(x, x)
    solution = solve_dual(kernel(x, x), y, penalty, tolerance=tolerance, max_steps=max_steps)
    support = solution.coefficients != 0
    return KernelSVM(x[support], solution.coefficients[support], solution.bias, kernel)


def kernel_scores(machine: KernelSVM, queries: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
    r"""The score of each query; its sign is the predicted class.

    .. math:: f(x) = \sum_{i \in S} \beta_i \, k(x_i, x) + b

    Args:
        machine: what :func:`fit_kernel_svm` returned.
        queries: n points, finite.

    Returns:
        The scores.

    Raises:
        ValueError: if the points do not fit.

    Source: Boser, Guyon and Vapnik 1992.

    >>> machine = fit_kernel_svm(torch.tensor([[-1.0], [1.0]]), torch.tensor([-1, 1]), polynomial_kernel)
    >>> kernel_scores(machine, torch.tensor([[0.0], [0.5]]))
    tensor([0.0000, 0.5000])
    """
    return machine.kernel(queries, machine.support_vectors) @ machine.coefficients + machine.bias


def _check_gamma(gamma: float) -> None:
    if not 0 < gamma < math.inf:
        raise ValueError(f"expected gamma to be positive and finite, got {gamma}")


def _check_points(a: Tensor, b: Tensor) -> None:
    for value in (a, b):
        check_tensor("points", value)
        if value.dim() != 2:
            raise ValueError(f"expected points as rows of a matrix, got shape {tuple(value.shape)}")
        check_finite("points", value)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"expected points with the same number of features, got {a.shape[1]} and {b.shape[1]}")
