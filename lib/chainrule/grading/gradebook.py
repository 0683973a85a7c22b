"""The gradebook is nbgrader's own, so that its formgrader and its exporters work on our marks.

A SQLite file by default, PostgreSQL by URL. Marks of one student are written in one transaction; writing them again changes nothing, and
a mark that a person gave by hand (``manual_score``) is never touched. Two graders may write at once: whoever comes second
finds the first one's rows and updates them.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

from chainrule.grading.results import Graded
from chainrule.grading.run import Sheet

__all__ = ["database_url", "read_marks", "record"]

PATIENCE = 60.0  # seconds to wait for another grader's lock
T = TypeVar("T")


def database_url(database: str | Path) -> str:
    """The URL of a gradebook: a URL as it is, a path as a SQLite file that waits for a lock.

    >>> database_url("postgresql://localhost/marks"), database_url("out/gradebook.db")
    ('postgresql://localhost/marks', 'sqlite:///out/gradebook.db?timeout=60')
    """
    text = str(database)
    return text if "://" in text else f"sqlite:///{text}?timeout={PATIENCE:.0f}"


def _patiently(book, work: Callable[[], T]) -> T:
    """Run a piece of work on the database again while another grader is in the way."""
    from nbgrader.api import InvalidEntry
    from sqlalchemy.exc import IntegrityError, OperationalError, PendingRollbackError
    from sqlalchemy.orm.exc import StaleDataError

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return work()
        except (InvalidEntry, IntegrityError, OperationalError, PendingRollbackError, StaleDataError):
            book.db.rollback()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@contextmanager
def _own_programs_on_path() -> Iterator[None]:
    """Let nbgrader find `alembic`, which it starts by name when it makes its tables, without an activated environment."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def open_gradebook(database: str | Path, course: str = "default_course"):
    """Open nbgrader's gradebook, and make its tables where they are missing.

    Raises:
        ValueError: with the database's own words where it cannot be opened.
    """
    from nbgrader.api import Gradebook
    from sqlalchemy.exc import SQLAlchemyError

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with _own_programs_on_path():
                return Gradebook(database_url(database), course)
        except ModuleNotFoundError as error:
            raise ValueError(f"the gradebook {database} needs the package {error.name}: `pip install {error.name}`") from None
        except SQLAlchemyError as error:
            # Two graders that make the tables at the same moment get in each other's way once; then the tables are there.
            already = "already exists" in str(error) or "UNIQUE" in str(error) or "unique" in str(error) or "locked" in str(error)
            if not already or time.monotonic() > deadline:
                raise ValueError(f"the gradebook {database} cannot be opened: {str(error).splitlines()[0]}") from None
            time.sleep(0.05)


def record(results: Iterable[Graded], sheet: Sheet, database: str | Path, report: Callable[[Graded], None] = lambda _: None) -> int:
    """Write results into the gradebook.

    Args:
        results: for each student the attempt that counts
        sheet: what was graded; its exercises become the assignment's graded cells
        database: path of a SQLite file, or a database URL
        report: called after each student

    Returns:
        How many students were written.
    """
    count = 0
    with closing(open_gradebook(database)) as book:
        _patiently(book, lambda: _assignment(book, sheet))
        for graded in results:
            _patiently(book, lambda graded=graded: _student(book, sheet.chapter, graded))
            report(graded)
            count += 1
            if count % 100 == 0:
                book.db.expire_all()  # the session would keep every row that it has seen
                book.db.expunge_all()
    return count


def _assignment(book, sheet: Sheet) -> None:
    book.update_or_create_assignment(sheet.chapter)
    book.update_or_create_notebook(sheet.chapter, sheet.chapter)
    for one, points in zip(sheet.exercises, sheet.points, strict=True):
        book.update_or_create_grade_cell(one.name, sheet.chapter, sheet.chapter, max_score=points, cell_type="code")
        book.update_or_create_solution_cell(one.name, sheet.chapter, sheet.chapter)


def _student(book, assignment: str, graded: Graded) -> None:
    book.update_or_create_student(graded.student)
    # Naive UTC is what nbgrader stores.
    when = datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)
    submission = book.update_or_create_submission(assignment, graded.student, timestamp=when)
    notebook = submission.notebooks[0]
    earned = {one.name: one.earned for one in graded.exercises}
    for grade in notebook.grades:
        if grade.cell.name in earned:
            grade.auto_score = earned[grade.cell.name]
            grade.needs_manual_grade = False
    words = {one.name: " ".join(filter(None, (one.sentence, one.hint))) for one in graded.exercises}
    for comment in notebook.comments:
        if comment.cell.name in words:
            comment.auto_comment = words[comment.cell.name][:2000]
    notebook.late_submission_penalty = sum(earned.values()) * graded.penalty
    book.db.commit()


def read_marks(database: str | Path, assignment: str) -> dict[str, float]:
    """Student -> score as nbgrader sees it, the penalty for lateness taken off."""
    with closing(open_gradebook(database)) as book:
        rows = book.submission_dicts(assignment)
        penalty = {
            one.student_id: sum(notebook.late_submission_penalty or 0.0 for notebook in one.notebooks)
            for one in book.assignment_submissions(assignment)
        }
        return {row["student"]: round(row["score"] - penalty.get(row["student"], 0.0), 3) for row in rows}
