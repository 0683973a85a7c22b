"""The quizzes of the book: valid data, answers recomputed by the library, every reply reachable, used on its page."""

import ast
import importlib
import importlib.util
import math
import re
from pathlib import Path

import pytest
import torch

from chainrule.quiz import Choice, Number, Question, load_quiz

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted(path.stem for path in (ROOT / "lib" / "chainrule" / "quizzes").glob("*.yml"))


def questions() -> list:
    return [pytest.param(c, q, id=f"{c}/{q.name}") for c in CHAPTERS for q in load_quiz(c)]


def evaluate(check: str):
    """The value of a question's ``check``, in which the library's modules stand under their own names."""
    names = {node.id for node in ast.walk(ast.parse(check, mode="eval")) if isinstance(node, ast.Name)}
    scope = {"torch": torch, "math": math}
    for name in names:
        if importlib.util.find_spec(f"chainrule.{name}"):
            scope[name] = importlib.import_module(f"chainrule.{name}")
    if "chainrule" in names:
        scope["chainrule"] = importlib.import_module("chainrule")
        for name in re.findall(r"\bchainrule\.(\w+)", check):
            importlib.import_module(f"chainrule.{name}")
    return eval(check, scope)


def agrees(question: Question) -> bool:
    """Whether the question's ``check`` gives the answer that the question states."""
    value = evaluate(question.check)
    if question.number is None:
        return value is True or (isinstance(value, torch.Tensor) and value.dtype == torch.bool and bool(value))
    # An answer is stated to some digits; it must be the value rounded, not anything that passes as an answer.
    return abs(float(value) - question.number.value) <= question.number.tolerance / 2


def test_there_are_quizzes():
    assert "information-theory" in CHAPTERS


@pytest.mark.parametrize(("chapter", "question"), questions())
def test_computable_answers_are_what_the_library_computes(chapter, question):
    if question.number is not None:
        assert question.check, f"{chapter}/{question.name}: a number can be computed, so it needs a check"
    assert not question.check or agrees(question), f"{question.check} gives {evaluate(question.check)}"


@pytest.mark.parametrize(("chapter", "question"), questions())
def test_feedback_explains(chapter, question):
    """A wrong answer gets words of its own, not a bare verdict or the words of another one."""
    if question.number is None:
        feedback = [choice.feedback for choice in question.choices]
    else:
        feedback = [question.number.feedback, question.number.otherwise, *(w.feedback for w in question.number.wrong)]
    assert len(set(feedback)) == len(feedback)
    assert min(len(text.split()) for text in feedback) >= 4
    for text in feedback:  # the form says "Right." or "Not yet." before it
        assert not re.match(r"(yes|right|correct|no|wrong|not yet)[,.:!]", text, re.IGNORECASE), text


@pytest.mark.parametrize(("chapter", "question"), questions())
def test_mathematics_and_code_are_closed(chapter, question):
    texts = [question.question, *(part for choice in question.choices for part in (choice.text, choice.feedback))]
    if question.number is not None:
        number = question.number
        texts += [number.feedback, number.otherwise, *(wrong.feedback for wrong in number.wrong)]
    for text in texts:
        assert text.count(r"\(") == text.count(r"\)"), text
        assert text.count("`") % 2 == 0, text
        for mathematics in re.findall(r"\\\((.*?)\\\)", text, re.DOTALL):
            assert mathematics.count("{") == mathematics.count("}"), text


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_asks_ten_questions_or_more_and_shows_them(chapter):
    known = {question.name for question in load_quiz(chapter)}
    assert len(known) >= 10
    pages = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "chapters" / chapter).glob("*.md")))
    calls = [ast.literal_eval(f"({arguments},)") for arguments in re.findall(r"^quiz\(([^)]*)\)", pages, re.MULTILINE)]
    shown = set()
    for asked, *names in calls:
        assert asked == chapter
        shown |= set(names) or known
    assert shown == known


def test_a_wrong_answer_would_be_noticed():
    def claim(check: str) -> Question:
        return Question("name", "text", choices=(Choice("a", "b", correct=True), Choice("c", "d")), check=check)

    def die(value: float) -> Question:
        number = Number(value, 0.01, "feedback", "otherwise")
        return Question("name", "text", number=number, check="information.entropy(torch.full((6,), 1 / 6), base=2)")

    assert agrees(die(2.585))
    assert not agrees(die(2.575))
    assert agrees(claim("chainrule.information.entropy(torch.tensor([1.0, 0.0])) == 0"))
    assert not agrees(claim("information.entropy(torch.tensor([0.5, 0.5])) == 0"))
    assert not agrees(claim("3.0"))
