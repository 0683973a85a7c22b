"""Marks on their way out: CSV, Gradescope, Canvas, Moodle and LTI. A name can neither become a formula nor break a row."""

import csv
import io
import json
import re
from collections.abc import Iterable
from datetime import datetime, timezone

from chainrule.grading.results import Graded

__all__ = ["EXPORTS", "canvas_csv", "gradescope_json", "lti_scores", "marks_csv", "moodle_csv"]


def cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula.

    >>> cell("=HYPERLINK(1)"), cell("Ada"), cell("-2")
    ("'=HYPERLINK(1)", 'Ada', "'-2")
    """
    text = re.sub(r"[\x00-\x1f\x7f]", " ", text)
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20") else text


def _table(header: list[str], rows: Iterable[list]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow([cell(name) for name in header])
    for row in rows:
        writer.writerow([cell(value) if isinstance(value, str) else value for value in row])
    return buffer.getvalue()


def marks_csv(results: Iterable[Graded]) -> str:
    """One row a student: score, maximum, penalty, the points of each exercise, and whether the file could be graded."""
    results = list(results)
    names = list(dict.fromkeys(one.name for graded in results for one in graded.exercises))
    header = ["student", "score", "maximum", "penalty", "attempt", "gradable", "seed", "file", *names]
    rows = []
    for graded in results:
        earned = {one.name: one.earned for one in graded.exercises}
        about = [graded.student, graded.score, graded.maximum, graded.penalty, graded.attempt, str(graded.gradable), str(graded.seed)]
        rows.append([*about, graded.file, *(earned.get(name, 0.0) for name in names)])
    return _table(header, rows)


def canvas_csv(results: Iterable[Graded], assignment: str) -> str:
    """Canvas's gradebook format: the student's login, and a column for the assignment with its possible points in the second row."""
    results = list(results)
    maximum = results[0].maximum if results else 0.0
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", assignment]
    rows = [["    Points Possible", "", "", "", "", maximum]]
    rows += [[graded.student, "", "", graded.student, "", graded.score] for graded in results]
    return _table(head, rows)


def moodle_csv(results: Iterable[Graded]) -> str:
    """Moodle's grade import: identifier, grade and a line of feedback."""
    rows = []
    for graded in results:
        words = " ".join(graded.problems)[:300] if graded.problems else f"seed {graded.seed}"
        rows.append([graded.student, graded.score, graded.maximum, words])
    return _table(["Full name", "Grade", "Maximum grade", "Feedback comments"], rows)


def gradescope_json(graded: Graded) -> str:
    """Gradescope's ``results.json`` of one submission; plain text only, so nothing in it is ever rendered."""
    tests = []
    for one in graded.exercises:
        words = "" if one.earned == one.points else f"{one.sentence} {one.hint}".strip()
        name = f"{one.title} ({one.name})"
        tests.append({"name": name, "score": one.earned, "max_score": one.points, "output": words, "output_format": "text"})
    record = {
        "score": graded.score,
        "output": "\n".join(graded.problems),
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
    }
    return json.dumps(record, indent=1, ensure_ascii=True) + "\n"


def lti_scores(results: Iterable[Graded], when: datetime | None = None) -> str:
    """LTI Assignment and Grade Services scores, one JSON object a student, as a JSON array.

    Each is what PyLTI1p3's ``Grade`` builds and a platform's ``scores`` endpoint takes.
    """
    from pylti1p3.grade import Grade

    stamp = (when or datetime.now(timezone.utc)).isoformat(timespec="milliseconds")
    scores = []
    for graded in results:
        grade = Grade().set_user_id(graded.student).set_score_given(graded.score).set_score_maximum(graded.maximum)
        grade = grade.set_timestamp(stamp).set_activity_progress("Completed").set_grading_progress("FullyGraded")
        scores.append(json.loads(grade.set_comment(" ".join(graded.problems)[:500]).get_value()))
    return json.dumps(scores, indent=1, ensure_ascii=True) + "\n"


EXPORTS = {"csv": "marks.csv", "canvas": "canvas.csv", "moodle": "moodle.csv", "gradescope": "gradescope", "lti": "lti-scores.json"}
