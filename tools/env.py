"""Make the book's environment in .venv, once for each state of constraints.txt and pyproject.toml.

Only the standard library is used, and nothing newer than Python 3.6, so that whatever `python3` is there can run this
and say in one sentence what is missing.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

OLDEST = (3, 11)
NEWEST = (3, 14)  # the newest Python for which all pinned packages exist
NEEDED_GB = 4

ADVICE_PYTHON = (
    "The book needs Python {}.{} to {}.{} with its venv module, and none was found: install one (Debian, Ubuntu: "
    "`sudo apt-get install python3 python3-venv`; macOS: `brew install python@3.13`; elsewhere: python.org), "
    "then run the command again."
).format(*(OLDEST + NEWEST))

# What pip says, and what to do about it; the first that fits is told.
ADVICE_PIP = (
    (
        r"No space left on device|Errno 28",
        "The disk is full: free about {} GB, then run the command again.".format(NEEDED_GB),
    ),
    (
        r"NewConnectionError|Failed to establish a new connection|NameResolutionError|Temporary failure in name"
        r"|Network is unreachable|ConnectTimeoutError|ReadTimeoutError|ProxyError|ConnectionResetError"
        r"|Connection broken",
        "The package index cannot be reached: connect to the network (or set pip's proxy), then run the command again.",
    ),
    (
        r"No matching distribution found for (?P<what>\S+)",
        "There is no package {what} for this Python ({python}) on this machine ({machine}): use a 64-bit Python "
        "{oldest} to {newest} on Linux, on a Mac with Apple silicon or in Windows' WSL, remove `.venv`, then run the "
        "command again.",
    ),
    (
        r"Permission denied",
        "A file of `.venv` cannot be written: make this folder yours (`chown`) or remove `.venv`, then run the command "
        "again.",
    ),
)


class SetupError(Exception):
    """The environment could not be made; the message is one sentence that says what to do."""


def find_python(names=None):
    """Return the path of a Python that can make the environment.

    Args:
        names: the programs to try, in this order; by default the one that runs this, `python3`, and those with a
            version in their name, newest first.

    Raises:
        SetupError: if there is none.
    """
    if names is None:
        versions = ["python3.{}".format(minor) for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
        names = [sys.executable, "python3", *versions, "python"]
    # ensurepip is what Debian leaves out of its python3 and puts into python3-venv.
    program = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for name in names:
        path = shutil.which(name) if name else None
        if path is None:
            continue
        try:
            answer = subprocess.check_output([path, "-c", program], stderr=subprocess.DEVNULL, universal_newlines=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        version = tuple(int(part) for part in answer.strip().split("."))
        if OLDEST <= version <= NEWEST:
            return path
    raise SetupError(ADVICE_PYTHON)


def require_space(folder, needed_gb=NEEDED_GB):
    """Raise SetupError if there is too little room on the disk for the environment."""
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < needed_gb:
        raise SetupError(
            "The book's environment needs about {} GB of disk and {:.1f} GB are free: make room, then run the command "
            "again.".format(needed_gb, free_gb)
        )


def explain_pip(log_text):
    """Return the sentence that says what to do about a failure of pip, from what pip said."""
    for pattern, advice in ADVICE_PIP:
        found = re.search(pattern, log_text)
        if found:
            return advice.format(
                python="{}.{}".format(*sys.version_info[:2]),
                machine="{} {}".format(os.uname().sysname, os.uname().machine),
                oldest="{}.{}".format(*OLDEST),
                newest="{}.{}".format(*NEWEST),
                **found.groupdict(),
            )
    return "pip could not install the packages: read the end of its log, mend what it names, then try again."


def wanted_state(root):
    """Return a hash of the files that say what the environment holds."""
    digest = hashlib.sha256()
    for name in ("constraints.txt", "pyproject.toml"):
        with open(os.path.join(root, name), "rb") as file:
            digest.update(file.read())
    # The library is installed as a link to this folder.
    digest.update(root.encode())
    return digest.hexdigest()


def venv_python(venv):
    """Return the Python of an environment."""
    return os.path.join(venv, "bin", "python")


def python_version(venv):
    """Return the version of an environment's Python as it was made, without starting it; "" if there is none."""
    try:
        with open(os.path.join(venv, "pyvenv.cfg")) as file:
            settings = dict(line.strip().split(" = ", 1) for line in file if " = " in line)
    except OSError:
        return ""
    # A link to a Python that has been uninstalled does not count.
    return settings.get("version", "") if os.path.exists(venv_python(venv)) else ""


def is_current(root, venv):
    """Say whether the environment is there and holds what is wanted."""
    try:
        with open(os.path.join(venv, "chainrule.json")) as file:
            stamp = json.load(file)
    except (OSError, ValueError):
        return False
    return stamp["state"] == wanted_state(root) and stamp["python"] == python_version(venv) != ""


class Progress(object):
    """One line that tells what pip does and for how long, drawn anew on a terminal and now and then in a log."""

    def __init__(self, total):
        """Start the clock; `total` is about how many packages there are."""
        self.total = total
        self.packages = set()
        self.doing = "starting"
        self.started = time.time()
        self.interactive = sys.stdout.isatty()
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._tick)
        self.thread.daemon = True
        self.thread.start()

    def read(self, line):
        """Take in one line of pip's output."""
        # A package is looked up ("Collecting name"), found as a file ("Processing name-1.0.whl"), or there already.
        what = r"\s*(?:Collecting |Requirement already satisfied: |Processing (?:\S*/)?)"
        found = re.match(what + r"([A-Za-z0-9._-]+?)(?=-\d|[^A-Za-z0-9._-]|$)", line)
        if found:
            self.packages.add(found.group(1).lower().replace("_", "-"))
            self.doing = "looking at " + found.group(1)
        found = re.match(r"\s*Downloading (\S+)( \([^)]*\))?", line)
        if found:
            self.doing = "downloading " + found.group(1).rsplit("/", 1)[-1].split("-")[0] + (found.group(2) or "")
        if line.startswith("Installing collected packages"):
            self.doing = "writing them to the disk"

    def _tick(self):
        while not self.stopped.wait(0.5 if self.interactive else 15):
            self._show()

    def _show(self):
        text = "Packages: {} of about {}, {:.0f} s, {}".format(
            min(len(self.packages), self.total), self.total, time.time() - self.started, self.doing
        )
        if self.interactive:
            width = shutil.get_terminal_size().columns - 1
            sys.stdout.write("\r" + text[:width].ljust(width))
        else:
            sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def stop(self):
        """End the line."""
        self.stopped.set()
        self.thread.join()
        if self.interactive:
            self._show()
            sys.stdout.write("\n")


def install(root, venv, log_path):
    """Install the pinned packages and the library, as a link to its sources, into an environment."""
    constraints = os.path.join(root, "constraints.txt")
    with open(constraints) as file:
        total = sum(1 for line in file if "==" in line)
    command = [venv_python(venv), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    # --no-compile: Python compiles what it imports, on all cores; pip would take half a minute for everything, on one.
    command += ["--progress-bar", "off", "--no-compile"]
    command += ["--constraint", constraints, "--editable", root + "[book,test,grading]"]
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    progress = Progress(total)
    lines = []
    try:
        with open(log_path, "w") as log:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, universal_newlines=True
            )
            try:
                for line in process.stdout:
                    log.write(line)
                    lines.append(line)
                    progress.read(line)
            except BaseException:
                process.kill()
                raise
            finally:
                process.wait()
    finally:
        progress.stop()
    if process.returncode:
        raise SetupError("{} (Whole log: {}.)".format(explain_pip("".join(lines)), log_path))


def make_environment(root=ROOT):
    """Make or renew the environment, if it is not what is wanted."""
    venv = os.path.join(root, ".venv")
    if is_current(root, venv):
        return
    log_folder = os.path.join(root, "_build", "log")
    try:
        os.makedirs(log_folder, exist_ok=True)
    except OSError as error:
        raise SetupError("This folder cannot be written to ({}): make it yours, then try again.".format(error))
    started = time.time()
    version = tuple(int(part) for part in python_version(venv).split(".")[:2] if part.isdigit())
    if not OLDEST <= version <= NEWEST:
        python = find_python()
        require_space(root)
        print("Making the environment in .venv with {}.".format(python))
        # --clear: a half-made or outdated environment is not worth mending.
        done = subprocess.Popen(
            [python, "-m", "venv", "--clear", venv],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
        output = done.communicate()[0]
        if done.returncode:
            log_path = os.path.join(log_folder, "venv.log")
            with open(log_path, "w") as log:
                log.write(output)
            raise SetupError(
                "{} could not make `.venv`: install its venv module (Debian, Ubuntu: `sudo apt-get install "
                "python3-venv`), then run the command again. (Whole log: {}.)".format(python, log_path)
            )
    print("Installing the pinned packages; the first time this takes a few minutes.")
    sys.stdout.flush()
    install(root, venv, os.path.join(log_folder, "pip.log"))
    # The first start compiles what every page imports, which must not count as a page's own time.
    if subprocess.call([venv_python(venv), "-c", "import chainrule.explore, chainrule.plots, torch"], cwd=root):
        raise SetupError(
            "The packages do not work together here (see above): remove `.venv` and run the command again."
        )
    seconds = time.time() - started
    stamp = {"state": wanted_state(root), "python": python_version(venv), "seconds": round(seconds, 1)}
    # Written last: an environment whose making was interrupted is made again.
    with open(os.path.join(venv, "chainrule.json"), "w") as file:
        json.dump(stamp, file)
    print("The environment is ready ({:.0f} s).".format(seconds))


def main():
    """Make the environment; end with one sentence if that fails."""
    try:
        make_environment()
    except SetupError as error:
        sys.stderr.write("{}\n".format(error))
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped; running the command again goes on from here.\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
