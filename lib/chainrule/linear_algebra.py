r"""Lengths, angles and orthogonal matrices, in the forms that survive rounding.

.. math:: \langle x, y \rangle = \sum_i x_i y_i = \|x\|\,\|y\| \cos\theta,
    \qquad \|M\|_F = \Bigl(\sum_{ij} m_{ij}^2\Bigr)^{1/2} = \Bigl(\sum_r \sigma_r^2\Bigr)^{1/2},
    \qquad Q^\top Q = I

Reference: G. H. Golub and C. F. Van Loan, *Matrix Computations*, 4th edition, Johns Hopkins University Press 2013,
chapters 2 and 5.
The book's chapter ``mathematical-tools`` teaches this module.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from chainrule._validate import check_finite, check_tensor

__all__ = [
    "angle",
    "cosine_similarity",
    "euclidean_norm",
    "frobenius_norm",
    "gram_schmidt",
    "orthogonality_error",
    "random_orthogonal",
    "rotation_matrix",
    "spectral_norm",
]


def euclidean_norm(x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
    r"""Length of a vector, without overflow or underflow of the squares.

    .. math:: \|x\|_2 = c \Bigl(\sum_i (x_i / c)^2\Bigr)^{1/2}, \qquad c = \max_i |x_i|

    Args:
        x: vectors along the last axis, finite.

    Returns:
        The lengths; 0 for a vector of zeros or of no entries. The derivative at zero is taken to be 0.

    Raises:
        ValueError: if an entry is not finite, or ``x`` has no axis.

    Source: Golub and Van Loan, section 2.2.

    >>> euclidean_norm(torch.tensor([3e30, 4e30]))  # the squares do not fit into float32
    tensor(5.0000e+30)
    """
    _check_axes("x", x, 1)
    if x.shape[-1] == 0:
        return x.sum(dim=-1)
    # The largest quotient is 1, so the sum of squares lies in [1, d]. The scale cancels from the derivative.
    scale = x.detach().abs().amax(dim=-1, keepdim=True)
    unit = x / scale.masked_fill(scale == 0, 1)
    squares = unit.square().sum(dim=-1)
    # sqrt has an infinite slope at 0: there its argument is replaced, so that the gradient is 0 and not nan.
    root = torch.sqrt(squares.masked_fill(squares == 0, 1)).masked_fill(squares == 0, 0)
    return scale.squeeze(-1) * root


def frobenius_norm(matrix: Float[Tensor, "*batch a b"]) -> Float[Tensor, "*batch"]:
    r"""Root of the sum of all squared entries, which is that of all squared singular values.

    .. math:: \|M\|_F = \Bigl(\sum_{ij} m_{ij}^2\Bigr)^{1/2} = \bigl(\operatorname{tr} M^\top M\bigr)^{1/2}
        = \Bigl(\sum_r \sigma_r^2\Bigr)^{1/2}

    Args:
        matrix: matrices in the last two axes, finite.

    Returns:
        The norms.

    Raises:
        ValueError: if an entry is not finite, or there are fewer than two axes.

    Source: Golub and Van Loan, section 2.3.

    >>> frobenius_norm(torch.tensor([[1.0, 2.0], [2.0, 4.0]]))
    tensor(5.)
    """
    _check_axes("matrix", matrix, 2)
    return euclidean_norm(matrix.flatten(-2))


def spectral_norm(matrix: Float[Tensor, "*batch a b"]) -> Float[Tensor, "*batch"]:
    r"""Largest factor by which a matrix can stretch a vector: its largest singular value.

    .. math:: \|M\|_2 = \max_{x \ne 0} \frac{\|Mx\|_2}{\|x\|_2} = \sigma_1, \qquad \|M\|_2 \le \|M\|_F

    Args:
        matrix: matrices in the last two axes, finite, with at least one entry.

    Returns:
        The norms.

    Raises:
        ValueError: if an entry is not finite, there are fewer than two axes, or no entries.

    Source: Golub and Van Loan, section 2.3.

    >>> spectral_norm(torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
    tensor(2.)
    """
    _check_axes("matrix", matrix, 2)
    if 0 in matrix.shape[-2:]:
        raise ValueError(f"expected a matrix with at least one entry, got shape {tuple(matrix.shape)}")
    return torch.linalg.svdvals(matrix)[..., 0]


def cosine_similarity(x: Float[Tensor, "*#batch d"], y: Float[Tensor, "*#batch d"]) -> Float[Tensor, "*batch"]:
    r"""Cosine of the angle between two vectors.

    .. math:: \cos\theta = \frac{\langle x, y \rangle}{\|x\|\,\|y\|}

    Args:
        x: vectors along the last axis, finite, none of them zero.
        y: vectors of the same length; batch axes broadcast.

    Returns:
        The cosines, in [-1, 1].

    Raises:
        ValueError: if a vector is zero (it has no direction), an entry is not finite, or the lengths differ.

    Source: Golub and Van Loan, section 2.2.

    >>> cosine_similarity(torch.tensor([1.0, 0.0]), torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]))
    tensor([ 1.,  0., -1.])
    """
    unit_x, unit_y = _directions(x, y)
    # Rounding may carry the cosine of parallel vectors past 1, and its arccosine to nan.
    return (unit_x * unit_y).sum(dim=-1).clamp(-1, 1)


def angle(x: Float[Tensor, "*#batch d"], y: Float[Tensor, "*#batch d"]) -> Float[Tensor, "*batch"]:
    r"""Angle between two vectors in radians, right to the last digits for small angles too.

    .. math:: \theta = 2 \operatorname{atan2}\bigl(\|u - v\|, \|u + v\|\bigr),
        \qquad u = x / \|x\|, \quad v = y / \|y\|

    Args:
        x: vectors along the last axis, finite, none of them zero.
        y: vectors of the same length; batch axes broadcast.

    Returns:
        The angles, in [0, pi].

    Raises:
        ValueError: if a vector is zero (it has no direction), an entry is not finite, or the lengths differ.

    Source: W. Kahan, How futile are mindless assessments of roundoff in floating-point computation?, 2006, section 12.

    >>> angle(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1e-5]))  # arccos of the cosine would give 0
    tensor(1.0000e-05)
    """
    unit_x, unit_y = _directions(x, y)
    # The cosine of a small angle is 1 - theta^2 / 2: arccos loses half of the digits of theta, and all below sqrt(eps).
    return 2 * torch.atan2(euclidean_norm(unit_x - unit_y), euclidean_norm(unit_x + unit_y))


def rotation_matrix(theta: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 2 2"]:
    r"""Rotation of the plane, counterclockwise.

    .. math:: \begin{pmatrix} \cos\theta & -\sin\theta \\ \sin\theta & \cos\theta \end{pmatrix}

    Args:
        theta: angles in radians, finite.

    Returns:
        The matrices; ``rotation_matrix(theta) @ x`` turns a column ``x``.

    Raises:
        ValueError: if an angle is not finite.

    Source: Golub and Van Loan, section 2.1.

    >>> (rotation_matrix(torch.tensor(torch.pi / 2)) @ torch.tensor([1.0, 0.0])).round(decimals=3) + 0.0
    tensor([0., 1.])
    """
    check_tensor("theta", theta)
    check_finite("theta", theta)
    cos, sin = torch.cos(theta), torch.sin(theta)
    return torch.stack([torch.stack([cos, -sin], dim=-1), torch.stack([sin, cos], dim=-1)], dim=-2)


def gram_schmidt(matrix: Float[Tensor, "a b"]) -> Float[Tensor, "a b"]:
    r"""Orthonormal columns that span, step by step, what the columns of a matrix span.

    .. math:: q_j = \frac{v_j}{\|v_j\|}, \qquad v_j = \Bigl(I - \sum_{i<j} q_i q_i^\top\Bigr) a_j

    Args:
        matrix: linearly independent columns, at most as many as rows, finite.

    Returns:
        A matrix Q with :math:`Q^\top Q = I`, such that the first j columns of both span the same space and
        :math:`\langle q_j, a_j \rangle > 0`.

    Raises:
        ValueError: if an entry is not finite, there are more columns than rows, or a column depends on those before.

    Source: Golub and Van Loan, section 5.2 (with one reorthogonalization, "twice is enough").

    >>> gram_schmidt(torch.tensor([[3.0, 1.0], [4.0, 0.0]]))
    tensor([[ 0.6000,  0.8000],
            [ 0.8000, -0.6000]])
    """
    _check_axes("matrix", matrix, 2)
    if matrix.dim() != 2 or matrix.shape[1] > matrix.shape[0]:
        raise ValueError(f"expected a matrix with at most as many columns as rows, got shape {tuple(matrix.shape)}")
    columns: list[Tensor] = []
    for j, column in enumerate(matrix.unbind(dim=1)):
        whole = euclidean_norm(column)
        v = column / whole.masked_fill(whole == 0, 1)  # of length 1, so that no product below underflows
        # Where most of the column is projected away, rounding leaves a remainder along the old directions. A second
        # pass removes it; the classical single pass loses orthogonality as the square of the condition number.
        for _ in range(2):
            for q in columns:
                v = v - (q @ v) * q
        length = euclidean_norm(v)
        if length <= 100 * torch.finfo(matrix.dtype).eps:
            raise ValueError(f"expected independent columns, but column {j} depends on those before it")
        columns.append(v / length)
    return torch.stack(columns, dim=1) if columns else matrix.clone()


def random_orthogonal(
    d: int, generator: torch.Generator, *, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "d d"]:
    r"""Draw an orthogonal matrix such that every direction is equally likely (Haar measure).

    .. math:: A = QR \text{ with } A_{ij} \sim \mathcal{N}(0, 1),
        \qquad Q \leftarrow Q \operatorname{diag}(\operatorname{sign} R_{jj})

    Args:
        d: size, at least 1.
        generator: the source of randomness; its device is the device of the result.
        dtype: floating type of the result.

    Returns:
        The matrix; its determinant is +1 or -1, each with probability one half.

    Raises:
        ValueError: if ``d`` is below 1.

    Source: F. Mezzadri, How to generate random matrices from the classical compact groups, Notices of the AMS 54
    (2007), 592-604.

    >>> Q = random_orthogonal(3, torch.Generator().manual_seed(0))
    >>> bool(orthogonality_error(Q) < 1e-14)
    True
    """
    if d < 1:
        raise ValueError(f"expected a size of at least 1, got {d}")
    q, r = torch.linalg.qr(torch.randn(d, d, generator=generator, device=generator.device, dtype=dtype))
    # The signs of R's diagonal are the algorithm's choice, not chance: without them Q would not be uniform.
    return q * torch.where(r.diagonal() < 0, -1.0, 1.0).to(dtype)


def orthogonality_error(matrix: Float[Tensor, "*batch a b"]) -> Float[Tensor, "*batch"]:
    r"""How far the columns of a matrix are from being orthonormal; 0 for an orthogonal matrix.

    .. math:: \max_{ij} \bigl|(Q^\top Q - I)_{ij}\bigr|

    Args:
        matrix: matrices in the last two axes, finite, with at least one column.

    Returns:
        The largest deviation of an inner product of two columns from 0, or of a squared length from 1.

    Raises:
        ValueError: if an entry is not finite, there are fewer than two axes, or no columns.

    Source: Golub and Van Loan, section 2.1.

    >>> orthogonality_error(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    tensor(3.)
    """
    _check_axes("matrix", matrix, 2)
    if matrix.shape[-1] == 0:
        raise ValueError(f"expected a matrix with at least one column, got shape {tuple(matrix.shape)}")
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return (matrix.mT @ matrix - identity).abs().amax(dim=(-2, -1))


def _check_axes(name: str, value: Tensor, least: int) -> None:
    check_tensor(name, value)
    if value.dim() < least:
        raise ValueError(f"expected {name} to have at least {least} axes, got shape {tuple(value.shape)}")
    check_finite(name, value)


def _directions(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both vectors divided by their lengths."""
    _check_axes("x", x, 1)
    _check_axes("y", y, 1)
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"expected x and y of equal length, got {x.shape[-1]} and {y.shape[-1]}")
    units = []
    for name, vector in (("x", x), ("y", y)):
        length = euclidean_norm(vector)
        if (length == 0).any():
            raise ValueError(f"expected {name} to have a direction, got a vector of zeros")
        units.append(vector / length.unsqueeze(-1))
    return units[0], units[1]
