"""Seed faults into a module of the library and count those its tests find: `make mutants MODULE=information`.

Each mutant is the module with one small change (a sign flipped, a bound moved, a word of a message altered). The tests
of the module, tests/lib/test_<module>.py, should fail for it. Those that survive are listed with their change; the
file tests/lib/survivors.yml says why the known ones change nothing that a test could or should see. The exit status is
0 where at least 85 percent are found.

Runs mutmut on a copy in a temporary folder, so the working tree stays as it is.
"""

import argparse
import difflib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "lib" / "chainrule"
SURVIVORS = ROOT / "tests" / "lib" / "survivors.yml"
THRESHOLD = 85  # percent
FOUND = {"killed", "timeout", "segfault", "suspicious"}

# mutmut expects the package under src/. The annotations are checked as in every test run (tests/conftest.py); warnings
# are errors as there. A failing example need not be shrunk, and fewer examples are enough to find a fault.
CONFIGURATION = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = ["src/chainrule/{module}.py"]
pytest_add_cli_args_test_selection = ["tests/lib/test_{test}.py"]
pytest_add_cli_args = ["-p", "no:cacheprovider"]
timeout_constant = 2.0
timeout_multiplier = 8.0

[tool.pytest.ini_options]
addopts = "--import-mode=importlib"
filterwarnings = ["error"]
"""


def copy_tree(folder: Path, module: str) -> None:
    """Lay out the library, the module's tests and a configuration for mutmut in an empty folder."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(LIBRARY, folder / "src" / "chainrule", ignore=ignore)
    shutil.copytree(ROOT / "tests" / "lib", folder / "tests" / "lib", ignore=ignore)
    for name in ("__init__.py", "conftest.py"):
        shutil.copy(ROOT / "tests" / name, folder / "tests" / name)
    text = CONFIGURATION.format(module=module, test=module.lstrip("_"))
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")


def run_mutmut(folder: Path, jobs: int) -> None:
    """Make the mutants and run the tests on each; mutmut shows its progress."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "CI")}
    environment |= {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "HYPOTHESIS_PROFILE": "mutants",
        "PYTHONHASHSEED": "0",
    }
    environment |= {"CHAINRULE_DEVICES": "cpu", "TERM": os.environ.get("TERM", "dumb")}
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(jobs)]
    result = subprocess.run(command, cwd=folder, env=environment, check=False)
    if result.returncode:
        raise SystemExit("mutmut stopped: its message above says why (usually the tests fail without any mutant)")


def read_results(folder: Path, module: str) -> dict[str, str]:
    """Status of each mutant by its name."""
    os.chdir(folder)
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.stats import status_by_exit_code

    data = SourceFileMutationData(path=Path(f"src/chainrule/{module}.py"))
    data.load()
    return {name: status_by_exit_code[code] for name, code in data.exit_code_by_key.items()}


def read_change(module: str, name: str) -> tuple[str, str]:
    """The function that a mutant changes and the changed lines: the same while the numbers of the mutants shift."""
    import libcst
    from mutmut.mutation.diff_apply import read_functions_from_index
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    before, after = read_functions_from_index(name, Path(f"src/chainrule/{module}.py"))
    lines = [libcst.Module(body=[function]).code.splitlines() for function in (before, after)]
    changed = [line for line in difflib.ndiff(*lines) if line[:2] in ("- ", "+ ")]
    function, _ = orig_function_and_class_names_from_key(name)
    return function, "\n".join(f"{line[0]} {line[2:].strip()}" for line in changed)


def explanations(module: str) -> dict[tuple[str, str], str]:
    """Why known survivors of a module are none of the tests' business, by function and change."""
    entries = yaml.safe_load(SURVIVORS.read_text(encoding="utf-8")) if SURVIVORS.exists() else {}
    return {(entry["function"], entry["change"].strip()): entry["why"] for entry in (entries or {}).get(module) or []}


def score(module: str, jobs: int) -> float:
    """Run one module and print what survived; return the percentage found."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="chainrule-mutants-") as name:
        folder = Path(name).resolve()
        copy_tree(folder, module)
        print(f"{module}: making mutants and running tests/lib/test_{module.lstrip('_')}.py on each", flush=True)
        run_mutmut(folder, jobs)
        results = read_results(folder, module)
        survivors = {name: read_change(module, name) for name, status in results.items() if status not in FOUND}
        os.chdir(ROOT)
    if not results:
        raise SystemExit(f"expected mutants of {module}, got none")
    why = explanations(module)
    for name, change in survivors.items():
        print(f"\n{results[name]} in {change[0]} ({name.rsplit('_', 1)[-1]}):\n{change[1]}")
        print(
            f"explained: {why[change]}"
            if change in why
            else "NOT EXPLAINED: kill it with a test, or say why it is equal"
        )
    for function, change in why.keys() - set(survivors.values()):
        print(f"\nexplained in survivors.yml, but no longer a survivor, in {function}:\n{change}")
    percent = 100 * (1 - len(survivors) / len(results))
    unexplained = sum(change not in why for change in survivors.values())
    print(
        f"\n{module}: {len(results) - len(survivors)} of {len(results)} mutants found, {percent:.1f} percent; "
        f"{len(survivors)} survived, {unexplained} of them not explained; {time.perf_counter() - start:.0f} s\n",
        flush=True,
    )
    return percent


def mutable_modules() -> list[str]:
    """Modules of the library that have a test file of their own."""
    names = sorted(path.stem for path in LIBRARY.glob("*.py"))
    return [name for name in names if (ROOT / "tests" / "lib" / f"test_{name.lstrip('_')}.py").exists()]


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Seed faults into a module of the library and count those its tests find."
    )
    parser.add_argument("modules", nargs="*", help="names without .py; `all` for every module that has tests")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, help="processes at a time")
    arguments = parser.parse_args()
    known = mutable_modules()
    modules = known if arguments.modules == ["all"] else arguments.modules
    unknown = [name for name in modules if name not in known]
    if not modules or unknown:
        what = f"got {', '.join(unknown)}" if unknown else "got none"
        print(f"Name a module, as in `make mutants MODULE=information`; {what}; known are {', '.join(known)}.")
        return 2
    scores = {module: score(module, arguments.jobs) for module in modules}
    low = [f"{module} ({percent:.1f})" for module, percent in scores.items() if percent < THRESHOLD]
    if low:
        print(f"Below {THRESHOLD} percent: {', '.join(low)}. A test that kills a survivor above raises the score.")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
