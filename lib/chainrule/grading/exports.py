"""Marks on their way out: CSV, Gradescope, Canvas, Moodle and LTI. No name can become a formula or break a row."""

import csv
import html
import io
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from chainrule.grading.feedback import printable
from chainrule.grading.results import Graded

__all__ = ["EXPORTS", "canvas_csv", "gradescope_json", "lti_scores", "marks_csv", "moodle_csv"]


def cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula.

    >>> cell("=HYPERLINK(1)"), cell("Ada"), cell("-2")
    ("'=HYPERLINK(1)", 'Ada', "'-2")
    """
    text = printable(re.sub(r"[\x00-\x1f\x7f]", " ", text))
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20") else text


def _row(values: Iterable) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(
        [cell(value) if isinstance(value, str) else value for value in values]
    )
    return buffer.getvalue()


def marks_csv(results: Iterable[Graded]) -> Iterator[str]:
    """One row a student: score, maximum, penalty, the points of each exercise, and whether the file could be graded."""
    head = ["student", "score", "maximum", "penalty", "attempt", "gradable", "seed", "file"]
    for number, graded in enumerate(results):
        if number == 0:
            yield _row([*head, *(one.name for one in graded.exercises)])
        about = [
            graded.student,
            graded.score,
            graded.maximum,
            graded.penalty,
            graded.attempt,
            str(graded.gradable),
            str(graded.seed),
        ]
        yield _row([*about, graded.file, *(one.earned for one in graded.exercises)])


def canvas_csv(results: Iterable[Graded], assignment: str) -> Iterator[str]:
    """Canvas's gradebook format: a row a student, and the points possible in the second row.

    Canvas finds its students by the ID that stands in the names of the files it exports; of files that came another
    way it finds them by their login.
    """
    for number, graded in enumerate(results):
        if number == 0:
            yield _row(["Student", "ID", "SIS User ID", "SIS Login ID", "Section", assignment])
            yield _row(["    Points Possible", "", "", "", "", graded.maximum])
        found = re.match(r"[^_]+(?:_LATE)?_(\d+)_\d+_", graded.file.rpartition("/")[2], re.IGNORECASE)
        yield _row([graded.student, found[1] if found else "", "", "" if found else graded.student, "", graded.score])


def moodle_csv(results: Iterable[Graded]) -> Iterator[str]:
    """Moodle's grading worksheet, for "Upload grading worksheet" of an assignment.

    Moodle finds its students by the number that stands in the names of the folders and files it exports.
    """
    for number, graded in enumerate(results):
        if number == 0:
            yield _row(["Identifier", "Full name", "Grade", "Maximum grade", "Feedback comments"])
        found = re.search(r"_(\d+)_assignsubmission_", graded.file)
        words = " ".join(graded.problems)[:300] if graded.problems else f"seed {graded.seed}"
        # The worksheet's comments are shown as HTML.
        identifier = f"Participant {found[1]}" if found else graded.student
        yield _row([identifier, graded.student, graded.score, graded.maximum, html.escape(printable(words))])


def gradescope_json(graded: Graded) -> str:
    """Gradescope's ``results.json`` of one submission; plain text only, so nothing in it is ever rendered."""
    tests = []
    for one in graded.exercises:
        words = "" if one.earned >= one.points else f"{one.sentence} {one.hint}".strip()
        name = f"{one.title} ({one.name})"
        tests.append(
            {
                "name": name,
                "score": one.earned,
                "max_score": one.points,
                "output": printable(words),
                "output_format": "text",
            }
        )
    record = {
        "score": graded.score,
        "output": printable("\n".join(graded.problems)),
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
    }
    return json.dumps(record, indent=1, ensure_ascii=True) + "\n"


def lti_scores(results: Iterable[Graded], when: datetime | None = None) -> Iterator[str]:
    """LTI Assignment and Grade Services scores, one JSON object a student, as a JSON array.

    Each is what PyLTI1p3's ``Grade`` builds and a platform's ``scores`` endpoint takes.
    """
    from pylti1p3.grade import Grade

    stamp = (when or datetime.now(UTC)).isoformat(timespec="milliseconds")
    before = "["
    for graded in results:
        waiting = any(one.sentence.startswith("This answer waits") for one in graded.exercises)
        grade = Grade().set_user_id(graded.student).set_score_given(graded.score).set_score_maximum(graded.maximum)
        grade = grade.set_timestamp(stamp).set_activity_progress("Completed")
        grade = grade.set_grading_progress("PendingManual" if waiting else "FullyGraded")
        grade = grade.set_comment(html.escape(printable(" ".join(graded.problems)[:500])))
        yield f"{before}\n{json.dumps(json.loads(grade.get_value()), ensure_ascii=True)}"
        before = ","
    yield "[]\n" if before == "[" else "\n]\n"


EXPORTS = {
    "csv": "marks.csv",
    "canvas": "canvas.csv",
    "moodle": "moodle.csv",
    "gradescope": "gradescope",
    "lti": "lti-scores.json",
    "feedback": "feedback",
}
