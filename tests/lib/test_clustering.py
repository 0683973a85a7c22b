"""k-means against scikit-learn and against all partitions, and the promises of Lloyd's algorithm."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from torch.testing import assert_close

from chainrule.clustering import (
    cluster_means,
    k_means,
    k_means_plus_plus,
    kmeans_cost,
    lloyd,
    nearest_center,
    squared_distances,
)

from .reference import raises

F64 = torch.float64
FOUR = torch.tensor([[0.0, 0.0], [0.0, 1.0], [4.0, 0.0], [4.0, 1.0]], dtype=F64)
seeds = st.integers(0, 10**6)


def cloud(seed, m=40, d=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(m, d, generator=generator, dtype=F64) + 3 * torch.randint(3, (m, 1), generator=generator)


def least_cost(x, k):
    """The least cost of all partitions of a few points, one by one."""
    best = math.inf
    for labels in itertools.product(range(k), repeat=len(x)):
        groups = [x[[i for i, c in enumerate(labels) if c == j]] for j in range(k)]
        best = min(best, sum(float(((g - g.mean(0)) ** 2).sum()) for g in groups if len(g)))
    return best


def test_squared_distances_and_nearest_centre(generator, device, dtype):
    x, centers = (torch.randn(n, 5, generator=generator).to(device, dtype) for n in (7, 4))
    expected = ((x[:, None] - centers) ** 2).sum(-1)
    result = squared_distances(x, centers)
    assert result.dtype == dtype and result.device.type == device.type
    assert_close(result, expected)
    assert nearest_center(x, centers).tolist() == expected.argmin(1).tolist()
    assert (squared_distances(1e4 + x, 1e4 + x).diagonal() == 0).all()


def test_equally_near_centres():
    assert nearest_center(torch.tensor([[1.0]]), torch.tensor([[2.0], [0.0], [2.0]])).tolist() == [0]


def test_means_and_cost_by_hand(device, dtype):
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 0.0]], device=device, dtype=dtype)
    centers = torch.tensor([[7.0, 7.0], [0.0, 0.0], [5.0, 6.0]], device=device, dtype=dtype)
    labels = torch.tensor([1, 1, 0], device=device)
    means = cluster_means(x, labels, centers)
    assert means.tolist() == [[10, 0], [2, 3], [5, 6]]  # the last is empty and stays
    assert kmeans_cost(x, labels, means).item() == 4
    assert kmeans_cost(x, labels, centers).item() == 5 + 25 + 9 + 49
    assert means.dtype == dtype and kmeans_cost(x, labels, means).dtype == dtype


@given(seeds)
def test_for_a_fixed_partition_the_mean_is_best(seed):
    x = cloud(seed)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (40,), generator=generator)
    start = torch.randn(3, 3, generator=generator, dtype=F64)
    means = cluster_means(x, labels, start)
    assert kmeans_cost(x, labels, means) <= kmeans_cost(x, labels, means + start)
    assert kmeans_cost(x, nearest_center(x, means), means) <= kmeans_cost(x, labels, means)


@given(seeds, st.integers(1, 8))
def test_lloyd_never_rises_and_ends_at_rest(seed, k):
    x = cloud(seed)
    result = lloyd(x, x[:k])
    assert result.converged and result.centers.shape == (k, 3)
    assert (result.costs.diff() <= 1e-9).all()
    assert_close(result.costs[-1], kmeans_cost(x, result.assignments, result.centers))
    assert result.assignments.equal(nearest_center(x, result.centers))
    assert_close(result.centers, cluster_means(x, result.assignments, result.centers))


@pytest.mark.parametrize("seed", range(5))
def test_lloyd_agrees_with_scikit_learn(seed):
    x = cloud(seed, m=200)
    reference = KMeans(4, init=x[:4].numpy(), n_init=1, algorithm="lloyd", tol=0).fit(x.numpy())
    result = lloyd(x, x[:4])
    assert_close(result.centers, torch.from_numpy(reference.cluster_centers_))
    assert result.assignments.tolist() == reference.labels_.tolist()
    assert result.costs[-1].item() == pytest.approx(reference.inertia_)


def test_lloyd_on_four_points_can_stop_at_sixteen(device, dtype):
    x = FOUR.to(device, dtype)
    bad = lloyd(x, torch.tensor([[2.0, 0.0], [2.0, 1.0]]).to(x))
    good = lloyd(x, torch.tensor([[0.0, 0.5], [4.0, 0.5]]).to(x))
    assert bad.costs.tolist() == [16] and bad.assignments.tolist() == [0, 1, 0, 1] and bad.converged
    assert good.costs.tolist() == [1] and good.assignments.tolist() == [0, 0, 1, 1]
    assert good.centers.dtype == dtype and good.centers.device.type == device.type


def test_lloyd_stops_after_max_steps():
    x = torch.tensor([[0.0], [1.0], [2.0], [3.0], [9.0], [10.0]])
    start = torch.tensor([[0.0], [1.0]])
    long = lloyd(x, start)
    assert long.converged and len(long.costs) == 3
    short = lloyd(x, start, max_steps=1)
    assert not short.converged and short.costs.tolist() == long.costs[:1].tolist()
    assert lloyd(x, start, max_steps=4).converged and not lloyd(x, start, max_steps=3).converged


def test_lloyd_keeps_an_empty_cluster():
    result = lloyd(FOUR, torch.tensor([[0.0, 0.0], [100.0, 100.0]], dtype=F64))
    assert result.centers.tolist() == [[2.0, 0.5], [100.0, 100.0]] and result.converged


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_k_means_finds_the_least_cost_of_few_points(seed, k):
    x = cloud(seed, m=6, d=2)
    result = k_means(x, k, torch.Generator().manual_seed(seed), restarts=20)
    assert result.costs[-1].item() == pytest.approx(least_cost(x, k))


def test_k_means_takes_the_best_of_its_restarts():
    x = cloud(3, m=60)
    costs = []
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        costs.append(lloyd(x, k_means_plus_plus(x, 7, generator)).costs[-1].item())
    assert len(set(costs)) > 1
    assert k_means(x, 7, torch.Generator().manual_seed(1), restarts=6).costs[-1].item() == min(costs)
    assert k_means(x, 7, torch.Generator().manual_seed(1), restarts=1).costs[-1].item() == costs[0]
    repeated = k_means(x, 7, torch.Generator().manual_seed(1))
    assert repeated.costs[-1] == k_means(x, 7, torch.Generator().manual_seed(1), restarts=10).costs[-1]


def test_k_means_plus_plus_draws_with_the_squared_distance():
    """Points 0, 1 and 3: after the first centre the other two come with probabilities in the ratio of squares."""
    x = torch.tensor([[0.0], [1.0], [3.0]])
    generator = torch.Generator().manual_seed(0)
    counts = np.zeros((3, 3))
    runs = 3000
    for _ in range(runs):
        first, second = k_means_plus_plus(x, 2, generator).flatten().tolist()
        counts[[0, 1, 3].index(first), [0, 1, 3].index(second)] += 1
    expected = np.array([[0, 1 / 10, 9 / 10], [1 / 5, 0, 4 / 5], [9 / 13, 4 / 13, 0]]) / 3
    assert np.abs(counts / runs - expected).max() < 0.03


def test_third_centre_counts_its_distance_to_the_nearest():
    x = torch.tensor([[0.0], [10.0], [1.0], [10.5]])
    generator = torch.Generator().manual_seed(0)
    third = []
    for _ in range(2000):
        a, b, c = k_means_plus_plus(x, 3, generator).flatten().tolist()
        if (a, b) == (0.0, 10.0):
            third.append(c)
    assert len(third) > 100
    assert abs(third.count(1.0) / len(third) - 0.8) < 0.1  # 1 against 0.25


def test_k_means_plus_plus_takes_each_point_once_and_repeats_if_it_must(device, dtype):
    x = torch.tensor([[0.0], [0.0], [0.0], [5.0], [7.0]], device=device, dtype=dtype)
    for seed in range(20):
        centers = k_means_plus_plus(x, 3, torch.Generator().manual_seed(seed))
        assert sorted(centers.flatten().tolist()) == [0, 5, 7]
        assert centers.dtype == dtype and centers.device.type == device.type
        more = k_means_plus_plus(x, 5, torch.Generator().manual_seed(seed))
        assert len(more) == 5 and set(more.flatten().tolist()) == {0, 5, 7}


def test_errors(unchecked):
    x, g = torch.zeros(3, 2), torch.Generator()
    with raises(ValueError, "expected x as the rows of a matrix, at least one, got shape (3,)"):
        squared_distances(torch.zeros(3), x)
    with raises(ValueError, "expected centers as the rows of a matrix, at least one, got shape (0, 2)"):
        lloyd(x, torch.zeros(0, 2))
    with raises(ValueError, "expected centers of 2 features like x, got 3"):
        nearest_center(x, torch.zeros(1, 3))
    with raises(ValueError, "expected x to be finite, got nan"):
        kmeans_cost(x * math.nan, torch.zeros(3, dtype=torch.long), x)
    with raises(ValueError, "expected centers to be finite, got inf"):
        cluster_means(x, torch.zeros(3, dtype=torch.long), x + math.inf)
    with raises(TypeError, "expected x to be of floating type, got torch.int64"):
        k_means(x.long(), 1, g)
    with raises(ValueError, "expected k from 1 to the 3 points, got 0"):
        k_means_plus_plus(x, 0, g)
    with raises(ValueError, "expected k from 1 to the 3 points, got 4"):
        k_means(x, 4, g)
    with raises(ValueError, "expected restarts of at least 1, got 0"):
        k_means(x, 1, g, restarts=0)
    with raises(ValueError, "expected max_steps of at least 1, got 0"):
        lloyd(x, x, max_steps=0)
    for function in (kmeans_cost, cluster_means):
        with raises(ValueError, "expected assignments of shape (3,), got (2,)"):
            function(x, torch.zeros(2, dtype=torch.long), x)
        with raises(ValueError, "expected assignments in [0, 3), got 3"):
            function(x, torch.tensor([0, 3, 1]), x)
        with raises(ValueError, "expected assignments in [0, 3), got -1"):
            function(x, torch.tensor([0, -1, 5]), x)
        with raises(TypeError, "expected assignments to be of integer type, got torch.float32"):
            function(x, torch.zeros(3), x)
