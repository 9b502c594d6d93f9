"""The ``scripted`` host: a process that answers as a scenario says, so that kills, leases and quotas are real without a model.

Run by its path with the answer's file as its one argument: it waits, writes the files it is told to in the folder it stands in,
and leaves its answer as every ``command`` host does (`command`).
"""

import json
import os
import signal
import sys
import time
from typing import Any

source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def play(answer: dict[str, Any]) -> int:
    """Do what an answer says; the exit status."""
    from mbox.system.disk import Disk

    disk = Disk(private=False)
    time.sleep(answer.get("seconds", 0))
    for path, text in answer.get("write", {}).items():
        if os.path.dirname(path):
            disk.folders(os.path.dirname(path))
        disk.replace(path, text.encode())
    if "text" in answer:
        sys.stdout.write(answer["text"])
    leaves = {"MBOX_RESULT": answer.get("output"), "MBOX_USAGE": answer.get("usage")}
    if answer.get("fail") == "killed":
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    if answer.get("fail"):
        leaves = {"MBOX_FAILURE": {"kind": answer["fail"], "detail": "as the scenario says", "reset": answer.get("reset")}}
    for name, value in leaves.items():
        if value is not None:
            disk.replace(os.environ[name], json.dumps(value).encode())
    return int(answer.get("exit", 0))


if __name__ == "__main__":
    sys.path.insert(0, source)
    with open(sys.argv[1], encoding="utf-8") as file:
        told = json.load(file)
    sys.exit(play(told))
