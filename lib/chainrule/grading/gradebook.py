"""The gradebook is nbgrader's own, so that its formgrader and its exporters work on our marks.

A SQLite file by default, PostgreSQL by URL. All marks of a student are written in one transaction; writing them again
changes nothing, and a mark that a person gave by hand (``manual_score``) is never touched. Two graders may write at
once: whoever comes second finds the first one's rows and updates them.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import insert, select, update

from chainrule.grading.feedback import file_name, printable
from chainrule.grading.results import ExerciseResult, Graded
from chainrule.grading.run import Sheet

__all__ = ["database_url", "open_gradebook", "read_marks", "record", "student_id", "with_marks_by_hand"]

PATIENCE = 60.0  # seconds to wait for another grader's lock
BATCH = 100  # students in one transaction
T = TypeVar("T")


def database_url(database: str | Path) -> str:
    """The URL of a gradebook: a URL as it is, a path as a SQLite file that waits for a lock.

    >>> database_url("postgresql://localhost/marks"), database_url("out/gradebook.db")
    ('postgresql+psycopg2://localhost/marks', 'sqlite:///out/gradebook.db?timeout=60')
    """
    # Which driver a plain postgresql:// means has changed from one SQLAlchemy to the next.
    text = re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", str(database))
    return text if "://" in text else f"sqlite:///{text}?timeout={PATIENCE:.0f}"


def student_id(student: str) -> str:
    """The student's name in the gradebook: the own one, or a plain one where that could do harm.

    nbgrader uses it as the name of a folder, and writes it into CSV and pages as it is.

    >>> student_id("Ada Lovelace"), student_id("=1+1")
    ('Ada Lovelace', '1-1-bac90eef5bf3aecd')
    """
    plain = re.fullmatch(r"\w[\w .@'-]*", student) and not student.endswith((" ", ".")) and len(student.encode()) <= 120
    # A name that looks like one made here could be another student's.
    return student if plain and not re.search(r"-[0-9a-f]{16}$", student) else file_name(student)


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
    """Let nbgrader find `alembic`, which it starts by name to make its tables, without an activated environment."""
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
            raise ValueError(
                f"the gradebook {database} needs the package {error.name}: `pip install {error.name}`"
            ) from None
        except SQLAlchemyError as error:
            # Two graders that make the tables at the same moment get in each other's way once; then the tables are
            # there.
            already = (
                "already exists" in str(error)
                or "UNIQUE" in str(error)
                or "unique" in str(error)
                or "locked" in str(error)
            )
            if not already or time.monotonic() > deadline:
                raise ValueError(f"the gradebook {database} cannot be opened: {str(error).splitlines()[0]}") from None
            time.sleep(0.05)


def record(
    results: Iterable[Graded], sheet: Sheet, database: str | Path, report: Callable[[Graded], None] = lambda _: None
) -> int:
    """Write results into the gradebook.

    nbgrader's own calls write one student in about ten commits and load every score there is to find one row, so the
    rows of ``BATCH`` students are written together here, through nbgrader's own tables, in one transaction.

    Args:
        results: for each student the attempt that counts
        sheet: what was graded; its exercises become the assignment's graded cells
        database: path of a SQLite file, or a database URL
        report: called after each student

    Returns:
        How many students were written.
    """
    count = 0
    results = iter(results)
    with closing(open_gradebook(database)) as book:
        cells = _patiently(book, lambda: _assignment(book, sheet))
        while batch := list(islice(results, BATCH)):
            _patiently(book, lambda batch=batch: _students(book, cells, batch, sheet.settings.by_hand))
            for graded in batch:
                report(graded)
            count += len(batch)
            book.db.expunge_all()  # the session would keep every row that it has seen
    return count


@dataclass(frozen=True)
class _Cells:
    """Identifiers of an assignment's rows: its own, its notebook's, by name those of what is graded and commented."""

    assignment: str
    notebook: str
    grades: dict[str, str]
    comments: dict[str, str]


def _assignment(book, sheet: Sheet) -> _Cells:
    from nbgrader.api import GradeCell, Notebook, SolutionCell, SourceCell

    chapter, database = sheet.chapter, book.db
    assignment = book.update_or_create_assignment(chapter)
    if sheet.settings.deadline is not None:
        assignment.duedate = _naive(sheet.settings.deadline)
    query = select(Notebook.id).where(Notebook.name == chapter, Notebook.assignment_id == assignment.id)
    notebook = database.scalars(query).one_or_none() or book.add_notebook(chapter, chapter).id
    about = [(one.name, points, "code") for one, points in zip(sheet.exercises, sheet.points, strict=True)]
    about += [(name, points, "markdown") for name, points in sheet.settings.by_hand.items()]
    there = {table: _named(database, table, notebook) for table in (GradeCell, SolutionCell, SourceCell)}
    for name, points, kind in about:
        grade = there[GradeCell].setdefault(name, GradeCell(name=name, notebook_id=notebook))
        grade.max_score, grade.cell_type = points, kind
        there[SolutionCell].setdefault(name, SolutionCell(name=name, notebook_id=notebook))
        source = there[SourceCell].setdefault(name, SourceCell(name=name, notebook_id=notebook, source=""))
        source.cell_type = kind
    database.add_all([cell for table in there.values() for cell in table.values()])
    database.commit()
    grades, comments = ({name: there[table][name].id for name, _, _ in about} for table in (GradeCell, SolutionCell))
    return _Cells(assignment.id, notebook, grades, comments)


def _named(database, table, notebook: str) -> dict[str, Any]:
    return {cell.name: cell for cell in database.scalars(select(table).where(table.notebook_id == notebook))}


def _naive(seconds: float) -> datetime:
    """A time as nbgrader stores it: UTC, without saying so."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None, microsecond=0)


def _students(book, cells: _Cells, batch: list[Graded], by_hand: dict[str, float]) -> None:
    """Write the rows of some students in one transaction; rows that are there are kept, only our own columns change."""
    from nbgrader.api import Comment, Grade, Student, SubmittedAssignment, SubmittedNotebook, new_uuid

    database = book.db
    names = [student_id(graded.student) for graded in batch]
    known = set(database.scalars(select(Student.id).where(Student.id.in_(names))))
    _insert(database, Student, [{"id": name} for name in names if name not in known])

    query = select(SubmittedAssignment.student_id, SubmittedAssignment.id)
    query = query.where(
        SubmittedAssignment.assignment_id == cells.assignment, SubmittedAssignment.student_id.in_(names)
    )
    submissions = dict(database.execute(query).all())
    fresh = {name: new_uuid() for name in names if name not in submissions}
    rows = [{"id": fresh[name], "assignment_id": cells.assignment, "student_id": name} for name in fresh]
    _insert(database, SubmittedAssignment, rows)
    submissions |= fresh

    query = select(SubmittedNotebook.assignment_id, SubmittedNotebook.id).where(
        SubmittedNotebook.notebook_id == cells.notebook
    )
    notebooks = dict(database.execute(query.where(SubmittedNotebook.assignment_id.in_(submissions.values()))).all())
    fresh = {one: new_uuid() for one in submissions.values() if one not in notebooks}
    _insert(
        database,
        SubmittedNotebook,
        [{"id": fresh[one], "assignment_id": one, "notebook_id": cells.notebook} for one in fresh],
    )
    notebooks |= fresh
    notebook_of = {name: notebooks[submissions[name]] for name in names}

    wanted = list(notebook_of.values())
    query = select(Grade.notebook_id, Grade.cell_id, Grade.id, Grade.manual_score, Grade.extra_credit)
    grades = {(one, cell): rest for one, cell, *rest in database.execute(query.where(Grade.notebook_id.in_(wanted)))}
    query = select(Comment.notebook_id, Comment.cell_id, Comment.id).where(Comment.notebook_id.in_(wanted))
    comments = {(one, cell): number for one, cell, number in database.execute(query)}

    new_grades, old_grades, new_comments, old_comments, penalties, times = [], [], [], [], [], []
    for graded in batch:
        notebook, total = notebook_of[student_id(graded.student)], 0.0
        earned = {one.name: one.earned for one in graded.exercises}
        words = {
            one.name: printable(" ".join(filter(None, (one.sentence, one.hint)))[:2000]) for one in graded.exercises
        }
        for name, cell in cells.grades.items():
            number, manual, extra = grades.get((notebook, cell), (None, None, None))
            total += (extra or 0.0) + (manual if manual is not None else earned.get(name, 0.0))
            row = {"auto_score": earned.get(name), "needs_manual_grade": False}
            if number is None:
                keys = {"id": new_uuid(), "notebook_id": notebook, "cell_id": cell}
                new_grades.append(keys | row | {"needs_manual_grade": name in by_hand})
            elif name in earned:  # what a person marks is that person's alone
                old_grades.append({"id": number} | row)
        for name, cell in cells.comments.items():
            number = comments.get((notebook, cell))
            if number is None:
                new_comments.append(
                    {"id": new_uuid(), "notebook_id": notebook, "cell_id": cell, "auto_comment": words.get(name)}
                )
            elif name in words:
                old_comments.append({"id": number, "auto_comment": words[name]})
        penalties.append({"id": notebook, "late_submission_penalty": total * graded.penalty})
        times.append(
            {"id": submissions[student_id(graded.student)], "timestamp": graded.submitted and _naive(graded.submitted)}
        )
    _insert(database, Grade, new_grades)
    _insert(database, Comment, new_comments)
    for table, rows in (
        (Grade, old_grades),
        (Comment, old_comments),
        (SubmittedNotebook, penalties),
        (SubmittedAssignment, times),
    ):
        if rows:
            database.execute(update(table), rows)
    database.commit()


def _insert(database, table, rows: list[dict]) -> None:
    if rows:
        database.execute(insert(table), rows)


def read_marks(database: str | Path, assignment: str) -> dict[str, float]:
    """Student's name in the gradebook -> score as nbgrader sees it.

    Marks by hand are included, the penalty for lateness is taken off.
    """
    with closing(open_gradebook(database)) as book:
        penalties = _penalties(book, assignment)
        rows = book.submission_dicts(assignment)
        return {row["student"]: round(max(0.0, row["score"] - penalties[row["student"]]), 3) for row in rows}


def _penalties(book, assignment: str) -> dict[str, float]:
    from nbgrader.api import Assignment, SubmittedAssignment, SubmittedNotebook

    query = select(SubmittedAssignment.student_id, SubmittedNotebook.late_submission_penalty)
    query = query.join(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
    query = query.join(Assignment, Assignment.id == SubmittedAssignment.assignment_id).where(
        Assignment.name == assignment
    )
    return {student: penalty or 0.0 for student, penalty in book.db.execute(query)}


def with_marks_by_hand(results: Iterable[Graded], sheet: Sheet, database: str | Path) -> Iterator[Graded]:
    """The same results with what people have changed or added in the gradebook.

    Their penalty takes off the same share.
    """
    from nbgrader.api import Assignment, BaseCell, Grade, SubmittedAssignment, SubmittedNotebook

    query = select(
        SubmittedAssignment.student_id, BaseCell.name, Grade.manual_score, Grade.extra_credit, Grade.needs_manual_grade
    )
    query = query.join(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
    query = query.join(Grade, Grade.notebook_id == SubmittedNotebook.id).join(BaseCell, BaseCell.id == Grade.cell_id)
    query = query.join(Assignment, Assignment.id == SubmittedAssignment.assignment_id).where(
        Assignment.name == sheet.chapter
    )
    results = iter(results)
    with closing(open_gradebook(database)) as book:
        while batch := list(islice(results, BATCH)):
            names = [student_id(graded.student) for graded in batch]
            found: dict[str, dict[str, list]] = {}
            for student, name, *marks in book.db.execute(query.where(SubmittedAssignment.student_id.in_(names))):
                found.setdefault(student, {})[name] = marks
            for graded in batch:
                yield _changed(graded, sheet, found.get(student_id(graded.student), {}))
            book.db.rollback()


def _changed(graded: Graded, sheet: Sheet, marks: dict[str, list]) -> Graded:
    exercises = []
    for one in graded.exercises:
        manual, extra, _ = marks.get(one.name, (None, None, False))
        if manual is not None or extra:
            earned = (one.earned if manual is None else manual) + (extra or 0.0)
            one = replace(one, earned=earned, sentence=f"{one.sentence} A person has set this mark.".strip())
        exercises.append(one)
    for name, points in sheet.settings.by_hand.items():
        manual, extra, waiting = marks.get(name, (None, None, True))
        sentence = "This answer waits for a person to mark it." if waiting else "A person has set this mark."
        page = sheet.exercises[0].page
        exercises.append(
            ExerciseResult(name, "Answer in words", page, points, (manual or 0.0) + (extra or 0.0), 0, 0, sentence)
        )
    return replace(graded, exercises=tuple(exercises))
