"""Files that people write and hand over, as somebody else would write them: settings, team files, plans, bodies."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from hostile.world import World, remove

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
)

YAML: dict[str, Callable[[World], str]] = {
    "a bomb": lambda world: BOMB,
    "a deep list": lambda world: "a: " + "[" * 50_000,
    "a deep map": lambda world: "{a: " * 50_000,
    "deep blocks": lambda world: "".join(" " * n + "- \n" for n in range(3000)),
    "a program": lambda world: f"heartbeat: !!python/object/apply:os.system ['{world.evil}']\n",
    "a module": lambda world: "!!python/module:click\n",
    "a loop": lambda world: "&a [*a]\n",
    "a merge of itself": lambda world: "a: &a\n  <<: *a\n",
    "a megabyte": lambda world: "heartbeat: " + "9" * (1 << 20),
    "many keys": lambda world: "".join(f"k{n}: 1\n" for n in range(60_000)),
    "many documents": lambda world: "---\n" * 100_000,
    "a sexagesimal": lambda world: "heartbeat: " + "1:" * 60_000 + "1\n",
    "a long number": lambda world: "send_rate: " + "9" * 5000 + "\n",
    "rubbish": lambda world: "\x01\x02\ufffe\n",
    "escapes": lambda world: '"\\e]0;x\\a": "\\u202e"\n',
    "tabs": lambda world: "\t- x\n",
}

REFS = (
    *("refs/heads/main", "refs/replace/" + "0" * 40, "refs/tags/v1", "refs/mbox/../heads/main", "refs/mbox/a b", "HEAD"),
    *("--upload-pack=x", "refs/notes/commits", "refs/stash", "refs/bisect/bad", "refs/rewritten/x", "refs/worktree/x"),
    *("refs/mbox/" + "x" * 300, "refs/mbox/\u202e", "../../../x", "refs/remotes/origin/main", "main-worktree/HEAD"),
)


def ref(name: str, world: World) -> None:
    """An audit ref of somebody's choice."""
    (world.root / ".mailbox/config.yaml").write_text(f"audit:\n  ref: {name!r}\n  every: 1\n", encoding="utf-8")


SETTINGS = {
    "lock_timeout": ("0s", "99999d", "1e300s", "-1s"), "heartbeat": ("0.001s", "99999999d"), "lease": ("0s",),
    "segment_size": ("1", "99999 GiB"), "send_rate": ("-1", "9" * 400), "network_fs": ("true",), "durability": ("fast",),
    "watchdog_scan": ("0.0001s",), "renew_every": ("0.0001s",), "dead_after": ("0.0001s",),
}  # fmt: skip


def setting(name: str, value: str, world: World) -> None:
    """One setting at its limits."""
    (world.root / ".mailbox/config.yaml").write_text(f"{name}: {value}\n")


TEAMS: dict[str, Callable[[World], str]] = {
    **YAML,
    "a program not typed": lambda world: "team: crew\nmembers:\n  - {name: hand, host: evil}\n",
    "a file far away": lambda world: f'members:\n  - {{name: hand, command: [sleep, "1"], prompt: "@{world.keys}"}}\n',
    "a file above": lambda world: 'members:\n  - {name: hand, command: [sleep, "1"], prompt: "@../home/.ssh/authorized_keys"}\n',
    "a device as prompt": lambda world: 'members:\n  - {name: hand, command: [sleep, "1"], prompt: "@/dev/zero"}\n',
    "a pipe as prompt": lambda world: 'members:\n  - {name: hand, command: [sleep, "1"], prompt: "@pipe"}\n',
    "a tree outside": lambda world: 'members:\n  - {name: hand, command: [sleep, "1"], worktree: "../../x"}\n',
    "a tree that is an option": lambda world: 'members:\n  - {name: hand, command: [sleep, "1"], worktree: "--exec=x"}\n',
    "too many": lambda world: 'members:\n  - {role: worker, count: 99999999999, command: [sleep, "1"]}\n',
    "a ring": lambda world: 'members:\n  - {name: a, reports_to: b, command: ["true"]}\n  - {name: b, reports_to: a, '
                            'command: ["true"]}\n',
    "a name like a format": lambda world: f'team: "#({world.evil})"\nmembers:\n  - {{name: hand, command: [sleep, "1"]}}\n',
}  # fmt: skip

PLANS: dict[str, Callable[[World], str]] = {
    "a deep list": lambda world: "[" * 200_000,
    "a deep object": lambda world: '{"tasks":' * 50_000,
    "a long number": lambda world: '{"tasks": [{"title": "x", "priority": ' + "9" * 5000 + "}]}",
    "infinity": lambda world: '{"tasks": [{"title": "x", "payload": 1e999}]}',
    "half characters": lambda world: '{"tasks": [{"title": "\\ud800"}]}',
    "lines": lambda world: '{"title": "x"}\n' * 30_000,
    "paths outside": lambda world: '{"tasks": [{"title": "x", "touched_paths": ["../../x", "/etc/passwd"]}]}',
    "an id like a path": lambda world: '{"tasks": [{"id": "../../x", "title": "x"}]}',
    "an id like a command": lambda world: f'{{"tasks": [{{"id": "t9;{world.evil};#", "title": "x"}}]}}',
    "a ring": lambda world: '{"tasks": [{"id": "a", "title": "a", "depends_on": ["a"]}]}',
    "stars": lambda world: '{"tasks": [{"title": "x", "touched_paths": ["' + '","'.join(["{*a*b,*c*d}" * 8] * 200) + '"]}]}',
    "braces": lambda world: '{"tasks": [{"title": "x", "touched_paths": ["' + "{a,b}" * 60 + '"]}]}',
    "twice": lambda world: '{"tasks": [], "tasks": []}',
    "a bomb": lambda world: BOMB,
    "zeros": lambda world: "\0" * 1_000_000,
}


def write(path: str, text: Callable[[World], str], world: World) -> None:
    """``text`` in the file at ``path``."""
    place = world.root / path
    remove(place)
    place.write_bytes(text(world).encode("utf-8", "surrogatepass"))
    if "pipe" in place.read_text(errors="replace"):
        os.mkfifo(world.root / "pipe")


ENTRIES = {
    **{f"config.yaml holds {what}": partial(write, ".mailbox/config.yaml", text) for what, text in YAML.items()},
    **{f"hosts.yaml holds {what}": partial(write, ".mailbox/hosts.yaml", text) for what, text in YAML.items()},
    "hosts.yaml names a program": partial(
        write, ".mailbox/hosts.yaml",
        lambda world: f"claude: {{command: [{', '.join(world.evil.split())}]}}\nevil: {{command: [{world.evil.split()[0]}]}}\n"),
    **{f"the audit ref is {name[:40]!r}": partial(ref, name) for name in REFS},
    **{f"{name} is {value[:20]}": partial(setting, name, value) for name, values in SETTINGS.items() for value in values},
    **{f"the team file holds {what}": partial(write, "team.yaml", text) for what, text in TEAMS.items()},
    **{f"the plan holds {what}": partial(write, "plan.json", text) for what, text in PLANS.items()},
    "the note is zeros": partial(write, "note.txt", lambda world: "\0" * 20_000_000),
    "the note is for terminals": partial(write, "note.txt", lambda world: "\x1b[2J\u202e\r\n" * 1000),
    "the note is no text": partial(write, "note.txt", lambda world: "\ud800"),
}  # fmt: skip
