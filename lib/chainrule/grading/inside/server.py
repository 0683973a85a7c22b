"""A fork server with torch imported, and the warden that watches over one submission.

Three processes, from the trusted to the untrusted:

* the *server* imports numpy and torch once, then only waits for jobs: it never reads one, so nothing of a submission stays in it;
* a *warden*, forked for one job, reads it, watches its limits and reports what came back;
* the *student*, process 1 of its own process namespace (:mod:`confine`, :mod:`student`). Killing it kills everything it started.

Run as a script inside bubblewrap by :mod:`chainrule.grading.sandbox`, with the number of the socket that leads out as its argument.
"""

import base64
import contextlib
import json
import os
import resource
import select
import signal
import socket
import sys
import time

sys.path[:0] = ["/sandbox/inside", "/sandbox/site"]  # under -I and -S nothing else but the standard library is there

import inert
import student
from confine import confine, enter_namespaces
from wire import receive, send

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


def _private_bytes(pid: int) -> int:
    """Memory that the process shares with nobody: pages of torch that the fork shares do not count."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/smaps_rollup") as file:
        return 1024 * sum(int(line.split()[1]) for line in file if line.startswith(("Private_Dirty", "Swap:")))
    return 0


def guard(job: dict) -> dict:
    """Fork the student, collect at most so much of what it says, and stop it at its limits."""
    limits = job["limits"]
    with open("/proc/self/statm") as file:
        limits["mapped_bytes"] = int(file.read().split()[0]) * resource.getpagesize()
    result_read, result_write = os.pipe()
    printed_read, printed_write = os.pipe()
    ready_read, ready_write = os.pipe()
    leader = os.fork()
    if leader == 0:
        try:
            _become_student(job, limits, result_write, printed_write, ready_write)
        except BaseException as error:  # noqa: BLE001
            os.write(READY, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    os.close(result_write)
    os.close(printed_write)
    os.close(ready_write)
    said = os.read(ready_read, 1000)
    if said != b"1":
        raise RuntimeError(f"the walls could not be set up: {said.decode(errors='replace') or 'no word'}")
    channels = {result_read: bytearray(), printed_read: bytearray()}
    most = {result_read: limits["result_bytes"], printed_read: limits["output_bytes"]}
    deadline, stopped, next_look = time.monotonic() + limits["seconds"], None, 0.0
    open_channels = set(channels)
    while open_channels and stopped is None:
        ready, _, _ = select.select(list(open_channels), [], [], 0.02)
        for channel in ready:
            part = os.read(channel, 1 << 16)
            if not part:
                open_channels.discard(channel)
                continue
            room = most[channel] - len(channels[channel])
            channels[channel] += part[:room]
            if len(part) > room:
                stopped = "output" if channel == printed_read else "result"
        now = time.monotonic()
        if now > deadline:
            stopped = "time"
        elif now > next_look:
            next_look = now + 0.05
            processes = _descendants(leader)
            if sum(map(_private_bytes, processes)) > limits["memory_megabytes"] << 20:
                stopped = "memory"
            elif len(processes) > limits["processes"] + 8:
                stopped = "processes"
        if channels[result_read].endswith(b'{"done": true}'):
            break  # whatever it left running dies now
    for process in _descendants(leader)[1:2] + [leader]:  # process 1 of the namespace first: it takes all the others along
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    os.waitpid(leader, 0)
    return {
        "stopped": stopped,
        "result": base64.b64encode(channels[result_read]).decode(),
        "printed": channels[printed_read].decode(errors="replace"),
    }


def _become_student(job: dict, limits: dict, result_write: int, printed_write: int, ready_write: int) -> None:
    """Leave the warden's namespaces, fork process 1 of the new ones, confine it, and run the submission there."""
    os.setsid()
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0), os.dup2(printed_write, 1), os.dup2(printed_write, 2)
    result_write, ready_write = os.dup(result_write), os.dup(ready_write)  # above 4, so that neither is overwritten below
    os.dup2(result_write, RESULT), os.dup2(ready_write, READY)
    os.closerange(READY + 1, 4096)  # the socket that leads out is among them
    enter_namespaces()
    first = os.fork()
    if first:
        os.closerange(0, 4096)
        os.waitpid(first, 0)
        os._exit(0)
    confine(limits)
    os.write(READY, b"1")
    os.close(READY)
    student.run(job, os.fdopen(RESULT, "wb", closefd=False))
    os._exit(0)


def serve(outside: socket.socket) -> None:
    """Import what exercises use, block what would answer them, say that we are ready, and fork a warden for each job that arrives."""
    import numpy  # noqa: F401
    import torch

    inert.install()
    torch.set_num_threads(1)
    torch.library.Library("aten", "IMPL")
    torch.logsumexp(torch.randn(8, 8) @ torch.randn(8, 8), 0)  # what torch sets up at its first use, it sets up here, once
    student.block(receive(outside)["forbidden"])
    send(outside, {"ready": True})
    while True:
        select.select([outside], [], [])
        if not outside.recv(1, socket.MSG_PEEK):
            return  # the grader has gone
        warden = os.fork()
        if warden == 0:
            try:
                answer = guard(receive(outside))
            except BaseException as error:  # noqa: BLE001  the grader must learn of any failure of ours
                answer = {"broken": f"{type(error).__name__}: {error}"}
            send(outside, answer)
            os._exit(0)
        os.waitpid(warden, 0)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
