"""Marks on their way out: the formats as documented, and no name that becomes a formula or breaks a row."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest

from chainrule.grading.exports import canvas_csv, cell, gradescope_json, lti_scores, marks_csv, moodle_csv

from .course import CHAPTER, graded

FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "\uff1d1",
    '=HYPERLINK("http://127.0.0.1","x")',
    "\x00=1",
    "\u200b=1",
]
BREAKERS = ['a"b', "a,b", "a;b", "a\nb", "a\r\nb,999", "'", "|cmd' /c calc'!A0"]


def table(parts):
    return list(csv.reader(io.StringIO("".join(parts), newline="")))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_a_text(text):
    assert cell(text).lstrip("\ufffd ")[0] == "'" or not set("=+-@") & set(cell(text).lstrip()[:1])
    assert cell(text).lstrip()[:1] not in ("=", "+", "-", "@", "\uff1d")


@pytest.mark.parametrize("name", FORMULAS + BREAKERS)
@pytest.mark.parametrize("export", [marks_csv, moodle_csv, lambda results: canvas_csv(results, CHAPTER)])
def test_no_name_breaks_a_row_or_becomes_a_formula(export, name):
    evil = graded(name, problems=(name,))
    rows, plain = table(export([evil, graded("ben")])), table(export([graded("ada"), graded("ben")]))
    assert [len(row) for row in rows] == [len(row) for row in plain]
    assert rows[-1] == plain[-1]
    for row in rows:
        for value in row:
            assert value.lstrip()[:1] not in ("=", "+", "@", "\t") and (value[:1] != "-" or value[1:].isdigit())


def test_the_table_of_marks():
    head, ada = table(marks_csv([graded("ada", penalty=0.1)]))
    found = dict(zip(head, ada, strict=True))
    assert found["student"] == "ada" and float(found["score"]) == 9.0 and float(found["maximum"]) == 32.0
    assert float(found["entropy"]) == 1.0 and found["gradable"] == "True"
    assert table(marks_csv([])) == []


def test_canvas_knows_its_students_by_the_number_in_the_files_name():
    one = graded("lovelaceada")
    files = ("lovelaceada_LATE_12345_678_sheet.ipynb", "lovelaceada_12345_678_sheet-1.ipynb", "ada.ipynb")
    rows = [table(canvas_csv([type(one)(**{**one.__dict__, "file": file})], CHAPTER)) for file in files]
    assert rows[0][0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", CHAPTER]
    assert rows[0][1] == ["    Points Possible", "", "", "", "", "32.0"]
    assert [found[2][:5] for found in rows] == [
        ["lovelaceada", "12345", "", "", ""],
        ["lovelaceada", "12345", "", "", ""],
        ["lovelaceada", "", "", "lovelaceada", ""],
    ]


def test_moodles_worksheet_names_the_participant():
    one = graded("Ada Lovelace")
    for file in ("Ada Lovelace_4711_assignsubmission_file_/x.ipynb", "Ada Lovelace_4711_assignsubmission_file_x.ipynb"):
        head, row = table(moodle_csv([type(one)(**{**one.__dict__, "file": file})]))
        assert head == ["Identifier", "Full name", "Grade", "Maximum grade", "Feedback comments"]
        assert row[:4] == ["Participant 4711", "Ada Lovelace", "10.0", "32.0"]
    shown = table(moodle_csv([graded("x", problems=("<script>alert(1)</script>",))]))[1][4]
    assert "<" not in shown


def test_gradescopes_results_are_plain_text():
    evil = graded("x", problems=("<script>alert(1)</script>\x1b[31m",))
    found = json.loads(gradescope_json(evil))
    assert found["score"] == 10.0 == sum(test["score"] for test in found["tests"])
    assert sum(test["max_score"] for test in found["tests"]) == 32.0
    assert found["output_format"] == "text" and {test["output_format"] for test in found["tests"]} == {"text"}
    assert found["stdout_visibility"] == "hidden" and "\x1b" not in found["output"]


def test_lti_scores_are_those_of_the_assignment_and_grade_services():
    when = datetime(2026, 1, 31, 12, tzinfo=UTC)
    found = json.loads("".join(lti_scores([graded("ada"), graded("ben")], when)))
    assert found[0] == {
        "scoreGiven": 10.0, "scoreMaximum": 32.0, "activityProgress": "Completed", "gradingProgress": "FullyGraded",
        "timestamp": "2026-01-31T12:00:00.000+00:00", "userId": "ada", "comment": "",
    }  # fmt: skip
    assert len(found) == 2
    assert json.loads("".join(lti_scores([]))) == []
