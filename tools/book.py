"""Make the book: execute its pages, build the site, serve it.

Run as `python tools/book.py COMMAND`; the Makefile's targets do, inside the book's own environment.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.build import BuildError, build_folder, build_site, is_current, site_folder  # noqa: E402


def execute(*, force: bool = False) -> None:
    """Execute the pages whose results are not fresh."""
    # Imported here because it takes a second, which a command that finds nothing to do must not spend.
    from tools.execute import PageError, execute_pages

    try:
        executed = execute_pages(ROOT, force=force)
    except PageError as error:
        raise BuildError(f"{error}\n\nA page failed: mend the cell named above, then try again.") from error
    print(f"{len(executed)} pages executed, the others were fresh." if executed else "All executed pages are fresh.")


def build() -> None:
    """Execute what is due and build the site, if anything changed since the last time."""
    if is_current(ROOT):
        print("Nothing changed since the site was built.")
        return
    execute()
    fetch_scripts()
    build_site(ROOT)
    print(f"The site is in {_shown(site_folder(ROOT))}.")


def fetch_scripts() -> None:
    """Fetch the scripts that the site brings along, once."""
    sys.path.insert(0, str(ROOT / "_ext"))
    from offline import OfflineError, fetch_vendor

    try:
        fetch_vendor(ROOT)
    except OfflineError as error:
        raise BuildError(str(error)) from error


def serve() -> None:
    """Build the site and serve it on this machine."""
    from tools import serve as server

    build()
    try:
        server.serve(site_folder(ROOT))
    except OSError as error:
        raise BuildError(str(error)) from error


def notebooks() -> None:
    """Build the plain notebooks, which come with the site."""
    build()
    print(f"The notebooks are in {_shown(build_folder(ROOT) / 'notebooks')}.")


def starters() -> None:
    """Write the starter notebooks that come with the library, from the exercise pages."""
    from chainrule.grading.release import STARTERS, make_starter

    build()
    for path in sorted((ROOT / "exercises").glob("*.md")):
        notebook = build_folder(ROOT) / "notebooks" / "exercises" / f"{path.stem}.ipynb"
        text = make_starter(json.loads(notebook.read_text(encoding="utf-8")))
        STARTERS.mkdir(exist_ok=True)
        (STARTERS / notebook.name).write_text(text, encoding="utf-8")
    print(f"The starters are in {_shown(STARTERS)}; commit them.")


def test() -> None:
    """Build everything and run the whole test suite."""
    from tools.browser import BrowserError, ensure_browser
    from tools.system import ProgramError, ensure_programs

    try:
        ensure_browser()
        ensure_programs()
    except (BrowserError, ProgramError) as error:
        raise BuildError(str(error)) from error
    build()
    # In place of this program: pytest's closing line is the last one, and its exit code is ours.
    sys.stdout.flush()
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", "--doctest-modules", "tests", "tools"]
    os.chdir(ROOT)
    # Two workers with a thread each: torch's own threads would only stand in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.execv(sys.executable, command)


def gpu() -> None:
    """Run the library's tests and the benchmarks on the GPU."""
    import torch

    if not torch.cuda.is_available():
        raise BuildError(
            "No GPU that torch can use was found (torch.cuda.is_available() is False); "
            "`make test` runs the same tests on the CPU."
        )
    print(f"Using {torch.cuda.get_device_name()}.", flush=True)
    environment = {"CHAINRULE_DEVICES": "cpu,cuda", **os.environ}
    for command in (
        [sys.executable, "-m", "pytest", "tests/lib"],
        *([sys.executable, str(path)] for path in benchmark_programs()),
    ):
        if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
            raise BuildError(f"`{' '.join(command[1:])}` failed on the GPU; see above.")


def bench() -> None:
    """Measure the book's own times, then run the library's benchmarks."""
    from tools.bench import measure_book

    measure_book(ROOT)
    for path in benchmark_programs():
        if subprocess.run([sys.executable, str(path)], cwd=ROOT, check=False).returncode:
            raise BuildError(f"{_shown(path)} failed; see above.")


def benchmark_programs() -> list[Path]:
    """Return the programs that compare the library with others."""
    return sorted(path for path in (ROOT / "benchmarks").glob("*.py") if not path.name.startswith("_"))


def lab() -> None:
    """Open the pages as notebooks in JupyterLab."""
    from tools.lab import run_lab

    run_lab(ROOT)


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


COMMANDS: dict[str, Callable[[], None]] = {
    command.__name__: command for command in (execute, build, serve, notebooks, starters, test, gpu, bench, lab)
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a failure ends with one sentence that says what to do."""
    parser = argparse.ArgumentParser(prog="tools/book.py", description="Make the book.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=(command.__doc__ or "").splitlines()[0])
    commands.choices["execute"].add_argument("--force", action="store_true", help="execute fresh pages too")
    options = vars(parser.parse_args(arguments))
    name = options.pop("command")
    try:
        COMMANDS[name](**options)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
