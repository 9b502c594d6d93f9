"""The store that every entry starts from: something at each place of the format, made by the commands themselves."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from hostile.world import World

TEAM = """\
team: crew
members:
  - {name: boss, role: orchestrator, command: [sleep, "1"]}
  - {name: hand, command: [sleep, "1"], respawn: {times: 2}}
"""

PLAN = {"tasks": [{"id": "one", "title": "One"}, {"id": "two", "title": "Two", "depends_on": ["one"]}]}

FLOW = """\
version: 1
name: flow
steps:
  - {id: look, wait: 0.01s}
"""

ASKS = """\
version: 1
name: asks
steps:
  - {id: agree, ask: "go on?", choices: ["yes", "no"]}
"""

CONFIG = "heartbeat: 1s\nsend_rate: 0\n"

SETUP = """\
mbox init
mbox agent add ann --role orchestrator
mbox agent add bob --can python
mbox agent add boss --role orchestrator
mbox agent add hand
mbox agent add gone
mbox send gone --as ann --body lost
mbox send bob --as ann --needs-ack --subject one --body needle
mbox send bob --as ann --needs-ack --type question --body two
mbox send bob --as ann --body three
mbox read --as bob --next
mbox read --as bob --next
mbox ack m8 --as bob
mbox send ann --as bob --body four
mbox agent beat --as ann
task add First --id t-one --stage impl --path src/** --label x
task add Second --id t-two --depends-on t-one
task add Third --id t-three --path docs/*.md
task add Fourth --id t-four
task add Fifth --id t-five
task claim t-one --as bob --start
task note t-one well --as bob
task claim t-three --as ann
task submit t-three --as ann
task review t-three --as bob
task claim t-four --as ann
task fail t-four --reason broken --as ann
reserve add lib/** --as ann --shared
reserve add data/*.csv --as bob
mbox agent retire gone
mbox search needle
mbox audit commit
task cancel t-five
workflow run flow.yaml --id done --quiet
workflow run asks.yaml --id asks --unattended --quiet
"""

ENDS = {"asks": 11}
"""Exit statuses of lines with that word in them, where it is not 0."""


def load_all() -> None:
    """Have every module of the toolkit loaded, so that a fork does not load it again."""
    import mbox

    for module in pkgutil.walk_packages(mbox.__path__, "mbox."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def build(world: World, judge: Callable[[World, dict[str, Any]], dict[str, Any]]) -> None:
    """Make the template of ``world``; AssertionError where a command of its own does something wrong."""
    root = world.root
    for path in ("src", "docs"):
        (root / path).mkdir(parents=True)
    (root / "src/a.py").write_text("print(1)\n")
    (root / "docs/b.md").write_text("# b\n")
    (root / "team.yaml").write_text(TEAM)
    (root / "plan.json").write_text(json.dumps(PLAN))
    (root / "note.txt").write_text("a note\n")
    (root / "flow.yaml").write_text(FLOW)
    (root / "asks.yaml").write_text(ASKS)
    for words in (["init", "-q", "-b", "main", "--template="], ["add", "."], ["commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", "-c", "user.name=v", "-c", "user.email=v@x", *words], cwd=root, check=True)
    subprocess.run(["git", "config", "user.name", "Vic"], cwd=root, check=True)
    for line in SETUP.splitlines():
        done = judge(world, {"words": line.split()})
        wanted = next((status for word, status in ENDS.items() if word in line.split()), 0)
        assert done["status"] == wanted and not done["wrong"], (line, done)
        if line == "mbox init":
            (root / ".mailbox/config.yaml").write_text(CONFIG)
    _call_together(root)
    subprocess.run(["git", "repack", "-adq"], cwd=root, check=True)
    for path, text in {
        ".mailbox/status/ann.json": '{"schema": 1, "agent": "ann", "state": "idle"}',
        ".mailbox/locks/web": "", ".mailbox/locks/@watchdog": "", ".mailbox/cache/watchdog.json": "{}",
        ".mailbox/cache/waits/bob@1.json": "{}", ".mailbox/hosts.yaml": "", ".mailbox/aside/x": "x",
        ".mailbox/cache/logs/hand.log": "x",
    }.items():  # fmt: skip
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
    root.rename(world.template)


def _call_together(root: Path) -> None:
    """Put a team in the journal that is up, without starting anybody."""
    from mbox.format import documents, places
    from mbox.opening import open_store
    from mbox.store.store import Actor, Transaction

    members = yaml.safe_load(TEAM)["members"]

    def decide(tx: Transaction) -> None:
        doc = documents.new("team", team="crew", members=members, session="mbox-crew", orchestrator="boss",
                            created_at=tx.now, file=str(root / "team.yaml"))  # fmt: skip
        tx.put(doc, places.team("crew"))
        tx.record("team.up", ["crew"])

    store = open_store(str(root), str(root))
    store.transact(decide, Actor("user:vic"))
    store.close()


def names(template: Path) -> dict[str, list[str]]:
    """What there is of each kind, as values of the command line are kinds."""
    found = {
        "agent": ".mailbox/agents/*.json", "message": ".mailbox/outbox/*/*.json", "team": ".mailbox/team/*.json",
        "reservation": ".mailbox/reservations/*.json", "task": ".tasks/*.json",
        "run": ".mailbox/runs/*",
    }  # fmt: skip
    return {kind: sorted({path.stem for path in template.glob(pattern)}) for kind, pattern in found.items()}
