"""Reading what students hand in: a folder, a zip, or an export of Moodle, Canvas or Gradescope; all of it hostile.

Whatever cannot be read becomes a :class:`Submission` with a problem in words, so that one broken file never stops a
class. File names are only looked at, never used as paths; notebooks are parsed as data, with bounds on everything.
"""

import hashlib
import json
import os
import re
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

__all__ = ["Submission", "clean_name", "code_cells", "find_submissions"]

LARGEST_NOTEBOOK = 20_000_000  # bytes; outputs and pictures make honest notebooks large
LARGEST_CODE = 1_000_000  # characters of code in all cells together
MOST_CELLS = 2_000
MOST_MEMBERS = 200_000
MOST_EXPANSION = 60  # bytes of notebooks for each byte of a zip; honest ones come to a tenth of that
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
    r"""A name that is safe to show: no control, format or private characters, no runs of blanks, not too long.

    Letters that can be written in two ways, as one character or as two, are written in one.

    >>> clean_name("  Ada\u202e Love\nlace ")
    'Ada Love lace'
    """
    visible = "".join(" " if unicodedata.category(c)[0] == "Z" or c in "\t\r\n" else c for c in text[:10_000])
    visible = unicodedata.normalize("NFC", "".join(c for c in visible if unicodedata.category(c)[0] != "C"))
    return " ".join(visible.split())[:100].strip() or "unnamed"


@dataclass(frozen=True)
class _Owner:
    """Whose a file is, as its path says: the name as it stands there, a number that tells namesakes apart, lateness."""

    name: str
    number: str = ""
    late: bool = False


def owner_of(parts: tuple[str, ...]) -> _Owner:
    """The student, and whether the name says late, from the parts of a path in an export.

    >>> owner_of(("Ada Lovelace_1234_assignsubmission_file_", "sheet.ipynb"))
    _Owner(name='Ada Lovelace', number='1234', late=False)
    >>> owner_of(("lovelaceada_LATE_1234_5678_sheet-2.ipynb",))
    _Owner(name='lovelaceada', number='1234', late=True)
    >>> [owner_of(parts).name for parts in (("submission_987", "sheet.ipynb"), ("ada.ipynb",), ("ada", "sheet.ipynb"))]
    ['submission_987', 'ada', 'ada']
    """
    for part in parts:  # Moodle: a folder a student, or a prefix of the file's name
        moodle = re.match(r"(.+?)_(\d+)_assignsubmission_", part, re.DOTALL)
        if moodle:
            return _Owner(moodle[1], moodle[2])
    canvas = re.match(r"([^_]+)(_LATE)?_(\d+)_\d+_.+\.ipynb$", parts[-1], re.IGNORECASE | re.DOTALL)
    if canvas:
        return _Owner(canvas[1], canvas[3], canvas[2] is not None)
    return _Owner(parts[0] if len(parts) > 1 else re.sub(r"\.ipynb$", "", parts[0], flags=re.IGNORECASE))


def find_submissions(source: Path, work: Path) -> list[Submission]:
    """Find every notebook in a folder or zip.

    Two students whose names look alike stay two: by their numbers in the export where it has them, else by a mark made
    of the name.

    Args:
        source: a folder, or a zip of one
        work: an existing folder of ours, where a zip's notebooks are unpacked to, under numbers

    Returns:
        One submission a notebook, ordered by student and attempt. Their contents are not held in memory.

    Raises:
        ValueError: where the source is neither a folder nor a zip that can be read.
    """
    if source.is_dir():
        found, names = list(_in_folder(source)), _gradescope_names(_small_file(source / "submission_metadata.yml"))
    elif source.is_file() and zipfile.is_zipfile(source):
        try:
            with zipfile.ZipFile(source) as archive:
                found, names = _in_zip(archive, source.stat().st_size, work)
        except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, UnicodeError, struct.error) as error:
            raise ValueError(f"the zip {source} cannot be read: {error}") from None
    else:
        raise ValueError(f"expected a folder or a zip of submissions, got {source}")
    parts_of = _without_wrapping([parts for parts, _ in found], zipped=not source.is_dir())
    owners = [_Owner(names[parts[0]]) if parts[0] in names else owner_of(parts) for parts in parts_of]
    students = _apart(owners)
    numbered, attempts = [], {}
    named = [
        replace(one, student=students[owner], marked_late=owner.late, file="/".join(clean_name(part) for part in parts))
        for (_, one), owner, parts in zip(found, owners, parts_of, strict=True)
    ]
    named.sort(key=lambda one: (one.student, one.submitted or 0.0, one.file, one.digest))
    for one in named:
        attempts[one.student] = attempts.get(one.student, 0) + 1
        numbered.append(replace(one, attempt=attempts[one.student]))
    return numbered


def _without_wrapping(paths: list[tuple[str, ...]], zipped: bool) -> list[tuple[str, ...]]:
    """Take off the one folder that holds everything: Gradescope's exports have it, and most zips of a folder.

    A zip with a single folder and notebooks right inside is the case that could mean two things; we take them for a
    class, because one student's notebooks alone are seldom zipped.
    """
    tops = {path[0] for path in paths}
    if len(tops) != 1 or any(len(path) < 2 for path in paths):
        return paths
    (top,) = tops
    several = len({path[1] for path in paths}) > 1
    export = re.fullmatch(r"assignment_\d+_export", top) is not None
    is_student = re.search(r"_assignsubmission_", top) is not None or re.fullmatch(r"submission_\d+", top) is not None
    return [path[1:] for path in paths] if export or (zipped and several and not is_student) else paths


def _apart(owners: list[_Owner]) -> dict[_Owner, str]:
    """A name for each student that no other one has."""
    people: dict[str, set[tuple[str, str]]] = {}
    for owner in owners:
        people.setdefault(clean_name(owner.name), set()).add(
            (unicodedata.normalize("NFC", owner.name).strip(), owner.number)
        )
    students = {}
    for owner in owners:
        name = clean_name(owner.name)
        same = people[name]
        if len({number for _, number in same}) > 1:
            name = f"{name} ({owner.number or 'no number'})"
        if len({raw for raw, number in same if number == owner.number}) > 1 and owner.name.strip() != clean_name(
            owner.name
        ):
            mark = hashlib.sha256(owner.name.encode(errors="surrogatepass")).hexdigest()[:8]
            name = f"{name} (written otherwise, {mark})"
        students[owner] = name
    return students


def _in_folder(source: Path) -> Iterator[tuple[tuple[str, ...], Submission]]:
    for folder, folders, files in os.walk(source, followlinks=False):
        folders[:] = sorted(set(folders) - SKIPPED)
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in sorted(files) + links:
            if not name.lower().endswith(".ipynb") or name.startswith(
                "._"
            ):  # macOS keeps notes of its own under such names
                continue
            path = Path(folder, name)
            one = Submission("", "", path)
            try:
                status = path.lstat()
                one = replace(one, submitted=status.st_mtime)
                if not stat.S_ISREG(status.st_mode):  # a link could lead to anyone's file, a pipe would never end
                    one = replace(one, path=None, problem="The file is a link or no ordinary file, so it was not read.")
                elif status.st_size > LARGEST_NOTEBOOK:
                    one = replace(one, path=None, problem=_too_large(status.st_size))
                else:
                    one = replace(one, digest=hashlib.sha256(path.read_bytes()).hexdigest())
            except OSError as error:
                one = replace(one, path=None, problem=f"The file cannot be read: {error.strerror}.")
            yield path.relative_to(source).parts, one


def _in_zip(
    archive: zipfile.ZipFile, size: int, work: Path
) -> tuple[list[tuple[tuple[str, ...], Submission]], dict[str, str]]:
    """What an archive of `size` bytes holds, and whose Gradescope's folders are."""
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise ValueError(f"expected a zip of at most {MOST_MEMBERS} files, got {len(members)}")
    left = LARGEST_NOTEBOOK + MOST_EXPANSION * size  # a bomb holds the same few bytes again and again
    found, metadata = [], b""
    for number, member in enumerate(members):
        parts = tuple(p for p in PurePosixPath(member.filename.replace("\\", "/")).parts if p not in ("/", "..", "."))
        if member.is_dir() or not parts or SKIPPED & set(parts) or parts[-1].startswith("._"):
            continue
        notebook = parts[-1].lower().endswith(".ipynb")
        if not notebook and (parts[-1] != "submission_metadata.yml" or len(parts) > 2):
            continue
        when = datetime(*member.date_time, tzinfo=UTC).timestamp() if _valid(member.date_time) else None
        one = Submission("", "", None, submitted=when)
        data, problem = b"", ""
        if stat.S_ISLNK(member.external_attr >> 16):
            problem = "The file is a link, so it was not read."
        else:
            try:
                with archive.open(member) as file:
                    data = file.read(LARGEST_NOTEBOOK + 1)  # the size in the header may lie
            except Exception as error:
                words = (
                    clean_name(str(error))
                    if isinstance(error, zipfile.BadZipFile | RuntimeError)
                    else type(error).__name__
                )
                problem = f"The file cannot be unpacked: {words}"
        left -= len(data)
        if not problem and len(data) > LARGEST_NOTEBOOK:
            problem = _too_large(len(data))
        if not problem and left < 0:
            problem = "The file was not unpacked: the zip would grow to far more than its own size, as a zip bomb does."
        if not notebook:
            metadata = b"" if problem else data
        elif problem:
            found.append((parts, replace(one, problem=problem)))
        else:
            path = work / f"{number}.ipynb"
            path.write_bytes(data)
            found.append((parts, replace(one, path=path, digest=hashlib.sha256(data).hexdigest())))
    return found, _gradescope_names(metadata)


def _valid(date_time: tuple) -> bool:
    try:
        datetime(*date_time)
    except ValueError:
        return False
    return True


def _too_large(size: int) -> str:
    most = f"a notebook may have {LARGEST_NOTEBOOK:,}"
    return f"The file has {size:,} bytes or more; {most}. Clear its outputs and hand it in again."


def _small_file(path: Path) -> bytes:
    """The bytes of an ordinary file of moderate size, else none."""
    if not path.is_file() or path.is_symlink() or path.stat().st_size > LARGEST_NOTEBOOK:
        return b""
    return path.read_bytes()


def _gradescope_names(metadata: bytes) -> dict[str, str]:
    """Folder of a submission -> the student, from the bytes of Gradescope's submission_metadata.yml, if any."""
    if not metadata:
        return {}
    import yaml

    try:
        records = yaml.safe_load(metadata.decode("utf-8"))
        submitters = {folder: record[":submitters"] for folder, record in records.items()}
        # The e-mail address is the one field that no two students share.
        return {
            str(f): " and ".join(str(s.get(":email") or s[":name"]) for s in people) for f, people in submitters.items()
        }
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"submission_metadata.yml is there but cannot be read as Gradescope's: {type(error).__name__}"
        ) from None


def code_cells(data: bytes) -> list[str]:
    """The sources of a notebook's code cells, as they are; magics are dealt with inside the sandbox.

    Raises:
        ValueError: with a sentence for the student where this is no notebook that can be graded.
    """
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError("The file is no text in UTF-8, so it is no notebook.") from None
    except (RecursionError, MemoryError):
        raise ValueError("The file is nested too deeply to be a notebook.") from None
    except ValueError:
        raise ValueError(
            "The file is no JSON, so it is no notebook: was it renamed, or cut off while uploading?"
        ) from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list) or type(notebook.get("nbformat")) is not int or notebook["nbformat"] != 4:
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
        sources.append(source)
    if sum(map(len, sources)) > LARGEST_CODE:
        raise ValueError(f"The notebook holds more than {LARGEST_CODE:,} characters of code.")
    try:
        "".join(sources).encode()
    except UnicodeEncodeError:
        raise ValueError("The notebook holds characters that are no valid text (lone surrogates).") from None
    return sources
