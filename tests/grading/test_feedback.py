"""Feedback and reports: whatever a submission wrote or printed stands in them as text, and as nothing else."""

import json
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import sync_playwright

from chainrule.grading.feedback import POLICY, feedback_html, file_name, printable, write_feedback
from chainrule.grading.report import report_html, summarise, text_report
from tools.browser import find_browser

from .course import CHAPTER, graded

EVIL = [
    "<script>window.hit=1;alert(1)</script>",
    "</code></pre></section></style><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    '"><iframe src="javascript:alert(1)">',
    "' onmouseover='alert(1)",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "<link rel=stylesheet href=http://127.0.0.1:9/x.css>",
    "<a href='javascript:alert(1)'>click</a>",
    "]]><!--<script>alert(1)</script>-->",
    "{{7*7}}${7*7}\\x3cscript\\x3e",
    "a\x00b\x1b[2Jc\u202etxt.exe\u2066d\ud800e",
    "<base href=http://127.0.0.1:9/><form action=http://127.0.0.1:9/><input name=q></form>",
    "<style>@import 'http://127.0.0.1:9/x.css';</style>",
]
SITE = "https://book.example/"


def evil_result(text):
    plain = graded("x")
    exercises = tuple(
        replace(
            one, sentence=text, inputs=text, returned=text, expected=text, hint=text, title=text, name=text, page=text
        )
        for one in plain.exercises
    )
    return replace(
        plain,
        student=text,
        file=text,
        chapter=text,
        exercises=exercises,
        problems=(text, text),
        printed=text,
        penalty=0.1,
    )


def shape(page):
    """Every element with its attributes, without the addresses of links."""
    soup = BeautifulSoup(page, "html.parser")
    return Counter(
        (one.name, tuple(sorted((k, str(v)) for k, v in one.attrs.items() if k != "href"))) for one in soup.find_all()
    )


@pytest.mark.parametrize("text", EVIL)
def test_no_element_and_no_attribute_comes_from_a_submission(text):
    page = feedback_html(evil_result(text), SITE)
    assert shape(page) == shape(feedback_html(evil_result("harmless"), SITE))
    links = [link["href"] for link in BeautifulSoup(page, "html.parser").find_all("a")]
    assert links and all(link.startswith(SITE) for link in links)
    assert printable(text) in BeautifulSoup(page, "html.parser").get_text()
    summary = report_html(summarise([evil_result(text)]), CHAPTER)
    assert not BeautifulSoup(summary, "html.parser").find_all(["script", "img", "iframe", "a", "form", "base", "link"])


def what_a_browser_does(pages):
    """Dialogs, requests and errors while a browser opens the pages; none of them may run anything."""
    events = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(find_browser()), args=["--no-sandbox"])
        tab = browser.new_page()
        tab.on("dialog", lambda dialog: (events.append(dialog.message), dialog.dismiss()))
        tab.on("request", lambda request: events.append(request.url) if not request.url.startswith("file:") else None)
        tab.on("pageerror", lambda error: events.append(str(error)))
        tab.on("console", lambda message: events.append(message.text) if message.type == "error" else None)
        for path in pages:
            tab.goto(path.as_uri())
            for link in tab.query_selector_all("section, h1, pre"):
                link.hover(timeout=2000, force=True)
            assert tab.evaluate("window.hit") is None
            assert tab.evaluate("document.scripts.length") == 0
        browser.close()
    return events


def test_no_browser_runs_or_fetches_anything(tmp_path):
    for number, text in enumerate(EVIL):
        write_feedback([evil_result(text)], tmp_path / f"{number}", SITE)
    (tmp_path / "report.html").write_text(
        report_html(summarise(map(evil_result, EVIL)), CHAPTER), encoding="utf-8", errors="replace"
    )
    pages = [*tmp_path.glob("*/*.html"), tmp_path / "report.html"]
    assert len(pages) == len(EVIL) + 1
    # In a thread of its own: beside another test's browser in this process, a second one may not start.
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(what_a_browser_does, pages).result() == []


def test_the_policy_forbids_scripts_and_everything_from_elsewhere():
    page = BeautifulSoup(feedback_html(graded("ada"), SITE), "html.parser")
    assert page.find("meta", {"http-equiv": "Content-Security-Policy"})["content"] == POLICY
    assert "default-src 'none'" in POLICY and "script" not in POLICY
    # It stands before anything that it should govern.
    assert page.head.find_all()[1].get("http-equiv") == "Content-Security-Policy"


def test_it_says_what_passed_what_failed_and_where_to_read():
    one = graded("ada")
    first = replace(
        one.exercises[0],
        earned=0.0,
        right=0,
        cases=1,
        sentence="it is wrong",
        inputs="p = [0.5]",
        returned="3",
        expected="2",
        hint="bits",
    )
    full = replace(one.exercises[1], earned=3.0)
    page = BeautifulSoup(
        feedback_html(replace(one, exercises=(first, full), penalty=0.25, late_seconds=7200.0), SITE), "html.parser"
    )
    text = " ".join(page.get_text(" ").split())
    for words in (
        "ada: 2.25 of 5 points",
        "0 of 2 points",
        "0 of 1 inputs right",
        "it is wrong",
        "p = [0.5]",
        "Hint. bits",
        "2.0 hours after",
        "costs 25 percent",
        "seed 1",
    ):
        assert words in text, words
    assert page.find("a")["href"] == f"{SITE}chapters/{first.page}.html"
    assert [section["class"] for section in page.find_all("section")] == [["part"], ["full"]]


def test_each_student_gets_two_files_under_a_harmless_name(tmp_path):
    names = ["ada", "../../etc/passwd", "CON", "a/b", "a b", "A B", "x" * 300, "\u202e", ".", "李"]
    assert write_feedback(map(graded, names), tmp_path / "feedback", SITE) == len(names)
    files = sorted(path.name for path in (tmp_path / "feedback").iterdir())
    assert len(files) == 2 * len(names) == len({name.lower() for name in files})
    assert [path.name for path in tmp_path.iterdir()] == ["feedback"]
    assert {file_name(name) + ".json" for name in names} == {name for name in files if name.endswith("json")}
    record = json.loads((tmp_path / "feedback" / f"{file_name('ada')}.json").read_text())
    assert record["score"] == 10.0 and record["maximum"] == 32.0
    shutil.rmtree(tmp_path / "feedback")


def test_the_terminal_gets_no_control_characters():
    shown = text_report(summarise([replace(graded("ada"), problems=("\x1b[2J\x07\r\nnext",))]))
    assert "\x1b" not in shown and "\x07" not in shown and "\r" not in shown
    assert shown.isprintable() or set(shown) - {"\n"} == {c for c in shown if c.isprintable()}


def test_the_distribution_counts_every_student_once():
    class_ = [graded("a", dict.fromkeys([one.name for one in graded("x").exercises], 0.0)), graded("b")]
    full = graded("c")
    class_.append(replace(full, exercises=tuple(replace(one, earned=one.points) for one in full.exercises)))
    summary = summarise(class_)
    assert summary.shares == {0: 1, 3: 1, 9: 1} and summary.students == 3
    assert summary.mean == 14.0
    page = report_html(summary, CHAPTER)
    assert page.count("<svg") == 1 and "3 students" in page
    assert "90-100%" in text_report(summary)
