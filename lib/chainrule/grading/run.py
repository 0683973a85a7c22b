"""Grading a class: many submissions over a pool of pre-warmed sandboxes, each result kept the moment it is there.

The journal is one SQLite file with one transaction a result, so a run may be killed at any point: the next one grades
what is missing or changed, and nothing twice. A result is found again by student, file content, and a fingerprint of
everything that it depends on. Over several machines the same function runs on the workers of a dask.distributed
cluster.
"""

import ctypes
import hashlib
import inspect
import json
import multiprocessing
import os
import secrets
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch

import chainrule
from chainrule.checks import Exercise, exercises
from chainrule.grading.judge import encode_case, judge, submission_seed
from chainrule.grading.results import ExerciseResult, Graded
from chainrule.grading.sandbox import Sandbox, SandboxUnavailable, require_sandbox
from chainrule.grading.settings import Settings
from chainrule.grading.submission import Submission, code_cells

__all__ = ["Journal", "Sheet", "grade_class", "grade_one", "read_secret"]

TRIES = 3  # for a worker that dies under a submission, by someone's hand or the machine's
PRINTED = 4_000  # characters of a submission's output that feedback shows


@dataclass(frozen=True)
class Sheet:
    """What is graded: a chapter's exercises under a course's rules.

    Args:
        chapter: the chapter's slug
        settings: the course's rules
        secret: the key from which hidden inputs are drawn
    """

    chapter: str
    settings: Settings
    secret: bytes

    def __reduce__(self):
        return Sheet, (
            self.chapter,
            self.settings,
            self.secret,
        )  # records hold functions, which other processes look up themselves

    @cached_property
    def exercises(self) -> tuple[Exercise, ...]:
        """The exercises, in the order of the sheet."""
        return exercises(self.chapter)

    @property
    def points(self) -> list[float]:
        """What each is worth: the course's own points, else the book's."""
        return [float(self.settings.points.get(one.name, one.points)) for one in self.exercises]

    @cached_property
    def forbidden(self) -> frozenset[str]:
        """Everything that a submission must not find."""
        return frozenset(name for one in self.exercises for name in one.blocked)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of all that a result depends on besides the submission: rules, records, library and the secret."""
        records = sorted({inspect.getsource(sys.modules[one.reference.__module__]) for one in self.exercises})
        parts = [
            self.chapter,
            asdict(self.settings),
            records,
            chainrule.__version__,
            torch.__version__,
            self.secret.hex(),
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_secret(out: Path) -> bytes:
    """The secret of a course's folder; made at the first use, readable by its owner only."""
    path = out / "secret"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) != 32:
            raise ValueError(
                f"expected 32 bytes in {path}, got {len(secret)}: restore it, or remove it to draw new inputs"
            ) from None
        return secret
    with os.fdopen(descriptor, "wb") as file:
        secret = secrets.token_bytes(32)
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    return secret


_rooms = threading.local()  # one sandbox a thread of a worker process, kept warm from one submission to the next


def _room(forbidden: frozenset[str]) -> Sandbox:
    room = getattr(_rooms, "room", None)
    if room is None or room.forbidden != forbidden:
        if room is not None:
            room.close()
        _rooms.room = room = Sandbox((os.getpid() + threading.get_native_id()) % 4000, forbidden)
    return room


def grade_one(sheet: Sheet, submission: Submission, data: bytes | None) -> Graded:
    """Grade one submission in this process's sandbox.

    Args:
        sheet: what is graded
        submission: whose it is
        data: the bytes of its notebook, or None where it has a problem already

    Raises:
        SandboxUnavailable: where the sandbox cannot be had, or broke down twice.
    """
    late = sheet.settings.late_seconds(submission.submitted, submission.marked_late)
    seed = submission_seed(sheet.secret, sheet.chapter, submission.student, submission.digest)
    about = {
        "student": submission.student,
        "file": submission.file,
        "digest": submission.digest,
        "chapter": sheet.chapter,
        "seed": seed,
        "late_seconds": late,
        "penalty": sheet.settings.penalty(late),
        "attempt": submission.attempt,
        "submitted": submission.submitted,
    }
    problem, cells = submission.problem, []
    if not problem:
        try:
            cells = code_cells(data)
        except ValueError as error:
            problem = str(error)
    if problem:
        empty = [
            ExerciseResult(
                one.name, one.title, one.page, points, 0.0, 0, one.num_cases, "not run: the file cannot be graded"
            )
            for one, points in zip(sheet.exercises, sheet.points, strict=True)
        ]
        return Graded(**about, exercises=tuple(empty), problems=(problem,), gradable=False)
    cases = [one.cases(seed) for one in sheet.exercises]
    asked = [
        {
            "name": one.name,
            "seconds": sheet.settings.seconds_per_exercise,
            "cases": [encode_case(case) for case in inputs],
        }
        for one, inputs in zip(sheet.exercises, cases, strict=True)
    ]
    room = _room(sheet.forbidden)
    try:
        outcome = room.run(cells, asked, seed=seed, limits=sheet.settings.limits)
    except SandboxUnavailable:  # once more in a new room; a second failure is no accident, and the caller's to report
        outcome = room.run(cells, asked, seed=seed, limits=sheet.settings.limits)
    results, problems = judge(sheet.exercises, sheet.points, cases, outcome, sheet.settings.limits)
    return Graded(**about, exercises=results, problems=problems, printed=outcome.printed[:PRINTED])


class Journal:
    """The results of a course's folder, kept safe one by one.

    Args:
        path: the SQLite file; made where it is missing
    """

    def __init__(self, path: Path):
        self.path = path
        self._writer: sqlite3.Connection | None = None
        with closing(self._connect()) as database, database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS graded (student TEXT, file TEXT, digest TEXT, late REAL,"
                " fingerprint TEXT, record TEXT, PRIMARY KEY (student, file, digest, late, fingerprint))"
            )

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=60)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        return database

    def _key(self, sheet: Sheet, one: Submission) -> tuple:
        late = sheet.settings.late_seconds(one.submitted, one.marked_late)
        return one.student, one.file, one.digest, late, sheet.fingerprint

    def missing(self, sheet: Sheet, submissions: list[Submission]) -> list[Submission]:
        """Those submissions that have no result under these rules yet."""
        with closing(self._connect()) as database:
            rows = database.execute(
                "SELECT student, file, digest, late FROM graded WHERE fingerprint = ?", (sheet.fingerprint,)
            )
            done = {(*row, sheet.fingerprint) for row in rows}
        return [one for one in submissions if self._key(sheet, one) not in done]

    def keep(self, sheet: Sheet, one: Submission, graded: Graded) -> None:
        """Write one result, in a transaction of its own; a second grader's same result changes nothing."""
        if self._writer is None:
            self._writer = self._connect()
        with self._writer as database:
            database.execute(
                "INSERT OR IGNORE INTO graded VALUES (?, ?, ?, ?, ?, ?)", (*self._key(sheet, one), graded.to_json())
            )

    def counted(self, sheet: Sheet, submissions: list[Submission]) -> Iterator[Graded]:
        """For each student the attempt that counts, in the order of the students.

        One at a time, so that a large class fits.
        """
        attempts: dict[str, list[Submission]] = {}
        for one in submissions:
            attempts.setdefault(one.student, []).append(one)
        query = (
            "SELECT record FROM graded WHERE student = ? AND file = ? AND digest = ? AND late = ? AND fingerprint = ?"
        )
        with closing(self._connect()) as database:
            for ones in attempts.values():
                rows = [database.execute(query, self._key(sheet, one)).fetchone() for one in ones]
                results = [Graded.from_json(row[0]) for row in rows if row is not None]
                if not results:
                    continue
                if sheet.settings.attempts == "last":
                    yield results[-1]
                else:
                    yield max(results, key=lambda graded: (graded.score, graded.gradable))


def grade_class(
    sheet: Sheet,
    submissions: list[Submission],
    journal: Journal,
    *,
    jobs: int,
    scheduler: str | None = None,
    report: Callable[[Submission, Graded | None, str], None] = lambda *_: None,
) -> int:
    """Grade what has no result yet, and keep each result in the journal.

    Args:
        sheet: what is graded
        submissions: all of them; those with a result are passed over
        journal: where results are kept
        jobs: how many at a time on this machine
        scheduler: address of a dask.distributed scheduler, to use its workers instead of this machine's cores
        report: called after each submission with its result, or with None and the reason why there is none

    Returns:
        How many submissions could not be graded because the sandbox or its workers failed; they are graded by the next
        run.

    Raises:
        SandboxUnavailable: before anything is graded, where this machine is to grade and has no sandbox.
    """
    waiting = journal.missing(sheet, submissions)
    if not waiting:
        return 0
    if scheduler is None:
        require_sandbox()
        return _on_this_machine(sheet, waiting, journal, jobs, report)
    return _on_a_cluster(sheet, waiting, journal, scheduler, report)


def _data(one: Submission) -> bytes | None:
    return one.path.read_bytes() if one.path is not None else None


def _on_this_machine(sheet: Sheet, waiting: list[Submission], journal: Journal, jobs: int, report: Callable) -> int:
    left, suspects, failed = list(reversed(waiting)), [], 0
    while left:
        more, ran = _pool(sheet, left, journal, jobs, report)
        failed += more
        suspects += ran
    alone = []
    while suspects:  # something killed a worker: those that ran at that moment get new ones
        more, ran = _pool(sheet, suspects, journal, jobs, report)
        failed += more
        alone += ran
    for one in alone:  # it happened again, so now each is on its own
        again = [one]
        more, ran = _pool(sheet, again, journal, 1, report)
        failed += more + len(ran)
        if ran:
            report(one, None, f"the process that graded it died {TRIES} times")
    return failed


def _pool(
    sheet: Sheet, left: list[Submission], journal: Journal, jobs: int, report: Callable
) -> tuple[int, list[Submission]]:
    """Grade what is left, last first, until a worker dies: how many failed, and what was running when that happened."""
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    running: dict[Future, Submission] = {}
    failed = 0
    with ProcessPoolExecutor(
        min(jobs, len(left)), mp_context=context, initializer=_prepare, initargs=(os.getpid(),)
    ) as pool:
        try:
            while left or running:
                while left and len(running) < 2 * jobs:  # bounded, so that a large class stays small in memory
                    try:
                        data = _data(left[-1])
                    except OSError as error:
                        report(left.pop(), None, f"its file can no longer be read: {error.strerror}")
                        failed += 1
                        continue
                    future = pool.submit(grade_one, sheet, left[-1], data)
                    running[future] = left.pop()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    if isinstance(future.exception(), BrokenExecutor):
                        raise future.exception()
                    failed += _settle(sheet, running.pop(future), future, journal, report)
        except BrokenExecutor:
            return failed, list(running.values())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed, []


def _prepare(grader: int) -> None:
    """What a worker process does first: share the cores with the others, and end when the grader ends, in any way."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the grader decides what a key pressed in its terminal means
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != grader:
            os._exit(1)


def _settle(sheet: Sheet, one: Submission, future: Any, journal: Journal, report: Callable) -> int:
    try:
        graded = future.result()
    except Exception as error:
        report(one, None, f"{type(error).__name__}: {error}")
        return 1
    journal.keep(sheet, one, graded)
    report(one, graded, "")
    return 0


def _on_a_cluster(sheet: Sheet, waiting: list[Submission], journal: Journal, scheduler: str, report: Callable) -> int:
    from distributed import Client, as_completed

    failed = 0
    with Client(scheduler, timeout=30) as client:
        left = iter(waiting)
        running: dict[str, Submission] = {}

        def submit(one: Submission):
            future = client.submit(grade_one, sheet, one, _data(one), pure=False, retries=TRIES)
            running[future.key] = one
            return future

        width = 4 * max(1, sum(client.nthreads().values()))
        first = [submit(one) for one in islice(left, width)]
        completed = as_completed(first)
        for future in completed:
            failed += _settle(sheet, running.pop(future.key), future, journal, report)
            following = next(left, None)
            if following is not None:
                completed.add(submit(following))
    return failed
