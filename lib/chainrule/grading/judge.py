"""The judge: reads what came out of the sandbox as a stranger's letter, and gives marks for what is right.

The inputs of a submission are drawn from a seed of its own, and the expected answers are computed here, outside. A
message counts only if it names an exercise and a case that were asked; the first message on a case counts, and its
value is decoded by :func:`read_value`, which believes no header.
"""

import base64
import binascii
import hashlib
import hmac
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from chainrule.checks import Exercise, Verdict
from chainrule.checks._record import show
from chainrule.grading.inside import wire
from chainrule.grading.results import ExerciseResult
from chainrule.grading.sandbox import Limits, Outcome, plain_text

__all__ = ["encode_case", "judge", "read_value", "submission_seed"]

DTYPES = {f"<{kind}{size}" for kind in "iu" for size in (2, 4, 8)} | {"<f2", "<f4", "<f8", "|i1", "|u1", "|b1"}
DEEPEST = 8
MOST_DIMENSIONS = 16
LONGEST_SENTENCE = 1_000
# Of a hidden input only this is told, by the kind of the verdict: no number, no name, nothing that could hold a part of
# it.
KINDS = {
    "missing": "the function returned None",
    "type": "what came back is of the wrong type",
    "shape": "what came back has the wrong size",
    "nan": "nan (not a number) came back",
    "infinite": "an infinite value came back where a finite one is right",
    "finite": "a finite value came back where an infinite one is right",
    "value": "the value is another one",
    "property": "what came back lacks a property that was asked for",
}


def submission_seed(secret: bytes, chapter: str, student: str, digest: str) -> int:
    r"""The seed of a submission's hidden inputs.

    Nobody without the secret can know it, and with it the mark can be reproduced.

    .. math:: s = \mathrm{HMAC}_{\text{secret}}(\text{chapter}, \text{student}, \text{digest}) \bmod 2^{62}

    >>> submission_seed(b"secret", "none", "ada", "00") == submission_seed(b"other", "none", "ada", "00")
    False
    """
    parts = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in (chapter, student, digest))
    return int.from_bytes(hmac.new(secret, parts, hashlib.sha256).digest()[:8], "big") >> 2


def _words(text: str, most: int = LONGEST_SENTENCE) -> str:
    """A stranger's words, made harmless and short."""
    return plain_text(text[:most])


def encode_case(inputs: tuple[Any, ...]) -> list[Any]:
    """The inputs of one case as they travel into the sandbox."""
    return [wire.encode(item) for item in inputs]


def read_value(encoded: Any, depth: int = 0) -> Any:
    """Turn an encoded answer into plain data, believing nothing of it.

    Args:
        encoded: what a message held under ``value``
        depth: how deep inside lists we are

    Returns:
        A number, a string, None, a boolean, a float64-compatible tensor, or a list or tuple of such.

    Raises:
        ValueError: with a sentence for the student where the data is of no kind that an answer can be, or lies about
            itself.
    """
    if depth > DEEPEST:
        raise ValueError(f"the answer is nested more than {DEEPEST} deep")
    if encoded is None or type(encoded) is bool:
        return encoded
    if type(encoded) is not dict:
        raise ValueError("the answer is no plain data")
    keys = set(encoded)
    if keys == {"number", "type"}:
        return _read_number(encoded)
    if keys == {"text"} and type(encoded["text"]) is str:
        return encoded["text"][: wire.LONGEST_TEXT]
    if keys == {"array", "dtype", "shape", "container"}:
        return _read_array(encoded)
    if keys == {"other"} and type(encoded["other"]) is str:
        raise ValueError(
            f"the answer is of type {_words(encoded['other'], 100)}, which is no plain number, text, tensor or list"
        )
    for kind in (list, tuple):
        if keys == {kind.__name__}:
            items = encoded[kind.__name__]
            if type(items) is not list or len(items) > wire.MOST_ITEMS:
                raise ValueError(f"the answer is a {kind.__name__} that cannot be read")
            return kind(read_value(item, depth + 1) for item in items)
    raise ValueError("the answer is no plain data")


def _read_number(encoded: dict) -> int | float:
    kind, text = encoded["type"], encoded["number"]
    if kind not in ("int", "float") or type(text) is not str or len(text) > 400:
        raise ValueError("the answer is no number that can be read")
    if not text.isascii() or "_" in text:
        raise ValueError("the answer is no number that can be read")
    try:
        return int(text) if kind == "int" else float(text)
    except ValueError:
        raise ValueError("the answer is no number that can be read") from None


def _read_array(encoded: dict) -> torch.Tensor:
    dtype, shape, data = encoded["dtype"], encoded["shape"], encoded["array"]
    if type(dtype) is not str or dtype not in DTYPES:
        named = _words(dtype, 40) if type(dtype) is str else "nothing known"
        raise ValueError(f"the answer is an array of {named}, which is no real number type")
    if encoded["container"] not in ("array", "tensor"):
        raise ValueError("the answer is an array of no known kind")
    if (
        type(shape) is not list
        or len(shape) > MOST_DIMENSIONS
        or any(type(n) is not int or not 0 <= n < 2**31 for n in shape)
    ):
        raise ValueError("the answer is an array whose shape cannot be read")
    if type(data) is not str:
        raise ValueError("the answer is an array without data")
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the answer is an array whose data cannot be read") from None
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if len(raw) != size or size > wire.LARGEST_ARRAY:
        raise ValueError(f"the answer is an array that claims {size} bytes and holds {len(raw)}")
    try:
        array = np.frombuffer(raw, dtype=dtype).reshape(shape).copy()
    except ValueError:  # no entries, and a shape that no array can have
        raise ValueError("the answer is an array whose shape cannot be read") from None
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.float64)  # torch computes little with the larger unsigned types
    return torch.from_numpy(array)


def judge(
    exercises: Sequence[Exercise],
    points: Sequence[float],
    cases: Sequence[list[tuple]],
    outcome: Outcome,
    limits: Limits,
) -> tuple[tuple[ExerciseResult, ...], tuple[str, ...]]:
    """Give marks for an outcome.

    Args:
        exercises: what was asked, in the order of the sheet
        points: what each is worth
        cases: the inputs of each; the first ones are the exercise's public ones
        outcome: what the sandbox gave back
        limits: the limits it ran under, for the sentences

    Returns:
        One result an exercise, and sentences about the submission as a whole.
    """
    asked = {exercise.name: len(inputs) for exercise, inputs in zip(exercises, cases, strict=True)}
    answers: dict[tuple[str, int], dict] = {}
    missing, limited, problems = set(), {}, []
    for message in outcome.messages:
        name, case = message.get("exercise"), message.get("case")
        if type(name) is str and name in asked:
            if type(case) is int and 0 <= case < asked[name]:
                answers.setdefault((name, case), message)
            elif "missing" in message:
                missing.add(name)
            elif type(message.get("limit")) is str:
                limited[name] = _words(message["limit"], 200)
        elif (
            type(message.get("cell")) is int
            and 0 < message["cell"] < 10_000
            and type(message.get("error")) is str
            and len(problems) < 20
        ):
            problems.append(f"Cell {message['cell']} failed: {_words(message['error'], 600)}")
    if outcome.stopped:
        problems.append(limits.sentence(outcome.stopped))
    elif not any(message.get("done") is True for message in outcome.messages):
        problems.append(
            "The notebook ended Python itself before all exercises were run (os._exit, a crash, or a signal)."
        )
    results = []
    for exercise, worth, inputs in zip(exercises, points, cases, strict=True):
        name = exercise.name
        if name in missing and not any(key[0] == name for key in answers):
            sentence = f"There is no function called {name} in the notebook after its cells have run."
            results.append(_result(exercise, worth, 0, len(inputs), sentence=sentence))
            continue
        given = [answers.get((name, case)) for case in range(len(inputs))]
        results.append(_mark(exercise, worth, inputs, given, limited.get(name)))
    return tuple(results), tuple(problems)


def _result(exercise: Exercise, worth: float, right: int, cases: int, **words: str) -> ExerciseResult:
    earned = round(worth * right / cases, 6)
    return ExerciseResult(exercise.name, exercise.title, exercise.page, worth, earned, right, cases, **words)


def _mark(
    exercise: Exercise, worth: float, inputs: list[tuple], given: list[dict | None], limited: str | None
) -> ExerciseResult:
    """Judge the cases of one exercise; the words are about the first public failure, else about a hidden one."""
    right, failures, first = 0, [], None
    num_public = len(exercise.public)
    for case, (values, message) in enumerate(zip(inputs, given, strict=True)):
        returned, expected = "", ""
        kind = "no answer came"
        if message is None:
            sentence = f"no answer came: {limited}" if limited else "no answer came: the run had ended before"
        elif type(message.get("error")) is str:
            sentence = f"the function raised {_words(message['error'], 600)}"
            kind = "the function raised an error"
        else:
            try:
                output = read_value(message.get("value"))
            except ValueError as problem:
                sentence, kind = str(problem), KINDS["type"]
            else:
                verdict = _verdict(exercise, values, output)
                if verdict.passed:
                    right += 1
                    continue
                failures.append((values, output))
                sentence, returned, expected = map(_words, (verdict.sentence, verdict.returned, verdict.expected))
                kind = KINDS.get(verdict.kind, KINDS["value"])
        if first is None:
            first = {
                "sentence": sentence,
                "inputs": _show_inputs(exercise, values),
                "returned": returned,
                "expected": expected,
            }
            if case >= num_public:  # hidden inputs are never shown, nor anything from which they could be read
                first = {
                    "sentence": f"all public inputs are right, and a further one, which is not shown, is not: {kind}"
                }
    if first is None:
        return _result(exercise, worth, right, len(inputs))
    return _result(exercise, worth, right, len(inputs), hint=_hint(exercise, failures), **first)


def _verdict(exercise: Exercise, values: tuple, output: Any) -> Verdict:
    """The exercise's own verdict; what it cannot even compare is wrong, for an odd answer must not stop the judge."""
    try:
        return exercise.judge(values, output)
    except Exception as error:
        return Verdict(
            "type", f"the answer could not be compared with the right one ({type(error).__name__}); ask your lecturer"
        )


def _hint(exercise: Exercise, failures: list[tuple]) -> str:
    try:
        return (exercise.hint(failures) or "") if failures else ""
    except Exception:
        return ""


def _show_inputs(exercise: Exercise, values: tuple) -> str:
    return (
        ", ".join(f"{name} = {show(value)}" for name, value in zip(exercise.parameters, values, strict=True))
        or "no arguments"
    )
