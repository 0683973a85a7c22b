"""Execute the pages: in parallel, once for each key, one kernel for each page.

The result of a page is `_build/executed/<docname>.ipynb`. It serves the site (through a jupyter-cache folder that is
filled from it), the downloadable notebooks and nbval. Nothing is inserted into the page: the values of the {py} roles
and the peak memory are asked for between the cells, as user expressions of a silent request.
"""

from __future__ import annotations

import ast
import asyncio
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from tqdm import tqdm

from tools.pages import ROOT, Page, executed_folder, find_pages

CELL_TIMEOUT = 300  # seconds
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# ru_maxrss counts kilobytes on Linux and bytes on macOS.
_PEAK_MB = (
    "__import__('resource').getrusage(__import__('resource').RUSAGE_SELF).ru_maxrss"
    " / (2**20 if __import__('sys').platform == 'darwin' else 2**10)"
)


class PageError(Exception):
    """A page could not be executed; the message names the page, the cell, its source and what went wrong."""


def execute_pages(root: Path = ROOT, *, jobs: int | None = None, force: bool = False, quiet: bool = False) -> list[str]:
    """Execute every page that has no fresh result, and bring the site's cache up to date.

    Args:
        root: the top of the book.
        jobs: how many kernels run at a time; one for each core if None.
        force: execute all pages, fresh or not.
        quiet: show no progress bar.

    Returns:
        The docnames of the pages that were executed.

    Raises:
        PageError: if pages failed; all others have been executed by then.
    """
    pages = find_pages(root)
    remove_stale(root, pages)
    due = [page for page in pages if force or not page.is_fresh]
    # The longest page first, so that no core waits for it at the end.
    due.sort(key=_last_seconds, reverse=True)
    failures: list[str] = []
    if due:
        jobs = jobs or int(os.environ.get("CHAINRULE_JOBS", 0)) or os.cpu_count() or 1
        with tqdm(total=len(due), desc="Executing pages", unit="page", disable=quiet) as bar:

            def done(page: Page, error: PageError | None) -> None:
                bar.set_postfix_str(page.docname, refresh=False)
                bar.update()
                if error is not None:
                    failures.append(str(error))

            asyncio.run(_execute_all(due, jobs, done))
    fill_cache(root, pages)
    if failures:
        raise PageError("\n\n".join(sorted(failures)))
    return sorted(page.docname for page in due)


async def _execute_all(pages: Iterable[Page], jobs: int, done: Callable[[Page, PageError | None], None]) -> None:
    slots = asyncio.Semaphore(jobs)

    async def one(page: Page) -> None:
        error = None
        async with slots:
            try:
                write_notebook(page.executed_path, await execute_page(page))
            except PageError as problem:
                error = problem
        done(page, error)

    await asyncio.gather(*(one(page) for page in pages))


async def execute_page(page: Page) -> NotebookNode:
    """Execute one page in a kernel of its own and return the notebook with its outputs."""
    notebook = nbformat.from_dict(page.notebook)
    values: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="chainrule-") as folder:
        async with _kernel(page.root, Path(folder)) as (manager, kernel):
            # An error is looked for after each cell, so that stderr and exceptions are reported alike.
            client = NotebookClient(notebook, km=manager, timeout=CELL_TIMEOUT)
            client.reset_execution_trackers()
            client.kc = kernel
            notebook.metadata["language_info"] = (await kernel.kernel_info(reply=True))["content"]["language_info"]
            started = time.perf_counter()
            for index, cell in enumerate(notebook.cells):
                await _execute_cell(page, client, cell, index)
                if page.expressions[index]:
                    values += await _evaluate(page, kernel, index)
            seconds = time.perf_counter() - started
            peak = await _ask(kernel, [_PEAK_MB])
            client.set_widgets_metadata()
    notebook.metadata["chainrule"] = {
        "key": page.key,
        "seconds": round(seconds, 2),
        "peak_mb": round(float(_text(peak[0]))),
        "values": values,
    }
    return notebook


@asynccontextmanager
async def _kernel(root: Path, folder: Path) -> Any:
    """Start a kernel in an empty folder; it runs in this very environment and imports this tree's library."""
    work = folder / "work"
    work.mkdir()
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "MPLBACKEND": "agg",
        "PYTHONPATH": str(root / "lib"),
        # A reader's own IPython profile and history must not change what a page shows.
        "IPYTHONDIR": str(folder / "ipython"),
    }
    # With no folders to search, "python3" is the interpreter that runs this, and not a kernel installed by the user.
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    # Sockets in the folder rather than TCP ports: nobody else can connect, and no two kernels race for a port.
    manager.transport = "ipc"
    manager.ip = str(folder / "kernel")
    manager.connection_file = str(folder / "connection.json")
    # What the kernel logs about itself (it reports its own shutdown as an error) is not the page's output.
    quiet = ["--Application.log_level=50", "--HistoryManager.enabled=False"]
    await manager.start_kernel(cwd=str(work), env=environment, extra_arguments=quiet)
    kernel = manager.client()
    try:
        kernel.start_channels()
        await kernel.wait_for_ready(timeout=120)
        yield manager, kernel
    finally:
        kernel.stop_channels()
        await manager.shutdown_kernel(now=True)


async def _execute_cell(page: Page, client: NotebookClient, cell: NotebookNode, index: int) -> None:
    try:
        await client.async_execute_cell(cell, index, execution_count=client.code_cells_executed + 1)
    except CellExecutionError as error:
        # nbclient's own message repeats the source; the outputs hold the bare traceback.
        tracebacks = ["\n".join(output.traceback) for output in cell.outputs if output.output_type == "error"]
        raise _failure(page, index, "raised an exception", "\n".join(tracebacks) or str(error)) from error
    except CellTimeoutError as error:
        raise _failure(page, index, f"ran for more than {CELL_TIMEOUT} s", "") from error
    except DeadKernelError as error:
        raise _failure(page, index, "ended its kernel (out of memory?)", str(error)) from error
    if cell.cell_type == "code":
        complaints = [output.text for output in cell.outputs if output.get("name") == "stderr"]
        if complaints:
            raise _failure(page, index, "wrote to stderr", "".join(complaints))
        # When each cell ran is of no use to a reader and would make every execution differ.
        cell.metadata.pop("execution", None)


async def _evaluate(page: Page, kernel: Any, index: int) -> list[dict[str, str]]:
    """Return the values of a Markdown cell's {py} expressions."""
    expressions = page.expressions[index]
    values = []
    for expression, answer in zip(
        expressions, await _ask(kernel, [f"str({expression})" for expression in expressions]), strict=True
    ):
        if answer["status"] != "ok":
            traceback = "\n".join(answer["traceback"]) or f"{answer['ename']}: {answer['evalue']}"
            raise _failure(page, index, f"has an expression that fails, {{py}}`{expression}`", traceback)
        values.append({"expr": expression, "value": ast.literal_eval(_text(answer))})
    return values


async def _ask(kernel: Any, expressions: list[str]) -> list[dict[str, Any]]:
    # A silent request leaves no trace: no count, no history, no `_`.
    reply = await kernel.execute(
        "",
        silent=True,
        store_history=False,
        user_expressions={str(number): expression for number, expression in enumerate(expressions)},
        reply=True,
        timeout=CELL_TIMEOUT,
    )
    answers = reply["content"]["user_expressions"]
    return [answers[str(number)] for number in range(len(expressions))]


def _text(answer: dict[str, Any]) -> str:
    return answer["data"]["text/plain"]


def _failure(page: Page, index: int, what: str, detail: str) -> PageError:
    cell = page.notebook.cells[index]
    code_cells = [number for number, other in enumerate(page.notebook.cells) if other.cell_type == "code"]
    if index in code_cells:
        name = f"code cell {code_cells.index(index) + 1}"
        source = cell.source
    else:
        name = f"the text after code cell {sum(number < index for number in code_cells)}"
        source = ""
    parts = [f"{page.docname}.md: {name} {what}."]
    if source:
        parts.append("\n".join(f"    {line}" for line in source.splitlines()))
    if detail:
        parts.append(_ANSI.sub("", detail).rstrip())
    return PageError("\n".join(parts))


def write_notebook(path: Path, notebook: NotebookNode) -> None:
    """Write a notebook so that a reader of the file sees either the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False) as file:
        try:
            nbformat.write(notebook, file)
            file.close()
            os.replace(file.name, path)
        except BaseException:
            file.close()
            os.unlink(file.name)
            raise


def remove_stale(root: Path, pages: Iterable[Page]) -> None:
    """Remove the results of pages that the book no longer has."""
    folder = executed_folder(root)
    wanted = {page.executed_path for page in pages}
    for path in folder.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _last_seconds(page: Page) -> float:
    """How long a page took when it was last executed; one never executed counts as long."""
    try:
        return nbformat.read(page.executed_path, as_version=4).metadata["chainrule"]["seconds"]
    except (OSError, KeyError, nbformat.reader.NotJSONError):
        return float("inf")


def fill_cache(root: Path, pages: Iterable[Page]) -> None:
    """Make the jupyter-cache folder that the site build reads hold exactly the fresh results."""
    folder = root / "_build" / ".jupyter_cache"
    stamp = folder / "keys.txt"
    fresh = [page for page in pages if page.is_fresh]
    keys = "".join(f"{page.docname} {page.key} {page.executed_path.stat().st_mtime_ns}\n" for page in fresh)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == keys:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cache = get_cache(folder)
    # Pages that share all their code cells share one record, which is what the build expects.
    for page in fresh:
        notebook = page.read_executed()
        seconds = notebook.metadata["chainrule"]["seconds"]
        bundle = CacheBundleIn(notebook, str(root / f"{page.docname}.md"), data={"execution_seconds": seconds})
        cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    stamp.write_text(keys, encoding="utf-8")


if __name__ == "__main__":
    sys.exit("Run tools/book.py execute instead.")
