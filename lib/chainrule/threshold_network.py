r"""The three-node threshold network, whose training is NP-complete, and the problem that proves it.

Two threshold units look at the inputs and a third one at the two, here as a logical "and":

.. math::

    N(x) = \big[\langle w_1, x \rangle + b_1 > 0\big] \wedge \big[\langle w_2, x \rangle + b_2 > 0\big]

Set splitting asks for a division of a ground set into two parts such that no set of a given collection lies within one
part. It is NP-complete, and it is a training problem in disguise: :func:`set_splitting_to_training` translates one
into the other.

Reference: A. Blum and R. Rivest, *Training a 3-node neural network is NP-complete*, Neural Networks 5, 1992.
The book's chapter ``expressivity`` teaches this module.
"""

from collections.abc import Sequence
from fractions import Fraction

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = [
    "fit_three_node_network",
    "separating_half_space",
    "set_splitting_to_training",
    "split_from_network",
    "three_node_network",
]

HalfSpace = tuple[list[Fraction], Fraction]


def three_node_network(
    x: Float[Tensor, "m n"], weight: Float[Tensor, "2 n"], bias: Float[Tensor, "2"]
) -> Bool[Tensor, "m"]:
    r"""Evaluate the network: whether both half-spaces contain the point.

    .. math:: N(x) = \big[\langle w_1, x \rangle + b_1 > 0\big] \wedge \big[\langle w_2, x \rangle + b_2 > 0\big]

    Args:
        x: one point a row.
        weight: the weights of the two units.
        bias: their biases.

    Returns:
        One truth value a point.

    Raises:
        ValueError: if the sizes do not fit.

    Source: Blum and Rivest, section 2.

    >>> corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> three_node_network(corners, torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), torch.tensor([-0.5, 1.5]))
    tensor([False,  True,  True, False])
    """
    if weight.shape != (2, x.shape[1]) or bias.shape != (2,):
        raise ValueError(f"expected weights (2, {x.shape[1]}) and 2 biases, got {tuple(weight.shape)} and {len(bias)}")
    return (x @ weight.T + bias > 0).all(dim=1)


def separating_half_space(positive: Sequence[Sequence[int]], negative: Sequence[Sequence[int]]) -> HalfSpace | None:
    r"""A half-space that contains some points and none of some others, or the certainty that there is none.

    The linear program "find w, b with :math:`\langle w, x \rangle + b \ge 1` on the positive and :math:`\le -1` on the
    negative points" is solved by the simplex method in exact fractions with Bland's rule, which cannot cycle.

    Args:
        positive: points with whole-number coordinates that must lie inside.
        negative: points that must lie outside.

    Returns:
        Weights and bias, fractions, or None if no half-space separates them.

    Raises:
        ValueError: if there is no point at all, or they differ in dimension.

    Source: Chvatal, *Linear Programming*, 1983, chapters 2 and 3.

    >>> separating_half_space([(1, 1)], [(0, 0), (0, 1), (1, 0)]) is not None
    True
    >>> separating_half_space([(0, 1), (1, 0)], [(0, 0), (1, 1)]) is None
    True
    """
    sizes = {len(point) for point in (*positive, *negative)}
    if len(sizes) != 1:
        raise ValueError(f"expected points of one dimension, got {sorted(sizes)}")
    # By Gordan's theorem, either such (w, b) exists or a non-negative combination of the rows y (x, 1), not all 0,
    # vanishes. Rows: y_i (x_i, 1) u >= 1 with u = u' - u'' free.
    rows = [[*map(Fraction, point), Fraction(1)] for point in positive]
    rows += [[-Fraction(value) for value in point] + [Fraction(-1)] for point in negative]
    u = _solve_at_least_one(rows)
    return None if u is None else (u[:-1], u[-1])


def _solve_at_least_one(rows: list[list[Fraction]]) -> list[Fraction] | None:
    """A vector u with row . u >= 1 for all rows, or None: phase one of the simplex method.

    Columns: u', u'' (u = u' - u''), one surplus and one artificial variable a row; minimise the artificial ones' sum.
    """
    m, n = len(rows), len(rows[0])
    zero, one = Fraction(0), Fraction(1)
    table = []
    for i, row in enumerate(rows):
        surplus = [-one if j == i else zero for j in range(m)]
        table.append([*row, *(-value for value in row), *surplus, one])  # the last entry is the right-hand side
    basis = [None] * m  # None: the row's artificial variable, which never comes back once it has left
    while True:
        # Reduced costs: minus the sum of the rows whose artificial variable is still in the basis.
        active = [i for i in range(m) if basis[i] is None]
        if not active or all(table[i][-1] == 0 for i in active):
            values = dict(zip(basis, (row[-1] for row in table), strict=True))
            return [values.get(j, zero) - values.get(n + j, zero) for j in range(n)]
        enter = next((j for j in range(2 * n + m) if sum(table[i][j] for i in active) > 0), None)
        if enter is None:
            return None
        ratios = [(table[i][-1] / table[i][enter], -1 if basis[i] is None else basis[i], i) for i in range(m)
                  if table[i][enter] > 0]  # fmt: skip
        leave = min(ratios)[2]
        pivot = table[leave][enter]
        table[leave] = [value / pivot for value in table[leave]]
        for i in range(m):
            factor = table[i][enter]
            if i != leave and factor:
                table[i] = [a - factor * b for a, b in zip(table[i], table[leave], strict=True)]
        basis[leave] = enter


def set_splitting_to_training(
    num_elements: int, sets: Sequence[Sequence[int]]
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    r"""Samples that a three-node network can fit exactly if the set-splitting problem has a solution.

    Positive: the origin, and for each set the vector with ones at its elements. Negative: the unit vectors.

    Args:
        num_elements: the size n of the ground set {0, ..., n - 1}.
        sets: the sets, each of at least two different elements.

    Returns:
        The positive and the negative points, in {0, 1}^n: n + 1 + the number of sets in all.

    Raises:
        ValueError: if a set has fewer than two elements, a repeated one, or one outside the ground set.

    Source: Blum and Rivest, section 3.

    >>> set_splitting_to_training(3, [(0, 1), (1, 2)])
    ([(0, 0, 0), (1, 1, 0), (0, 1, 1)], [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
    """
    for members in sets:
        if len(set(members)) != len(members) or len(members) < 2 or not set(members) <= set(range(num_elements)):
            raise ValueError(
                f"expected sets of at least two different elements of 0, ..., {num_elements - 1}, got {tuple(members)}"
            )
    indicator = [tuple(int(i in members) for i in range(num_elements)) for members in ((), *sets)]
    units = [tuple(int(i == j) for i in range(num_elements)) for j in range(num_elements)]
    return indicator, units


def split_from_network(weight: Float[Tensor, "2 n"], bias: Float[Tensor, "2"]) -> tuple[set[int], set[int]]:
    """The division of the ground set that a fitted network contains.

    An element belongs to the first part if the first unit is off at its unit vector, else to the second.

    Args:
        weight: the weights of the two units.
        bias: their biases.

    Returns:
        The two parts.

    Raises:
        ValueError: if the sizes do not fit, or the network is on at a unit vector and so fits no training set of
            :func:`set_splitting_to_training`.

    Source: Blum and Rivest, section 3.

    >>> split_from_network(torch.tensor([[-1.0, 3.0], [3.0, -1.0]]), torch.tensor([0.5, 0.5]))
    ({0}, {1})
    """
    n = weight.shape[1]
    if three_node_network(torch.eye(n, dtype=weight.dtype, device=weight.device), weight, bias).any():
        raise ValueError("expected a network that is off at every unit vector, got one that is on")
    off = (weight[0] + bias[0] <= 0).tolist()
    return {i for i in range(n) if off[i]}, {i for i in range(n) if not off[i]}


def fit_three_node_network(
    positive: Sequence[Sequence[int]], negative: Sequence[Sequence[int]]
) -> tuple[tuple[Tensor, Tensor] | None, int]:
    """Find weights that fit all samples, or prove that there are none, by going through the ways to share the work.

    Both half-spaces must contain every positive point, and each negative point must be outside of one of them. So we
    decide point by point which unit excludes it, and turn back as soon as a unit has more to exclude than any
    half-space can. The number of decisions can double with every negative point.

    Args:
        positive: points with whole-number coordinates where the network must be on.
        negative: points where it must be off.

    Returns:
        Weights (2, n) and biases (2,) in float64, or None; and the number of linear programs that were solved.

    Raises:
        ValueError: as :func:`separating_half_space`.

    Source: Blum and Rivest, section 2.

    >>> network, _ = fit_three_node_network([(0, 1), (1, 0)], [(0, 0), (1, 1)])
    >>> three_node_network(torch.tensor([[0.0, 1.0], [1.0, 1.0]]).double(), *network)
    tensor([ True, False])
    """
    solved = 0

    def search(k: int, excluded: tuple[list, list], halves: tuple[HalfSpace, HalfSpace]):
        nonlocal solved
        if k == len(negative):
            return halves
        for unit in (0, 1):
            if not excluded[0] and not excluded[1] and unit == 1:
                break  # the units are alike: the first point goes to the first of them
            more = [*excluded[unit], negative[k]]
            weights, constant = halves[unit]
            half = halves[unit]
            if sum(w * v for w, v in zip(weights, negative[k], strict=True)) + constant > 0:
                half = separating_half_space(positive, more)
                solved += 1
            if half is not None:
                both = [(excluded[0], halves[0]), (excluded[1], halves[1])]
                both[unit] = (more, half)
                found = search(k + 1, (both[0][0], both[1][0]), (both[0][1], both[1][1]))
                if found is not None:
                    return found
        return None

    whole = separating_half_space(positive, []) if positive else None
    if whole is None:  # no positive point: a network that is never on
        n = len(negative[0]) if negative else 0
        whole = ([Fraction(0)] * n, Fraction(-1))
    found = search(0, ([], []), (whole, whole))
    if found is None:
        return None, solved
    weight = torch.tensor([[float(value) for value in weights] for weights, _ in found], dtype=torch.float64)
    bias = torch.tensor([float(constant) for _, constant in found], dtype=torch.float64)
    return (weight, bias), solved
