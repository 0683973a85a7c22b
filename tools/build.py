"""Build the site with Jupyter Book, once for each state of its inputs.

Only the standard library is imported here, so that finding out that nothing changed takes no time.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# What the site is made from, besides the files that lie at the top of the tree.
INPUT_FOLDERS = ("chapters", "exercises", "solutions", "_ext", "lib", "tools")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_STEP = re.compile(r"(reading sources|writing output)\.\.\. \[ *(\d+)%\] (\S+)")
_TROUBLE = re.compile(r"\b(WARNING|ERROR|CRITICAL|SEVERE)\b")


class BuildError(Exception):
    """The site could not be built; the message says what to do."""


def build_folder(root: Path) -> Path:
    """Return the folder of everything that is made."""
    return root / "_build"


def site_folder(root: Path) -> Path:
    """Return the folder of the built site."""
    return build_folder(root) / "html"


def is_current(root: Path = ROOT) -> bool:
    """Say whether the executed pages and the site are those of the present inputs."""
    stamp = _stamp(root)
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == _state(root)


def build_site(root: Path = ROOT, *, quiet: bool = False) -> None:
    """Build the site from the executed pages.

    Args:
        root: the top of the book.
        quiet: show no progress bar.

    Raises:
        BuildError: if Jupyter Book reports any warning or error.
    """
    _stamp(root).unlink(missing_ok=True)
    log = build_folder(root) / "log" / "site.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # The state is taken before the build: what is edited meanwhile makes the next build look again.
    state = _inputs(root)
    wheel = build_wheel(root)
    # The tools come first because they spare the others a slow import.
    program = "import tools; from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", program, "build", str(root), "-W", "-n", "--keep-going"]
    if _run(command, root, log, quiet=quiet) != 0:
        # Sphinx would not repeat the warnings of pages that it has already read, and the next build would pass.
        (build_folder(root) / ".doctrees" / "environment.pickle").unlink(missing_ok=True)
        raise BuildError(f"The site was not built: mend what is reported above, then try again (whole log: {log}).")
    wheels = site_folder(root) / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    wheels.mkdir()
    shutil.copy2(wheel, wheels)
    _stamp(root).write_text(state + _results(root), encoding="utf-8")


def _run(command: list[str], root: Path, log: Path, *, quiet: bool) -> int:
    """Run the build with a progress bar; show warnings and errors as they come, and log everything."""
    from tqdm import tqdm

    environment = {
        **os.environ,
        "PYTHONPATH": f"{root / 'lib'}{os.pathsep}{ROOT}",
        "PYTHONUNBUFFERED": "1",
        "PYTHONHASHSEED": "0",
    }
    shown = False
    lines: list[str] = []
    with (
        log.open("w", encoding="utf-8") as file,
        tqdm(total=200, bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}{postfix}", disable=quiet) as bar,
        subprocess.Popen(
            command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        bar.set_description_str("Building the site")
        assert process.stdout is not None
        for line in process.stdout:
            line = _ANSI.sub("", line).rstrip()
            file.write(line + "\n")
            lines.append(line)
            if (step := _STEP.match(line)) is not None:
                bar.set_postfix_str(step[3], refresh=False)
                bar.update(int(step[2]) + 100 * (step[1] == "writing output") - bar.n)
            elif _TROUBLE.search(line):
                shown = True
                tqdm.write(line, file=sys.stderr)
    if process.returncode and not shown:
        # What went wrong stands before the traceback, which is Sphinx's own and says nothing about the book.
        first = next((number for number, line in enumerate(lines) if line.startswith("Traceback")), len(lines))
        print("\n".join(lines[max(first - 15, 0) : first]), file=sys.stderr)
    return process.returncode


def build_wheel(root: Path = ROOT) -> Path:
    """Return the library's wheel, which Colab installs from the site; build it if the library changed."""
    folder = build_folder(root) / "wheels"
    sources = [root / "pyproject.toml", *_files(root / "lib")]
    digest = _digest(root, sources)
    stamp = folder / "digest.txt"
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == digest and list(folder.glob("*.whl"))):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        # In a copy, because setuptools leaves files behind and would pack again modules that are long gone.
        with tempfile.TemporaryDirectory(prefix="chainrule-") as copy:
            for source in [*sources, *(root / name for name in ("README.md", "LICENSE") if (root / name).is_file())]:
                target = Path(copy) / source.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
            program = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
            # A fixed date: the same library gives the same wheel, bit by bit.
            environment = {**os.environ, "SOURCE_DATE_EPOCH": "1600000000"}
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", program, str(folder)],
                cwd=copy, env=environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
        if done.returncode:
            raise BuildError(f"{done.stdout}{done.stderr}\nThe library's wheel was not built; see pyproject.toml.")
        stamp.write_text(digest, encoding="utf-8")
    return next(folder.glob("*.whl"))


def _stamp(root: Path) -> Path:
    return build_folder(root) / "site-stamp.txt"


def _state(root: Path) -> str:
    return _inputs(root) + _results(root)


def _inputs(root: Path) -> str:
    """Return a hash of everything that the pages' outputs and the site are made from."""
    top = [path for path in root.iterdir() if path.is_file() and not path.name.startswith(".")]
    below = [path for folder in INPUT_FOLDERS for path in _files(root / folder)]
    return f"inputs {_digest(root, [*top, *below])}\npython {sys.version}\n"


def _results(root: Path) -> str:
    """Describe what was made, so that a result that was removed or made anew is noticed."""
    lines = []
    for folder in ("executed", "notebooks"):
        for path in _files(build_folder(root) / folder):
            status = path.stat()
            lines.append(f"{path.relative_to(root)} {status.st_size} {status.st_mtime_ns}\n")
    return "".join(lines) + f"site {(site_folder(root) / 'index.html').is_file()}\n"


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(_is_made(part) for part in path.relative_to(folder).parts)
    )


def _is_made(name: str) -> bool:
    """Say whether a folder among the sources is one that programs leave there."""
    return name in ("__pycache__", ".ipynb_checkpoints") or name.endswith(".egg-info")


def _digest(root: Path, paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
