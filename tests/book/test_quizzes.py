"""The quizzes of the book: valid data, answers recomputed by the library, each shown on a page, a form that answers."""

import ast
import importlib
import importlib.util
import math
import re
import shutil
from pathlib import Path

import pytest
import torch

from chainrule.plots import css_variables
from chainrule.quiz import Choice, Number, Question, Quiz, WrongNumber, load_quiz
from offline import fetch_vendor
from tests.book.pages import in_browser

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


NUMBER = Number(
    0.5,
    0.01,
    r"Half, \(\frac12\).",
    "Try a coin.",
    unit="bits",
    wrong=(WrongNumber(-0.5, 0.01, "Mind the sign."), WrongNumber(2.0, 0.1, "Upside down.")),
)
CHOICES = (Choice("the first", "That is *it*.", correct=True), Choice("the second", "Not `this`."))


@pytest.fixture
def form(tmp_path) -> Path:
    """A page with two quizzes, as two cells of a notebook give them, beside the output of something else."""
    page = "".join(
        Quiz(
            chapter, (Question("half", "How much?", number=NUMBER), Question("one", "Which?", choices=CHOICES))
        )._repr_html_()
        for chapter in ("first", "second")
    )
    (tmp_path / "index.html").write_text(
        "<!DOCTYPE html><html lang=en data-theme=light><head><meta charset=utf-8><title>quiz</title>"
        '<meta name=viewport content="width=device-width, initial-scale=1"><link rel=icon href=data:,>'
        f"<style>{css_variables()} body{{background:var(--cr-paper);color:var(--cr-ink)}}</style></head>"
        f'<body><main><h1>Quiz</h1><button class="cr-check">elsewhere</button>{page}</main></body></html>',
        encoding="utf-8",
    )
    shutil.copy(fetch_vendor(ROOT) / "axe" / "axe.min.js", tmp_path)
    return tmp_path


def said(page, key: str) -> tuple[str, str]:
    say = page.locator(f"#{key} .cr-say")
    return say.get_attribute("data-right"), say.inner_text()


def test_numbers_are_understood_and_answered(form):
    answers = {
        "0.5": "yes", "0,5": "yes", ".505": "yes", "1/2": "yes", " 5e-1 ": "yes", "0.52": "Try a coin.",
        "-0.5": "Mind the sign.", "\u22121/2": "Mind the sign.", "2": "Upside down.", "1e9": "Try a coin.",
        "": "Type a number", "half": "Type a number", "1/": "Type a number", "1/0": "Type a number",
    }  # fmt: skip

    def drive(page):
        replies = {}
        for answer in answers:
            page.fill("#crq-first-half input", answer)
            page.press("#crq-first-half input", "Enter")
            replies[answer] = said(page, "crq-first-half")
        return replies, page.inner_text("#crq-second-half .cr-say")

    replies, other = in_browser(form, drive)
    for answer, (right, text) in replies.items():
        expected = answers[answer]
        if expected == "yes":
            assert (right, text) == ("yes", r"Right. Half, \(\frac12\)."), answer
        else:
            assert right == ("" if expected.startswith("Type") else "no"), answer
            assert expected in text, answer
    assert other == ""


def test_choices_are_answered_by_keyboard_alone(form):
    def drive(page):
        page.click("text=elsewhere")
        page.focus("#crq-second-half .cr-submit")
        replies = []
        page.keyboard.press("Tab")  # into the choices
        for key in ("Space", "ArrowDown"):
            page.keyboard.press(key)
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")
            chosen = page.inner_text("#crq-second-one label:has(input:checked)")
            replies.append((chosen.strip(), *said(page, "crq-second-one")))
            page.keyboard.press("Shift+Tab")
        page.click("#crq-first-one .cr-submit")
        return sorted(replies), said(page, "crq-first-one")

    replies, unanswered = in_browser(form, drive)
    assert replies == [
        ("the first", "yes", "Right. That is it."),
        ("the second", "no", "Not yet. Not this."),
    ]
    assert unanswered == ("", "Choose an answer first.")


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_form_is_accessible_before_and_after_answers(form, mode):
    def drive(page):
        page.evaluate(f"document.documentElement.dataset.theme = '{mode}'")
        page.add_script_tag(path=form / "axe.min.js")
        found = page.evaluate("axe.run(document)")["violations"]
        page.check("#crq-first-one input >> nth=0")
        for button in page.locator(".cr-submit").all():
            button.click()
        page.set_viewport_size({"width": 320, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        return found + page.evaluate("axe.run(document)")["violations"]

    assert [(v["id"], v["nodes"][0]["html"]) for v in in_browser(form, drive)] == []
