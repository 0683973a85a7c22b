"""Helpers of the library's tests: distributions for hypothesis, and errors matched to the letter."""

import re

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor


def raises(error: type[Exception], message: str):
    """Expect an error whose whole message is ``message``."""
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def normalized(weights: list[float]) -> Tensor:
    """The weights as a distribution in float64."""
    weights = torch.tensor(weights, dtype=torch.float64)
    return weights / weights.sum()


def distributions(min_size: int = 1, max_size: int = 8) -> st.SearchStrategy[Tensor]:
    """Distributions with zeros, near-zeros, equal probabilities and everything between."""
    weight = st.one_of(st.just(0.0), st.just(1.0), st.floats(1e-12, 1.0))
    return st.lists(weight, min_size=min_size, max_size=max_size).filter(lambda w: sum(w) > 0).map(normalized)


def distribution_tuples(count: int, min_size: int = 1, max_size: int = 8) -> st.SearchStrategy[tuple[Tensor, ...]]:
    """Several distributions over the same outcomes."""
    sizes = st.integers(min_size, max_size)
    return sizes.flatmap(lambda size: st.tuples(*[distributions(size, size)] * count))


def joints(max_size: int = 5) -> st.SearchStrategy[Tensor]:
    """Joint distributions of two variables, float64, shape (a, b)."""
    sizes = st.tuples(st.integers(1, max_size), st.integers(1, max_size))
    return sizes.flatmap(lambda s: distributions(s[0] * s[1], s[0] * s[1]).map(lambda p: p.reshape(s)))
