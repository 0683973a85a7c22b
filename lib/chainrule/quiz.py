r"""Quiz questions that answer back, in a notebook and in a page without a kernel.

The questions are data: ``quizzes/<chapter>.yml`` holds a list of them, each with one right answer and a feedback for
every wrong one. :func:`quiz` shows some of them, :func:`load_quiz` reads and validates them. A question reads either

.. code-block:: yaml

    - name: fair-die                 # unique in the chapter; lower-case letters, digits, hyphens
      question: What is the entropy of a fair die? # `code`, *emphasis* and \( mathematics \) are understood
      number:
        value: 2.585
        tolerance: 0.005             # how far off an answer may be
        unit: bits                   # optional
        feedback: Six equal outcomes have the entropy \(\log_2 6\).
        wrong:                       # known wrong answers, told what went wrong
          - {value: 1.792, tolerance: 0.005, feedback: That is the entropy in nats.}
        otherwise: What is the surprise of one face?
      check: information.entropy(torch.full((6,), 1 / 6), base=2)

or has, in the place of ``number``, two or more ``choices``, ``{text: ..., correct: true, feedback: ...}`` and
``{text: ..., feedback: why it is wrong}``, of which exactly one is correct; they are shown in an order that depends on
the question's name alone. ``check`` is for answers that can be computed: a Python expression over ``torch``, ``math``
and the library's modules that a test evaluates. It gives the number, or ``True`` for the claim of the right choice.
"""

import html
import importlib.resources
import math
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Choice", "Number", "Question", "Quiz", "WrongNumber", "load_quiz", "quiz"]


@dataclass(frozen=True)
class Choice:
    """One of the answers to choose from."""

    text: str
    feedback: str
    correct: bool = False


@dataclass(frozen=True)
class WrongNumber:
    """A wrong answer that is worth an explanation."""

    value: float
    tolerance: float
    feedback: str


@dataclass(frozen=True)
class Number:
    """A numeric answer: right within ``tolerance`` of ``value``."""

    value: float
    tolerance: float
    feedback: str
    otherwise: str
    unit: str = ""
    wrong: tuple[WrongNumber, ...] = ()


@dataclass(frozen=True)
class Question:
    """A question with its answer: ``choices``, or a ``number`` when there are none."""

    name: str
    question: str
    choices: tuple[Choice, ...] = ()
    number: Number | None = None
    check: str = ""


class Quiz:
    """Questions as a notebook shows them: a form where scripts run, and plain text elsewhere."""

    def __init__(self, chapter: str, questions: tuple[Question, ...]):
        self.chapter, self.questions = chapter, questions

    def __repr__(self) -> str:
        return "\n\n".join(_plain(question) for question in self.questions)

    def _repr_html_(self) -> str:
        forms = "".join(_form(f"crq-{self.chapter}-{question.name}", question) for question in self.questions)
        folder = importlib.resources.files("chainrule") / "quizzes"
        style, script = ((folder / name).read_text(encoding="utf-8") for name in ("form.css", "form.js"))
        return f'<div class="cr-quiz mathjax_process"><style>{style}</style>{forms}<script>{script}</script></div>'


def quiz(chapter: str, *names: str) -> Quiz:
    """The named questions of a chapter, or all of them when no name is given; as the last value of a cell they show.

    Args:
        chapter: the chapter's slug, for example ``"information-theory"``.
        names: names of questions, in the order in which they are to be shown.

    Returns:
        The questions, to be answered in a browser.

    Raises:
        ValueError: if the chapter has no quiz, or no question of that name.
    """
    questions = {question.name: question for question in load_quiz(chapter)}
    for name in names:
        if name not in questions:
            raise ValueError(f"expected a question of {chapter!r} among {', '.join(questions)}, got {name!r}")
    return Quiz(chapter, tuple(questions[name] for name in names or questions))


def load_quiz(chapter: str, folder: Path | None = None) -> tuple[Question, ...]:
    """Read and validate the questions of a chapter.

    Args:
        chapter: the chapter's slug.
        folder: where ``<chapter>.yml`` lies; the library's own folder unless given.

    Returns:
        The questions in the order of the file.

    Raises:
        ValueError: if there is no such quiz, or a question is not as the module describes; says which and why.
    """
    place = importlib.resources.files("chainrule") / "quizzes" if folder is None else folder
    source = place / f"{chapter}.yml"
    if not source.is_file():
        known = sorted(f.name.removesuffix(".yml") for f in place.iterdir() if f.name.endswith(".yml"))
        raise ValueError(f"expected a chapter with a quiz ({', '.join(known) or 'there is none'}), got {chapter!r}")
    try:
        data = yaml.safe_load(source.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{chapter}.yml is no valid YAML: {error}") from error
    if not isinstance(data, list) or not data:
        raise ValueError(f"{chapter}.yml: expected a list of questions, got {type(data).__name__}")
    questions = tuple(_question(entry, f"{chapter}.yml, question {i}") for i, entry in enumerate(data, start=1))
    names = [question.name for question in questions]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{chapter}.yml: expected every name once, got {name!r} {names.count(name)} times")
    return questions


def _question(entry: Any, where: str) -> Question:
    _keys(entry, {"name", "question"}, {"choices", "number", "check"}, where)
    name = entry["name"]
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"{where}: expected a name of lower-case letters, digits and hyphens, got {name!r}")
    where = f"{where} ({name})"
    if ("choices" in entry) == ("number" in entry):
        raise ValueError(f"{where}: expected either choices or a number")
    check = _text(entry, "check", where) if "check" in entry else ""
    text = _text(entry, "question", where)
    if "number" in entry:
        return Question(name, text, number=_number(entry["number"], where), check=check)
    return Question(name, text, choices=_choices(entry["choices"], where), check=check)


def _choices(entries: Any, where: str) -> tuple[Choice, ...]:
    if not isinstance(entries, list) or len(entries) < 2:
        raise ValueError(f"{where}: expected a list of two or more choices")
    choices = []
    for i, entry in enumerate(entries, start=1):
        place = f"{where}, choice {i}"
        _keys(entry, {"text", "feedback"}, {"correct"}, place)
        correct = entry.get("correct", False)
        if not isinstance(correct, bool):
            raise ValueError(f"{place}: expected correct to be true or false, got {correct!r}")
        choices.append(Choice(_text(entry, "text", place), _text(entry, "feedback", place), correct))
    right = sum(choice.correct for choice in choices)
    if right != 1:
        raise ValueError(f"{where}: expected exactly one correct choice, got {right}")
    if len({choice.text for choice in choices}) < len(choices):
        raise ValueError(f"{where}: expected choices that differ from each other")
    return tuple(choices)


def _number(entry: Any, where: str) -> Number:
    _keys(entry, {"value", "tolerance", "feedback", "otherwise"}, {"unit", "wrong"}, f"{where}, number")
    value, tolerance = (_real(entry, key, where) for key in ("value", "tolerance"))
    given, wrong = entry.get("wrong", []), []
    if not isinstance(given, list):
        raise ValueError(f"{where}: expected a list of wrong values")
    for i, item in enumerate(given, start=1):
        place = f"{where}, wrong value {i}"
        _keys(item, {"value", "tolerance", "feedback"}, set(), place)
        wrong.append(
            WrongNumber(_real(item, "value", place), _real(item, "tolerance", place), _text(item, "feedback", place))
        )
        if abs(wrong[-1].value - value) <= wrong[-1].tolerance + tolerance:
            raise ValueError(f"{place}: expected its range to lie apart from the right one, got {wrong[-1].value}")
    unit = _text(entry, "unit", where) if "unit" in entry else ""
    return Number(
        value, tolerance, _text(entry, "feedback", where), _text(entry, "otherwise", where), unit, tuple(wrong)
    )


def _keys(entry: Any, required: set[str], optional: set[str], where: str) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected keys and values, got {entry!r}")
    missing, unknown = required - entry.keys(), entry.keys() - required - optional
    if missing or unknown:
        raise ValueError(
            f"{where}: expected {', '.join(sorted(required))} (and perhaps "
            f"{', '.join(sorted(optional)) or 'nothing else'}), got {', '.join(map(str, entry))}"
        )


def _text(entry: dict, key: str, where: str) -> str:
    text = entry[key]
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{where}: expected {key} to be text, got {text!r}; quote numbers and texts with a colon")
    if "$" in text:
        raise ValueError(rf"{where}: expected mathematics between \( and \) in {key}, got a dollar sign")
    return text.strip()


def _real(entry: dict, key: str, where: str) -> float:
    number = entry[key]
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise ValueError(f"{where}: expected {key} to be a number, got {number!r}")
    if key == "tolerance" and number <= 0:
        raise ValueError(f"{where}: expected a positive tolerance, got {number}")
    return float(number)


def _shown(question: Question) -> list[Choice]:
    """The choices in an order that gives nothing away and never changes."""
    choices = list(question.choices)
    random.Random(question.name).shuffle(choices)
    return choices


def _plain(question: Question) -> str:
    if question.number is not None:
        unit = f" (in {question.number.unit})" if question.number.unit else ""
        return f"{question.question}\n  answer with a number{unit}"
    lines = [f"  {letter}) {choice.text}" for letter, choice in zip("abcdefghij", _shown(question), strict=False)]
    return "\n".join([question.question, *lines])


def _rich(text: str) -> str:
    r"""Escaped HTML of a text with `code`, *emphasis* and \( mathematics \), whose TeX is left to MathJax."""
    parts = re.split(r"(\\\(.*?\\\)|`[^`]+`|\*[^*\s](?:[^*]*[^*\s])?\*)", text, flags=re.DOTALL)
    for i in range(1, len(parts), 2):
        part = parts[i]
        if part.startswith("`"):
            parts[i] = f'<code class="mathjax_ignore">{html.escape(part[1:-1])}</code>'
        elif part.startswith("*"):
            parts[i] = f"<em>{html.escape(part[1:-1])}</em>"
        else:
            parts[i] = html.escape(part)
    parts[::2] = map(html.escape, parts[::2])
    return "".join(parts)


def _form(key: str, question: Question) -> str:
    if question.number is not None:
        number = question.number
        answers = (
            '<label class="cr-answer"><span>Your answer:</span> <input type="text" inputmode="decimal" '
            f'size="10" autocomplete="off" name="{key}"> <span>{_rich(number.unit)}</span></label>'
        )
        replies = [_reply("right", number.feedback, True, number.value, number.tolerance)]
        replies += [_reply(f"wrong{i}", w.feedback, False, w.value, w.tolerance) for i, w in enumerate(number.wrong)]
        replies += [_reply("otherwise", number.otherwise, False)]
        replies += [_reply("empty", "Type a number first, for example 0.5 or 1/2.", None)]
    else:
        choices = _shown(question)
        answers = "".join(
            f'<label class="cr-answer"><input type="radio" name="{key}" value="{i}"> '
            f"<span>{_rich(choice.text)}</span></label>"
            for i, choice in enumerate(choices)
        )
        replies = [_reply(str(i), choice.feedback, choice.correct) for i, choice in enumerate(choices)]
        replies += [_reply("empty", "Choose an answer first.", None)]
    return (
        f'<div class="cr-question" id="{key}"><fieldset><legend>{_rich(question.question)}</legend>{answers}'
        '</fieldset><button type="button" class="cr-submit">Check</button>'
        f'<div class="cr-say" role="status" aria-live="polite"></div><div hidden>{"".join(replies)}</div></div>'
    )


def _reply(key: str, feedback: str, right: bool | None, value: float | None = None, tolerance: float = 0.0) -> str:
    verdict = {True: "<strong>Right.</strong> ", False: "<strong>Not yet.</strong> ", None: ""}[right]
    mark = {True: "yes", False: "no", None: ""}[right]
    interval = "" if value is None else f' data-value="{value!r}" data-tolerance="{tolerance!r}"'
    return f'<p data-key="{key}" data-right="{mark}"{interval}>{verdict}{_rich(feedback)}</p>'
