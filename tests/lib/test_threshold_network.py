"""The three-node network: separation against linear programming, the reduction against brute force."""

import itertools
import random

import numpy as np
import pytest
import scipy.optimize
import torch

from chainrule.threshold_network import (
    fit_three_node_network,
    separating_half_space,
    set_splitting_to_training,
    split_from_network,
    three_node_network,
)

from .reference import raises

FANO = [(0, 1, 2), (0, 3, 4), (0, 5, 6), (1, 3, 5), (1, 4, 6), (2, 3, 6), (2, 4, 5)]


def can_be_split(n, sets):
    colours = itertools.product((0, 1), repeat=n)
    return any(all(len({colour[i] for i in members}) == 2 for members in sets) for colour in colours)


def separable(positive, negative):
    """The same question, asked of SciPy's linear programs."""
    rows = [[-v for v in (*p, 1)] for p in positive] + [[*q, 1] for q in negative]
    done = scipy.optimize.linprog(np.zeros(len(rows[0])), np.array(rows), -np.ones(len(rows)), bounds=(None, None))
    return done.status == 0


@pytest.mark.parametrize(("n", "count"), [(1, 4), (2, 14), (3, 104)])
def test_the_known_numbers_of_threshold_functions(n, count):
    points = list(itertools.product((0, 1), repeat=n))
    found = 0
    for labels in itertools.product((0, 1), repeat=len(points)):
        positive = [p for p, y in zip(points, labels, strict=True) if y]
        negative = [p for p, y in zip(points, labels, strict=True) if not y]
        found += separating_half_space(positive, negative) is not None
    assert found == count


def test_separation_agrees_with_linear_programming():
    source, seen = random.Random(0), set()
    for _ in range(60):
        d, m = source.randint(1, 4), source.randint(2, 8)
        points = [tuple(source.randint(-3, 3) for _ in range(d)) for _ in range(m)]
        cut = source.randint(0, m)
        half = separating_half_space(points[:cut], points[cut:])
        assert (half is not None) == separable(points[:cut], points[cut:])
        seen.add(half is not None)
        if half is not None:
            w, b = half
            scores = [sum(a * v for a, v in zip(w, p, strict=True)) + b for p in points]
            assert all(s >= 1 for s in scores[:cut]) and all(s <= -1 for s in scores[cut:])
    assert seen == {True, False}


def test_the_network_is_an_and_of_two_half_spaces(device, dtype, generator):
    x = torch.randn(50, 3, generator=generator).to(device, dtype)
    weight, bias = torch.randn(2, 3, generator=generator).to(x), torch.randn(2, generator=generator).to(x)
    expected = [all(float(w @ p + b) > 0 for w, b in zip(weight, bias, strict=True)) for p in x]
    result = three_node_network(x, weight, bias)
    assert result.tolist() == expected and 0 < sum(expected) < 50


@pytest.mark.parametrize("seed", range(12))
def test_a_training_set_can_be_fitted_exactly_if_the_sets_can_be_split(seed):
    source = random.Random(seed)
    n = source.randint(3, 6)
    sets = [tuple(source.sample(range(n), source.choice((2, 3)))) for _ in range(source.randint(2, 2 * n))]
    positive, negative = set_splitting_to_training(n, sets)
    assert len(positive) == len(sets) + 1 and len(negative) == n
    network, solved = fit_three_node_network(positive, negative)
    assert (network is not None) == can_be_split(n, sets) and solved >= 1
    if network is not None:
        assert three_node_network(torch.tensor(positive).double(), *network).all()
        assert not three_node_network(torch.tensor(negative).double(), *network).any()
        first, second = split_from_network(*network)
        assert first | second == set(range(n)) and not first & second
        assert not any(set(members) <= part for members in sets for part in (first, second))


def test_the_seven_points_of_the_fano_plane_cannot_be_split():
    assert not can_be_split(7, FANO)
    positive, negative = set_splitting_to_training(7, FANO)
    assert fit_three_node_network(positive, negative)[0] is None
    easier = set_splitting_to_training(7, FANO[1:])
    assert fit_three_node_network(*easier)[0] is not None


def test_every_free_element_doubles_the_work():
    counts = []
    for free in range(3):
        shifted = [tuple(i + free for i in members) for members in FANO]
        network, solved = fit_three_node_network(*set_splitting_to_training(7 + free, shifted))
        assert network is None
        counts.append(solved)
    assert counts[1] > 1.8 * counts[0] and counts[2] > 1.8 * counts[1]


def test_exclusive_or_is_fitted():
    network, _ = fit_three_node_network([(0, 1), (1, 0)], [(0, 0), (1, 1)])
    corners = torch.tensor([[0, 1], [1, 0], [0, 0], [1, 1]]).double()
    assert three_node_network(corners, *network).tolist() == [True, True, False, False]


def test_one_side_may_be_empty():
    network, _ = fit_three_node_network([], [(0, 0), (1, 1)])
    assert not three_node_network(torch.tensor([[0.0, 0.0], [1.0, 1.0]]).double(), *network).any()
    network, solved = fit_three_node_network([(0, 0), (1, 1)], [])
    assert three_node_network(torch.tensor([[0.0, 0.0], [1.0, 1.0]]).double(), *network).all() and solved == 0


def test_bad_input(unchecked):
    for sets in ([(0,)], [(0, 0)], [(0, 3)], [(-1, 1)]):
        with raises(ValueError, f"expected sets of at least two different elements of 0, ..., 2, got {sets[0]}"):
            set_splitting_to_training(3, sets)
    with raises(ValueError, "expected points of one dimension, got [1, 2]"):
        separating_half_space([(1,)], [(1, 2)])
    with raises(ValueError, "expected points of one dimension, got []"):
        separating_half_space([], [])
    with raises(ValueError, "expected a network that is off at every unit vector, got one that is on"):
        split_from_network(torch.zeros(2, 3), torch.ones(2))
    with raises(ValueError, "expected weights (2, 3) and 2 biases, got (2, 2) and 2"):
        three_node_network(torch.zeros(1, 3), torch.zeros(2, 2), torch.zeros(2))
