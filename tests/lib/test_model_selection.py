"""Splits and cross-validation: every sample in its place, sizes as promised, scores as computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from torch.testing import assert_close

from chainrule.model_selection import cross_validation, k_fold_indices, train_validation_test_split


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# Three sets


@given(st.integers(10, 200), st.integers(0, 100))
def test_each_sample_is_in_one_of_three_sets(num_samples, seed):
    parts = train_validation_test_split(num_samples, generator=seeded(seed))
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(num_samples))
    assert all(part.dtype == torch.int64 for part in parts)
    assert [len(part) for part in parts[1:]] == [math.floor(0.2 * num_samples + 0.5)] * 2


@pytest.mark.parametrize(
    ("num_samples", "fractions", "sizes"),
    [
        (10, (0.6, 0.2, 0.2), (6, 2, 2)),
        (1000, (0.5, 0.3, 0.2), (500, 300, 200)),
        (5, (0.5, 0.25, 0.25), (3, 1, 1)),
        (6, (0.5, 0.25, 0.25), (2, 2, 2)),  # 1.5 is rounded up, twice
        (3, (1 / 3, 1 / 3, 1 / 3), (1, 1, 1)),
        (12, (0.1, 0.1, 0.8), (1, 1, 10)),
    ],
)
def test_sizes_of_the_three_sets(num_samples, fractions, sizes):
    parts = train_validation_test_split(num_samples, generator=seeded(), fractions=fractions)
    assert tuple(len(part) for part in parts) == sizes


def test_indices_are_made_where_the_generator_is(device):
    generator = torch.Generator(device).manual_seed(0)
    parts = train_validation_test_split(20, generator=generator)
    folds = k_fold_indices(20, 4, generator=generator)
    assert {part.device.type for part in (*parts, *folds[0])} == {device.type}


def test_a_split_is_random_and_repeatable():
    first = torch.cat(train_validation_test_split(50, generator=seeded(1)))
    assert torch.equal(torch.cat(train_validation_test_split(50, generator=seeded(1))), first)
    assert not torch.equal(torch.cat(train_validation_test_split(50, generator=seeded(2))), first)
    assert not torch.equal(first, torch.arange(50))
    places = torch.stack([train_validation_test_split(10, generator=seeded(s))[2] for s in range(600)])
    assert (places.flatten().bincount(minlength=10) - 120).abs().max() < 50  # each sample is tested equally often


@pytest.mark.parametrize("fractions", [(0.6, 0.2, 0.1), (0.9, 0.1, 0.0), (1.2, -0.1, -0.1), (0.5, 0.5, math.nan)])
def test_shares_that_are_none_are_refused(fractions):
    with pytest.raises(ValueError, match=r"three positive fractions with sum 1, got \("):
        train_validation_test_split(100, generator=seeded(), fractions=fractions)


def test_other_numbers_of_sets_are_refused(unchecked):
    with pytest.raises(ValueError, match="three positive fractions"):
        train_validation_test_split(100, generator=seeded(), fractions=(0.5, 0.5))


@pytest.mark.parametrize(("num_samples", "sizes"), [(2, r"\(2, 0, 0\)"), (0, r"\(0, 0, 0\)")])
def test_too_few_samples_are_refused(num_samples, sizes):
    with pytest.raises(ValueError, match=rf"samples for all three sets, got {num_samples}, which gives sizes {sizes}"):
        train_validation_test_split(num_samples, generator=seeded())


def test_no_set_may_be_empty():
    with pytest.raises(ValueError, match=r"which gives sizes \(4, 1, 0\)"):
        train_validation_test_split(5, generator=seeded(), fractions=(0.8, 0.15, 0.05))
    with pytest.raises(ValueError, match=r"which gives sizes \(0, 1, 1\)"):
        train_validation_test_split(2, generator=seeded(), fractions=(0.2, 0.4, 0.4))


# Folds


@given(st.integers(2, 60), st.data())
def test_each_sample_validates_once_and_trains_in_all_other_rounds(num_samples, data):
    num_folds = data.draw(st.integers(2, num_samples))
    generator = data.draw(st.sampled_from([None, seeded(num_samples)]))
    folds = k_fold_indices(num_samples, num_folds, generator=generator)
    assert len(folds) == num_folds
    everyone = torch.arange(num_samples)
    assert torch.equal(torch.cat([validation for _, validation in folds]).sort().values, everyone)
    for train, validation in folds:
        assert train.dtype == validation.dtype == torch.int64
        assert torch.equal(torch.cat([train, validation]).sort().values, everyone)
    sizes = [len(validation) for _, validation in folds]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] - sizes[-1] <= 1


@pytest.mark.parametrize(("num_samples", "num_folds"), [(10, 3), (8, 4), (7, 7)])
def test_consecutive_folds_are_those_of_scikit_learn(num_samples, num_folds):
    expected = list(KFold(num_folds).split(range(num_samples)))
    for ours, theirs in zip(k_fold_indices(num_samples, num_folds), expected, strict=True):
        assert all(a.tolist() == b.tolist() for a, b in zip(ours, theirs, strict=True))


def test_a_generator_shuffles_the_folds():
    folds = k_fold_indices(100, 4, generator=seeded(3))
    assert [v.tolist() for _, v in folds] == [v.tolist() for _, v in k_fold_indices(100, 4, generator=seeded(3))]
    assert [v.tolist() for _, v in folds] != [v.tolist() for _, v in k_fold_indices(100, 4, generator=seeded(4))]
    assert all(validation.max() - validation.min() > 60 for _, validation in folds)


@pytest.mark.parametrize("num_folds", [1, 0, -3, 6])
def test_impossible_numbers_of_folds_are_refused(num_folds):
    with pytest.raises(ValueError, match=f"number of folds from 2 to the 5 samples, got {num_folds}"):
        k_fold_indices(5, num_folds)


# Cross-validation


def test_scores_are_those_of_scikit_learn():
    x = torch.randn(60, 3, generator=seeded(), dtype=torch.float64)
    y = (x[:, 0] + 0.5 * torch.randn(60, generator=seeded(1)) > 0).long()
    model = KNeighborsClassifier(n_neighbors=3)
    expected = cross_val_score(model, x.numpy(), y.numpy(), cv=KFold(4))

    def fit_and_score(train, held):
        votes = y[train][torch.cdist(x[held], x[train]).topk(3, largest=False).indices]
        return (votes.mode(dim=1).values == y[held]).double().mean()

    scores = cross_validation(fit_and_score, k_fold_indices(60, 4))
    assert scores.dtype == torch.float64 and 0.5 < scores.mean() < 1
    assert_close(scores, torch.from_numpy(expected))


def test_learning_sees_the_training_indices_first():
    seen = []
    folds = k_fold_indices(9, 3, generator=seeded())

    def fit_and_score(train, held):
        seen.append((train, held))
        return len(seen)

    assert cross_validation(fit_and_score, folds).tolist() == [1, 2, 3]
    assert all(a is b and c is d for (a, c), (b, d) in zip(seen, folds, strict=True))


def test_folds_that_leak_are_refused():
    folds = [(torch.tensor([0, 1]), torch.tensor([2])), (torch.tensor([1, 2, 4]), torch.tensor([0, 4]))]
    with pytest.raises(ValueError, match="without a common sample, got sample 4 on both sides"):
        cross_validation(lambda train, held: 0.0, folds)
    with pytest.raises(ValueError, match="^expected at least one fold, got none$"):
        cross_validation(lambda train, held: 0.0, [])


@pytest.mark.parametrize("score", [math.nan, math.inf, torch.tensor(-math.inf)])
def test_scores_that_are_no_numbers_are_refused(score):
    with pytest.raises(ValueError, match="a finite score, got "):
        cross_validation(lambda train, held: score, k_fold_indices(4, 2))


def test_majority_of_balanced_classes_is_never_right_when_one_is_left_out():
    y = torch.arange(20) % 2
    scores = cross_validation(lambda t, v: (y[t].mode().values == y[v]).double().mean(), k_fold_indices(20, 20))
    assert scores.tolist() == [0.0] * 20
