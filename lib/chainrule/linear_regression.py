r"""Least squares: the linear map that fits labels best, by three routes, with and without a penalty.

For data :math:`X` of shape m x d, one sample a row, and labels :math:`y` a fit minimizes

.. math:: \|X w - y\|^2 + \lambda \|w\|^2 .

Without the penalty (:math:`\lambda = 0`) the minimizers are the solutions of the normal equations
:math:`X^\top X w = X^\top y`; where the columns of :math:`X` depend on each other there are many, and the one of least
norm is given by the pseudo-inverse, :math:`w = X^+ y`. A map with a bias is a linear map of data with a constant 1
appended, and a polynomial is a linear map of the powers of its argument.

Reference: G. H. Golub and C. F. Van Loan, *Matrix Computations*, fourth edition, Johns Hopkins 2013, chapters 5 and 6;
T. Hastie, R. Tibshirani and J. Friedman, *The Elements of Statistical Learning*, second edition, Springer 2009,
sections 3.2 and 3.4. The book's chapter ``learning-from-data`` teaches this module.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from chainrule._validate import check_finite, check_tensor

__all__ = [
    "append_ones",
    "least_squares",
    "legendre_features",
    "polynomial_features",
    "qr_least_squares",
    "ridge_degrees_of_freedom",
    "ridge_regression",
    "solve_normal_equations",
]


def append_ones(x: Float[Tensor, "m d"]) -> Float[Tensor, "m d+1"]:
    r"""Append a constant 1 to each sample, so that the last weight of a linear map is its bias.

    .. math:: \langle (w, b), (x, 1) \rangle = \langle w, x \rangle + b

    Args:
        x: m samples of d features.

    Returns:
        The samples with d + 1 features.

    Raises:
        ValueError: if ``x`` has not two dimensions.

    Source: Hastie, Tibshirani and Friedman, section 3.2.

    >>> append_ones(torch.tensor([[2.0], [3.0]]))
    tensor([[2., 1.],
            [3., 1.]])
    """
    _check_matrix("x", x)
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1)


def polynomial_features(x: Float[Tensor, "m"], degree: int) -> Float[Tensor, "m {degree}+1"]:
    r"""The powers of a number, whose linear maps are the polynomials up to a degree.

    .. math:: x \mapsto (1, x, x^2, \dots, x^{\mathrm{degree}})

    Args:
        x: m numbers.
        degree: the largest power, at least 0.

    Returns:
        The powers, degree + 1 a row.

    Raises:
        ValueError: if ``x`` has not one dimension, or the degree is negative.

    Source: Hastie, Tibshirani and Friedman, section 5.1.

    >>> polynomial_features(torch.tensor([2.0, -1.0]), 3)
    tensor([[ 1.,  2.,  4.,  8.],
            [ 1., -1.,  1., -1.]])
    """
    _check_numbers(x, degree)
    return x.unsqueeze(1) ** torch.arange(degree + 1, device=x.device)  # 0 ** 0 is 1


def legendre_features(x: Float[Tensor, "m"], degree: int) -> Float[Tensor, "m {degree}+1"]:
    r"""The Legendre polynomials of a number, scaled to be orthonormal for the uniform distribution on [-1, 1].

    .. math:: \phi_n(x) = \sqrt{2n + 1}\, P_n(x), \qquad (n + 1) P_{n+1}(x) = (2n + 1)\, x P_n(x) - n P_{n-1}(x)

    They span the same polynomials as the powers, but stay far from dependent where the powers do not.

    Args:
        x: m numbers; the polynomials stay small on [-1, 1] and grow fast outside.
        degree: the largest degree, at least 0.

    Returns:
        The values of the polynomials, degree + 1 a row.

    Raises:
        ValueError: if ``x`` has not one dimension, or the degree is negative.

    Source: Golub and Van Loan, section 4.6 (three-term recurrences); M. Abramowitz and I. Stegun, *Handbook of
    Mathematical Functions*, 22.7.10.

    >>> legendre_features(torch.tensor([1.0, 0.0]), 2)
    tensor([[ 1.0000,  1.7321,  2.2361],
            [ 1.0000,  0.0000, -1.1180]])
    """
    _check_numbers(x, degree)
    columns = [torch.ones_like(x), x]
    for n in range(1, degree):
        columns.append(((2 * n + 1) * x * columns[n] - n * columns[n - 1]) / (n + 1))
    norms = torch.sqrt(2 * torch.arange(degree + 1, device=x.device, dtype=x.dtype) + 1)
    return torch.stack(columns[: degree + 1], dim=1) * norms


def solve_normal_equations(x: Float[Tensor, "m d"], y: Float[Tensor, "m *k"]) -> Float[Tensor, "d *k"]:
    r"""Least squares by the normal equations, solved by Cholesky's factors.

    .. math:: X^\top X w = X^\top y

    The fastest way and the least accurate: the condition number of :math:`X^\top X` is the square of that of
    :math:`X`. Prefer :func:`qr_least_squares` or :func:`least_squares` unless the columns are far from dependent.

    Args:
        x: m samples of d features, with independent columns.
        y: labels, one or k a sample.

    Returns:
        The weights, with a column for each column of ``y``.

    Raises:
        ValueError: if the columns of ``x`` are dependent as far as the type can tell, a number is not finite, or the
            shapes do not fit.

    Source: Golub and Van Loan, section 5.3.2.

    >>> solve_normal_equations(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([1.0, 3.0])).round()
    tensor([1., 2.])
    """
    _check_data(x, y)
    factor, info = torch.linalg.cholesky_ex(x.T @ x)
    pivots = factor.diagonal()
    # Rounding leaves a pivot of about sqrt(eps) in place of the zero of a dependent column.
    if info.item() != 0 or (pivots <= 4 * torch.finfo(x.dtype).eps ** 0.5 * x.norm(dim=0)).any():
        raise ValueError(_dependent("the normal equations have", x))
    right = (x.T @ y).reshape(x.shape[1], -1)
    return torch.cholesky_solve(right, factor).reshape(x.shape[1], *y.shape[1:])


def qr_least_squares(x: Float[Tensor, "m d"], y: Float[Tensor, "m *k"]) -> Float[Tensor, "d *k"]:
    r"""Least squares by a QR factorization.

    .. math:: X = Q R, \qquad R w = Q^\top y

    Args:
        x: m samples of d features, with independent columns.
        y: labels, one or k a sample.

    Returns:
        The weights, with a column for each column of ``y``.

    Raises:
        ValueError: if the columns of ``x`` are dependent as far as the type can tell, a number is not finite, or the
            shapes do not fit.

    Source: Golub and Van Loan, section 5.3.3.

    >>> qr_least_squares(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([1.0, 3.0])).round()
    tensor([1., 2.])
    """
    _check_data(x, y)
    q, r = torch.linalg.qr(x)  # (m, min(m, d)), (min(m, d), d)
    threshold = len(x) * torch.finfo(x.dtype).eps * x.norm(dim=0)
    if len(x) < x.shape[1] or (r.diagonal().abs() <= threshold).any():
        raise ValueError(_dependent("QR has", x))
    right = (q.T @ y).reshape(x.shape[1], -1)
    return torch.linalg.solve_triangular(r, right, upper=True).reshape(x.shape[1], *y.shape[1:])


def least_squares(x: Float[Tensor, "m d"], y: Float[Tensor, "m *k"]) -> Float[Tensor, "d *k"]:
    r"""Least squares of least norm, by the singular value decomposition, whatever the rank.

    .. math:: X = U S V^\top, \qquad w = X^+ y = V S^+ U^\top y

    Of all weights that fit best it takes the shortest. With fewer samples than features it interpolates: the labels are
    met exactly, by the shortest weights that do so.

    Args:
        x: m samples of d features, of any rank.
        y: labels, one or k a sample.

    Returns:
        The weights, with a column for each column of ``y``. Singular values below
        :math:`\max(m, d)\,\varepsilon\,s_1` count as zero, :math:`\varepsilon` being the precision of the type.

    Raises:
        ValueError: if a number is not finite, or the shapes do not fit.

    Source: Golub and Van Loan, section 5.5.

    >>> least_squares(torch.tensor([[1.0, 1.0]]), torch.tensor([2.0]))
    tensor([1.0000, 1.0000])
    """
    _check_data(x, y)
    u, s, v = _svd(x)
    tiny = max(x.shape) * torch.finfo(x.dtype).eps * s[0]
    # The reciprocal of a singular value that is rounding alone would fill the weights with noise.
    return _through(u, torch.where(s > tiny, 1 / s, 0), v, y)


def ridge_regression(x: Float[Tensor, "m d"], y: Float[Tensor, "m *k"], penalty: float) -> Float[Tensor, "d *k"]:
    r"""Ridge regression: least squares that pay for the size of the weights.

    .. math:: w = \operatorname*{argmin}_w \|X w - y\|^2 + \lambda \|w\|^2 = (X^\top X + \lambda I)^{-1} X^\top y
        = V\, \mathrm{diag}\Big(\frac{s_j}{s_j^2 + \lambda}\Big)\, U^\top y

    Every weight is penalized. To leave a bias free, center the columns of ``x`` and ``y`` and add the bias afterwards.

    Args:
        x: m samples of d features, of any rank.
        y: labels, one or k a sample.
        penalty: :math:`\lambda`, finite and at least 0; 0 gives :func:`least_squares`.

    Returns:
        The weights, with a column for each column of ``y``.

    Raises:
        ValueError: if the penalty is negative or not finite, a number is not finite, or the shapes do not fit.

    Source: Hastie, Tibshirani and Friedman, section 3.4.1.

    >>> ridge_regression(torch.tensor([[1.0], [1.0]]), torch.tensor([1.0, 3.0]), penalty=2.0).round(decimals=4)
    tensor([1.])
    """
    _check_data(x, y)
    _check_penalty(penalty)
    if penalty == 0:
        return least_squares(x, y)
    u, s, v = _svd(x)
    # s / (s^2 + penalty) never forms X^T X, whose small eigenvalues would drown in rounding.
    return _through(u, s / (s.square() + penalty), v, y)


def ridge_degrees_of_freedom(x: Float[Tensor, "m d"], penalty: float) -> float:
    r"""Effective number of parameters of a ridge regression, the trace of the matrix that maps labels to predictions.

    .. math:: \mathrm{df}(\lambda) = \operatorname{tr} X (X^\top X + \lambda I)^{-1} X^\top
        = \sum_j \frac{s_j^2}{s_j^2 + \lambda}

    Args:
        x: m samples of d features.
        penalty: :math:`\lambda`, finite and at least 0.

    Returns:
        A number from 0 (an infinite penalty) to the rank of ``x`` (none).

    Raises:
        ValueError: if the penalty is negative or not finite, a number is not finite, or ``x`` is no matrix.

    Source: Hastie, Tibshirani and Friedman, section 3.4.1, equation 3.50.

    >>> ridge_degrees_of_freedom(torch.eye(4), penalty=1.0)
    2.0
    """
    _check_matrix("x", x)
    check_finite("x", x)
    _check_penalty(penalty)
    s = torch.linalg.svdvals(x)
    s = s[s > max(x.shape) * torch.finfo(x.dtype).eps * s[0]]
    return (s.square() / (s.square() + penalty)).sum().item()


def _svd(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    return u, s, vh.T


def _through(u: Tensor, factors: Tensor, v: Tensor, y: Tensor) -> Tensor:
    """V diag(factors) U^T y."""
    inner = factors.unsqueeze(1) * (u.T @ y).reshape(len(factors), -1)  # (min(m, d), k)
    return (v @ inner).reshape(len(v), *y.shape[1:])


def _check_matrix(name: str, x: Tensor) -> None:
    check_tensor(name, x)
    if x.dim() != 2 or x.numel() == 0:
        raise ValueError(f"expected {name} of shape (m, d), neither of them 0, got {tuple(x.shape)}")


def _check_data(x: Tensor, y: Tensor) -> None:
    _check_matrix("x", x)
    check_tensor("y", y)
    if y.dim() not in (1, 2) or len(y) != len(x) or y.numel() == 0:
        raise ValueError(f"expected y of shape ({len(x)},) or ({len(x)}, k), got {tuple(y.shape)}")
    check_finite("x", x)
    check_finite("y", y)


def _check_numbers(x: Tensor, degree: int) -> None:
    check_tensor("x", x)
    if x.dim() != 1:
        raise ValueError(f"expected x of shape (m,), got {tuple(x.shape)}")
    if degree < 0:
        raise ValueError(f"expected a degree of at least 0, got {degree}")


def _check_penalty(penalty: float) -> None:
    if not 0 <= penalty < float("inf"):
        raise ValueError(f"expected a finite penalty of at least 0, got {penalty}")


def _dependent(what: str, x: Tensor) -> str:
    m, d = x.shape
    return (
        f"expected {d} independent columns, got dependent ones (m = {m} samples): {what} no unique solution; "
        "least_squares gives the shortest"
    )
