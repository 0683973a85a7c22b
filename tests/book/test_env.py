"""The environment: made once, and each thing that can be missing is said in one sentence."""

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import browser, env
from tools.pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def is_one_sentence(text: str) -> bool:
    """Say whether a text is one line with one end; a remark in brackets may follow."""
    text = re.sub(r" \(Whole log: \S+\.\)$", "", text.strip())
    return "\n" not in text and text.endswith(".") and not re.search(r"[.!?] [A-Z]", text)


def program(folder: Path, name: str, body: str) -> Path:
    """Write a program for the shell."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


# Python


def test_it_runs_on_an_old_python_without_any_package() -> None:
    source = (ROOT / "tools" / "env.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 6))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert imported <= set(sys.stdlib_module_names)


def test_a_python_is_found_by_its_version_and_by_what_it_can_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "python3", "echo 3.9")
    program(tmp_path, "python3.14", "echo 3.15")  # too new for the pinned packages
    program(tmp_path, "python3.13", "exit 1")  # without ensurepip
    good = program(tmp_path, "python3.12", "echo 3.12")
    program(tmp_path, "python3.11", "echo 3.11")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "")
    assert env.find_python() == str(good)
    good.unlink()
    (tmp_path / "python3.11").unlink()
    with pytest.raises(env.SetupError) as caught:
        env.find_python()
    assert "Python 3.11 to 3.14" in str(caught.value)
    assert is_one_sentence(str(caught.value))


def test_make_without_any_python_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [shutil.which("make"), "-C", str(ROOT), "--no-print-directory", "environment", "PYTHON="],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "The book needs Python 3.11 to 3.14: install it" in done.stderr


# Disk, network and other failures of pip


def test_too_little_disk_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1_500_000_000))
    with pytest.raises(env.SetupError, match=r"about 4 GB of disk and 1\.5 GB are free") as caught:
        env.require_space(str(tmp_path))
    assert is_one_sentence(str(caught.value))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=5_000_000_000))
    env.require_space(str(tmp_path))


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        (
            "WARNING: Retrying after connection broken by 'NewConnectionError(...)'\n"
            "ERROR: No matching distribution found for torch==2.13.0",
            "cannot be reached",
        ),
        ("ERROR: No matching distribution found for torch==2.13.0", "no package torch==2.13.0 for this Python"),
        ("ERROR: Could not install packages: [Errno 13] Permission denied: 'x'", "cannot be written"),
        ("ERROR: something else", "read the end of its log"),
    ],
)
def test_what_pip_says_becomes_advice(said: str, advice: str) -> None:
    sentence = env.explain_pip(said)
    assert advice in sentence
    assert is_one_sentence(sentence)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A project with nothing in it."""
    root = tmp_path / "tiny"
    root.mkdir()
    (root / "constraints.txt").write_text("setuptools==84.2.1\n")
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "tiny"\nversion = "1"\n[project.optional-dependencies]\nbook = []\ntest = []\ngrading = []\n'
        "[tool.setuptools]\npy-modules = []\n"
    )
    return root


def run_env(root: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run tools/env.py on another project."""
    call = f"import sys, env; env.make_environment.__defaults__ = ({str(root)!r},); sys.exit(env.main())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tools"), **variables}
    return subprocess.run(
        [sys.executable, "-c", call], env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def test_without_a_network_one_sentence_names_the_log_and_nothing_counts_as_done(tiny: Path) -> None:
    done = run_env(
        tiny, PIP_CONFIG_FILE=os.devnull, PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_EXTRA_INDEX_URL="",
        PIP_FIND_LINKS="", PIP_RETRIES="1", PIP_NO_CACHE_DIR="1",
    )  # fmt: skip
    assert done.returncode == 1
    assert "package index cannot be reached" in done.stderr
    assert is_one_sentence(done.stderr)
    log = tiny / "_build" / "log" / "pip.log"
    assert str(log) in done.stderr
    assert "127.0.0.1" in log.read_text(encoding="utf-8")
    assert not env.is_current(str(tiny), str(tiny / ".venv"))


# Once made, it is not made again


def test_the_environment_is_made_again_only_when_something_changed(tiny: Path) -> None:
    venv = tiny / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()
    (venv / "pyvenv.cfg").write_text("home = x\nversion = 3.11.7\n")
    assert not env.is_current(str(tiny), str(venv))
    (venv / "chainrule.json").write_text(json.dumps({"state": env.wanted_state(str(tiny)), "python": "3.11.7"}))
    assert env.is_current(str(tiny), str(venv))
    # Then nothing at all is started.
    assert run_env(tiny, PATH="").stdout == ""

    (venv / "pyvenv.cfg").write_text("home = x\nversion = 3.12.1\n")
    assert not env.is_current(str(tiny), str(venv))
    (venv / "pyvenv.cfg").write_text("home = x\nversion = 3.11.7\n")
    (venv / "bin" / "python").unlink()
    assert not env.is_current(str(tiny), str(venv))
    (venv / "bin" / "python").touch()
    assert env.is_current(str(tiny), str(venv))
    with (tiny / "constraints.txt").open("a") as file:
        file.write("tqdm==4.70.1\n")
    assert not env.is_current(str(tiny), str(venv))


def test_progress_counts_each_package_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = env.Progress(total=4)
    for line in (
        "Collecting jupyter-book==1.0.4.post1 (from chainrule==0.1.0)\n",
        "  Downloading jupyter_book-1.0.4.post1-py3-none-any.whl (45 kB)\n",
        "Processing /some/where/scikit_learn-1.9.1-cp311-cp311-linux.whl (from chainrule)\n",
        "Requirement already satisfied: scikit-learn>=1.5 in /some/where\n",
        "Collecting MarkupSafe>=2.0 (from jinja2)\n",
    ):
        progress.read(line)
    assert progress.packages == {"jupyter-book", "scikit-learn", "markupsafe"}
    progress._show()
    progress.stop()
    assert re.search(r"Packages: 3 of about 4, \d+ s, looking at MarkupSafe", capsys.readouterr().out)


# What is pinned and what is not


def test_every_package_is_pinned_and_nothing_local_is_named() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", pin) for pin in pins)
    assert "torch==2.13.0" in pins
    pinned = {re.split("==", pin)[0].lower().replace("_", "-") for pin in pins}
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *extras["book"], *extras["test"], *extras["grading"]]
    assert {re.split(r"[<>=!~\[]", name)[0].lower() for name in wanted} <= pinned


def test_whatever_these_packages_need_is_pinned_at_the_version_that_is_installed() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line.split("==") for line in lines if "==" in line]
    pins = {canonicalize_name(name): version for name, version in pinned}
    extras = PROJECT["project"]["optional-dependencies"]
    named = (*PROJECT["project"]["dependencies"], *extras["book"], *extras["test"], *extras["grading"])
    waiting = [Requirement(text) for text in named]
    seen: dict[str, set[str]] = {}
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in seen and requirement.extras <= seen[name]:
            continue
        seen.setdefault(name, set()).update(requirement.extras)
        installed = importlib.metadata.distribution(name)
        version = installed.version.partition("+")[0]
        assert version == pins.get(name, version), f"{name} is not at its pinned version"
        for further in map(Requirement, installed.requires or []):
            conditions = [{"extra": extra} for extra in {"", *requirement.extras}]
            if further.marker is None or any(further.marker.evaluate(condition) for condition in conditions):
                waiting.append(further)
    # Newer Pythons and other systems need a few packages more or less than the one that the pins were made with.
    if sys.version_info[:2] == env.OLDEST and sys.platform == "linux":
        assert set(pins) == set(seen)


def test_the_library_alone_has_few_requirements_and_no_upper_bounds() -> None:
    wanted = PROJECT["project"]["dependencies"]
    assert len(wanted) <= 9
    assert all(re.fullmatch(r"[a-z-]+>=[0-9.]+", requirement) for requirement in wanted)


def test_the_repository_is_named_in_one_place() -> None:
    repository = PROJECT["project"]["urls"]["Repository"]
    folders = ("_ext", "chapters", "exercises", "lib", "solutions", "tools")
    texts = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md", ".yml")]
    texts += [ROOT / "_config.yml", ROOT / "Makefile", *(ROOT / ".github").rglob("*.yml")]
    assert not [str(path) for path in texts if repository in path.read_text(encoding="utf-8")]


# Workflows


def test_workflows_test_on_the_oldest_and_the_newest_python_by_the_same_command() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == ["{}.{}".format(*env.OLDEST), "{}.{}".format(*env.NEWEST)]
    assert job["steps"][-1]["run"] == ".ci/run"
    commands = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[1:]
    assert commands == ['cd "$(dirname "$0")/.." && exec make test']
    assert "{}.{}".format(*env.OLDEST) in PROJECT["project"]["requires-python"]


def test_the_wheel_is_where_the_publishing_workflow_expects_it() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8"))
    paths = [step["with"]["path"] for step in workflow["jobs"]["build"]["steps"] if "path" in step.get("with", {})]
    assert paths == ["_build/html", "_build/notebooks"]


# The browser


def test_without_a_browser_the_one_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "find_browser", lambda: None)
    monkeypatch.setattr(browser, "install_command", lambda: ["no-such-program"])
    with pytest.raises(browser.BrowserError, match=r"run `.*(apt-get|playwright) install .*chromium`") as caught:
        browser.ensure_browser()
    assert is_one_sentence(str(caught.value))


def test_a_chosen_browser_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHAINRULE_BROWSER", str(tmp_path / "mine"))
    assert browser.find_browser() == tmp_path / "mine"
    monkeypatch.delenv("CHAINRULE_BROWSER")
    program(tmp_path, "google-chrome", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser.find_browser() == tmp_path / "google-chrome"
