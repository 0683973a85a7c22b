"""The exercises on mathematical tools: wrong answers get the sentence that teaches, right ones pass in any form."""

import pytest
import torch

from chainrule.checks import check, exercises

F64 = torch.float64


# broadcast_shape


def broadcast_shape(a, b):
    shape = []
    for k in range(1, max(len(a), len(b)) + 1):
        sizes = {shape[-k] for shape in (a, b) if k <= len(shape)} - {1}
        if len(sizes) > 1:
            return [-1]
        shape.insert(0, sizes.pop() if sizes else 1)
    return shape


def broadcast_from_the_left(a, b):
    n = max(len(a), len(b))
    return broadcast_shape(a + [1] * (n - len(a)), b + [1] * (n - len(b)))


def largest_sizes(a, b):
    n = max(len(a), len(b))
    return [max(pair) for pair in zip([1] * (n - len(a)) + a, [1] * (n - len(b)) + b, strict=True)]


def equal_sizes(a, b):
    n = max(len(a), len(b))
    a, b = [1] * (n - len(a)) + a, [1] * (n - len(b)) + b
    return a if a == b else [-1]


RIGHT = {
    "broadcast_shape": [broadcast_shape, lambda a, b: tuple(float(size) for size in broadcast_shape(a, b))],
}

# Of each wrong answer: the function, and words that the message must hold.
WRONG = {
    "broadcast_shape": [
        (broadcast_from_the_left, "compared from the right"),
        (largest_sizes, "Else the sum is an error"),
        (equal_sizes, "An axis of size 1 fits every size"),
        (lambda a, b: broadcast_shape(a, b) if len(a) == len(b) else [-1], "The numbers of axes may differ"),
        (lambda a, b: (torch.zeros(a) + torch.zeros(b)).shape if a == b else 0, "should be a list of numbers"),
    ],
}


def table(answers):
    return [pytest.param(name, *entry, id=f"{name}-{i}") for name, rows in answers.items() for i, entry in rows]


def test_every_exercise_has_right_answers_and_at_least_three_wrong_ones():
    names = [exercise.name for exercise in exercises("mathematical-tools")]
    assert list(RIGHT) == list(WRONG) == names
    assert all(len(RIGHT[name]) >= 1 and len(WRONG[name]) >= 3 for name in names)


@pytest.mark.parametrize(("name", "answer"), table({n: enumerate((f,) for f in fs) for n, fs in RIGHT.items()}))
def test_right_answers_pass_whatever_is_drawn(name, answer):
    for seed in range(10):
        result = check(answer, name, seed=seed)
        assert result, result


@pytest.mark.parametrize(("name", "answer", "words"), table({n: enumerate(rows) for n, rows in WRONG.items()}))
def test_wrong_answers_fail_with_the_sentence_that_teaches(name, answer, words):
    for seed in range(2):
        result = check(answer, name, seed=seed)
        assert not result
        assert words in repr(result), f"{words!r} is not in\n{result}"


def test_every_hint_of_every_mistake_is_reached():
    """A mistake that is hidden behind another one, or that is right by accident, teaches nobody."""
    for exercise in exercises("mathematical-tools"):
        for mistake in exercise.mistakes:
            result = check(lambda *inputs, m=mistake: m.answer(*inputs), exercise.name, seed=1)
            assert not result and result.hint == mistake.hint, (exercise.name, mistake.hint, result)
