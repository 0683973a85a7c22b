"""Find the browser that the site's tests drive, or install one."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
APPLICATIONS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)


class BrowserError(Exception):
    """There is no browser and none could be installed; the message names the command to run."""


def find_browser() -> Path | None:
    """Return the program of a Chromium-like browser, or None.

    The environment variable CHAINRULE_BROWSER goes before what is installed on the machine, and that before the browser
    that Playwright has fetched for itself.
    """
    chosen = os.environ.get("CHAINRULE_BROWSER")
    if chosen:
        return Path(chosen)
    for name in NAMES:
        if (found := shutil.which(name)) is not None:
            return Path(found)
    for application in (*APPLICATIONS, _playwright_browser()):
        if application and Path(application).is_file():
            return Path(application)
    return None


def ensure_browser() -> Path:
    """Return a browser; install one if there is none.

    Raises:
        BrowserError: if that does not work.
    """
    found = find_browser()
    if found is None:
        command = install_command()
        print(f"No browser for the tests was found; running `{' '.join(command)}`.", flush=True)
        for step in [["apt-get", "update"], command] if command[0] == "apt-get" else [command]:
            # A missing program fails like one that ends badly.
            if shutil.which(step[0]) is None or subprocess.run(step, check=False).returncode:
                break
        found = find_browser()
    if found is None:
        raise BrowserError(
            f"The tests need a browser and none could be installed: run `{manual_command()}`, then `make test` again."
        )
    return found


def install_command() -> list[str]:
    """Return the command that installs a browser here without asking anything."""
    if is_debian() and os.geteuid() == 0:
        return ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]
    return [sys.executable, "-m", "playwright", "install", "chromium"]


def manual_command() -> str:
    """Return the one command for a person to run where the automatic way failed."""
    if is_debian():
        return "sudo apt-get install chromium"
    if platform.system() == "Linux":
        # Libraries of the system that the browser needs are what is missing then.
        return f"{sys.executable} -m playwright install --with-deps chromium"
    return f"{sys.executable} -m playwright install chromium"


def is_debian() -> bool:
    """Say whether this is Debian itself: Ubuntu's package of the name is an empty one that points to snap."""
    release = Path("/etc/os-release")
    return release.is_file() and "ID=debian" in release.read_text(encoding="utf-8").splitlines()


def _playwright_browser() -> str | None:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    with sync_playwright() as playwright:
        return playwright.chromium.executable_path
