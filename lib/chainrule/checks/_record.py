"""The record of an exercise: what goes in, what must come out, and what a wrong answer teaches.

A record knows nothing of how the student's code is run. It gives inputs from a seed, and it judges what came back, so
the same record serves a self-check in a notebook and marks given by a grader that runs the code somewhere else.
Inputs and outputs are plain data (numbers, strings, tensors, and lists or tuples of those), never objects with
behaviour of their own: a value is read by its exact type, so nothing can claim to be equal to everything.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["Exercise", "Mistake", "Output", "Verdict", "copy_plain", "is_plain", "show"]

_WORDS = {
    "number": "a number",
    "numbers": "a list of numbers",
    "tensor": "a tensor of numbers",
    "strings": "a list of strings",
}


@dataclass(frozen=True)
class Output:
    """One value a function returns: its kind, and the name it has in sentences.

    Kinds: ``number`` (a Python or NumPy number, or a tensor of shape ()), ``numbers`` (a list of numbers, or a tensor
    of one axis), ``tensor``, ``strings``. Shape and length are those of the reference's own answer; numbers are
    compared in float64.

    >>> Output("strings", "the code").read(("0", "10", "11"))
    ['0', '10', '11']
    """

    kind: str
    name: str = "the result"

    def __post_init__(self) -> None:
        if self.kind not in _WORDS:
            raise ValueError(f"kind of output: expected one of {sorted(_WORDS)}, got {self.kind!r}")

    def read(self, value: Any) -> Any:
        """Turn a returned value into plain data: a float, a float64 tensor on the CPU, or a list of str.

        Raises ValueError with a sentence for the student where the value is of another type.
        """
        if self.kind == "number":
            return self._read_number(value)
        if self.kind == "strings":
            if type(value) in (list, tuple) and all(type(item) is str for item in value):
                return list(value)
            raise ValueError(self._got(value))
        if self.kind == "numbers" and type(value) in (list, tuple):
            return torch.tensor([self._read_number(item) for item in value], dtype=torch.float64)
        if type(value) is np.ndarray and value.dtype.kind in "fiu":
            value = torch.tensor(value.tolist(), dtype=torch.float64).reshape(value.shape)
        if type(value) is not torch.Tensor:
            advice = "; torch.tensor(...) makes one" if type(value) in (list, tuple) and self.kind == "tensor" else ""
            raise ValueError(self._got(value) + advice)
        if value.is_complex() or value.dtype is torch.bool or value.layout is not torch.strided or value.is_meta:
            raise ValueError(f"{self.name} has dtype {value.dtype}, where a plain tensor of real numbers was expected")
        return value.detach().cpu().double() + 0.0

    def _read_number(self, value: Any) -> float:
        if type(value) is torch.Tensor or type(value) is np.ndarray:
            if tuple(value.shape) != ():
                raise ValueError(f"{self.name} should be a number, and it has shape {tuple(value.shape)}")
            value = value.item()
        elif isinstance(value, np.floating | np.integer) and type(value).__module__ == "numpy":
            value = value.item()
        if type(value) not in (int, float):
            raise ValueError(self._got(value))
        try:
            return float(value) + 0.0  # -0.0 becomes 0.0
        except OverflowError:
            raise ValueError(f"{self.name} is a whole number too large for a float") from None

    def _got(self, value: Any) -> str:
        if value is None:
            return f"{self.name} is None: is there a `return` at the end, and does it return rather than print?"
        return f"{self.name} should be {_WORDS[self.kind]}, and it is of type {type(value).__name__}"


@dataclass(frozen=True)
class Mistake:
    """A common wrong answer: a function that makes the mistake, and the hint for whoever made it too.

    >>> Mistake(lambda p: -(p * p.log()).sum(), "We are asked for bits.").hint
    'We are asked for bits.'
    """

    answer: Callable[..., Any]
    hint: str


@dataclass(frozen=True)
class Verdict:
    """What the judge says of one output.

    kind: ``right``, or what is wrong: ``missing`` (None), ``type``, ``shape``, ``nan``, ``infinite``, ``finite``
    (where infinity was expected), ``value``, ``property``. The sentence says it in words and is empty when right;
    returned and expected are the two values as text (expected is empty where many answers are right).

    >>> Verdict("right").passed
    True
    """

    kind: str
    sentence: str = ""
    returned: str = ""
    expected: str = ""

    @property
    def passed(self) -> bool:
        """Whether the output is right."""
        return self.kind == "right"


@dataclass(frozen=True)
class Exercise:
    """What is asked of one function, and how its answers are judged.

    Args:
        name: the function's name, unique over the book
        chapter: the chapter's slug
        title: the title on the page
        points: what it is worth, above 0
        page: the page of the chapter to read again, as its name under ``chapters/``
        start: the first step, for a reader who has not begun; it completes "Start with ..."
        reference: a function that gives a right answer; its parameter names are the ones the student's function has
        output: what is returned, or a tuple of them where several values are
        public: inputs that everyone may see, each a tuple of plain data
        draw: one further input from a generator; None where the public inputs are all there is
        num_random: how many of those
        tolerance: error allowed, relative to the reference
        absolute: error allowed where the reference is 0 or next to it
        accept: for questions with many right answers: given the inputs (a tuple) and the output, None if it is right,
            else the reason it is not, a sentence without its full stop
        mistakes: common wrong answers
        forbidden: dotted names of modules and functions that give the answer away; a grader blocks them

    >>> double = Exercise(
    ...     name="double", chapter="none", title="Twice", points=1, page="none", start="2 * x",
    ...     reference=lambda x: 2 * x, output=Output("number"), public=((1.0,), (3.0,)),
    ...     mistakes=(Mistake(lambda x: x * x, "This is the square."),))
    >>> double.judge((3.0,), 6).passed
    True
    >>> double.judge((3.0,), 9).sentence
    'the result is 9.0, and it should be 6.0'
    >>> double.hint([((3.0,), 9)])
    'This is the square.'
    """

    name: str
    chapter: str
    title: str
    points: int
    page: str
    start: str
    reference: Callable[..., Any]
    output: Output | tuple[Output, ...]
    public: tuple[tuple[Any, ...], ...]
    draw: Callable[[torch.Generator], tuple[Any, ...]] | None = None
    num_random: int = 8
    tolerance: float = 1e-6
    absolute: float = 1e-9
    accept: Callable[[tuple[Any, ...], Any], str | None] | None = None
    mistakes: tuple[Mistake, ...] = ()
    forbidden: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"name of an exercise: expected a function's name, got {self.name!r}")
        if self.points <= 0 or self.tolerance <= 0 or self.absolute <= 0:
            got = f"{self.points}, {self.tolerance}, {self.absolute}"
            raise ValueError(f"{self.name}: expected points and tolerances above 0, got {got}")
        if not self.public:
            raise ValueError(f"{self.name}: expected at least one public input, got none")

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the arguments, in order."""
        return tuple(inspect.signature(self.reference).parameters)

    @property
    def blocked(self) -> tuple[str, ...]:
        """Everything a grader must keep from the student's code: the records themselves, and what `forbidden` names."""
        return ("chainrule.checks", *self.forbidden)

    @property
    def num_cases(self) -> int:
        """How many inputs `cases` gives; the first ``len(public)`` of them are public."""
        return len(self.public) + (self.num_random if self.draw else 0)

    def cases(self, seed: int) -> list[tuple[Any, ...]]:
        """Inputs for a seed: the public ones, then random ones. Each call gives fresh copies."""
        generator = torch.Generator().manual_seed(seed)
        drawn = [self.draw(generator) for _ in range(self.num_random)] if self.draw else []
        return [copy_plain(inputs) for inputs in self.public] + drawn

    def read(self, output: Any) -> Any:
        """Turn what a function returned into plain data, or raise ValueError with a sentence for the student."""
        if isinstance(self.output, Output):
            return self.output.read(output)
        if type(output) not in (tuple, list):
            got = "None: is there a `return` at the end?" if output is None else f"one {type(output).__name__}"
            raise ValueError(f"{self._several()} should come back as a tuple, and we got {got}")
        if len(output) != len(self.output):
            raise ValueError(f"{self._several()} should come back as a tuple, and we got {len(output)} values")
        return tuple(part.read(value) for part, value in zip(self.output, output, strict=True))

    def expected(self, inputs: tuple[Any, ...]) -> Any:
        """The reference's answer, as plain data."""
        return self.read(self.reference(*copy_plain(inputs)))

    def judge(self, inputs: tuple[Any, ...], output: Any) -> Verdict:
        """Say whether an output is right for these inputs and, if not, what is wrong with it."""
        try:
            value = self.read(output)
        except ValueError as problem:
            return Verdict("missing" if output is None else "type", str(problem), show(output))
        expected = self.expected(inputs)
        several = not isinstance(self.output, Output)
        parts = list(zip(self.output, value, expected, strict=True)) if several else [(self.output, value, expected)]
        for part, got, want in parts:
            if _size(got) != _size(want):
                return Verdict("shape", _shape_sentence(part, got, want), show(value))
            if part.kind != "strings" and _any_nan(got):
                sentence = f"{part.name} {_where(got, torch.as_tensor(got).isnan())} nan (not a number)"
                return Verdict("nan", sentence, show(value), "" if self.accept else show(expected))
        if self.accept:
            reason = self.accept(copy_plain(inputs), value)
            return Verdict("right") if reason is None else Verdict("property", reason, show(value))
        for part, got, want in parts:
            if not self._same(got, want):
                return Verdict(*_value_sentence(part, got, want, self._close), show(value), show(expected))
        return Verdict("right")

    def hint(self, answers: Sequence[tuple[tuple[Any, ...], Any]]) -> str | None:
        """The hint of the common mistake that gives the same wrong output, or None if we know none.

        Args:
            answers: pairs (inputs, output), first the one to explain, then the others, right ones too. Of the mistakes
                that agree with the first, we take the one that agrees with most of the others.
        """
        (inputs, output), *others = answers
        best, most = None, -1
        for mistake in self.mistakes:
            if self._makes(mistake, inputs, output):
                agreements = sum(self._makes(mistake, *other) for other in others)
                if agreements > most:
                    best, most = mistake.hint, agreements
        return best

    def _makes(self, mistake: Mistake, inputs: tuple[Any, ...], output: Any) -> bool:
        try:
            return self._same(self.read(output), self.read(mistake.answer(*copy_plain(inputs))))
        except (ValueError, ArithmeticError, IndexError, RuntimeError):
            return False  # the mistake has no answer here, or the output is of no kind to compare

    def _close(self, value: Any, expected: Any) -> torch.Tensor:
        pair = (torch.as_tensor(item, dtype=torch.float64) for item in (value, expected))
        return torch.isclose(*pair, rtol=self.tolerance, atol=self.absolute, equal_nan=True)

    def _same(self, value: Any, expected: Any) -> bool:
        if isinstance(expected, tuple):
            return all(self._same(*pair) for pair in zip(value, expected, strict=True))
        if isinstance(expected, list):
            return value == expected
        if type(value) is float and type(expected) is float:  # what `_close` says, without the cost of two tensors
            both_nan = value != value and expected != expected
            near = abs(value - expected) <= self.absolute + self.tolerance * abs(expected) < math.inf
            return value == expected or both_nan or near
        return _size(value) == _size(expected) and bool(self._close(value, expected).all())

    def _several(self) -> str:
        outputs = (self.output,) if isinstance(self.output, Output) else self.output
        return ", ".join(part.name for part in outputs)


def copy_plain(value: Any) -> Any:
    """A copy of plain data that shares no memory with it.

    >>> copy_plain((torch.tensor([1.0]), [2, "a"]))
    (tensor([1.]), [2, 'a'])
    """
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, list | tuple):
        return type(value)(copy_plain(item) for item in value)
    return value


def is_plain(value: Any) -> bool:
    """Whether a value is plain data: a number, a string, a real tensor, or a list or tuple of such.

    >>> is_plain([1, 2.5, "a", (torch.ones(2),)]), is_plain({"a": 1}), is_plain(print)
    (True, False, False)
    """
    if type(value) in (list, tuple):
        return all(is_plain(item) for item in value)
    if type(value) is torch.Tensor:
        return not (value.requires_grad or value.is_complex())
    return type(value) in (int, float, str)


def show(value: Any, digits: int = 6, most: int = 60) -> str:
    """Plain data as short text: numbers to so many digits, a long tensor by its first entries.

    >>> show(torch.tensor([0.25, 1.0])), show([1, "a"]), show(2 / 3, digits=3)
    ('[0.25, 1.0]', "[1, 'a']", '0.667')
    >>> show(torch.zeros(3, 40))
    'a tensor of shape (3, 40) that begins 0.0, 0.0, 0.0, 0.0, 0.0, 0.0'
    """
    if type(value) is float:
        text = f"{value:.{digits}g}"
        return text if any(mark in text for mark in ".enf") else text + ".0"
    if type(value) is torch.Tensor:
        if value.numel() <= most:
            return show(value.tolist(), digits, most)
        return f"a tensor of shape {tuple(value.shape)} that begins {show(value.flatten()[:6].tolist(), digits)[1:-1]}"
    if type(value) in (list, tuple):
        items = [show(item, digits, most) for item in value[:most]] + ["..."] * (len(value) > most)
        comma = "," if type(value) is tuple and len(value) == 1 else ""
        return ("[{}]" if type(value) is list else "({})").format(", ".join(items) + comma)
    if type(value) in (int, str, bool, type(None)):
        text = repr(value)
        return text if len(text) <= 200 else text[:197] + "..."
    return f"an object of type {type(value).__name__}"


def _size(value: Any) -> Any:
    """What must agree before entries are compared: a tensor's shape, a list's length."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape)
    return len(value) if isinstance(value, list) else ()


def _any_nan(value: Any) -> bool:
    return value != value if type(value) is float else bool(torch.as_tensor(value).isnan().any())


def _shape_sentence(part: Output, got: Any, want: Any) -> str:
    if part.kind == "tensor":
        return f"{part.name} has shape {_size(got)}, and it should have shape {_size(want)}"
    entries = {size: "1 entry" if size == 1 else f"{size} entries" for size in (_count(got), _count(want))}
    return f"{part.name} has {entries[_count(got)]}, and it should have {entries[_count(want)]}"


def _count(value: Any) -> int:
    return len(value) if value is not None and not isinstance(value, float) else 1


def _where(value: Any, wrong: torch.Tensor) -> str:
    """The words "at index ... is" for the first wrong entry; "is" alone for a number."""
    if not wrong.dim():
        return "is"
    index = [int(i) for i in wrong.nonzero()[0]]
    return f"at index {index[0] if len(index) == 1 else tuple(index)} is"


def _value_sentence(part: Output, got: Any, want: Any, close: Callable[..., torch.Tensor]) -> tuple[str, str]:
    """The kind of a wrong value, and a sentence about its first wrong entry."""
    if part.kind == "strings":
        index = next(i for i, (a, b) in enumerate(zip(got, want, strict=True)) if a != b)
        return "value", f"{part.name} at index {index} is {show(got[index])}, and it should be {show(want[index])}"
    wrong = ~close(got, want)
    first = tuple(wrong.nonzero()[0].tolist()) if wrong.dim() else ()
    a, b = (float(torch.as_tensor(item, dtype=torch.float64)[first]) for item in (got, want))
    begin = f"{part.name} {_where(got, wrong)}"
    if a in (float("inf"), float("-inf")):
        return "infinite", f"{begin} infinite ({show(a)}), and it should be {show(b)}"
    if b in (float("inf"), float("-inf")):
        return "finite", f"{begin} {show(a)}, and it should be infinite ({show(b)})"
    digits = 6 if show(a) != show(b) else 12
    return "value", f"{begin} {show(a, digits)}, and it should be {show(b, digits)}"
