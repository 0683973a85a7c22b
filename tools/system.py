"""Find the programs of the system that the tests of grading use, or install them: bubblewrap, PostgreSQL's server."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from tools.browser import is_debian

PACKAGES = ("bubblewrap", "postgresql")
SERVERS = "usr/lib/postgresql/*/bin/initdb"  # Debian keeps the server's programs off the path


class ProgramError(Exception):
    """A program is missing and could not be installed; the message names the command to run."""


def find_postgresql(root: Path = Path("/")) -> Path | None:
    """Return the folder of PostgreSQL's server programs, the newest where there are several, or None."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = sorted(root.glob(SERVERS), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


def missing_packages() -> list[str]:
    """Return which of Debian's packages are needed and not there."""
    there = {"bubblewrap": shutil.which("bwrap") is not None, "postgresql": find_postgresql() is not None}
    return [name for name in PACKAGES if not there[name]]


def ensure_programs() -> None:
    """Install what is missing.

    Raises:
        ProgramError: if that does not work. Elsewhere than on Linux nothing is needed: there grading refuses, and the
            tests assert that.
    """
    missing = missing_packages()
    if platform.system() != "Linux" or not missing:
        return
    if is_debian() and os.geteuid() == 0:
        command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
        print(f"The tests of grading need {' and '.join(missing)}; running `{' '.join(command)}`.", flush=True)
        # Debian's package would otherwise make and start a cluster of its own; the tests start theirs themselves.
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for step in (["apt-get", "update"], command):
            if subprocess.run(step, env=environment, check=False).returncode:
                break
        missing = missing_packages()
    if missing:
        raise ProgramError(
            f"The tests of grading need {' and '.join(missing)}: run `{manual_command(missing)}`, "
            "then `make test` again."
        )


def manual_command(missing: list[str]) -> str:
    """Return the one command for a person to run where the automatic way failed."""
    if shutil.which("dnf"):
        return f"sudo dnf install {' '.join('postgresql-server' if name == 'postgresql' else name for name in missing)}"
    return f"sudo apt-get install {' '.join(missing)}"
