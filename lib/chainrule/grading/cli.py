"""The command line: ``chainrule grade``, ``chainrule export`` and ``chainrule release``.

Exit codes: 0 all is well; 1 some submissions got no mark because the machine failed, run again; 2 the call or the
settings are wrong; 3 the sandbox cannot be had here. A submission that is broken or hostile is no failure: it gets its
mark, and a sentence.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import chainrule

__all__ = ["main"]

SITE = "https://the-chain-rule.github.io/chainrule/"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chainrule", description="Grade, export and release the exercises of The Chain Rule."
    )
    parser.add_argument("--version", action="version", version=f"chainrule {chainrule.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    grade = commands.add_parser(
        "grade",
        help="grade a folder, a zip or an LMS export of notebooks",
        description="Grade submissions in a sandbox. May be stopped at any time: run again, it goes on with what is "
        "missing, new or changed.",
    )
    grade.add_argument(
        "submissions",
        type=Path,
        help="a folder or a zip with one .ipynb a student (Moodle's, Canvas's and Gradescope's names work)",
    )
    grade.add_argument(
        "--exercises",
        required=True,
        metavar="CHAPTER",
        help="the chapter whose exercises these are, for example information-theory",
    )
    grade.add_argument(
        "--out", type=Path, default=Path("graded"), help="folder for marks, feedback and reports (default: %(default)s)"
    )
    grade.add_argument("--settings", type=Path, help="a TOML file with deadline, penalties, points and limits")
    grade.add_argument(
        "--database", metavar="URL", help="gradebook: a path or a database URL (default: OUT/gradebook.db, SQLite)"
    )
    grade.add_argument(
        "--jobs", type=int, default=(os.cpu_count() or 1) + 1, help="submissions at a time (default: %(default)s)"
    )
    grade.add_argument(
        "--scheduler",
        metavar="TCP",
        help="grade on the workers of this dask.distributed scheduler, for example tcp://host:8786",
    )
    grade.add_argument(
        "--site", default=SITE, help="address of the book for the links in feedback (default: %(default)s)"
    )
    grade.add_argument(
        "--json", action="store_true", help="print the summary as JSON, and nothing else, on standard output"
    )

    export = commands.add_parser(
        "export",
        help="write the marks in an LMS's format",
        description="Write the marks of a graded folder, those given by hand included.",
    )
    export.add_argument("out", type=Path, help="the folder that `chainrule grade` filled")
    export.add_argument("--format", required=True, choices=["csv", "canvas", "moodle", "gradescope", "lti", "feedback"])
    export.add_argument("--to", type=Path, help="where to write (default: into the folder)")

    release = commands.add_parser(
        "release", help="make the package that students get", description="Write the students' package of a chapter."
    )
    release.add_argument("chapter", help="for example information-theory")
    release.add_argument("to", type=Path, help="a folder that does not exist yet")
    release.add_argument(
        "--settings", type=Path, help="the course's TOML file, for points, the deadline and answers in words"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(arguments)
    from chainrule.grading.sandbox import SandboxUnavailable

    try:
        return {"grade": _grade, "export": _export, "release": _release}[options.command](options)
    except SandboxUnavailable as error:
        print(f"chainrule: {error}", file=sys.stderr)
        return 3
    except (ValueError, FileNotFoundError, PermissionError, FileExistsError) as error:
        print(f"chainrule: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(
            f"chainrule: grading needs the package {error.name}: run `pip install '.[grading]'` in a clone of the book",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print(
            "\nchainrule: stopped. What has been graded is kept; the same command goes on from here.", file=sys.stderr
        )
        return 130


def _sheet(out: Path, chapter: str, settings: Path | None):
    from chainrule.checks import exercises
    from chainrule.grading.run import Sheet, read_secret
    from chainrule.grading.settings import read_settings

    names = [one.name for one in exercises(chapter)]
    return Sheet(chapter, read_settings(settings, names), read_secret(out))


@contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """A folder for what a zip holds; those that killed runs have left behind are removed."""
    import fcntl

    for left in out.glob("unpacked-*"):
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while a run still uses it
                shutil.rmtree(left)
            finally:
                os.close(descriptor)
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=out) as folder:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield Path(folder)
        finally:
            os.close(descriptor)


def _grade(options: argparse.Namespace) -> int:
    from chainrule.grading.sandbox import require_sandbox

    if options.jobs < 1:
        raise ValueError(f"expected --jobs to be at least 1, got {options.jobs}")
    if options.scheduler is None:
        require_sandbox()

    from tqdm import tqdm

    from chainrule.grading import formgrader, gradebook, report
    from chainrule.grading.exports import marks_csv
    from chainrule.grading.feedback import write_atomically, write_feedback
    from chainrule.grading.run import Journal, grade_class
    from chainrule.grading.submission import find_submissions

    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    sheet = _sheet(out, options.exercises, options.settings)
    journal = Journal(out / "journal.sqlite")
    database = (
        options.database
        if "://" in (options.database or "")
        else str(Path(options.database or out / "gradebook.db").resolve())
    )
    with _workplace(out) as work:
        submissions = find_submissions(options.submissions, work)
        if not submissions:
            raise ValueError(f"expected at least one .ipynb in {options.submissions}, got none")
        todo = len(journal.missing(sheet, submissions))
        print(
            f"{len(submissions)} notebooks, {len(submissions) - todo} graded before, {todo} to grade.", file=sys.stderr
        )
        with tqdm(total=todo, desc="Grading", unit="notebook", file=sys.stderr, smoothing=0.05) as bar:

            def done(one, graded, reason):
                if graded is None:
                    bar.write(f"{one.file}: no mark yet, {reason}", file=sys.stderr)
                bar.update()

            failed = grade_class(
                sheet, submissions, journal, jobs=options.jobs, scheduler=options.scheduler, report=done
            )

        def results():
            return journal.counted(sheet, submissions)

        with tqdm(
            total=len({one.student for one in submissions}), desc="Gradebook", unit="student", file=sys.stderr
        ) as bar:
            gradebook.record(results(), sheet, database, report=lambda _: bar.update())
        if sheet.settings.by_hand:
            formgrader.write_course(results(), sheet, submissions, database, out / "nbgrader")
    marked = partial(gradebook.with_marks_by_hand, sheet=sheet, database=database)
    write_feedback(marked(results()), out / "feedback", options.site)
    summary = report.summarise(marked(results()))
    write_atomically(out / "report.html", report.report_html(summary, sheet.chapter))
    write_atomically(out / "marks.csv", marks_csv(marked(results())))
    manifest = {"chapter": sheet.chapter, "settings": str(options.settings.resolve()) if options.settings else None}
    manifest |= {"submissions": str(options.submissions.resolve()), "database": database, "site": options.site}
    write_atomically(out / "run.json", json.dumps(manifest, indent=1) + "\n")
    if options.json:
        scores = {student: score for student, score, _, _ in summary.rows}
        facts = {
            "students": summary.students,
            "mean": summary.mean,
            "maximum": summary.maximum,
            "not_graded": failed,
            "scores": scores,
        }
        print(json.dumps(facts | {"could_not_be_run": summary.ungradable, "late": summary.late}, ensure_ascii=True))
    else:
        print(report.text_report(summary))
        print(f"Marks: {out / 'marks.csv'}   feedback: {out / 'feedback'}   report: {out / 'report.html'}")
        if sheet.settings.by_hand:
            print(f"Answers in words: run `jupyter lab` in {out / 'nbgrader'} and open nbgrader's formgrader.")
    if failed:
        print(
            f"chainrule: {failed} notebooks have no mark because their sandbox failed; run the command again.",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _export(options: argparse.Namespace) -> int:
    from chainrule.grading import exports, gradebook
    from chainrule.grading.feedback import file_name, write_atomically, write_feedback
    from chainrule.grading.run import Journal
    from chainrule.grading.submission import find_submissions

    out = options.out
    manifest_path = out / "run.json"
    if not manifest_path.is_file():
        raise ValueError(f"expected a folder that `chainrule grade` has filled, got {out}")
    manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    sheet = _sheet(out, manifest["chapter"], Path(manifest["settings"]) if manifest["settings"] else None)
    database = manifest["database"]
    with _workplace(out) as work:
        submissions = find_submissions(Path(manifest["submissions"]), work)
    journal = Journal(out / "journal.sqlite")
    missing = len(journal.missing(sheet, submissions))
    if missing:
        raise ValueError(
            f"{missing} of {len(submissions)} notebooks have no mark under these settings yet: "
            "run `chainrule grade` first"
        )
    gradebook.record(
        journal.counted(sheet, submissions), sheet, database
    )  # the penalty for lateness follows marks given by hand
    results = gradebook.with_marks_by_hand(journal.counted(sheet, submissions), sheet, database)
    target = options.to or out / exports.EXPORTS[options.format]
    if options.format == "feedback":
        write_feedback(results, target, manifest["site"])
    elif options.format == "gradescope":
        target.mkdir(parents=True, exist_ok=True)
        for graded in results:
            folder = target / file_name(graded.student)
            folder.mkdir(exist_ok=True)
            write_atomically(folder / "results.json", exports.gradescope_json(graded))
    else:
        text = {
            "csv": exports.marks_csv,
            "canvas": partial(exports.canvas_csv, assignment=sheet.chapter),
            "moodle": exports.moodle_csv,
            "lti": exports.lti_scores,
        }[options.format](results)
        write_atomically(target, text)
    print(target)
    return 0


def _release(options: argparse.Namespace) -> int:
    from chainrule.checks import exercises
    from chainrule.grading.release import release
    from chainrule.grading.settings import read_settings

    settings = read_settings(options.settings, [one.name for one in exercises(options.chapter)])
    for path in release(options.chapter, options.to, settings):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
