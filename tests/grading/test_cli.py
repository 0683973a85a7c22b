"""The command line: help, exit codes, refusals in a sentence, zips, progress, and JSON that a program can read."""

import json
import os
import sys
import zipfile

import pytest

from chainrule.grading import cli, sandbox

from .course import CHAPTER, ENVIRONMENT, chainrule, notebook, right


@pytest.mark.parametrize("command", [[], ["grade"], ["export"], ["release"]])
def test_help_says_what_there_is(command):
    done = chainrule(*command, "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: chainrule") and not done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the following arguments are required"),
        (["mark"], "invalid choice"),
        (["grade", "in"], "--exercises"),
        (["export", "out"], "--format"),
        (["export", "out", "--format", "xml"], "invalid choice"),
    ],
)
def test_a_wrong_call_ends_with_2(arguments, words):
    done = chainrule(*arguments)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


def call(tmp_path, *more, exercises=CHAPTER):
    return ["grade", str(tmp_path / "in"), "--exercises", exercises, "--out", str(tmp_path / "out"), *map(str, more)]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--jobs", "0"], "expected --jobs to be at least 1"),
        (["--settings", "none.toml"], "cannot read"),
        ([], "expected at least one .ipynb"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, capsys, more, words):
    (tmp_path / "in").mkdir()
    assert cli.main(call(tmp_path, *more)) == 2
    said = capsys.readouterr().err
    assert said.startswith("chainrule: ") and words in said and said.count("\n") == 1


def test_a_chapter_or_folder_that_is_not_there_is_named(tmp_path, capsys):
    assert cli.main(call(tmp_path, exercises="alchemy")) == 2
    assert "no chapter 'alchemy'" in capsys.readouterr().err
    assert cli.main(call(tmp_path)) == 2
    assert "expected a folder or a zip of submissions" in capsys.readouterr().err
    assert cli.main(["export", str(tmp_path / "nothing"), "--format", "csv"]) == 2
    assert "expected a folder that `chainrule grade` has filled" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("system", "found", "words"),
    [
        ("Darwin", "/bin/true", "use a Linux machine"),
        ("Windows", "/bin/true", "use a Linux machine"),
        ("Linux", None, "apt-get install bubblewrap"),
    ],
)
def test_without_a_sandbox_it_refuses_with_3_and_does_nothing(tmp_path, capsys, monkeypatch, system, found, words):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ada.ipynb").write_text(notebook(right()))
    monkeypatch.setattr(sandbox.platform, "system", lambda: system)
    monkeypatch.setattr(sandbox.shutil, "which", lambda name, **_: found)
    sandbox.require_sandbox.cache_clear()
    try:
        assert cli.main(call(tmp_path)) == 3
    finally:
        sandbox.require_sandbox.cache_clear()
    said = capsys.readouterr().err
    assert said.startswith("chainrule: ") and words in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named(tmp_path, capsys, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ada.ipynb").write_text("{}")
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert cli.main(call(tmp_path)) == 2
    assert "pip install '.[grading]'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def from_a_zip(tmp_path_factory):
    """An export of Moodle in a zip, with a course's rules, graded once."""
    folder = tmp_path_factory.mktemp("zip")
    with zipfile.ZipFile(folder / "in", "w") as archive:
        archive.writestr("Ada Lovelace_12_assignsubmission_file_/sheet.ipynb", notebook(right(), {"why": "Because."}))
        archive.writestr("../../evil_13_assignsubmission_file_/sheet.ipynb", notebook(right("entropy")))
        archive.writestr("Ben_14_assignsubmission_file_sheet.ipynb", "{")
    (folder / "course.toml").write_text("[points]\nentropy = 5\n[by_hand]\nwhy = 4\n")
    (folder / "out" / "unpacked-left-by-a-kill").mkdir(parents=True)
    return folder, chainrule(*call(folder, "--settings", folder / "course.toml", "--json", "--jobs", 2))


def test_a_zip_is_graded_and_json_is_all_that_is_printed(from_a_zip):
    folder, done = from_a_zip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "students": 3, "mean": pytest.approx((34 + 29) / 3), "maximum": 38.0,
        "not_graded": 0, "could_not_be_run": 1, "late": 0,
        "scores": {"Ada Lovelace": 34.0, "evil": 29.0, "Ben": 0.0},
    }  # fmt: skip
    assert "3 notebooks, 0 graded before, 3 to grade." in done.stderr
    assert "Grading: 100%" in done.stderr and "<00:0" in done.stderr  # the bar and its time left
    assert sorted(path.name for path in (folder / "out").iterdir() if not path.name.endswith(("-wal", "-shm"))) == [
        "feedback", "gradebook.db", "journal.sqlite", "marks.csv", "nbgrader", "report.html", "run.json", "secret",
    ]  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == ["course.toml", "in", "out"]


def test_its_results_are_their_owners_alone(from_a_zip):
    folder, _ = from_a_zip
    for name in ("secret", "marks.csv", "report.html", "run.json", "nbgrader/nbgrader_config.py"):
        assert (folder / "out" / name).stat().st_mode & 0o077 == 0, name


def test_answers_in_words_wait_in_nbgraders_course_folder(from_a_zip):
    folder, _ = from_a_zip
    made = sorted(path.parts[-3] for path in (folder / "out" / "nbgrader" / "autograded").glob(f"*/{CHAPTER}/*.ipynb"))
    assert made == ["Ada Lovelace", "Ben", "evil"]
    text = (folder / "out" / "nbgrader" / "autograded" / "Ada Lovelace" / CHAPTER / f"{CHAPTER}.ipynb").read_text()
    assert "Because." in text


def test_the_table_and_the_summary_are_readable(from_a_zip):
    folder, _ = from_a_zip
    done = chainrule(*call(folder, "--settings", folder / "course.toml"))
    assert "0 to grade" in done.stderr
    for words in (
        "Ada Lovelace",
        "34.00 / 38",
        "3 students, mean 21.00 of 38 points",
        "1 could not be run",
        "80-90%",
        "marks     students",
        "open nbgrader's formgrader",
    ):
        assert words in done.stdout, words


def test_changed_rules_ask_for_another_run_before_an_export(from_a_zip):
    folder, _ = from_a_zip
    before = (folder / "course.toml").read_text()
    (folder / "course.toml").write_text("[points]\nentropy = 6\n[by_hand]\nwhy = 4\n")
    done = chainrule("export", folder / "out", "--format", "csv")
    (folder / "course.toml").write_text(before)
    assert done.returncode == 2 and "run `chainrule grade` first" in done.stderr


def test_a_machine_that_fails_ends_with_1_and_says_to_run_again(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ada.ipynb").write_text(notebook(right()))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "setpriv").write_text("#!/bin/sh\nexit 1\n")
    program = tmp_path / "bin" / "bwrap"  # works when it is tried, and never again
    program.write_text(f"#!/bin/sh\n[ -e {tmp_path}/tried ] && exit 1\ntouch {tmp_path}/tried\nexit 0\n")
    program.chmod(0o755)
    done = chainrule(*call(tmp_path), env={**ENVIRONMENT, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})
    assert done.returncode == 1, done.stderr
    assert "no mark yet" in done.stderr and "run the command again" in done.stderr
    again = chainrule(*call(tmp_path), "--json")
    assert again.returncode == 0 and json.loads(again.stdout)["scores"] == {"ada": 32.0}
