"""`check`, the student's side: what it says of functions that are unwritten, wrong, broken or of the wrong kind."""

import functools
import html
import re

import numpy as np
import pytest
import torch

import chainrule.information
from chainrule.checks import CheckResult, check, exercises, find_exercise
from chainrule.checks._record import copy_plain

NAMES = [exercise.name for exercise in exercises()]


def entropy(p):
    p = p[p > 0]
    return -(p * p.log2()).sum()


def test_a_right_function_passes_and_is_found_by_its_name():
    result = check(entropy)
    assert result and isinstance(result, CheckResult)
    assert repr(result) == "✓ entropy: passed (12 of 12 inputs right)"


def test_random_inputs_differ_from_call_to_call_and_come_back_with_the_seed():
    seen = []

    def spy(p):
        seen.append(p.tolist())
        return entropy(p)

    for seed in (None, None, 7, 7):
        check(spy, "entropy", seed=seed)
    first, second, third, fourth = seen[:12], seen[12:24], seen[24:36], seen[36:]
    assert first[:4] == second[:4] and first[4:] != second[4:] and third == fourth != first


def test_the_failing_random_input_can_be_drawn_again():
    def wrong_on_seven(p):
        return entropy(p) if len(p) < 7 else 0.0

    result = check(wrong_on_seven, "entropy", seed=3)
    assert "check(entropy, seed=3) draws it again" in repr(result)
    assert repr(check(wrong_on_seven, "entropy", seed=3)) == repr(result)


@pytest.mark.parametrize("name", NAMES)
def test_starters_are_politely_told_where_to_start(name):
    def starter(*args):
        raise NotImplementedError

    result = check(starter, name)
    assert not result and result.state == "unwritten"
    assert repr(result).startswith(f"… {name}: not written yet\nStart with ")
    assert "Error" not in repr(result) and "?." not in repr(result) and ".." not in repr(result)


def test_a_function_that_calls_an_unwritten_one_is_unwritten():
    def helper(p):
        raise NotImplementedError("later")

    assert check(lambda p: helper(p), "entropy").state == "unwritten"


def test_an_unfinished_operation_of_torch_is_an_error_and_not_a_starter():
    def wrong_dtype(p):
        return torch.linalg.inv(p.to(torch.float8_e4m3fn) * 1)

    result = check(wrong_dtype, "entropy")
    assert result.state == "failed" and "NotImplementedError" in repr(result)


def test_an_error_is_shown_with_its_input_and_its_line():
    def broken(p):
        p = p.tolist()
        return p[0] // len("")

    line = broken.__code__.co_firstlineno + 2
    assert repr(check(broken, "entropy")).splitlines()[:3] == [
        "✗ entropy: not yet (0 of 12 inputs right)",
        "  input  p = [0.5, 0.5]",
        f'The code raised ZeroDivisionError: float floor division by zero, at line {line}: return p[0] // len(""). '
        "What it takes is on the page information-theory/entropy.",
    ]


def test_an_error_deep_in_torch_is_shown_at_the_line_of_the_student():
    def broken(p):
        return torch.cat([p, p.reshape(7, 7)])

    assert "at line" in (text := repr(check(broken, "entropy"))) and "p.reshape(7, 7)" in text


def test_an_error_without_source_is_shown_all_the_same():
    space = {}
    exec("def entropy(p):\n    raise KeyError", space)
    assert "The code raised KeyError, at line 2." in repr(check(space["entropy"]))


@pytest.mark.parametrize("error", [SystemExit, MemoryError, RecursionError, AssertionError])
def test_whatever_is_raised_gives_a_result(error):
    def broken(p):
        raise error

    assert check(broken, "entropy").state == "failed"


def test_the_stop_button_still_stops():
    def stopped(p):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(stopped, "entropy")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda p: None, "is None: is there a `return` at the end"),
        (lambda p: "1.0", "of type str"),
        (lambda p: p, "has shape (2,)"),
        (lambda p: float("nan"), "is nan"),
        (lambda p: float("inf"), "is infinite"),
        (lambda p: True, "of type bool"),
        (lambda p: (x for x in p), "of type generator"),
    ],
)
def test_wrong_kinds_of_output_have_their_own_sentences(answer, words):
    assert words in repr(check(answer, "entropy"))


def test_what_is_printed_is_not_returned(capsys):
    result = check(lambda p: print(entropy(p)), "entropy")
    assert "does it return rather than print" in repr(result) and capsys.readouterr().out


# Changing the arguments


def in_place(p):
    answer = entropy(p)
    p += 1
    return answer


def resized(p):
    p.resize_(1)
    return 0


def test_an_argument_changed_in_place_is_reported_even_if_the_answer_is_right():
    result = check(in_place, "entropy")
    assert not result and "The function changes its argument p in place" in repr(result)


def test_a_wrong_answer_and_a_changed_argument_are_both_reported():
    text = repr(check(resized, "entropy"))
    assert "should be 1.0" in text and "in place" in text


@pytest.mark.parametrize("exercise", exercises(), ids=NAMES)
def test_in_every_exercise_a_changed_tensor_is_reported(exercise):
    def meddler(*inputs):
        answer = exercise.reference(*copy_plain(inputs))
        for value in inputs:
            if isinstance(value, torch.Tensor):
                value.add_(1)
        return answer

    tensors = [n for n, v in zip(exercise.parameters, exercise.public[0], strict=True) if isinstance(v, torch.Tensor)]
    result = check(meddler, exercise.name)
    assert bool(result) == (not tensors)
    assert not tensors or f"changes its argument {' and '.join(tensors)} in place" in repr(result)


def test_infinite_scores_that_stay_are_no_change():
    assert check(lambda scores: torch.logsumexp(scores, 1), "log_sum_exp", seed=0)


# How it is called


def test_unknown_names_list_the_nearest():
    def entropie(p):
        return 0

    with pytest.raises(
        ValueError, match="no exercise asks for a function named 'entropie'; the nearest names are entropy"
    ):
        check(entropie)
    with pytest.raises(ValueError, match="the exercises are box_entropies, entropy"):
        check(entropie, "xyz")


def test_functions_without_a_name_need_one():
    with pytest.raises(ValueError, match=r"a lambda has no name .* write check\(function, 'entropy'\)"):
        check(lambda p: 0)
    with pytest.raises(ValueError, match="an object of type partial has no name"):
        check(functools.partial(entropy))
    assert check(functools.partial(entropy), "entropy")


def test_a_value_in_place_of_a_function_is_explained(unchecked):
    with pytest.raises(TypeError, match=r"check\(entropy\), not check\(entropy\(p\)\); got 1.0"):
        check(1.0)


@pytest.mark.parametrize(
    ("answer", "written"),
    [
        (lambda: 0, "entropy()"),
        (lambda p, base: 0, "entropy(p, base)"),
        (lambda *, p: 0, "entropy(*, p)"),
    ],
)
def test_wrong_arguments_are_explained(answer, written):
    assert f"The function is called as entropy(p), and it is written as {written}" in repr(check(answer, "entropy"))


def test_further_arguments_with_defaults_are_welcome():
    assert check(lambda p, base=2: entropy(p), "entropy")


def test_the_books_own_function_is_not_our_answer():
    result = check(chainrule.information.entropy)
    assert not result and "one of our own" in repr(result)


def test_methods_and_callable_objects_are_taken():
    class Answer:
        def __call__(self, p):
            return entropy(p)

        def entropy(self, p):
            return entropy(p)

    assert check(Answer(), "entropy") and check(Answer().entropy)
    assert not check(np.sum, "entropy")


def test_chapters_without_exercises_are_named():
    with pytest.raises(ValueError, match="no chapter 'cooking' with exercises; there are information-theory"):
        exercises("cooking")
    assert find_exercise("entropy").chapter == "information-theory"


# What is shown


def test_html_says_what_the_text_says_and_runs_nothing():
    def entropy(p):
        raise ValueError("<script>alert(1)</script> & more")

    result = check(entropy)
    markup = result._repr_html_()
    assert "<script" not in markup and "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in markup
    words = re.findall(r"\w+", html.unescape(re.sub(r"<[^>]*>", " ", markup)))
    assert words == re.findall(r"\w+", repr(result))


@pytest.mark.parametrize("state", ["passed", "failed", "unwritten"])
def test_html_follows_light_and_dark_and_needs_no_file(state):
    markup = CheckResult("entropy", state, 1, 2, (("input", "p = 1"),), "A sentence.", "A hint.")._repr_html_()
    assert "var(--cr-ink, inherit)" in markup and "var(--cr-paper, transparent)" in markup
    assert not re.search(r"src=|href=|url\(|<script|<link|class=\"(?!cr-check)", markup)
    assert re.findall(r"<(\w+)", markup).count("p") == markup.count("</p>")


def test_the_mark_is_not_the_only_sign():
    for state, words in [("passed", "passed"), ("failed", "not yet"), ("unwritten", "not written yet")]:
        result = CheckResult("entropy", state, 0, 2)
        assert words in repr(result) and words in result._repr_html_() and bool(result) == (state == "passed")


def test_the_docstring_admits_what_cannot_be_cured():
    assert "a loop that never ends" in check.__doc__
