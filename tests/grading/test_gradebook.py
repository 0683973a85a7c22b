"""nbgrader's gradebook on SQLite and a real PostgreSQL: idempotent, many graders at once, marks by hand, formgrader."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import replace

import pytest
from bs4 import BeautifulSoup

from chainrule.grading.formgrader import harmless, write_course
from chainrule.grading.gradebook import database_url, open_gradebook, read_marks, record, student_id, with_marks_by_hand
from chainrule.grading.submission import find_submissions

from .course import CHAPTER, ENVIRONMENT, free_port, graded, notebook, postgresql, right, sheet

# SQLAlchemy and nbgrader warn of their own ways.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def server():
    with postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """An empty gradebook."""
    if request.param == "sqlite":
        yield tmp_path / "gradebook.db"
        return
    url = request.getfixturevalue("server")
    yield url
    from nbgrader.api import Base
    from sqlalchemy import create_engine, text

    engine = create_engine(database_url(url))
    with engine.begin() as connection:
        Base.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    engine.dispose()


def counts(database):
    from nbgrader import api

    with closing(open_gradebook(database)) as book:
        tables = (api.Student, api.SubmittedAssignment, api.SubmittedNotebook, api.Grade, api.Comment, api.GradeCell)
        return [book.db.query(table).count() for table in tables]


def by_hand(database, student, name, score, comment=None):
    """What a person does in the formgrader."""
    with closing(open_gradebook(database)) as book:
        grade = book.find_grade(name, CHAPTER, CHAPTER, student)
        grade.manual_score, grade.needs_manual_grade = score, False
        if comment:
            book.find_comment(name, CHAPTER, CHAPTER, student).manual_comment = comment
        book.db.commit()


def test_writing_twice_is_writing_once(database):
    rules = sheet()
    class_ = [graded("ada"), graded("ben", {"entropy": 2.5})]
    for _ in range(2):
        assert record(class_, rules, database) == 2
        assert read_marks(database, CHAPTER) == {"ada": 10.0, "ben": 11.5}
        assert counts(database) == [2, 2, 2, 20, 20, 10]
    record([graded("ada", {"entropy": 0.0})], rules, database)
    assert read_marks(database, CHAPTER) == {"ada": 9.0, "ben": 11.5}


def test_nbgrader_itself_reads_what_we_wrote(database, tmp_path):
    from nbgrader.plugins import CsvExportPlugin

    rules = sheet(deadline=1_769_860_800.0)
    record([graded("ada", penalty=0.2, submitted=1_769_860_900.0), graded("ben")], rules, database)
    with closing(open_gradebook(database)) as book:
        submission = book.find_submission(CHAPTER, "ada")
        assert (submission.score, submission.max_score, submission.late_submission_penalty) == (10.0, 32.0, 2.0)
        assert submission.total_seconds_late == 100
        assert not submission.needs_manual_grade
        assert book.find_comment("entropy", CHAPTER, CHAPTER, "ada").auto_comment == "wrong"
        assert {row["id"]: row["score"] for row in book.student_dicts()} == {"ada": 10.0, "ben": 10.0}
        assert book.average_assignment_score(CHAPTER) == 10.0
        CsvExportPlugin(to=str(tmp_path / "grades.csv")).export(book)
    rows = (tmp_path / "grades.csv").read_text().splitlines()
    assert rows[1].split(",")[3] == "ada" and rows[1].endswith(",10.0,2.0,8.0,32.0")
    assert read_marks(database, CHAPTER) == {"ada": 8.0, "ben": 10.0}


def test_what_a_person_gave_stays_and_comes_out(database):
    rules = sheet(by_hand={"why": 4.0})
    class_ = [graded("ada", penalty=0.5), graded("ben")]
    record(class_, rules, database)
    waiting = list(with_marks_by_hand(class_, rules, database))
    assert waiting[1].maximum == 36.0 and waiting[1].score == 10.0
    assert waiting[1].exercises[-1].sentence == "This answer waits for a person to mark it."
    with closing(open_gradebook(database)) as book:
        assert book.find_submission(CHAPTER, "ben").needs_manual_grade
    by_hand(database, "ada", "why", 3.0, "Nearly.")
    by_hand(database, "ada", "entropy", 0.0)
    for _ in range(2):
        record([graded("ada", {"entropy": 2.0}, penalty=0.5), graded("ben")], rules, database)
        with closing(open_gradebook(database)) as book:
            grade = book.find_grade("entropy", CHAPTER, CHAPTER, "ada")
            assert (grade.auto_score, grade.manual_score, grade.score) == (2.0, 0.0, 0.0)
            assert not book.find_grade("why", CHAPTER, CHAPTER, "ada").needs_manual_grade
            assert book.find_comment("why", CHAPTER, CHAPTER, "ada").comment == "Nearly."
    found = {one.student: one for one in with_marks_by_hand(class_, rules, database)}
    assert found["ada"].score == 6.0 == read_marks(database, CHAPTER)["ada"]  # (9 + 3) / 2
    assert found["ben"].score == 10.0


def test_a_course_that_asks_for_more_later_finds_its_old_rows(database):
    record([graded("ada")], sheet(), database)
    record([graded("ada"), graded("ben")], sheet(by_hand={"why": 4.0}, points={"entropy": 9.0}), database)
    assert counts(database) == [2, 2, 2, 22, 22, 11]
    with closing(open_gradebook(database)) as book:
        assert book.find_submission(CHAPTER, "ada").max_score == 42.0


def test_text_that_databases_refuse_is_made_printable(database):
    plain = graded("ada")
    strange = replace(plain, exercises=tuple(replace(one, sentence="a\x00b\ud800c") for one in plain.exercises))
    record([strange], sheet(), database)
    assert read_marks(database, CHAPTER) == {"ada": 10.0}


GRADER = """
import sys
sys.path[:0] = [{root!r}]
from tests.grading.course import graded, sheet
from chainrule.grading.gradebook import record
low, high, database = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
print("ready", flush=True); input()
for _ in range(2):
    students = [graded(f"s{{i:03}}", {{"entropy": i / 100}}) for i in range(low, high)]
    record(students[::-1] if low else students, sheet(), database)
"""


def test_two_graders_at_once_lose_nothing(database, tmp_path):
    from .course import ROOT

    program = tmp_path / "grader.py"
    program.write_text(GRADER.format(root=str(ROOT)))
    url = str(database)
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", program, *map(str, span), url], env=ENVIRONMENT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for span in ((0, 100), (50, 150))
    ]  # fmt: skip
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:  # both also make the tables, at the same moment
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, problems = process.communicate(timeout=240)
        assert process.returncode == 0, problems
    assert read_marks(database, CHAPTER) == {f"s{i:03}": round(9 + i / 100, 3) for i in range(150)}
    assert counts(database) == [150, 150, 150, 1500, 1500, 10]


def test_a_database_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(ValueError, match="the gradebook .* cannot be opened"):
        open_gradebook(f"postgresql://nobody@127.0.0.1:{free_port()}/none")


def test_names_that_could_do_harm_get_plain_ones():
    for plain in ("ada", "Ada Lovelace", "ada@example.org", "Jürgen O'Neill", "李小龙", "submission_17"):
        assert student_id(plain) == plain
    names = [
        "../x",
        "a/b",
        ".hidden",
        "=1+1",
        "-x",
        "@SUM(1)",
        'a",b',
        "a,b",
        "<b>",
        "x" * 121,
        "a\nb",
        "con.",
        "a" + "-" + "0" * 16,
    ]
    made = [student_id(name) for name in names]
    assert len({*made}) == len(names)
    assert all(set(one) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") for one in made)


# Answers in words


HOSTILE = (
    "<script>alert(1)</script> <img src=x onerror=alert(2)> [link](javascript:alert(3)) ![p](http://127.0.0.1/p.png) "
    "<javascript:alert(4)> [r]: javascript:alert(5)\n\n[r] $\\href{javascript:alert(6)}{x}$ <!-- c --> &lt;b&gt; $a<b$"
)


def test_an_answers_text_is_made_harmless_before_anyone_shows_it():
    from nbconvert.filters.markdown import markdown2html

    shown = markdown2html(harmless(HOSTILE))
    for bad in ("<script", "<img", "<!--", "\\href", 'href="javascript', 'onerror="'):
        assert bad not in shown, (bad, shown)
    # A bare address may become a link to click, and nothing else does.
    assert all(link["href"].startswith("http://127") for link in BeautifulSoup(shown, "html.parser").find_all("a"))
    assert "a&lt; b" in shown or "a< b" in shown


@pytest.fixture
def course(tmp_path):
    """Two submissions with answers in words, one of them hostile, as nbgrader's course folder."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ada.ipynb").write_text(notebook(right(), {"why": HOSTILE, "other": "My *own* notes."}))
    (tmp_path / "in" / "ben.ipynb").write_text("{broken")
    rules, database = sheet(by_hand={"why": 4.0}), tmp_path / "gradebook.db"
    submissions = find_submissions(tmp_path / "in", tmp_path)
    class_ = [replace(graded(one.student), digest=one.digest) for one in submissions]
    record(class_, rules, database)
    assert write_course(class_, rules, submissions, database, tmp_path / "nbgrader") == 2
    return tmp_path / "nbgrader", database


def test_the_course_folder_holds_sources_only_with_nbgraders_metadata(course):
    import nbformat
    from nbgrader.nbgraderformat import MetadataValidator

    folder, _ = course
    for student in ("ada", "ben"):
        path = folder / "autograded" / student / CHAPTER / f"{CHAPTER}.ipynb"
        made = nbformat.read(path, as_version=4)
        nbformat.validate(made)
        MetadataValidator().validate_nb(made)
        cells = {cell.metadata.nbgrader.grade_id: cell for cell in made.cells if "nbgrader" in cell.metadata}
        assert {*cells} == {"why", *(one.name for one in sheet().exercises)}
        assert cells["why"].cell_type == "markdown" and cells["why"].metadata.nbgrader.points == 4
        assert not any(cell.get("outputs") for cell in made.cells)
        assert "<script" not in path.read_text()
    assert "My *own* notes." in (folder / "autograded" / "ada" / CHAPTER / f"{CHAPTER}.ipynb").read_text()


def test_nbgraders_own_formgrader_opens_them_and_takes_a_mark(course):
    folder, database = course
    port = free_port()
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser", f"--port={port}", "--ip=127.0.0.1",
            "--IdentityProvider.token=secret", f"--ServerApp.root_dir={folder}", "--ServerApp.disable_check_xsrf=True",
            "--ServerApp.jpserver_extensions={'nbgrader.server_extensions.formgrader': True}",
        ],
        cwd=folder, env={**ENVIRONMENT, "JUPYTER_CONFIG_DIR": str(folder), "HOME": str(folder)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def ask(path, method="GET", body=None):
        headers = {"Authorization": "token secret", "Content-Type": "application/json"}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", json.dumps(body).encode() if body else None, headers, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.read().decode()

    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                listed = json.loads(ask(f"/formgrader/api/submitted_notebooks/{CHAPTER}/{CHAPTER}"))
                break
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < deadline and server.poll() is None, server.stderr.read()
                time.sleep(0.2)
        found = {one["student"]: one for one in listed}
        assert {*found} == {"ada", "ben"} and all(one["needs_manual_grade"] for one in listed)
        page = ask(f"/formgrader/submissions/{found['ada']['id']}/")
        assert "My <em>own</em> notes." in page
        shown = BeautifulSoup(page, "html.parser")
        assert "alert(1)" in shown.get_text() and not [
            one for one in shown.find_all("script") if "alert(" in one.get_text()
        ]
        assert not [one for one in shown.find_all(True) if any("alert" in str(value) for value in one.attrs.values())]
        grades = json.loads(ask(f"/formgrader/api/grades?submission_id={found['ada']['id']}"))
        why = next(one for one in grades if one["name"] == "why")
        ask(f"/formgrader/api/grade/{why['id']}", "PUT", {"manual_score": 2.5, "extra_credit": None})
    finally:
        server.terminate()
        server.communicate(timeout=30)
    assert read_marks(database, CHAPTER)["ada"] == 12.5
