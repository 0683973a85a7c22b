r"""Which data may choose what: splits into training, validation and test set, and cross-validation.

Parameters are fitted on the training set, hyperparameters are chosen on the validation set, and the test set is looked
at once. Cross-validation lets each of K folds :math:`V_1, \dots, V_K` be the validation set in turn and averages,

.. math:: \mathrm{CV} = \frac1K \sum_{j=1}^{K} \mathrm{score}\big(\text{fit on all data but } V_j,\ V_j\big).

All functions work with the indices of samples, so they fit any kind of data.

Reference: T. Hastie, R. Tibshirani and J. Friedman, *The Elements of Statistical Learning*, second edition, Springer
2009, chapter 7.
The book's chapter ``learning-from-data`` teaches this module.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

__all__ = ["cross_validation", "k_fold_indices", "train_validation_test_split"]


def train_validation_test_split(
    num_samples: int, *, generator: torch.Generator, fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
) -> tuple[Int64[Tensor, "train"], Int64[Tensor, "validation"], Int64[Tensor, "test"]]:
    r"""Deal samples at random to a training, a validation and a test set.

    .. math:: \{1, \dots, m\} = T \cup V \cup S, \qquad |V| \approx \alpha_V m, \quad |S| \approx \alpha_S m

    The sizes of the last two are rounded to the nearest whole number (a half goes up); the training set takes the rest.

    Args:
        num_samples: how many samples m there are.
        generator: source of the shuffle; the same state gives the same split.
        fractions: shares of training, validation and test set, positive, with sum 1.

    Returns:
        Three index tensors without a common element, together all of 0, ..., m-1, in random order, on the generator's
        device.

    Raises:
        ValueError: if the fractions are not positive with sum 1, or a set would be empty.

    Source: Hastie, Tibshirani and Friedman, section 7.2.

    >>> train, validation, test = train_validation_test_split(10, generator=torch.Generator().manual_seed(0))
    >>> len(train), len(validation), len(test)
    (6, 2, 2)
    """
    if len(fractions) != 3 or not all(share > 0 for share in fractions) or not math.isclose(sum(fractions), 1):
        raise ValueError(f"expected three positive fractions with sum 1, got {fractions}")
    num_validation, num_test = (math.floor(share * num_samples + 0.5) for share in fractions[1:])
    sizes = num_samples - num_validation - num_test, num_validation, num_test
    if min(sizes) < 1:
        raise ValueError(f"expected samples for all three sets, got {num_samples}, which gives sizes {sizes}")
    train, validation, test = _shuffled(num_samples, generator).split(sizes)
    return train, validation, test


def k_fold_indices(
    num_samples: int, num_folds: int, *, generator: torch.Generator | None = None
) -> list[tuple[Int64[Tensor, "train"], Int64[Tensor, "validation"]]]:
    r"""Training and validation sets of K-fold cross-validation.

    .. math:: \{1, \dots, m\} = V_1 \cup \dots \cup V_K, \qquad T_j = \{1, \dots, m\} \setminus V_j

    Args:
        num_samples: how many samples m there are.
        num_folds: how many folds K, from 2 to m; K = m leaves out one sample at a time.
        generator: source of a shuffle before the folds are cut; without one they are consecutive blocks, which keeps
            neighbouring samples, such as frames of one film, on the same side.

    Returns:
        A pair (training indices, validation indices) for each fold; sizes of the folds differ by at most 1, the larger
        ones come first.

    Raises:
        ValueError: if the number of folds is not from 2 to m.

    Source: Hastie, Tibshirani and Friedman, section 7.10.

    >>> for train, validation in k_fold_indices(5, 2):
    ...     print(train.tolist(), validation.tolist())
    [3, 4] [0, 1, 2]
    [0, 1, 2] [3, 4]
    """
    if not 2 <= num_folds <= num_samples:
        raise ValueError(f"expected a number of folds from 2 to the {num_samples} samples, got {num_folds}")
    order = torch.arange(num_samples) if generator is None else _shuffled(num_samples, generator)
    folds = order.tensor_split(num_folds)
    return [(torch.cat(folds[:j] + folds[j + 1 :]), folds[j]) for j in range(num_folds)]


def cross_validation(
    fit_and_score: Callable[[Tensor, Tensor], float | Tensor], folds: Sequence[tuple[Tensor, Tensor]]
) -> Float64[Tensor, "num_folds"]:
    r"""Score of a way of learning on each fold, after learning from the others.

    .. math:: s_j = \mathrm{score}(\mathrm{fit}(T_j), V_j), \qquad \mathrm{CV} = \frac1K \sum_{j=1}^K s_j

    Args:
        fit_and_score: learns from the samples of its first argument (indices) and returns the score, a number, on those
            of its second. Everything that is fitted belongs inside, the scaling of the inputs too.
        folds: pairs of training and validation indices, as `k_fold_indices` gives them.

    Returns:
        The scores of the folds; their mean is the cross-validation score.

    Raises:
        ValueError: if there are no folds, a fold has samples on both sides, or a score is not a finite number.

    Source: Stone, Cross-validatory choice and assessment of statistical predictions, Journal of the Royal Statistical
    Society B 36, 1974.

    >>> y = torch.tensor([1.0, 2.0, 3.0, 6.0])
    >>> cross_validation(lambda train, held: (y[held] - y[train].mean()).abs().mean(), k_fold_indices(4, 2))
    tensor([3., 3.], dtype=torch.float64)
    """
    if not folds:
        raise ValueError("expected at least one fold, got none")
    scores = []
    for train, validation in folds:
        common = train[torch.isin(train, validation)]
        if len(common):
            raise ValueError(f"expected folds without a common sample, got sample {common[0].item()} on both sides")
        score = float(fit_and_score(train, validation))
        if not math.isfinite(score):
            raise ValueError(f"expected a finite score, got {score}")
        scores.append(score)
    return torch.tensor(scores, dtype=torch.float64)


def _shuffled(num_samples: int, generator: torch.Generator) -> Int64[Tensor, "m"]:
    return torch.randperm(num_samples, generator=generator, device=generator.device)
