r"""Estimators of mutual information from samples, where the joint distribution is not known.

The mutual information of two continuous variables is

.. math:: I(X; Y) = \int p(x, y) \log \frac{p(x, y)}{p(x)\,p(y)} \,dx\,dy .

For correlated Gaussians it has a closed form, which makes them the test of every estimator. Here are two estimators:
one counts samples in the cells of a histogram, the other compares the distances to nearest neighbours in the joint
space and in the two marginal ones.

Reference: A. Kraskov, H. Stoegbauer and P. Grassberger, Estimating mutual information, Physical Review E 69, 066138,
2004; T. M. Cover and J. A. Thomas, *Elements of Information Theory*, second edition, Wiley 2006, section 8.5.
The book's chapter ``information-theory`` teaches this module.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from chainrule._validate import check_base, check_finite, check_tensor
from chainrule.information import mutual_information

__all__ = ["gaussian_mutual_information", "histogram_mutual_information", "nearest_neighbour_mutual_information"]

_MAX_BINS = 4096  # 2**24 cells
_CHUNK_ELEMENTS = 2**22  # distances held in memory at a time: 32 MB in float64


def gaussian_mutual_information(
    correlation: Float[Tensor, "*batch"], *, base: float = math.e
) -> Float[Tensor, "*batch"]:
    r"""Mutual information of two jointly Gaussian variables.

    .. math:: I(X; Y) = -\tfrac12 \log(1 - \rho^2)

    Args:
        correlation: correlation coefficients :math:`\rho`, in [-1, 1].
        base: base of the logarithm, above 1; ``math.e`` gives nats, 2 gives bits.

    Returns:
        The mutual informations, of the shape of ``correlation``; ``inf`` at -1 and 1.

    Raises:
        ValueError: if a correlation lies outside [-1, 1] or the base is not above 1.

    Source: Cover and Thomas, example 8.5.1.

    >>> gaussian_mutual_information(torch.tensor([0.0, 0.6]), base=2)
    tensor([0.0000, 0.3219])
    """
    check_base(base)
    check_tensor("correlation", correlation)
    outside = ~(correlation.abs() <= 1)
    if outside.any():
        raise ValueError(f"expected correlation to lie in [-1, 1], got {correlation[outside][0].item()}")
    # log(1 - rho^2) loses the small rho (their square vanishes beside 1) and rounds where |rho| is near 1.
    return (0 - 0.5 * (torch.log1p(correlation) + torch.log1p(-correlation))) / math.log(base)


def histogram_mutual_information(
    x: Float[Tensor, "m"], y: Float[Tensor, "m"], bins: int, *, base: float = math.e
) -> Float[Tensor, ""]:
    r"""Plug-in estimate of mutual information: that of the two-dimensional histogram of the samples.

    Each axis is cut into cells of equal width from the smallest sample to the largest. The estimate is biased upwards,
    for independent variables by about :math:`(b - 1)^2 / (2 m)` nats where all b cells of both axes are used, and
    downwards where cells are too wide to show the dependence.

    Args:
        x: m samples of the first variable.
        y: the m samples of the second variable that came with them.
        bins: number b of cells along each axis, in [1, 4096].
        base: base of the logarithm, above 1; ``math.e`` gives nats, 2 gives bits.

    Returns:
        The estimate, in [0, log b].

    Raises:
        ValueError: if the numbers of samples differ or are 0, a sample is not finite, a variable is constant, there is
            no bin or too many, or the base is not above 1.

    Source: L. Paninski, Estimation of entropy and mutual information, Neural Computation 15, 2003.

    >>> x = torch.tensor([0.0, 0.1, 0.9, 1.0])
    >>> histogram_mutual_information(x, x, bins=2, base=2)
    tensor(1.)
    """
    check_base(base)
    if not 1 <= bins <= _MAX_BINS:
        raise ValueError(f"expected bins in [1, {_MAX_BINS}], got {bins}")
    for name, value in (("x", x), ("y", y)):
        check_tensor(name, value)
        if value.dim() != 1:
            raise ValueError(f"expected {name} of shape (m,), got {tuple(value.shape)}")
    _check_samples(x, y)
    cell = _cell(x, bins) * bins + _cell(y, bins)  # (m,)
    counts = torch.bincount(cell, minlength=bins * bins).reshape(bins, bins)
    return mutual_information(counts.to(x.dtype) / len(x), base=base)


def nearest_neighbour_mutual_information(
    x: Float[Tensor, "m d_x"], y: Float[Tensor, "m d_y"], k: int = 3
) -> Float[Tensor, ""]:
    r"""Nearest-neighbour estimate of mutual information by Kraskov, Stoegbauer and Grassberger (their first estimator).

    .. math:: \hat I = \psi(k) + \psi(m) - \frac{1}{m} \sum_{i=1}^{m} \bigl(\psi(n_x(i) + 1) + \psi(n_y(i) + 1)\bigr)

    Here :math:`\psi` is the digamma function, and :math:`n_x(i)` counts the other samples whose x lies strictly closer
    to :math:`x_i` than the k-th neighbour of sample i does in the joint space, all distances by the largest coordinate
    difference. Give x and y comparable scales. The estimate is nearly unbiased and can be slightly negative.

    Args:
        x: m samples of the first variable, d_x coordinates each.
        y: the m samples of the second variable that came with them, d_y coordinates each.
        k: which neighbour, in [1, m); more smooth the estimate and bias it.

    Returns:
        The estimate in nats.

    Raises:
        ValueError: if the numbers of samples differ or there are not more than k, a sample is not finite, a variable is
            constant, or more than k samples coincide (the variables must be continuous).

    Source: Kraskov, Stoegbauer and Grassberger 2004, equation (8).

    >>> x = torch.linspace(0, 1, 100, dtype=torch.float64).unsqueeze(1)
    >>> nearest_neighbour_mutual_information(x, x.square()) > 2
    tensor(True)
    """
    for name, value in (("x", x), ("y", y)):
        check_tensor(name, value)
        if value.dim() != 2:
            raise ValueError(f"expected {name} of shape (m, d), got {tuple(value.shape)}")
    _check_samples(x, y)
    m = len(x)
    if not 1 <= k < m:
        raise ValueError(f"expected k in [1, {m}) for {m} samples, got {k}")
    total = x.new_zeros(())
    for rows in torch.arange(m, device=x.device).split(max(1, _CHUNK_ELEMENTS // m)):
        distance_x = torch.cdist(x[rows], x, p=math.inf)  # (chunk, m)
        distance_y = torch.cdist(y[rows], y, p=math.inf)  # (chunk, m)
        distance = torch.maximum(distance_x, distance_y)
        # Each sample is its own nearest neighbour at distance 0, so the k-th other one is number k + 1. (kthvalue would
        # name it, but it sorts whole rows and takes 20 times longer.)
        radius = distance.topk(k + 1, dim=1, largest=False).values[:, -1:]  # (chunk, 1)
        if (radius == 0).any():
            where = int(rows[(radius == 0).flatten()][0])
            raise ValueError(f"expected continuous samples, got more than {k} that coincide with sample {where}")
        # The count includes the sample itself, so it is n + 1 already.
        for marginal in (distance_x, distance_y):
            total = total + torch.digamma((marginal < radius).sum(dim=1).to(x.dtype)).sum()
    constants = torch.digamma(torch.tensor([k, m], dtype=x.dtype, device=x.device)).sum()
    return constants - total / m


def _check_samples(x: Tensor, y: Tensor) -> None:
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(f"expected as many samples of x as of y and at least 1, got {len(x)} and {len(y)}")
    for name, value in (("x", x), ("y", y)):
        check_finite(name, value)
        if (value == value[0]).all():
            raise ValueError(f"expected {name} to vary, got {len(value)} equal samples")


def _cell(value: Tensor, bins: int) -> Tensor:
    low, high = value.min(), value.max()
    # Dividing first keeps the fraction in [0, 1]; the largest sample belongs to the last cell, not to one beyond it.
    return ((value - low) / (high - low) * bins).long().clamp(max=bins - 1)
