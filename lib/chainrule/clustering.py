r"""Clustering by k means: Lloyd's algorithm, and the random start that makes it reliable.

A clustering of :math:`x_1, \dots, x_m` gives each point a cluster :math:`c_i \in \{1, \dots, k\}` and each cluster a
centre :math:`\mu_j`. Its cost is

.. math:: J(c, \mu) = \sum_{i=1}^{m} \lVert x_i - \mu_{c_i} \rVert^2 .

Lloyd's algorithm minimizes it over c and over :math:`\mu` in turn. The cost never rises, so it stops after finitely
many steps; where it stops depends on where it began.

Reference: S. P. Lloyd, Least squares quantization in PCM, IEEE Transactions on Information Theory 28, 1982;
D. Arthur and S. Vassilvitskii, k-means++: the advantages of careful seeding, SODA 2007.
The book's chapter ``learning-from-data`` teaches this module.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from chainrule._validate import check_finite, check_tensor

__all__ = [
    "Clustering",
    "cluster_means",
    "k_means",
    "k_means_plus_plus",
    "kmeans_cost",
    "lloyd",
    "nearest_center",
    "squared_distances",
]


class Clustering(NamedTuple):
    r"""What :func:`lloyd` and :func:`k_means` found.

    .. math:: c_i = \operatorname*{argmin}_j \lVert x_i - \mu_j \rVert^2, \qquad
        \mu_j = \operatorname{mean} \{ x_i : c_i = j \}

    Args:
        centers: the centres, of shape (k, d).
        assignments: the cluster of each point, integers in [0, k).
        costs: the cost after each assignment, never rising; the last one is that of the result.
        converged: whether the last step changed nothing.

    Returns:
        The four values, as a named tuple.

    Raises:
        TypeError: if a value is missing.

    Source: Lloyd 1982.

    >>> x = torch.tensor([[0.0], [1.0], [9.0]])
    >>> lloyd(x, torch.tensor([[0.0], [1.0]])).assignments
    tensor([0, 0, 1])
    """

    centers: Float[Tensor, "k d"]
    assignments: Int64[Tensor, "m"]
    costs: Float[Tensor, "steps"]
    converged: bool


def squared_distances(x: Float[Tensor, "m d"], centers: Float[Tensor, "k d"]) -> Float[Tensor, "m k"]:
    r"""Squared Euclidean distance of each point to each centre.

    .. math:: \lVert x_i - \mu_j \rVert^2

    Args:
        x: m points, finite.
        centers: k centres, finite.

    Returns:
        The squared distances, at least 0.

    Raises:
        ValueError: if the points or centres are no rows of finite numbers, or differ in their number of features.

    Source: Lloyd 1982.

    >>> squared_distances(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0], [3.0, 3.0]]))
    tensor([[25.,  1.]])
    """
    _check_points(x, centers)
    # By a matrix product it would be faster, but a difference of large numbers can make the cost rise or go below 0.
    return torch.cdist(x, centers, compute_mode="donot_use_mm_for_euclid_dist").square()


def nearest_center(x: Float[Tensor, "m d"], centers: Float[Tensor, "k d"]) -> Int64[Tensor, "m"]:
    r"""The cluster of each point: the index of the centre that is nearest to it.

    .. math:: c_i = \operatorname*{argmin}_{j} \lVert x_i - \mu_j \rVert^2

    Args:
        x: m points, finite.
        centers: k centres, finite.

    Returns:
        Indices in [0, k); of equally near centres the first.

    Raises:
        ValueError: as :func:`squared_distances`.

    Source: Lloyd 1982.

    >>> nearest_center(torch.tensor([[0.0], [4.0], [7.0]]), torch.tensor([[1.0], [7.0]]))
    tensor([0, 0, 1])
    """
    return squared_distances(x, centers).argmin(dim=1)


def cluster_means(
    x: Float[Tensor, "m d"], assignments: Int64[Tensor, "m"], centers: Float[Tensor, "k d"]
) -> Float[Tensor, "k d"]:
    r"""The mean of each cluster; a cluster without points keeps its old centre.

    .. math:: \mu_j = \frac{1}{\lvert P_j \rvert} \sum_{i \in P_j} x_i, \qquad P_j = \{ i : c_i = j \}

    Args:
        x: m points, finite.
        assignments: the cluster of each point, in [0, k).
        centers: the old centres, which tell how many clusters there are.

    Returns:
        The new centres.

    Raises:
        ValueError: if the shapes do not fit, a number is not finite, or an assignment lies outside [0, k).

    Source: Lloyd 1982.

    >>> x = torch.tensor([[0.0], [2.0], [5.0]])
    >>> cluster_means(x, torch.tensor([0, 0, 1]), torch.tensor([[0.0], [0.0], [9.0]]))
    tensor([[1.],
            [5.],
            [9.]])
    """
    _check_points(x, centers)
    _check_assignments(x, assignments, len(centers))
    sums = torch.zeros_like(centers).index_add(0, assignments, x)  # (k, d)
    counts = torch.bincount(assignments, minlength=len(centers)).unsqueeze(1)  # (k, 1)
    return torch.where(counts > 0, sums / counts.clamp(min=1), centers)


def kmeans_cost(
    x: Float[Tensor, "m d"], assignments: Int64[Tensor, "m"], centers: Float[Tensor, "k d"]
) -> Float[Tensor, ""]:
    r"""Sum of the squared distances of the points to the centres of their clusters.

    .. math:: J(c, \mu) = \sum_{i=1}^{m} \lVert x_i - \mu_{c_i} \rVert^2

    Args:
        x: m points, finite.
        assignments: the cluster of each point, in [0, k).
        centers: k centres, finite.

    Returns:
        The cost, at least 0.

    Raises:
        ValueError: as :func:`cluster_means`.

    Source: Lloyd 1982.

    >>> x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [4.0, 0.0], [4.0, 1.0]])
    >>> kmeans_cost(x, torch.tensor([0, 1, 0, 1]), torch.tensor([[2.0, 0.0], [2.0, 1.0]]))
    tensor(16.)
    """
    _check_points(x, centers)
    _check_assignments(x, assignments, len(centers))
    return (x - centers[assignments]).square().sum()


def lloyd(x: Float[Tensor, "m d"], centers: Float[Tensor, "k d"], *, max_steps: int = 1000) -> Clustering:
    r"""Lloyd's algorithm: assign each point to the nearest centre, move each centre to its mean, until nothing changes.

    .. math:: c_i \leftarrow \operatorname*{argmin}_j \lVert x_i - \mu_j \rVert^2, \qquad
        \mu_j \leftarrow \frac{1}{\lvert P_j \rvert} \sum_{i \in P_j} x_i

    Args:
        x: m points, finite.
        centers: where the k centres start.
        max_steps: where to stop if assignments still change, at least 1.

    Returns:
        The clustering; its centres are the means of its clusters (an empty cluster keeps its centre).

    Raises:
        ValueError: as :func:`squared_distances`, or if max_steps is below 1.

    Source: Lloyd 1982.

    >>> x = torch.tensor([[0.0], [1.0], [8.0], [9.0]])
    >>> lloyd(x, torch.tensor([[0.0], [1.0]])).centers.flatten()
    tensor([0.5000, 8.5000])
    """
    _check_points(x, centers)
    if max_steps < 1:
        raise ValueError(f"expected max_steps of at least 1, got {max_steps}")
    costs = []
    old = None
    for _ in range(max_steps):
        assignments = nearest_center(x, centers)
        if old is not None and torch.equal(assignments, old):
            return Clustering(centers, assignments, torch.stack(costs), True)
        centers = cluster_means(x, assignments, centers)
        costs.append(kmeans_cost(x, assignments, centers))
        old = assignments
    return Clustering(centers, assignments, torch.stack(costs), False)


def k_means_plus_plus(x: Float[Tensor, "m d"], k: int, generator: torch.Generator) -> Float[Tensor, "k d"]:
    r"""Starting centres drawn from the points, each far from those before it.

    .. math:: P(\text{next centre} = x_i) = \frac{D(x_i)^2}{\sum_{l} D(x_l)^2}, \qquad
        D(x)^2 = \min_{j} \lVert x - \mu_j \rVert^2

    The first centre is any point, with equal probability. The expected cost of these centres is at most
    :math:`8 (\ln k + 2)` times the least cost that k centres can have.

    Args:
        x: m points, finite.
        k: how many centres, from 1 to m.
        generator: the source of randomness, on the CPU.

    Returns:
        k of the points; they differ, as long as there are k different points.

    Raises:
        ValueError: if the points are no rows of finite numbers, or k is not from 1 to m.

    Source: Arthur and Vassilvitskii 2007, section 2.2.

    >>> x = torch.tensor([[0.0], [0.0], [5.0]])
    >>> k_means_plus_plus(x, 2, torch.Generator().manual_seed(0)).sum()
    tensor(5.)
    """
    _check_points(x, x)
    if not 1 <= k <= len(x):
        raise ValueError(f"expected k from 1 to the {len(x)} points, got {k}")
    chosen = int(torch.randint(len(x), (), generator=generator))
    centers = [x[chosen]]
    nearest = squared_distances(x, x[chosen].unsqueeze(0)).squeeze(1)  # (m,), to the nearest centre so far
    while len(centers) < k:
        weights = nearest.double().cpu()
        if not weights.any():  # fewer different points than centres: any point will do
            weights = torch.ones_like(weights)
        chosen = int(torch.multinomial(weights, 1, generator=generator))
        centers.append(x[chosen])
        nearest = torch.minimum(nearest, squared_distances(x, x[chosen].unsqueeze(0)).squeeze(1))
    return torch.stack(centers)


def k_means(x: Float[Tensor, "m d"], k: int, generator: torch.Generator, *, restarts: int = 10) -> Clustering:
    r"""Lloyd's algorithm from several starts of k-means++; the cheapest result wins.

    .. math:: \min_{c, \mu} \sum_{i=1}^{m} \lVert x_i - \mu_{c_i} \rVert^2 \quad\text{(approximately)}

    Args:
        x: m points, finite.
        k: how many clusters, from 1 to m.
        generator: the source of randomness, on the CPU.
        restarts: how many starts to try, at least 1.

    Returns:
        The clustering of least cost among those found. Nothing says that there is none cheaper.

    Raises:
        ValueError: as :func:`k_means_plus_plus`, or if restarts is below 1.

    Source: Arthur and Vassilvitskii 2007, section 2.2.

    >>> x = torch.tensor([[0.0], [1.0], [8.0], [9.0]])
    >>> k_means(x, 2, torch.Generator().manual_seed(0)).costs[-1]
    tensor(1.)
    """
    if restarts < 1:
        raise ValueError(f"expected restarts of at least 1, got {restarts}")
    runs = (lloyd(x, k_means_plus_plus(x, k, generator)) for _ in range(restarts))
    return min(runs, key=lambda run: run.costs[-1].item())


def _check_points(x: Tensor, centers: Tensor) -> None:
    for name, value in (("x", x), ("centers", centers)):
        check_tensor(name, value)
        if value.dim() != 2 or len(value) == 0:
            raise ValueError(f"expected {name} as the rows of a matrix, at least one, got shape {tuple(value.shape)}")
        check_finite(name, value)
    if x.shape[1] != centers.shape[1]:
        raise ValueError(f"expected centers of {x.shape[1]} features like x, got {centers.shape[1]}")


def _check_assignments(x: Tensor, assignments: Tensor, k: int) -> None:
    check_tensor("assignments", assignments, integer=True)
    if assignments.shape != x.shape[:1]:
        raise ValueError(f"expected assignments of shape ({len(x)},), got {tuple(assignments.shape)}")
    low, high = int(assignments.min()), int(assignments.max())
    if low < 0 or high >= k:
        raise ValueError(f"expected assignments in [0, {k}), got {low if low < 0 else high}")
