"""Keeps one sandbox for the tests, as whatever user it is started by: a job a line in, an outcome a line out, all in
JSON.
"""

import base64
import json
import sys

from chainrule.grading.inside import wire
from chainrule.grading.sandbox import Limits, Sandbox, SandboxUnavailable


def main() -> None:
    """Serve jobs until the input ends; what the student's process wrote is handed on for the tests to split."""
    streams, split = [], wire.unpack
    wire.unpack = lambda stream: streams.append(stream) or split(stream)
    try:
        room = Sandbox(0, frozenset(json.loads(sys.stdin.readline())))
        room.start()
    except SandboxUnavailable as error:
        print(json.dumps({"unavailable": str(error)}), flush=True)
        return
    print(json.dumps({"ready": True}), flush=True)
    with room:
        for line in sys.stdin:
            job = json.loads(line)
            streams[:] = [b""]
            try:
                outcome = room.run(job["cells"], job["exercises"], seed=job["seed"], limits=Limits(**job["limits"]))
            except SandboxUnavailable as error:
                print(json.dumps({"unavailable": str(error)}), flush=True)
            else:
                stream = base64.b64encode(streams[-1]).decode()
                print(
                    json.dumps({"stream": stream, "printed": outcome.printed, "stopped": outcome.stopped}), flush=True
                )


if __name__ == "__main__":
    main()
