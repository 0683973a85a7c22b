"""The judge: reads strangers' letters strictly, gives marks by case, and never shows what is hidden."""

import json
import math
import re

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from chainrule.checks import Exercise, Mistake, Output
from chainrule.checks._record import show
from chainrule.grading.inside import wire
from chainrule.grading.judge import encode_case, judge, read_value, submission_seed
from chainrule.grading.sandbox import Limits, Outcome

from .conftest import Sheet

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**300), 10**300)
    | st.floats()
    | st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=30)
)
plain = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple), max_leaves=12
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["number", "type", "text", "array", "dtype", "shape", "container", "list", "tuple", "other", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


def same(left, right) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right or (left != left and right != right)


@given(plain)
def test_plain_data_survives_the_journey(value):
    assert same(read_value(json.loads(json.dumps(wire.encode(value)))), value)


@given(
    st.sampled_from(["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]),
    st.lists(st.integers(0, 3), max_size=4),
)
def test_tensors_survive_the_journey(name, shape):
    tensor = (torch.rand(shape, dtype=torch.float64) * 200 - 100).abs().to(getattr(torch, name))
    for value in (tensor, tensor.numpy()):
        back = read_value(json.loads(json.dumps(wire.encode(value))))
        assert (
            type(back) is torch.Tensor
            and back.dtype == tensor.dtype
            and back.shape == tensor.shape
            and back.equal(tensor)
        )


def test_other_orders_and_types_of_numbers_come_as_what_they_hold():
    assert read_value(wire.encode(np.array([1.5, 2.0], dtype=">f8"))).tolist() == [1.5, 2.0]
    assert read_value(wire.encode(torch.tensor([1.5, 2.0], dtype=torch.bfloat16))).tolist() == [1.5, 2.0]
    assert read_value(wire.encode(np.array([7], dtype=np.uint32))).tolist() == [7.0]
    assert read_value(wire.encode(torch.arange(6).reshape(2, 3).T)).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert read_value(wire.encode(torch.ones(2, requires_grad=True))).tolist() == [1.0, 1.0]
    assert read_value(wire.encode(np.float32(0.5))).item() == 0.5


@given(anything)
def test_whatever_comes_is_data_or_a_valueerror(encoded):
    try:
        value = read_value(encoded)
    except ValueError as problem:
        assert len(str(problem)) < 400 and str(problem).startswith("the answer ")  # noqa: PT017
        str(problem).encode()
    else:
        assert value is None or type(value) in (bool, int, float, str, list, tuple, torch.Tensor)


arrays = st.fixed_dictionaries(
    {
        "array": st.sampled_from(["", "AAAA", "AAAAAAAAAAA=", "AAAAAAAAAAA", "\u00e9", "A" * 64]) | st.integers(),
        "dtype": st.sampled_from(["<f8", "<i8", "|u1", "|b1", "|O", ">f8", "<c16", "<M8[s]", "f8,f8", "\ud800"])
        | st.none()
        | st.lists(st.none()),
        "shape": st.lists(st.sampled_from([0, 1, 2, -1, 2**31, 10**30, True]) | st.floats() | st.none(), max_size=20)
        | st.none(),
        "container": st.sampled_from(["tensor", "array", "x"]) | st.none(),
    }
)


@given(arrays)
def test_no_header_of_an_array_is_believed(encoded):
    try:
        value = read_value(encoded)
    except ValueError as problem:
        str(problem).encode()
    else:
        assert value.numel() == math.prod(encoded["shape"]) and encoded["container"] in ("tensor", "array")


def deep(times: int, inner=None):
    for _ in range(times):
        inner = {"list": [inner]}
    return inner


@pytest.mark.parametrize(
    ("encoded", "words"),
    [
        (deep(30), "nested more than 8 deep"),
        ({"other": "Liar"}, "of type Liar"),
        ({"other": deep(900)}, "no plain data"),
        ({"array": "", "dtype": deep(900), "shape": [], "container": "tensor"}, "no real number type"),
        ({"array": "", "dtype": "|O", "shape": [], "container": "tensor"}, "array of |O"),
        ({"array": "", "dtype": "<f8", "shape": [0, 10**30], "container": "tensor"}, "shape cannot be read"),
        ({"array": "", "dtype": "<f8", "shape": [10**9], "container": "tensor"}, "claims 8000000000 bytes and holds 0"),
        ({"number": "1_000", "type": "int"}, "no number"),
        ({"number": "\uff11", "type": "int"}, "no number"),
        ({"list": [None] * (wire.MOST_ITEMS + 1)}, "cannot be read"),
        (1, "no plain data"),
        ("text", "no plain data"),
        ([], "no plain data"),
    ],
)
def test_what_is_refused_is_told_in_a_sentence(encoded, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  what it says is compared below
        read_value(encoded)
    assert words in str(caught.value)


# Frames.


@given(st.binary(max_size=200) | st.lists(st.binary(max_size=20).map(wire.frame)).map(b"".join))
def test_any_bytes_split_into_objects(stream):
    assert all(type(message) is dict for message in wire.unpack(stream))


@given(st.lists(st.dictionaries(st.text(max_size=3), st.integers(), max_size=3), max_size=5))
def test_messages_survive_the_journey(messages):
    assert wire.unpack(b"".join(wire.frame(json.dumps(message).encode()) for message in messages)) == messages


def test_a_million_tiny_frames_take_no_time():
    stream = wire.frame(b"{}") * 2_000_000
    assert len(wire.unpack(stream)) == wire.MOST_MESSAGES


# Marks.


def double(**changes) -> Exercise:
    values = {
        "name": "double",
        "chapter": "none",
        "title": "Twice",
        "points": 3,
        "page": "none",
        "start": "2 * x",
        "reference": lambda x: 2 * x,
        "output": Output("number"),
        "public": ((1.0,), (3.0,)),
        "draw": lambda generator: (100 + float(torch.rand((), generator=generator, dtype=torch.float64)),),
        "num_random": 4,
        "mistakes": (Mistake(lambda x: x * x, "This is the square."),),
    }
    return Exercise(**values | changes)


def marked(messages: list, exercise: Exercise | None = None, *, stopped=None, seed: int = 5, points: float = 3.0):
    exercise = exercise or double()
    results, problems = judge([exercise], [points], [exercise.cases(seed)], Outcome(messages, "", stopped), Limits())
    return results[0], problems


def answers(function, exercise: Exercise | None = None, seed: int = 5) -> list[dict]:
    cases = (exercise or double()).cases(seed)
    return [{"exercise": "double", "case": i, "value": wire.encode(function(*case))} for i, case in enumerate(cases)]


DONE = {"done": True}


def test_right_answers_get_all_points():
    result, problems = marked([*answers(lambda x: 2 * x), DONE])
    assert (result.earned, result.right, result.cases, result.sentence, problems) == (3.0, 6, 6, "", ())


def test_each_case_earns_its_part():
    result, _ = marked([*answers(lambda x: 2 * x if x < 2 else 0.0), DONE], points=3.0)
    assert (result.earned, result.right) == (0.5, 1)
    assert result.inputs == "x = 3.0" and result.returned == "0.0" and result.expected == "6.0"


def test_the_first_public_failure_is_named_with_its_hint():
    result, _ = marked([*answers(lambda x: x * x), DONE])
    assert (result.inputs, result.hint) == ("x = 1.0", "This is the square.")
    assert result.right == 0


def test_the_first_message_on_a_case_counts_and_only_once():
    wrong, right = answers(lambda x: 0.0), answers(lambda x: 2 * x)
    assert marked([*wrong, *right, DONE])[0].earned == 0
    assert marked([*right, *wrong, *right * 50, DONE])[0].earned == 3.0


def test_the_order_of_messages_does_not_matter():
    assert marked([DONE, *reversed(answers(lambda x: 2 * x))])[0].earned == 3.0


@pytest.mark.parametrize("case", [-1, 6, True, 0.0, "0", None, [0], 10**30])
def test_forged_cases_and_names_count_for_nothing(case):
    value = wire.encode(2.0)
    result, _ = marked(
        [{"exercise": "double", "case": case, "value": value}, {"exercise": "other", "case": 0, "value": value}, DONE]
    )
    assert result.earned == 0 and result.right == 0


def test_a_missing_function_is_named():
    result, problems = marked([{"exercise": "double", "missing": True}, DONE])
    assert "no function called double" in result.sentence and result.earned == 0 and not problems


def test_a_false_missing_takes_nothing_away():
    assert marked([{"exercise": "double", "missing": True}, *answers(lambda x: 2 * x), DONE])[0].earned == 3.0


def test_limits_and_ends_are_told():
    result, problems = marked([{"exercise": "double", "limit": "stopped after 3 seconds"}, DONE])
    assert result.sentence == "no answer came: stopped after 3 seconds" and not problems
    for stopped in ("time", "memory", "processes", "output", "result"):
        assert marked([], stopped=stopped)[1] == (Limits().sentence(stopped),)
    assert "ended Python itself" in marked([])[1][0]


def test_words_of_strangers_are_made_harmless():
    error = "\ud800\x00\x1b[2J\u202e" + "x" * 10_000
    result, problems = marked([{"exercise": "double", "case": 0, "error": error}, {"cell": 1, "error": error}, DONE])
    for words in (result.sentence, *problems):
        words.encode()
        assert not set(words) & set("\x00\x1b\u202e") and len(words) < 700


def test_cells_that_are_none_are_not_told():
    messages = [{"cell": cell, "error": "x"} for cell in (0, -1, True, 1.5, 10**50, None, "1")]
    assert marked([*messages, DONE])[1] == ()
    assert len(marked([{"cell": 1, "error": "x"}] * 1000 + [DONE])[1]) == 20


def test_an_answer_that_the_record_chokes_on_is_wrong():
    def choke(inputs, output):
        raise ZeroDivisionError

    result, _ = marked([*answers(lambda x: 2 * x), DONE], double(accept=choke))
    assert result.earned == 0 and "could not be compared" in result.sentence


HIDDEN_FAILURES = {
    "a value": lambda x: 2 * x if x < 50 else 2 * x + 1,
    "an error": None,
    "nan": lambda x: 2 * x if x < 50 else math.nan,
    "infinity": lambda x: 2 * x if x < 50 else math.inf,
    "none": lambda x: 2 * x if x < 50 else None,
    "a type": lambda x: 2 * x if x < 50 else str(x),
    "a shape": lambda x: 2 * x if x < 50 else torch.full((3,), x),
    "a list": lambda x: 2 * x if x < 50 else [x],
    "the square": lambda x: 2 * x if x < 50 else x * x,
}


@pytest.mark.parametrize("how", HIDDEN_FAILURES)
@given(seed=st.integers(0, 2**62))
def test_hidden_inputs_are_in_no_word_of_the_result(how, seed):
    """Even where the student's own error or answer holds the input, feedback tells only the kind of the failure."""
    function, exercise = HIDDEN_FAILURES[how], double()
    cases = exercise.cases(seed)
    if function is None:
        messages = answers(lambda x: 2 * x, exercise, seed)[:2]
        messages += [{"exercise": "double", "case": i, "error": f"ValueError: {cases[i][0]}"} for i in range(2, 6)]
    else:
        messages = answers(function, exercise, seed)
    result, problems = marked([*messages, DONE], exercise, seed=seed)
    assert result.right == 2 and not problems
    text = " ".join([result.sentence, result.inputs, result.returned, result.expected, result.hint])
    for (value,) in cases[2:]:
        for number in (value, 2 * value, value * value):
            assert show(number)[:4] not in text and repr(number)[:4] not in text
    assert not re.search(r"\d{2,}", text)
    assert text.startswith("all public inputs are right, and a further one, which is not shown, is not: ")


def test_the_real_sheet_hides_its_inputs(sheet: Sheet):
    """No digits of a drawn input stand in the results for answers that are right on public inputs only."""
    messages = [DONE]
    for one, cases in zip(sheet.exercises, sheet.cases, strict=True):
        for index, case in enumerate(cases):
            value = one.expected(case) if index < len(one.public) else None
            messages.append({"exercise": one.name, "case": index, "value": wire.encode(value)})
    results, _ = sheet.marks(Outcome(messages, "", None))
    text = " ".join(
        " ".join(map(str, (one.sentence, one.inputs, one.returned, one.expected, one.hint))) for one in results
    )
    numbers = re.compile(r"\d+\.\d{3,}")
    for one, cases in zip(sheet.exercises, sheet.cases, strict=True):
        for case in cases[len(one.public) :]:
            for number in numbers.findall(
                json.dumps([item.tolist() if isinstance(item, torch.Tensor) else item for item in case])
            ):
                assert number[:6] not in text
    assert sum(one.right for one in results) == sum(len(one.public) for one in sheet.exercises)


def test_the_reference_itself_gets_every_point(sheet: Sheet):
    messages = [
        {"exercise": one.name, "case": index, "value": json.loads(json.dumps(wire.encode(one.expected(case))))}
        for one, cases in zip(sheet.exercises, sheet.cases, strict=True)
        for index, case in enumerate(cases)
    ]
    results, problems = sheet.marks(Outcome([*messages, DONE], "", None))
    assert sum(one.earned for one in results) == sheet.maximum and not problems


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["exercise", "case", "value", "error", "missing", "limit", "cell", "done"]),
            anything | st.sampled_from(["double", 0, 1]),
            max_size=4,
        ),
        max_size=6,
    )
)
def test_any_messages_give_marks_and_never_all(messages):
    result, problems = marked(messages)
    assert 0 <= result.earned < 3.0
    json.dumps([result.sentence, result.hint, *problems], ensure_ascii=False).encode()


def test_inputs_survive_the_journey_into_the_sandbox(sheet: Sheet):
    for cases in sheet.cases:
        for case in cases:
            back = [wire.decode(item) for item in json.loads(json.dumps(encode_case(case)))]
            assert [type(a) for a in back] == [type(b) for b in case]
            assert all(
                torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(back, case, strict=True)
            )


def test_the_seed_depends_on_everything_and_on_nothing_else():
    base = (b"secret", "chapter", "ada", "00ff")
    others = [
        (b"other", *base[1:]),
        (base[0], "x", *base[2:]),
        (*base[:2], "bob", base[3]),
        (*base[:3], "00fe"),
        (b"secret", "chaptera", "da", "00ff"),
    ]
    seeds = {submission_seed(*parts) for parts in [base, *others]}
    assert len(seeds) == 6 and submission_seed(*base) == submission_seed(*base)
    assert all(0 <= seed < 2**62 for seed in seeds)
