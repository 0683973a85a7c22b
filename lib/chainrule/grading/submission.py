"""Reading what students hand in: a folder, a zip, or an export of Moodle, Canvas or Gradescope. Every byte of it is hostile.

Whatever cannot be read becomes a :class:`Submission` with a problem in words, so that one broken file never stops a class. File names
are only looked at, never used as paths; notebooks are parsed as data, with bounds on everything.
"""

import hashlib
import json
import os
import re
import stat
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

__all__ = ["Submission", "clean_name", "code_cells", "find_submissions"]

LARGEST_NOTEBOOK = 20_000_000  # bytes; outputs and pictures make honest notebooks large
LARGEST_CODE = 1_000_000  # characters of code in all cells together
MOST_CELLS = 2_000
MOST_MEMBERS = 200_000
SKIPPED = {".ipynb_checkpoints", "__MACOSX", ".git"}


@dataclass(frozen=True)
class Submission:
    """One file that a student handed in.

    Args:
        student: the student's name or login, cleaned
        file: its name inside the folder or zip, for people to read; never used as a path
        path: where its bytes lie, or None where there are none to read
        digest: SHA-256 of the bytes
        submitted: when it came, in seconds since 1970, or None where nothing says so
        marked_late: whether the export's file name says that it is late
        attempt: 1 for the student's first, in the order of time and then of names
        problem: why it cannot be graded; empty where it can
    """

    student: str
    file: str
    path: Path | None
    digest: str = ""
    submitted: float | None = None
    marked_late: bool = False
    attempt: int = 1
    problem: str = ""


def clean_name(text: str) -> str:
    """A name that is safe to show: no control, format or private characters, no runs of blanks, at most 100 characters.

    >>> clean_name("  Ada\\u202e Love\\nlace ")
    'Ada Love lace'
    """
    visible = "".join(" " if unicodedata.category(c)[0] == "Z" or c in "\t\r\n" else c for c in text)
    visible = "".join(c for c in visible if unicodedata.category(c)[0] != "C")
    return " ".join(visible.split())[:100] or "unnamed"


def student_of(parts: tuple[str, ...]) -> tuple[str, bool]:
    """The student, and whether the name says late, from the parts of a path in an export.

    >>> student_of(("Ada Lovelace_1234_assignsubmission_file_", "sheet.ipynb"))
    ('Ada Lovelace', False)
    >>> student_of(("lovelaceada_LATE_1234_5678_sheet-2.ipynb",))
    ('lovelaceada', True)
    >>> student_of(("submission_987", "sheet.ipynb")), student_of(("ada.ipynb",)), student_of(("ada", "sheet.ipynb"))
    (('submission_987', False), ('ada', False), ('ada', False))
    """
    for part in parts:  # Moodle: a folder a student, or a prefix of the file's name
        moodle = re.match(r"(.+?)_\d+_assignsubmission_", part)
        if moodle:
            return clean_name(moodle[1]), False
    canvas = re.match(r"([^_]+)(_LATE)?_\d+_\d+_.+\.ipynb$", parts[-1], re.IGNORECASE)
    if canvas:
        return clean_name(canvas[1]), canvas[2] is not None
    return clean_name(parts[0] if len(parts) > 1 else re.sub(r"\.ipynb$", "", parts[0], flags=re.IGNORECASE)), False


def find_submissions(source: Path, work: Path) -> list[Submission]:
    """Find every notebook in a folder or zip.

    Args:
        source: a folder, or a zip of one
        work: an existing folder of ours, where a zip's notebooks are unpacked to, under numbers

    Returns:
        One submission a notebook, ordered by student and attempt. Their contents are not held in memory.

    Raises:
        ValueError: where the source is neither a folder nor a zip that can be read.
    """
    if source.is_dir():
        found = list(_in_folder(source))
    elif zipfile.is_zipfile(source):
        found = list(_in_zip(source, work))
    else:
        raise ValueError(f"expected a folder or a zip of submissions, got {source}")
    names = _gradescope_names(source) if source.is_dir() else {}
    found = [replace(one, student=names.get(one.file.split("/")[0], one.student)) for one in found]
    found.sort(key=lambda one: (one.student, one.submitted or 0.0, one.file))
    attempts: dict[str, int] = {}
    numbered = []
    for one in found:
        attempts[one.student] = attempts.get(one.student, 0) + 1
        numbered.append(replace(one, attempt=attempts[one.student]))
    return numbered


def _in_folder(source: Path) -> Iterator[Submission]:
    for folder, folders, files in os.walk(source, followlinks=False):
        folders[:] = sorted(set(folders) - SKIPPED)
        for name in sorted(files):
            if not name.lower().endswith(".ipynb"):
                continue
            path = Path(folder, name)
            parts = path.relative_to(source).parts
            student, late = student_of(parts)
            shown = "/".join(clean_name(part) for part in parts)
            status = path.lstat()
            one = Submission(student, shown, path, submitted=status.st_mtime, marked_late=late)
            if not stat.S_ISREG(status.st_mode):  # a link could lead to anyone's file, a pipe would never end
                yield replace(one, path=None, problem="The file is a link or no ordinary file, so it was not read.")
            elif status.st_size > LARGEST_NOTEBOOK:
                yield replace(one, path=None, problem=_too_large(status.st_size))
            else:
                yield replace(one, digest=hashlib.sha256(path.read_bytes()).hexdigest())


def _in_zip(source: Path, work: Path) -> Iterator[Submission]:
    with zipfile.ZipFile(source) as archive:
        members = archive.infolist()
        if len(members) > MOST_MEMBERS:
            raise ValueError(f"expected a zip of at most {MOST_MEMBERS} files, got {len(members)}")
        for number, member in enumerate(members):
            parts = tuple(p for p in PurePosixPath(member.filename.replace("\\", "/")).parts if p not in ("/", "..", "."))
            if member.is_dir() or not parts or not parts[-1].lower().endswith(".ipynb") or SKIPPED & set(parts):
                continue
            student, late = student_of(parts)
            shown = "/".join(clean_name(part) for part in parts)
            when = datetime(*member.date_time, tzinfo=timezone.utc).timestamp() if _valid(member.date_time) else None
            one = Submission(student, shown, None, submitted=when, marked_late=late)
            if stat.S_ISLNK(member.external_attr >> 16):
                yield replace(one, problem="The file is a link, so it was not read.")
                continue
            try:
                with archive.open(member) as file:
                    data = file.read(LARGEST_NOTEBOOK + 1)  # the size in the header may lie
            except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
                yield replace(one, problem=f"The file cannot be unpacked: {str(error)[:200]}")
                continue
            except Exception as error:  # noqa: BLE001  the decompressors raise errors of their own kinds
                yield replace(one, problem=f"The file cannot be unpacked: {type(error).__name__}")
                continue
            if len(data) > LARGEST_NOTEBOOK:
                yield replace(one, problem=_too_large(len(data)))
                continue
            path = work / f"{number}.ipynb"
            path.write_bytes(data)
            yield replace(one, path=path, digest=hashlib.sha256(data).hexdigest())


def _valid(date_time: tuple) -> bool:
    try:
        datetime(*date_time)  # noqa: DTZ001  only whether it is a date
    except ValueError:
        return False
    return True


def _too_large(size: int) -> str:
    return f"The file has {size:,} bytes or more; a notebook may have {LARGEST_NOTEBOOK:,}. Clear its outputs and hand it in again."


def _gradescope_names(source: Path) -> dict[str, str]:
    """Folder of a submission -> the student, from Gradescope's submission_metadata.yml where there is one."""
    path = source / "submission_metadata.yml"
    if not path.is_file() or path.is_symlink() or path.stat().st_size > 50_000_000:
        return {}
    import yaml

    try:
        metadata = yaml.safe_load(path.read_text(encoding="utf-8"))
        submitters = {folder: record[":submitters"] for folder, record in metadata.items()}
        # The e-mail address is the one field that no two students share.
        return {str(f): clean_name(" and ".join(str(s.get(":email") or s[":name"]) for s in people)) for f, people in submitters.items()}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"submission_metadata.yml is there but cannot be read as Gradescope's: {type(error).__name__}") from None


def code_cells(data: bytes) -> list[str]:
    """The sources of a notebook's code cells, with what only a notebook understands taken out.

    Lines that begin with ``%`` or ``!`` (magics and shell commands, an install on Colab for instance) become comments.

    Raises:
        ValueError: with a sentence for the student where this is no notebook that can be graded.
    """
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError("The file is no text in UTF-8, so it is no notebook.") from None
    except RecursionError:
        raise ValueError("The file is nested too deeply to be a notebook.") from None
    except ValueError:
        raise ValueError("The file is no JSON, so it is no notebook: was it renamed, or cut off while uploading?") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list) or notebook.get("nbformat") != 4:
        raise ValueError("The file is no notebook of format 4: save it again in JupyterLab or Colab and hand that in.")
    if len(cells) > MOST_CELLS:
        raise ValueError(f"The notebook has {len(cells):,} cells; {MOST_CELLS:,} are allowed.")
    sources = []
    for number, cell in enumerate(cells, start=1):
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        if isinstance(source, list) and all(isinstance(line, str) for line in source):
            source = "".join(source)
        if not isinstance(source, str):
            raise ValueError(f"Cell {number} of the notebook holds no text.")
        sources.append(re.sub(r"^(\s*)([%!])", r"\1pass  # \2", source, flags=re.MULTILINE))
    if sum(map(len, sources)) > LARGEST_CODE:
        raise ValueError(f"The notebook holds more than {LARGEST_CODE:,} characters of code.")
    try:
        "".join(sources).encode()
    except UnicodeEncodeError:
        raise ValueError("The notebook holds characters that are no valid text (lone surrogates).") from None
    return sources
