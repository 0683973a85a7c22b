"""Keeps one sandbox for the tests, as whatever user it is started by: a job a line in, an outcome a line out, all in JSON."""

import json
import sys
from dataclasses import asdict

from chainrule.grading.sandbox import Limits, Sandbox, SandboxUnavailable


def main() -> None:
    """Serve jobs until the input ends."""
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
            try:
                outcome = room.run(job["cells"], job["exercises"], seed=job["seed"], limits=Limits(**job["limits"]))
            except SandboxUnavailable as error:
                print(json.dumps({"unavailable": str(error)}), flush=True)
            else:
                print(json.dumps(asdict(outcome)), flush=True)


if __name__ == "__main__":
    main()
