"""Neighbours: distances against plain loops, votes and predictions against scikit-learn, ties by the stated rule."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier
from torch.testing import assert_close

from chainrule.nearest_neighbours import knn_predict, l1_distance, l2_distance, majority_vote, nearest_neighbours


def cloud(m, d, seed=0, **options):
    return (3 * torch.randn(m, d, generator=torch.Generator().manual_seed(seed)) + 1).to(**options)


# Distances


def test_distances_are_the_sums_of_the_definition(device, dtype):
    a, b = cloud(7, 5, 0, device=device, dtype=dtype), cloud(40, 5, 1, device=device, dtype=dtype)
    for distance, p in ((l1_distance, 1), (l2_distance, 2)):
        expected = torch.tensor(
            [
                [sum(abs(x - y) ** p for x, y in zip(u, v, strict=True)) ** (1 / p) for v in b.tolist()]
                for u in a.tolist()
            ],
            dtype=dtype,
            device=device,
        )
        assert_close(distance(a, b), expected)


def test_textbook_images():
    a, b = torch.tensor([[10.0, 20, 30, 40]]), torch.tensor([[12.0, 18, 30, 44]])
    assert l1_distance(a, b).item() == 8
    assert l2_distance(a, b).item() == pytest.approx(math.sqrt(24))


def test_equal_rows_are_at_distance_zero_however_large_they_are(device, dtype):
    a = 1e4 + cloud(60, 33, device=device, dtype=dtype)  # more than 25 rows, where torch.cdist would use a product
    for distance in (l1_distance, l2_distance):
        assert (distance(a, a.clone()).diagonal() == 0).all()
        assert not distance(a, a).isnan().any()


def test_small_differences_between_large_points_survive(device):
    a = torch.full((30, 2), 1e4, device=device)
    b = a.clone()
    b[:, 0] += torch.arange(30, device=device) / 64
    assert_close(l2_distance(a[:1], b)[0], torch.arange(30, device=device) / 64)


@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 5))
def test_distances_are_metrics(seed, m, d):
    x = cloud(m, d, seed, dtype=torch.float64)
    for distance in (l1_distance, l2_distance):
        between = distance(x, x)
        assert_close(between, between.T)
        assert (between.unsqueeze(2) <= between.unsqueeze(1) + between.T.unsqueeze(0) + 1e-9).all()
        assert_close(distance(2 * x + 5, 2 * x + 5), 2 * between)
    assert (l2_distance(x, x) <= l1_distance(x, x) + 1e-9).all()
    assert (l1_distance(x, x) <= math.sqrt(d) * l2_distance(x, x) + 1e-9).all()


@pytest.mark.parametrize("distance", [l1_distance, l2_distance])
def test_what_is_no_set_of_points_is_refused(distance, unchecked):
    x = cloud(3, 2)
    with pytest.raises(ValueError, match=r"same number of features, got 2 and 1"):
        distance(x, x[:, :1])
    with pytest.raises(ValueError, match=r"rows of a matrix, got shape \(2,\)"):
        distance(x, x[0])
    with pytest.raises(ValueError, match=r"rows of a matrix, got shape \(3, 2, 1\)"):
        distance(x.unsqueeze(2), x)
    for bad in (math.nan, math.inf):
        broken = x.clone()
        broken[1, 1] = bad
        with pytest.raises(ValueError, match="points to be finite"):
            distance(x, broken)
        with pytest.raises(ValueError, match="points to be finite"):
            distance(broken, x)
    with pytest.raises(TypeError, match=r"points to be of floating type, got torch.int64"):
        distance(x.long(), x)


# Neighbours


def test_neighbours_come_in_the_order_of_their_distance(device):
    distances = cloud(9, 20, device=device).abs()
    for k in (1, 4, 20):
        index = nearest_neighbours(distances, k)
        assert index.shape == (9, k) and index.dtype == torch.int64 and index.device.type == device.type
        assert_close(distances.gather(1, index), distances.sort(dim=1).values[:, :k])


def test_of_equally_distant_neighbours_the_earlier_comes_first():
    distances = torch.tensor([[2.0, 1, 2, 1, 0, 2] * 20])
    index = nearest_neighbours(distances, 120)[0].tolist()
    assert index == sorted(range(120), key=lambda i: (distances[0, i].item(), i))


@pytest.mark.parametrize("k", [0, -1, 4])
def test_more_neighbours_than_examples_are_refused(k):
    with pytest.raises(ValueError, match=f"k from 1 to the 3 examples, got {k}"):
        nearest_neighbours(torch.ones(2, 3), k)


def test_what_are_no_distances_is_refused(unchecked):
    with pytest.raises(ValueError, match=r"a row for each query, got shape \(3,\)"):
        nearest_neighbours(torch.ones(3), 1)
    with pytest.raises(ValueError, match="distances to be finite, got nan"):
        nearest_neighbours(torch.tensor([[1.0, math.nan]]), 1)
    with pytest.raises(TypeError, match="expected distances to be of floating type"):
        nearest_neighbours(torch.ones(2, 2).long(), 1)


# Votes


def winner(row):
    counts = Counter(row)
    return next(label for label in row if counts[label] == max(counts.values()))


@given(st.lists(st.lists(st.integers(0, 4), min_size=5, max_size=5), min_size=1, max_size=6))
def test_the_majority_wins_and_ties_go_to_the_first(rows):
    assert majority_vote(torch.tensor(rows)).tolist() == [winner(row) for row in rows]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_the_winner_has_the_type_of_the_votes(dtype, device):
    votes = torch.tensor([[3, 200 if dtype is torch.uint8 else 20_000, 3], [0, 0, 1]], dtype=dtype, device=device)
    result = majority_vote(votes)
    assert result.dtype == dtype and result.device.type == device.type and result.tolist() == [3, 0]


def test_an_election_without_voters_is_refused(unchecked):
    with pytest.raises(ValueError, match=r"at least one voter in each row, got shape \(2, 0\)"):
        majority_vote(torch.zeros(2, 0, dtype=torch.long))
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        majority_vote(torch.tensor([1, 2, 3]))
    with pytest.raises(ValueError, match="classes from 0, got -2"):
        majority_vote(torch.tensor([[0, -1], [-2, 4]]))
    with pytest.raises(TypeError, match="expected votes to be of integer type"):
        majority_vote(torch.tensor([[0.0, 1.0]]))
    assert majority_vote(torch.zeros(0, 1, dtype=torch.long)).shape == (0,)


# Prediction


@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize(("distance", "p"), [(l1_distance, 1), (l2_distance, 2)])
def test_two_classes_agree_with_scikit_learn(k, distance, p):
    """An odd number of voters for two classes has no ties, so there is one right answer."""
    x, queries = cloud(80, 4, 0, dtype=torch.float64), cloud(50, 4, 1, dtype=torch.float64)
    y = (x.sum(dim=1) + cloud(80, 1, 2, dtype=torch.float64)[:, 0] > 4).long()
    theirs = KNeighborsClassifier(n_neighbors=k, p=p, algorithm="brute").fit(x.numpy(), y.numpy())
    expected = torch.from_numpy(theirs.predict(queries.numpy()))
    assert 0 < expected.double().mean() < 1
    assert torch.equal(knn_predict(x, y, queries, k, distance=distance), expected)


def test_one_neighbour_knows_its_own_examples(device, dtype):
    x = cloud(50, 3, device=device, dtype=dtype)
    y = torch.randint(7, (50,), generator=torch.Generator().manual_seed(0)).to(device)
    guess = knn_predict(x, y, x)
    assert torch.equal(guess, y) and guess.device.type == device.type
    assert torch.equal(knn_predict(x, y, x, k=2), y)  # a tie goes to the nearer one


def test_all_neighbours_elect_the_most_frequent_class():
    y = torch.tensor([5, 2, 2, 9, 2, 5, 9])
    assert knn_predict(cloud(7, 2), y, cloud(20, 2, 1), k=7).tolist() == [2] * 20


def test_the_two_distances_may_disagree():
    x, y = torch.tensor([[3.0, 0.0], [2.0, 2.0]]), torch.tensor([1, 0])
    query = torch.tensor([[0.0, 0.1]])
    assert knn_predict(x, y, query, distance=l1_distance).item() == 1
    assert knn_predict(x, y, query).item() == 0  # L2 is the default


@given(st.integers(0, 300), st.integers(1, 5))
def test_order_of_queries_and_shifts_of_space_do_not_matter(seed, k):
    x, queries = cloud(12, 3, seed, dtype=torch.float64), cloud(5, 3, seed + 1, dtype=torch.float64)
    y = torch.randint(3, (12,), generator=torch.Generator().manual_seed(seed))
    guess = knn_predict(x, y, queries, k)
    assert torch.equal(knn_predict(x, y, queries.flip(0), k), guess.flip(0))
    assert torch.equal(knn_predict(x + 8, y, queries + 8, k), guess)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(knn_predict(x[order], y[order], queries, k), guess)


def test_examples_without_classes_are_refused(unchecked):
    x, y = cloud(4, 2), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"a class for each of 4 examples, got shape \(3,\)"):
        knn_predict(x, y[:3], x)
    with pytest.raises(TypeError, match="expected train_y to be of integer type"):
        knn_predict(x, y.double(), x)
    with pytest.raises(ValueError, match="same number of features, got 1 and 2"):
        knn_predict(x, y, x[:, :1], distance=lambda a, b: torch.ones(len(a), len(b)))
    with pytest.raises(ValueError, match="k from 1 to the 4 examples, got 5"):
        knn_predict(x, y, x, k=5)
