"""A fork server with torch imported, and the warden that watches over one submission.

Three processes, from the trusted to the untrusted:

* the *server* imports numpy and torch once, then only waits for jobs: it never reads one, so nothing of a submission
  stays in it;
* a *warden*, forked for one job, reads it, watches its limits and reports what came back;
* the *student*, process 1 of its own process namespace (:mod:`confine`, :mod:`student`). Killing it kills everything it
  started.

Run as a script inside bubblewrap by :mod:`chainrule.grading.sandbox`, with the number of the socket that leads out as
its argument.
"""

import base64
import contextlib
import ctypes
import gc
import os
import resource
import select
import signal
import socket
import sys
import time

# Under -P, -s and -S nothing else but the standard library is there.
sys.path[:0] = ["/sandbox/inside", "/sandbox/site"]

import inert  # noqa: E402
import student  # noqa: E402
from confine import confine, enter_namespaces, libc  # noqa: E402
from wire import decode, encode, receive, send  # noqa: E402

RESULT = 3  # the file descriptor on which the student's process answers
READY = 4  # the one on which it says, before any code of the student runs, that all walls stand


def _descendants(pid: int) -> list[int]:
    """All living processes below `pid`, itself included, as the warden sees them."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat") as file:
                parents[int(entry)] = int(file.read().rpartition(")")[2].split()[1])
    below, fresh = [pid], [pid]
    while fresh:
        fresh = [child for child, parent in parents.items() if parent in fresh]
        below += fresh
    return below


def _kilobytes(pid: int, *fields: str) -> int:
    """The sum of some fields of a process's memory map; 0 for a process that has ended."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith(fields))
    return 0


def _memory(processes: list[int], torch_bytes: int, enough: int) -> int:
    """Bytes that the student's processes take beside what the fork gave them of torch.

    What several processes share counts in parts that sum to the whole, so that nothing is hidden by sharing it. The map
    of a process takes a while to read; where even the whole of everything is below `enough`, that is the answer.
    """
    resident = 0
    for pid in processes:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/statm") as file:
            resident += int(file.read().split()[1]) * resource.getpagesize()
    if resident <= enough:
        return resident
    fields = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")
    taken = 1024 * sum(_kilobytes(pid, *fields) for pid in processes)
    share = len(processes) / (len(processes) + 2)  # this process and the server share those pages too
    return taken - int(torch_bytes * share)


def guard(job: dict, hidden: list[str]) -> dict:
    """Fork the student, collect at most so much of what it says, and stop it at its limits."""
    limits = job["limits"]
    with open("/proc/self/statm") as file:
        mapped, resident, shared = (int(pages) * resource.getpagesize() for pages in file.read().split()[:3])
    limits["mapped_bytes"] = mapped
    result_read, result_write = os.pipe()
    printed_read, printed_write = os.pipe()
    ready_read, ready_write = os.pipe()
    enter_namespaces()  # we stay where we are among the processes; our next child is process 1 of a new world
    first = os.fork()
    if first == 0:
        try:
            _become_student(job, limits, hidden, result_write, printed_write, ready_write)
        except BaseException as error:
            with contextlib.suppress(OSError):  # closed once the walls stand
                os.write(READY, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(1)
    os.close(result_write)
    os.close(printed_write)
    os.close(ready_write)
    said = os.read(ready_read, 1000)
    if said != b"1":
        raise RuntimeError(f"the walls could not be set up: {said.decode(errors='replace') or 'no word'}")
    channels = {result_read: bytearray(), printed_read: bytearray()}
    most = {result_read: limits["result_bytes"], printed_read: limits["output_bytes"]}
    names = {result_read: "result", printed_read: "output"}

    def collect(channel: int) -> str | None:
        part = os.read(channel, 1 << 16)
        if not part:
            open_channels.discard(channel)
        room = most[channel] - len(channels[channel])
        channels[channel] += part[:room]
        return names[channel] if len(part) > room else None

    deadline, stopped, next_look = time.monotonic() + limits["seconds"], None, time.monotonic() + 0.05
    open_channels = set(channels)
    while open_channels and stopped is None:
        ready, _, _ = select.select(list(open_channels), [], [], 0.05)
        for channel in ready:
            stopped = collect(channel) or stopped
        now = time.monotonic()
        if channels[result_read].endswith(b'{"done": true}'):
            break  # whatever it left running dies now
        if now > deadline:
            stopped = "time"
        elif now > next_look:
            next_look = now + 0.05
            processes = _descendants(first)
            bound = limits["memory_megabytes"] << 20
            if _memory(processes, resident - shared, bound) > bound:
                stopped = "memory"
            elif len(processes) > limits["processes"] + 8:
                stopped = "processes"
    with contextlib.suppress(ProcessLookupError):
        os.kill(first, signal.SIGKILL)  # as process 1 of its namespace it takes all the others along
    os.waitpid(first, 0)
    while open_channels and stopped is None:  # what was said before the end, and not read yet; nobody writes any more
        ready, _, _ = select.select(list(open_channels), [], [], 5)
        for channel in ready:
            stopped = collect(channel)
        if not ready:
            raise RuntimeError("something of the submission outlived its namespace")
    return {
        "stopped": stopped,
        "result": base64.b64encode(channels[result_read]).decode(),
        "printed": channels[printed_read].decode(errors="replace"),
    }


def _become_student(
    job: dict, limits: dict, hidden: list[str], result_write: int, printed_write: int, ready_write: int
) -> None:
    """As process 1 of the new namespaces: keep four channels, give all powers up, and run the submission."""
    os.setsid()
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0), os.dup2(printed_write, 1), os.dup2(printed_write, 2)
    # Above 4, so that neither is overwritten below.
    result_write, ready_write = os.dup(result_write), os.dup(ready_write)
    os.dup2(result_write, RESULT), os.dup2(ready_write, READY)
    os.closerange(READY + 1, 4096)  # the socket that leads out is among them
    confine(limits, hidden)
    os.write(READY, b"1")
    os.close(READY)
    student.run(job, os.fdopen(RESULT, "wb", closefd=False))
    os._exit(0)


def _warm_up() -> None:
    """Do once, before any fork, what Python and torch set up at its first use: modules, tables, caches.

    Nothing here may start a thread, which no fork takes along: no derivatives, that is.
    """
    import random

    import numpy
    import torch

    student.seed_generators(0)
    random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    x = decode(encode(torch.randn(8, 8, dtype=torch.float64)))
    for y in (x, x.float()):
        y = torch.logsumexp(y @ y, 0).exp().log().clamp(min=0).softmax(-1)
        y = torch.special.xlogy(y, y).sum(-1) + torch.where(y > 0, y, 0).mean()
        encode((float(y.max()), y.tolist(), y.numpy(), "text", int(y.argmax())))
    exec(compile("from math import log\ndef f(x):\n    return [log(1 + x)]\nf(1)", "<cell>", "exec"), {})


def _collapse_memory() -> None:
    """Put what torch allocated into large pages, where the kernel can: a fork then copies a tenth of the page table."""
    size, collapse = 2 << 20, 25  # of a large page on x86-64 and aarch64; MADV_COLLAPSE
    with open("/proc/self/maps") as file:
        mappings = [line.split() for line in file]
    for bounds, access, _, _, inode, *_ in mappings:
        if access == "rw-p" and inode == "0":
            start, end = (int(bound, 16) for bound in bounds.split("-"))
            first, last = -(-start // size) * size, end // size * size
            if first < last:  # a kernel that cannot says so, and all goes on in small pages
                libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), collapse)


def serve(outside: socket.socket) -> None:
    """Import what exercises use, block what would answer them, and fork a warden for each job that arrives."""
    import torch

    inert.install()
    torch.set_num_threads(1)
    _warm_up()
    hidden = student.block(receive(outside)["forbidden"])
    gc.freeze()  # a collection in a forked process would touch, and so copy, every page that holds an object
    _collapse_memory()
    send(outside, {"ready": True})
    while True:
        select.select([outside], [], [])
        if not outside.recv(1, socket.MSG_PEEK):
            return  # the grader has gone
        warden = os.fork()
        if warden == 0:
            try:
                answer = guard(receive(outside), hidden)
            except BaseException as error:
                answer = {"broken": f"{type(error).__name__}: {error}"}
            send(outside, answer)
            os._exit(0)
        if os.waitpid(warden, 0)[1] != 0:
            return  # it was killed, by someone's hand or for want of memory: the grader starts a new room


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
