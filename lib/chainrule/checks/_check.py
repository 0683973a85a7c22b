"""The student's side of an exercise: run a function on its inputs, and say in words what is wrong."""

import difflib
import functools
import html
import inspect
import linecache
import secrets
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chainrule.checks._record import Exercise, copy_plain, show

__all__ = ["CheckResult", "check", "exercises", "find_exercise"]

# Of each state: its mark, its words, and its colour on the site, with one for where the style sheet is missing that
# stands out on light and dark paper alike.
_STATES = {
    "passed": ("✓", "passed", "var(--cr-green, #16835a)"),
    "failed": ("✗", "not yet", "var(--cr-red, #c9480f)"),
    "unwritten": ("…", "not written yet", "var(--cr-blue, #0c62b0)"),
}


@dataclass(frozen=True)
class CheckResult:
    """What `check` found: true when every input gave the right answer; shown as text or, in a notebook, as HTML.

    Args:
        name: the exercise's name
        state: ``passed``, ``failed`` or ``unwritten``
        num_right: how many inputs gave the right answer
        num_cases: how many inputs there were
        facts: pairs (what, value) about the first wrong answer: input, returned, expected
        sentence: what is wrong, or what to do first
        hint: what a common mistake with the same result teaches; empty where we know none

    >>> bool(CheckResult("entropy", "passed", 9, 9))
    True
    """

    name: str
    state: str
    num_right: int
    num_cases: int
    facts: tuple[tuple[str, str], ...] = ()
    sentence: str = ""
    hint: str = ""

    def __bool__(self) -> bool:
        return self.state == "passed"

    @property
    def _count(self) -> str:
        return "" if self.state == "unwritten" else f"{self.num_right} of {self.num_cases} inputs right"

    def __repr__(self) -> str:
        mark, words, _ = _STATES[self.state]
        lines = [f"{mark} {self.name}: {words}" + (f" ({self._count})" if self._count else "")]
        width = max((len(what) for what, _ in self.facts), default=0)
        lines += [f"  {what:{width}}  {value}" for what, value in self.facts]
        lines += [self.sentence] * bool(self.sentence) + [f"Hint: {self.hint}"] * bool(self.hint)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        mark, words, colour = _STATES[self.state]
        code = 'style="color:inherit;background:none;border:0;padding:0;white-space:pre-wrap;overflow-wrap:anywhere"'
        paragraph = '<p style="margin:0.4em 0 0">{}</p>'
        count = f" ({self._count})" if self._count else ""
        parts = [
            f'<p style="margin:0"><span aria-hidden="true" style="color:{colour};font-weight:bold">{mark}</span> '
            f"<code {code}>{html.escape(self.name)}</code>: <strong>{words}</strong>{count}</p>"
        ]
        if self.facts:
            rows = "".join(
                f'<dt style="margin:0;font-weight:normal">{html.escape(what)}</dt>'
                f'<dd style="margin:0;min-width:0"><code {code}>{html.escape(value)}</code></dd>'
                for what, value in self.facts
            )
            grid = "display:grid;grid-template-columns:max-content minmax(0,1fr);gap:0.2em 1em;margin:0.5em 0"
            parts.append(f'<dl style="{grid}">{rows}</dl>')
        if self.sentence:
            parts.append(paragraph.format(html.escape(self.sentence)))
        if self.hint:
            parts.append(paragraph.format(f"<strong>Hint.</strong> {html.escape(self.hint)}"))
        paper = "color:var(--cr-ink, inherit);background:var(--cr-paper, transparent)"
        style = f"border-left:0.3em solid {colour};padding:0.4em 0.9em;margin:0.4em 0;{paper}"
        return f'<div class="cr-check" style="{style}">{"".join(parts)}</div>'


def exercises(chapter: str | None = None) -> tuple[Exercise, ...]:
    """The exercises of a chapter, in the order of its page; without a chapter, those of the whole book.

    >>> exercises("information-theory")[0].name
    'box_entropies'
    """
    found = [exercise for part in _chapters().values() for exercise in part]
    if chapter is not None:
        found = [exercise for exercise in found if exercise.chapter == chapter]
        if not found:
            raise ValueError(f"no chapter {chapter!r} with exercises; there are {', '.join(_chapters())}")
    return tuple(found)


def find_exercise(name: str) -> Exercise:
    """The exercise whose function has this name; ValueError with the nearest names where there is none.

    >>> find_exercise("wasted_bit")
    Traceback (most recent call last):
    ValueError: no exercise asks for a function named 'wasted_bit'; the nearest names are wasted_bits
    """
    known = {exercise.name: exercise for exercise in exercises()}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3)
    names = f"the nearest names are {', '.join(near)}" if near else f"the exercises are {', '.join(known)}"
    raise ValueError(f"no exercise asks for a function named {name!r}; {names}")


def check(function: Callable[..., Any], name: str | None = None, *, seed: int | None = None) -> CheckResult:
    """Run a function on the inputs of its exercise and say whether it is right and, if not, what is wrong.

    The exercise is the one of the function's own name. Some inputs are fixed, others are drawn anew at each call; the
    function gets copies, and it must leave them as they are. A wrong answer, an error and a function not yet written
    all give a result, never an exception. One thing cannot be cured from here: a loop that never ends keeps the
    notebook busy until we stop the cell by hand.

    Args:
        function: the function itself, without brackets after it
        name: the exercise's name, where the function has another
        seed: draws the same random inputs again; the result of a failed check names it

    Returns:
        A `CheckResult`, true when every input gave the right answer.

    >>> check(lambda p: -(p * p.log()).sum(), "entropy", seed=0)
    ✗ entropy: not yet (0 of 12 inputs right)
      input     p = [0.5, 0.5]
      returned  0.693147
      expected  1.0
    The result is 0.693147, and it should be 1.0.
    Hint: This is the value in nats. In bits the logarithm has base 2: torch.log2, or division by log 2.
    """
    if not callable(function):
        got = show(function)
        raise TypeError(f"check takes the function itself: check(entropy), not check(entropy(p)); got {got}")
    if name is None:
        name = getattr(function, "__name__", "")
        if not name.isidentifier():
            kind = "a lambda" if name == "<lambda>" else f"an object of type {type(function).__name__}"
            raise ValueError(f"{kind} has no name to find its exercise by: write check(function, 'entropy')")
    exercise = find_exercise(name)
    obstacle = _obstacle(exercise, function)
    if obstacle:
        return CheckResult(name, "failed", 0, exercise.num_cases, (), obstacle)
    seed = secrets.randbelow(2**31) if seed is None else seed
    trials = []
    for inputs in exercise.cases(seed):
        trials.append(_try(function, exercise, inputs))
        if trials[-1].unwritten:
            start = exercise.start + ("" if exercise.start.endswith("?") else ".")
            return CheckResult(name, "unwritten", 0, exercise.num_cases, (), f"Start with {start} {_reread(exercise)}")
    wrong = [trial for trial in trials if trial.sentence]
    right = len(trials) - len(wrong)
    if not wrong:
        return CheckResult(name, "passed", right, len(trials))
    first = wrong[0]
    others = [(trial.inputs, trial.output) for trial in trials if trial is not first]
    hint = exercise.hint([(first.inputs, first.output), *others]) if first.facts else None
    sentence, facts = first.sentence, first.facts
    if first.inputs:
        pairs = zip(exercise.parameters, first.inputs, strict=True)
        facts = (("input", ", ".join(f"{parameter} = {show(value)}" for parameter, value in pairs)), *facts)
    if not hint:
        sentence += " " + _reread(exercise)
    if trials.index(first) >= len(exercise.public):
        sentence += f" This input was drawn at random; check({name}, seed={seed}) draws it again."
    return CheckResult(name, "failed", right, len(trials), facts, sentence, hint or "")


@dataclass(frozen=True, eq=False)
class _Trial:
    """What came of one input: the sentence says what is wrong, and is empty if nothing is."""

    inputs: tuple[Any, ...]
    output: Any = None
    unwritten: bool = False
    facts: tuple[tuple[str, str], ...] = ()
    sentence: str = ""


def _try(function: Callable[..., Any], exercise: Exercise, inputs: tuple[Any, ...]) -> _Trial:
    """Call a function with a copy of the inputs, judge what it returns, and see whether it left its arguments alone."""
    given = copy_plain(inputs)
    try:
        output = function(*given)
    except (Exception, SystemExit) as error:  # whatever a student's code raises is a result to explain
        line = _line(function, error)
        # torch raises NotImplementedError too, where an operation does not know a dtype; that one has a message.
        unwritten = isinstance(error, NotImplementedError) and (line[1].startswith("raise") or not str(error))
        return _Trial(inputs, unwritten=unwritten, sentence=_error_sentence(error, line))
    verdict = exercise.judge(inputs, output)
    names = [name for name, old, new in zip(exercise.parameters, inputs, given, strict=True) if not _equal(old, new)]
    sentences = [] if verdict.passed else [verdict.sentence[0].upper() + verdict.sentence[1:] + "."]
    sentences += [_change_sentence(names)] if names else []
    facts = [] if verdict.passed else [("returned", verdict.returned)]
    facts += [("expected", verdict.expected)] if verdict.expected else []
    return _Trial(inputs, output, facts=tuple(facts), sentence=" ".join(sentences))


@functools.cache
def _chapters() -> dict[str, tuple[Exercise, ...]]:
    """The exercises of each chapter, in the book's order."""
    # Imported when first needed: each of these modules brings the topic modules of its chapter.
    from chainrule.checks import information_theory, learning_from_data, mathematical_tools, neural_networks

    modules = (information_theory, mathematical_tools, learning_from_data, neural_networks)
    return {module.EXERCISES[0].chapter: module.EXERCISES for module in modules}


def _obstacle(exercise: Exercise, function: Callable[..., Any]) -> str:
    """Why a function cannot be run at all, as a sentence; empty if it can."""
    module = getattr(function, "__module__", None) or ""
    if module.startswith("chainrule.") and getattr(sys.modules.get(module), exercise.name, None) is function:
        return "This is the book's own function. The exercise is to write one of our own."
    try:
        signature = inspect.signature(function)
    except ValueError:  # a function written in C that does not tell; running it will show
        return ""
    names = exercise.parameters
    try:
        signature.bind(*names)
    except TypeError:
        wanted, got = f"{exercise.name}({', '.join(names)})", f"{exercise.name}{signature}"
        return f"The function is called as {wanted}, and it is written as {got}: the arguments differ."
    return ""


def _line(function: Callable[..., Any], error: BaseException) -> tuple[int, str]:
    """Number and text of the last line of the function's own file that the error came through; (0, "") if none."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    frames = [(f.f_code.co_filename, number) for f, number in traceback.walk_tb(error.__traceback__)]
    lines = [number for file, number in frames if code and file == code.co_filename]
    return (lines[-1], linecache.getline(code.co_filename, lines[-1]).strip()) if lines else (0, "")


def _error_sentence(error: BaseException, line: tuple[int, str]) -> str:
    if isinstance(error, SystemExit):
        what = "The code asked Python to exit"
    else:
        message = str(error).strip().split("\n")[0][:200]
        what = f"The code raised {type(error).__name__}" + (f": {message}" if message else "")
    number, text = line
    where = f", at line {number}" + (f": {text}" if text else "") if number else ""
    return f"{what}{where}."


def _reread(exercise: Exercise) -> str:
    return f"What it takes is on the page {exercise.page}."


def _equal(old: Any, new: Any) -> bool:
    if type(old) is not type(new):
        return False
    if isinstance(old, list | tuple):
        return len(old) == len(new) and all(_equal(a, b) for a, b in zip(old, new, strict=True))
    if not hasattr(old, "shape"):
        return bool(old == new)
    if old.shape != new.shape or old.dtype != new.dtype:
        return False
    return bool(((old == new) | (old.isnan() & new.isnan())).all())


def _change_sentence(names: list[str]) -> str:
    return (
        f"The function changes its argument {' and '.join(names)} in place, and whoever called it still needs the old "
        "values: work on a new tensor (x = x / 2 makes one, x /= 2 does not)."
    )
