"""The record of an exercise: consistent, made of plain data, and strict about what it reads."""

import io
import itertools
import json
import math
import pkgutil

import numpy as np
import pytest
import torch

import chainrule.checks
from chainrule.checks import Exercise, Mistake, Output, Verdict, exercises
from chainrule.checks._record import copy_plain, is_plain, show

ALL = exercises()
NAMES = [exercise.name for exercise in ALL]
every_exercise = pytest.mark.parametrize("exercise", ALL, ids=NAMES)


def double(**changes):
    """A small exercise: return 2 x."""
    settings = {
        "name": "double",
        "chapter": "none",
        "title": "Twice",
        "points": 1,
        "page": "none",
        "start": "2 * x",
        "reference": lambda x: 2 * x,
        "output": Output("number"),
        "public": ((1.0,), (3.0,)),
        "draw": lambda generator: (float(torch.rand((), generator=generator)),),
    }
    return Exercise(**settings | changes)


def as_shipped(value):
    """What a value is after a journey through JSON and npz, without pickles, as a grader would send it."""
    if isinstance(value, torch.Tensor):
        with io.BytesIO() as stream:
            np.savez(stream, value=value.numpy())
            stream.seek(0)
            return torch.from_numpy(np.load(stream, allow_pickle=False)["value"])
    if isinstance(value, list | tuple):
        return type(value)(as_shipped(item) for item in value)
    return json.loads(json.dumps(value))


def test_names_are_unique_over_the_book():
    assert len(set(NAMES)) == len(NAMES)


def test_every_module_of_exercises_is_registered():
    modules = {info.name for info in pkgutil.iter_modules(chainrule.checks.__path__) if not info.name.startswith("_")}
    assert {exercise.chapter.replace("-", "_") for exercise in ALL} == modules


@every_exercise
def test_inputs_are_plain_data_and_survive_shipping(exercise):
    for inputs in exercise.cases(3):
        assert is_plain(inputs) and len(inputs) == len(exercise.parameters)
        assert show(as_shipped(inputs)) == show(inputs)
        assert exercise.judge(as_shipped(inputs), as_shipped(exercise.expected(inputs))).passed


@every_exercise
def test_references_agree_with_themselves(exercise):
    for seed in range(10):
        for inputs in exercise.cases(seed):
            assert exercise.judge(inputs, exercise.reference(*copy_plain(inputs))).passed


@every_exercise
def test_references_leave_their_inputs_alone(exercise):
    for inputs in exercise.cases(5):
        before = show(inputs, digits=17)
        exercise.reference(*inputs)
        assert show(inputs, digits=17) == before


@every_exercise
def test_seeds_decide_and_vary_the_random_inputs_only(exercise):
    public = len(exercise.public)
    one, again, other = ([show(inputs, 12) for inputs in exercise.cases(seed)] for seed in (1, 1, 2))
    assert one == again and one[:public] == other[:public]
    assert len(one) == exercise.num_cases
    if exercise.draw:
        assert len(one) >= public + 5 and one[public:] != other[public:]
        assert len(set(one[public:])) > 1


@every_exercise
def test_cases_are_fresh_copies(exercise):
    for inputs in exercise.cases(0):
        for tensor in inputs:
            if isinstance(tensor, torch.Tensor):
                tensor.zero_()
    assert show(exercise.cases(0)) == show(exercise.cases(0))
    assert all(exercise.judge(i, exercise.reference(*i)).passed for i in exercise.cases(0))


@every_exercise
def test_what_is_forbidden_exists(exercise):
    assert "chainrule.checks" in exercise.blocked and set(exercise.forbidden) < set(exercise.blocked)
    for name in exercise.forbidden:
        pkgutil.resolve_name(name)


@every_exercise
def test_a_tiny_error_passes_and_a_small_one_does_not(exercise):
    if exercise.accept:
        return
    inputs = exercise.cases(0)[-1]
    right = exercise.expected(inputs)
    off = [
        (right + (exercise.absolute + exercise.tolerance * abs(right)) * s)
        if isinstance(right, float | torch.Tensor)
        else tuple(v + (exercise.absolute + exercise.tolerance * abs(v)) * s for v in right)
        for s in (0.9, 1.5)
    ]
    assert [exercise.judge(inputs, value).passed for value in off] == [True, False]


# Reading what came back


class Yes:
    """Claims to be equal to everything, and to be any number."""

    dtype, shape, ndim = torch.float64, (), 0

    def __eq__(self, other):
        return True

    __hash__ = None
    __ne__ = __lt__ = __gt__ = lambda self, other: False
    __le__ = __ge__ = lambda self, other: True
    __sub__ = __rsub__ = __abs__ = lambda self, *other: self

    def __float__(self):
        return 2.0

    def __getattr__(self, name):
        return lambda *args, **kwargs: self


class YesFloat(float):
    __eq__ = Yes.__eq__
    __hash__ = None


class YesTensor(torch.Tensor):
    __eq__ = Yes.__eq__
    __hash__ = None


class YesString(str):
    __eq__ = Yes.__eq__
    __hash__ = None


class YesList(list):
    __eq__ = Yes.__eq__
    __hash__ = None


CHEATS = [Yes(), YesFloat(1.0), torch.ones(()).as_subclass(YesTensor), YesString("0"), YesList([0.0])]


@every_exercise
@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: type(cheat).__name__)
def test_objects_that_equal_everything_fail(exercise, cheat):
    for inputs in exercise.cases(0):
        right = exercise.expected(inputs)
        outputs = [cheat, [cheat], (cheat,) * (len(right) if isinstance(right, tuple) else 1)]
        for output in outputs:
            assert exercise.judge(inputs, output).kind == "type"


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        ("number", 2, 2.0),
        ("number", np.float32(2), 2.0),
        ("number", np.int64(2), 2.0),
        ("number", np.array(2), 2.0),
        ("number", torch.tensor(2), 2.0),
        ("number", torch.tensor(2.0, requires_grad=True), 2.0),
        ("numbers", [1, torch.tensor(2.0)], [1.0, 2.0]),
        ("numbers", (1, np.float64(2)), [1.0, 2.0]),
        ("numbers", torch.tensor([1, 2]), [1.0, 2.0]),
        ("tensor", torch.tensor([1, 2]), [1.0, 2.0]),
        ("tensor", np.array([1, 2], dtype=np.uint8), [1.0, 2.0]),
        ("tensor", torch.ones(2, dtype=torch.float16, requires_grad=True), [1.0, 1.0]),
        ("strings", ["0", "1"], ["0", "1"]),
        ("strings", ("0", "1"), ["0", "1"]),
    ],
)
def test_values_are_read_in_the_forms_a_student_may_choose(kind, value, read):
    got = Output(kind).read(value)
    assert (got.tolist() if isinstance(got, torch.Tensor) else got) == read
    assert not isinstance(got, torch.Tensor) or (got.dtype == torch.float64 and not got.requires_grad)


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("number", None, "is None: is there a `return`"),
        ("number", "2", "should be a number, and it is of type str"),
        ("number", True, "of type bool"),
        ("number", 1j, "of type complex"),
        ("number", torch.tensor(True), "of type bool"),
        ("number", torch.tensor([2.0]), "it has shape (1,)"),
        ("number", np.array([object()]), "it has shape (1,)"),
        ("number", np.array("2"), "of type str"),
        ("number", [2.0], "of type list"),
        ("number", 10**400, "too large for a float"),
        ("number", lambda: 2.0, "of type function"),
        ("numbers", [1, "2"], "should be a list of numbers, and it is of type str"),
        ("numbers", {1: 2}, "of type dict"),
        ("tensor", [1.0, 2.0], "torch.tensor(...) makes one"),
        ("tensor", torch.tensor([True]), "has dtype torch.bool"),
        ("tensor", torch.tensor([1j]), "has dtype torch.complex64"),
        ("tensor", torch.eye(2).to_sparse(), "a plain tensor"),
        ("tensor", torch.empty(2, device="meta"), "a plain tensor"),
        ("tensor", np.array([None]), "of type ndarray"),
        ("tensor", torch.nn.Parameter(torch.ones(2)), "of type Parameter"),
        ("strings", "01", "should be a list of strings, and it is of type str"),
        ("strings", ["0", 1], "should be a list of strings"),
        ("strings", None, "is None"),
    ],
)
def test_other_values_are_refused_with_a_sentence(kind, value, words):
    with pytest.raises(ValueError, match="^the answer") as error:
        Output(kind, "the answer").read(value)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("expected", "output", "kind", "words"),
    [
        (2.0, 2.0, "right", ""),
        (2.0, None, "missing", "is None"),
        (2.0, "2", "type", "of type str"),
        (2.0, math.nan, "nan", "the result is nan (not a number)"),
        (2.0, -math.inf, "infinite", "is infinite (-inf), and it should be 2.0"),
        (math.inf, 1e300, "finite", "should be infinite (inf)"),
        (math.inf, -math.inf, "infinite", "it should be inf"),
        (math.inf, math.inf, "right", ""),
        (2.0, 2.00001, "value", "is 2.00001, and it should be 2.0"),
        (2.0, 2.000003, "value", "is 2.000003, and it should be 2.0"),
    ],
)
def test_each_kind_of_wrong_number_has_its_sentence(expected, output, kind, words):
    verdict = double(reference=lambda x: expected).judge((1.0,), output)
    assert verdict.kind == kind and words in verdict.sentence
    assert verdict.passed == (kind == "right") and bool(verdict.sentence) != verdict.passed


@pytest.mark.parametrize(
    ("output", "kind", "words"),
    [
        ([[1, 2], [3, 4]], "type", "of type list"),
        (torch.ones(2, 3), "shape", "has shape (2, 3), and it should have shape (2, 2)"),
        (torch.ones(4), "shape", "has shape (4,)"),
        (torch.tensor([[1, 2], [3, 5.0]]), "value", "at index (1, 1) is 5.0, and it should be 4.0"),
        (torch.tensor([[1, math.nan], [3, 4]]), "nan", "at index (0, 1) is nan"),
        (torch.tensor([[1, 2], [math.inf, 4]]), "infinite", "at index (1, 0) is infinite"),
    ],
)
def test_each_kind_of_wrong_tensor_has_its_sentence(output, kind, words):
    exercise = double(reference=lambda x: torch.tensor([[1, 2], [3, 4]]), output=Output("tensor"))
    verdict = exercise.judge((1.0,), output)
    assert verdict.kind == kind and words in verdict.sentence


def test_lists_of_strings_are_compared_when_there_is_one_right_answer():
    exercise = double(reference=lambda x: ["0", "10"], output=Output("strings", "the code"))
    assert exercise.judge((1.0,), ["0", "10"]).passed
    assert exercise.judge((1.0,), ["0", "11"]).sentence == "the code at index 1 is '11', and it should be '10'"
    assert exercise.judge((1.0,), ["0"]).sentence == "the code has 1 entry, and it should have 2 entries"


def test_the_property_that_failed_is_the_sentence():
    exercise = double(accept=lambda inputs, output: None if output > inputs[0] else "the result is too small")
    assert exercise.judge((1.0,), 7.0) == Verdict("right")
    assert exercise.judge((1.0,), 0.0) == Verdict("property", "the result is too small", "0.0")


def test_the_hint_is_that_of_the_mistake_that_agrees_most():
    square, four = Mistake(lambda x: x * x, "square"), Mistake(lambda x: 9.0, "nine")
    exercise = double(mistakes=(four, square))
    assert exercise.hint([((3.0,), 9.0)]) == "nine"
    assert exercise.hint([((3.0,), 9.0), ((1.0,), 1.0)]) == "square"
    assert exercise.hint([((3.0,), 8.0)]) is None
    assert exercise.hint([((3.0,), None)]) is None


def test_a_mistake_that_has_no_answer_for_an_input_is_passed_over():
    exercise = double(mistakes=(Mistake(lambda x: 1 / 0, "zero"), Mistake(lambda x: x, "same")))
    assert exercise.hint([((3.0,), 3.0)]) == "same"


@pytest.mark.parametrize(
    "changes", [{"name": "two words"}, {"points": 0}, {"tolerance": 0.0}, {"absolute": -1.0}, {"public": ()}]
)
def test_records_refuse_nonsense(changes):
    with pytest.raises(ValueError, match="expected"):
        double(**changes)
    with pytest.raises(ValueError, match="kind of output"):
        Output("picture")


def test_copies_share_no_memory():
    tensor = torch.ones(2)
    copy = copy_plain(([tensor], "a"))
    tensor.zero_()
    assert copy[0][0].tolist() == [1, 1] and copy[1] == "a"


@pytest.mark.parametrize(
    "value", [{"a": 1}, None, torch.tensor([1j]), torch.ones(1, requires_grad=True), [YesFloat(1)]]
)
def test_other_data_are_not_plain(value):
    assert not is_plain(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.0"),
        (math.inf, "inf"),
        (math.nan, "nan"),
        (1e-12, "1e-12"),
        ((1,), "(1,)"),
        (torch.tensor([[1, 2], [3, 4]]), "[[1, 2], [3, 4]]"),
        ("a" * 300, "'" + "a" * 196 + "..."),
        (["0"] * 100, "['0'" + ", '0'" * 59 + ", ...]"),
        (Yes(), "an object of type Yes"),
    ],
)
def test_values_are_shown_shortly(value, text):
    assert show(value) == text


def test_cheats_are_not_believed_by_accident():
    """The cheating objects do cheat: a check that only compared would let them through."""
    assert all(a == b for a, b in itertools.product(CHEATS[:2] + CHEATS[3:], [1, None, "x"]))
