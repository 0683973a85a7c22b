"""Quizzes: what the data may say, what a reader gets to see, and errors that tell an author what to mend."""

import html.parser
import re

import pytest
import yaml

from chainrule import quiz as quiz_module
from chainrule.quiz import Quiz, load_quiz, quiz

DIE = {
    "name": "fair-die",
    "question": r"What is *the* entropy \( H(p) < \infty \) of `die = [1/6] * 6` & <script>?",
    "number": {
        "value": 2.585,
        "tolerance": 0.005,
        "unit": "bits",
        "feedback": r"Six equal outcomes: \(\log_2 6\).",
        "wrong": [{"value": 1.792, "tolerance": 0.005, "feedback": "That is in nats."}],
        "otherwise": "What is the surprise of one face?",
    },
    "check": "information.entropy(torch.full((6,), 1 / 6), base=2)",
}
SIGN = {
    "name": "sign",
    "question": "Which one is never negative?",
    "choices": [
        {"text": "a divergence", "correct": True, "feedback": "By Gibbs' inequality."},
        {"text": "a density's entropy", "feedback": "A narrow Gaussian has a negative one."},
        {"text": "a log-likelihood", "feedback": "Probabilities have logarithms below zero."},
    ],
}


@pytest.fixture
def folder(tmp_path):
    """A folder with the quiz of a chapter called demo."""
    (tmp_path / "demo.yml").write_text(yaml.safe_dump([DIE, SIGN]), encoding="utf-8")
    return tmp_path


@pytest.fixture
def write(tmp_path):
    """Write a chapter's questions; changes are given by the path of keys that leads to the value."""

    def with_changes(entry, *path, value=None, drop=False):
        entry = yaml.safe_load(yaml.safe_dump(entry))
        target = entry
        for key in path[:-1]:
            target = target[key]
        if drop:
            del target[path[-1]]
        else:
            target[path[-1]] = value
        (tmp_path / "demo.yml").write_text(yaml.safe_dump([SIGN | {"name": "first"}, entry]), encoding="utf-8")
        return tmp_path

    return with_changes


class Elements(html.parser.HTMLParser):
    """The elements of a page with their attributes, and which were closed."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag != "input":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag, **attributes):
        return [a for t, a in self.found if t == tag and attributes.items() <= a.items()]


def test_questions_come_in_the_order_of_the_file_with_all_they_say(folder):
    die, sign = load_quiz("demo", folder)
    assert (die.name, sign.name) == ("fair-die", "sign")
    assert (die.number.value, die.number.tolerance, die.number.unit) == (2.585, 0.005, "bits")
    assert die.number.wrong[0].feedback == "That is in nats."
    assert die.check == DIE["check"]
    assert [choice.correct for choice in sign.choices] == [True, False, False]
    assert (sign.check, sign.number, die.choices) == ("", None, ())


@pytest.mark.parametrize(
    ("base", "path", "change", "message"),
    [
        (SIGN, ["name"], "Sign One", "expected a name of lower-case letters, digits and hyphens, got 'Sign One'"),
        (SIGN, ["name"], "first", "expected every name once, got 'first' 2 times"),
        (SIGN, ["question"], " ", "expected question to be text"),
        (SIGN, ["question"], "costs $p$", r"expected mathematics between \\\( and \\\) in question"),
        (SIGN, ["choices"], [], "two or more choices"),
        (SIGN, ["choices", 1, "correct"], True, "exactly one correct choice, got 2"),
        (SIGN, ["choices", 0, "correct"], False, "exactly one correct choice, got 0"),
        (SIGN, ["choices", 0, "correct"], "yes", "expected correct to be true or false, got 'yes'"),
        (SIGN, ["choices", 1, "feedback"], "", r"\(sign\), choice 2: expected feedback to be text"),
        (SIGN, ["choices", 1, "text"], 3, "expected text to be text, got 3; quote numbers"),
        (SIGN, ["choices", 1, "text"], "a divergence", "choices that differ"),
        (SIGN, ["choices", 1, "why"], "x", "perhaps correct"),
        (SIGN, ["number"], DIE["number"], "either choices or a number"),
        (SIGN, ["hint"], "x", "perhaps check, choices, number"),
        (DIE, ["number", "value"], "2.5", "expected value to be a number, got '2.5'"),
        (DIE, ["number", "value"], True, "expected value to be a number, got True"),
        (DIE, ["number", "value"], float("nan"), "expected value to be a number, got nan"),
        (DIE, ["number", "tolerance"], 0, "expected a positive tolerance"),
        (DIE, ["number", "wrong"], {"value": 1}, "expected a list of wrong values"),
        (DIE, ["number", "wrong", 0, "value"], 2.59, "wrong value 1: expected its range to lie apart"),
        (DIE, ["number", "wrong", 0, "feedback"], None, "expected feedback to be text, got None"),
        (DIE, ["check"], "", "expected check to be text"),
    ],
)
def test_a_mistake_in_the_data_is_named(write, base, path, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_quiz("demo", write(base, *path, value=change))
    assert str(caught.value).startswith("demo.yml")


@pytest.mark.parametrize(
    ("base", "path"),
    [
        (SIGN, ["name"]),
        (SIGN, ["question"]),
        (SIGN, ["choices"]),
        (SIGN, ["choices", 1, "feedback"]),
        (SIGN, ["choices", 0, "feedback"]),
        (DIE, ["number", "otherwise"]),
        (DIE, ["number", "tolerance"]),
        (DIE, ["number", "wrong", 0, "feedback"]),
    ],
)
def test_nothing_that_is_needed_may_be_missing(write, base, path):
    with pytest.raises(ValueError, match=r"demo\.yml, question 2.*expected"):
        load_quiz("demo", write(base, *path, drop=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "no valid YAML"), ("a: 1", "a list of questions, got dict"), ("", "a list of questions, got NoneType"),
     ("[]", "a list of questions"), ("- 3", "question 1: expected keys and values, got 3")],
)  # fmt: skip
def test_a_file_of_another_form_is_refused(tmp_path, text, message):
    (tmp_path / "demo.yml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_quiz("demo", tmp_path)


def test_unknown_chapters_and_questions_are_told_with_what_there_is(folder, monkeypatch):
    with pytest.raises(ValueError, match=r"expected a chapter with a quiz \(demo\), got 'other'"):
        load_quiz("other", folder)
    monkeypatch.setattr(quiz_module, "load_quiz", lambda chapter: load_quiz(chapter, folder))
    with pytest.raises(ValueError, match="a question of 'demo' among fair-die, sign, got 'dye'"):
        quiz("demo", "fair-die", "dye")
    assert [question.name for question in quiz("demo").questions] == ["fair-die", "sign"]
    assert [question.name for question in quiz("demo", "sign").questions] == ["sign"]


def test_plain_text_lists_question_and_choices(folder):
    text = repr(Quiz("demo", load_quiz("demo", folder)))
    assert DIE["question"] in text
    assert "answer with a number (in bits)" in text
    for choice in SIGN["choices"]:
        assert re.search(rf"^  [abc]\) {choice['text']}$", text, re.MULTILINE)
    assert "2.585" not in text
    assert "Gibbs" not in text


def test_form_is_the_same_on_every_run_and_its_ids_are_unique(folder):
    page, again = (
        "".join(Quiz(chapter, load_quiz("demo", folder))._repr_html_() for chapter in ("demo", "other"))
        for _ in range(2)
    )
    assert page == again
    elements = Elements(page)
    assert not elements.open
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids)) == 4
    groups = {attributes["name"] for attributes in elements.all("input", type="radio")}
    assert groups == {"crq-demo-sign", "crq-other-sign"}


def test_form_names_its_parts_for_a_screen_reader(folder):
    page = Quiz("demo", load_quiz("demo", folder))._repr_html_()
    elements = Elements(page)
    assert len(elements.all("fieldset")) == len(elements.all("legend")) == 2
    assert len(elements.all("div", role="status", **{"aria-live": "polite"})) == 2
    assert [a["type"] for a in elements.all("button")] == ["button", "button"]
    assert len(elements.all("input", type="radio")) == 3
    assert len(elements.all("input")) == len(elements.all("label")) == 4  # each input inside a label
    assert all("<input" in label for label in re.findall(r"<label.*?</label>", page))


def test_text_is_escaped_and_marked_up(folder):
    page = Quiz("demo", load_quiz("demo", folder))._repr_html_()
    assert "What is <em>the</em> entropy \\( H(p) &lt; \\infty \\) of " in page
    assert '<code class="mathjax_ignore">die = [1/6] * 6</code> &amp; &lt;script&gt;?' in page
    assert page.count("<script>") == 1
    assert "density&#x27;s" in page


def test_stars_in_mathematics_and_between_blanks_are_no_emphasis():
    assert quiz_module._rich(r"\(a*b*c\) and 2 * 3 * 4, `x*y*z`") == (
        r'\(a*b*c\) and 2 * 3 * 4, <code class="mathjax_ignore">x*y*z</code>'
    )


def test_each_wrong_answer_has_its_reply(folder):
    elements = Elements(Quiz("demo", load_quiz("demo", folder))._repr_html_())
    replies = elements.all("p")
    assert sum(reply["data-right"] == "yes" for reply in replies) == 2
    keys = [reply["data-key"] for reply in replies]
    assert keys == ["right", "wrong0", "otherwise", "empty", "0", "1", "2", "empty"]
    assert float(replies[1]["data-value"]) == 1.792


def test_the_order_of_choices_depends_on_the_name_and_gives_nothing_away(folder):
    _, sign = load_quiz("demo", folder)
    first = []
    for i in range(60):
        question = type(sign)(f"q{i}", sign.question, sign.choices)
        shown = repr(Quiz("demo", (question,))).splitlines()
        assert sorted(line[5:] for line in shown[1:]) == sorted(choice["text"] for choice in SIGN["choices"])
        first.append(shown[1] == "  a) a divergence")
    assert 8 < sum(first) < 32  # of 60, a third expected


def test_page_asks_nothing_of_the_network(folder):
    page = Quiz("demo", load_quiz("demo", folder))._repr_html_()
    assert not re.search(r"https?:|src=|@import|url\(", page)
