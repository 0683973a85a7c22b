r"""Nearest neighbours: distances between images, and prediction by the vote of the closest examples.

With a distance :math:`d` and :math:`N_k(x)` the k examples closest to x, the predicted class is that of most of them,

.. math:: \hat y(x) = \operatorname*{argmax}_{c} \sum_{i \in N_k(x)} [y_i = c].

Nothing is computed before a query comes; then the distance to every example is. A row of a tensor is one point, so
images are flattened first.

Reference: T. M. Cover and P. E. Hart, Nearest neighbor pattern classification, IEEE Transactions on Information
Theory 13, 1967.
The book's chapter ``learning-from-data`` teaches this module.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64, Integer
from torch import Tensor

from chainrule._validate import check_finite, check_tensor

__all__ = ["knn_predict", "l1_distance", "l2_distance", "majority_vote", "nearest_neighbours"]


def l1_distance(a: Float[Tensor, "m d"], b: Float[Tensor, "n d"]) -> Float[Tensor, "m n"]:
    r"""L1 (Manhattan) distance between each row of ``a`` and each row of ``b``.

    .. math:: d_1(a, b) = \sum_{j=1}^{d} |a_j - b_j|

    Args:
        a: m points with d features, finite.
        b: n points with d features, finite.

    Returns:
        The distances, at least 0.

    Raises:
        ValueError: if the points are not rows of finite numbers or differ in their number of features.

    Source: Deza and Deza, *Encyclopedia of Distances*, Springer 2009, section 5.2.

    >>> l1_distance(torch.tensor([[10.0, 20.0, 30.0, 40.0]]), torch.tensor([[12.0, 18.0, 30.0, 44.0]]))
    tensor([[8.]])
    """
    _check_points(a, b)
    return torch.cdist(a, b, p=1.0)


def l2_distance(a: Float[Tensor, "m d"], b: Float[Tensor, "n d"]) -> Float[Tensor, "m n"]:
    r"""L2 (Euclidean) distance between each row of ``a`` and each row of ``b``.

    .. math:: d_2(a, b) = \sqrt{\sum_{j=1}^{d} (a_j - b_j)^2}

    Args:
        a: m points with d features, finite.
        b: n points with d features, finite.

    Returns:
        The distances, at least 0, and exactly 0 between equal rows.

    Raises:
        ValueError: if the points are not rows of finite numbers or differ in their number of features.

    Source: Deza and Deza, *Encyclopedia of Distances*, Springer 2009, section 5.2.

    >>> l2_distance(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[5., 0.]])
    """
    _check_points(a, b)
    # Faster by a matrix product, from |a|^2 + |b|^2 - 2 ab. But that difference of large numbers leaves rounding errors
    # of size sqrt(eps) |a| between equal rows (or the root of a negative number), so near and tied points swap places.
    return torch.cdist(a, b, p=2.0, compute_mode="donot_use_mm_for_euclid_dist")


def nearest_neighbours(distances: Float[Tensor, "n m"], k: int) -> Int64[Tensor, "n k"]:
    r"""Indices of the ``k`` smallest distances in each row, the closest first.

    .. math:: d(x, x_{i_1}) \le d(x, x_{i_2}) \le \dots \le d(x, x_{i_k})

    Args:
        distances: from each of n queries (rows) to each of m examples (columns), finite.
        k: how many neighbours, from 1 to m.

    Returns:
        Columns of the neighbours; among equal distances the smaller index comes first.

    Raises:
        ValueError: if a distance is not finite or k is not from 1 to m.

    Source: Cover and Hart 1967, section 2.

    >>> nearest_neighbours(torch.tensor([[3.0, 1.0, 2.0, 1.0]]), 3)
    tensor([[1, 3, 2]])
    """
    check_tensor("distances", distances)
    if distances.dim() != 2:
        raise ValueError(f"expected distances with a row for each query, got shape {tuple(distances.shape)}")
    check_finite("distances", distances)
    if not 1 <= k <= distances.shape[1]:
        raise ValueError(f"expected k from 1 to the {distances.shape[1]} examples, got {k}")
    # torch.topk would be faster, but it orders equal distances as it likes.
    return distances.argsort(dim=1, stable=True)[:, :k]


def majority_vote(votes: Integer[Tensor, "n k"]) -> Integer[Tensor, "n"]:
    r"""The most frequent class in each row; of equally frequent ones, the class that comes first in the row.

    .. math:: \hat y = \operatorname*{argmax}_c \sum_{j=1}^{k} [y_{i_j} = c]

    If the votes are ordered by distance, a tie goes to the side of the nearest neighbour, whatever the classes' names.

    Args:
        votes: classes, integers from 0, of the k voters of each of n elections.

    Returns:
        The winners, of the same type.

    Raises:
        ValueError: if there is no voter or a class is negative.

    Source: Cover and Hart 1967, section 2.

    >>> majority_vote(torch.tensor([[2, 0, 0, 2, 1], [1, 1, 1, 0, 0]]))
    tensor([2, 1])
    """
    check_tensor("votes", votes, integer=True)
    if votes.dim() != 2 or votes.shape[1] == 0:
        raise ValueError(f"expected votes with at least one voter in each row, got shape {tuple(votes.shape)}")
    if votes.numel() == 0:
        return votes[:, 0]
    if (votes < 0).any():
        raise ValueError(f"expected classes from 0, got {votes.min().item()}")
    index = votes.long()
    counts = index.new_zeros(len(votes), int(votes.max()) + 1).scatter_add(1, index, torch.ones_like(index))
    support = counts.gather(1, index)  # (n, k), how many voters agree with each voter
    return votes.gather(1, support.argmax(dim=1, keepdim=True)).squeeze(1)  # argmax takes the first of equals


def knn_predict(
    train_x: Float[Tensor, "m d"],
    train_y: Integer[Tensor, "m"],
    queries: Float[Tensor, "n d"],
    k: int = 1,
    *,
    distance: Callable[[Tensor, Tensor], Tensor] = l2_distance,
) -> Integer[Tensor, "n"]:
    r"""Classify each query by the majority of its ``k`` nearest examples.

    .. math:: \hat y(x) = \operatorname*{argmax}_{c} \sum_{i \in N_k(x)} [y_i = c]

    Of equally frequent classes the one with the nearest neighbour wins; of equally distant examples, the earlier one.

    Args:
        train_x: m examples with d features.
        train_y: their classes, integers from 0.
        queries: n points to classify.
        k: how many neighbours vote, from 1 to m.
        distance: from queries (n, d) and examples (m, d) to their distances (n, m).

    Returns:
        The predicted classes, of the type of ``train_y``.

    Raises:
        ValueError: if shapes do not fit, a number is not finite, a class is negative or k is not from 1 to m.

    Source: Cover and Hart 1967, section 2.

    >>> x, y = torch.tensor([[0.0], [1.0], [10.0]]), torch.tensor([7, 7, 3])
    >>> knn_predict(x, y, torch.tensor([[9.0]]), k=1), knn_predict(x, y, torch.tensor([[9.0]]), k=3)
    (tensor([3]), tensor([7]))
    """
    _check_points(queries, train_x)
    check_tensor("train_y", train_y, integer=True)
    if train_y.shape != train_x.shape[:1]:
        raise ValueError(f"expected a class for each of {len(train_x)} examples, got shape {tuple(train_y.shape)}")
    return majority_vote(train_y[nearest_neighbours(distance(queries, train_x), k)])


def _check_points(a: Tensor, b: Tensor) -> None:
    for value in (a, b):
        check_tensor("points", value)
        if value.dim() != 2:
            raise ValueError(f"expected points as rows of a matrix, got shape {tuple(value.shape)}")
        check_finite("points", value)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"expected points with the same number of features, got {a.shape[1]} and {b.shape[1]}")
