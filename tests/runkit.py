"""Runs of workflows for the tests: a git repository with a store in it, the installed commands, what a run came to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conftest import CHECKOUT, Run
from teamkit import end_all

SHIPPED = sorted(path for path in (CHECKOUT / "workflows").glob("*.yaml") if not path.name.endswith(".scenario.yaml"))
"""Every workflow that ships, and the tour."""

CONFIG = """
heartbeat: 0.3s
dead_after: 3s
watchdog_scan: 0.5s
stop_grace: 0.5s
"""


class Place:
    """A repository with a store, where workflows are run by the installed commands."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.run, self.folder = run, folder
        self.env: dict[str, str | None] = {}
        """What every command here finds in its environment."""
        self.call("mbox", "init")
        (folder / ".mailbox/config.yaml").write_text(CONFIG, encoding="utf-8")

    def call(self, *words: str | Path, fine: int = 0, env: Mapping[str, str | None] | None = None,
             timeout: float = 120) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a command here, which exits with ``fine``."""
        done = self.run(*words, cwd=self.folder, env={**self.env, **(env or {})}, timeout=timeout)
        assert done.returncode == fine, f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def json(self, *words: str | Path, fine: int = 0, env: Mapping[str, str | None] | None = None) -> Any:
        """What a command prints, as JSON."""
        return json.loads(self.call(*words, "-o", "json", fine=fine, env=env).stdout)

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """A file of the repository."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    def program(self, name: str, text: str) -> Path:
        """A program of the repository, a bash script."""
        return self.write(name, f"#!/usr/bin/env bash\nset -euo pipefail\n{text}", 0o755)

    def git(self, *words: str) -> str:
        """What git says here."""
        return self.call("git", *words).stdout.strip()

    def commit(self, message: str = "More") -> str:
        """Commit everything; the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def begin(self, file: str | Path, *more: str | Path, ident: str = "r", fine: int = 0,
              env: Mapping[str, str | None] | None = None, **inputs: Any) -> dict[str, Any]:  # fmt: skip
        """Run a workflow in the foreground; its end."""
        printed = self.begin_raw(file, *more, ident=ident, fine=fine, env=env, **inputs)
        found: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return found

    def begin_raw(self, file: str | Path, *more: str | Path, ident: str = "r", fine: int = 0,
                  env: Mapping[str, str | None] | None = None, **inputs: Any) -> str:  # fmt: skip
        """Run a workflow in the foreground; what it printed."""
        given = [word for name, value in inputs.items() for word in ("--input", f"{name}={value}")]
        return self.call("workflow", "run", file, "--id", ident, *given, *more, fine=fine, env=env).stdout

    def begin_killed(self, file: str | Path, *more: str | Path, ident: str = "r", **inputs: Any) -> None:
        """Run a workflow in the foreground whose engine is killed on the way."""
        self.begin_raw(file, *more, ident=ident, fine=-signal.SIGKILL, **inputs)

    def show(self, ident: str = "r") -> dict[str, Any]:
        """The run as `workflow show` tells of it."""
        found: dict[str, Any] = self.json("workflow", "show", ident)
        return found

    def path(self, ident: str = "r") -> list[str]:
        """The steps in their order, each as ``step → where it led``; a rule's number where one decided."""
        rows = [row for row in self.show(ident)["steps"] if row.get("item") is None and row.get("edge")]
        numbers = [f" ({row['edge']['rule']})" if row["edge"].get("rule") else "" for row in rows]
        return [f"{row['step']} → {row['edge']['go']}{n}" for row, n in zip(rows, numbers, strict=True)]

    def step(self, name: str, visit: int = 1, item: int | None = None, ident: str = "r") -> dict[str, Any]:
        """How one visit of a step stands."""
        file = f"{name}.{visit}" if item is None else f"{name}.{visit}.{item}"
        found: dict[str, Any] = json.loads((self.folder / f".mailbox/runs/{ident}/steps/{file}.json").read_text("utf-8"))
        return found

    def prompt(self, step: str, visit: int = 1, item: int | None = None, attempt: int = 1, ident: str = "r") -> str:
        """What an attempt was told."""
        seat = f"{step}.{visit}.{attempt}" if item is None else f"{step}.{visit}.{item}.{attempt}"
        return (self.folder / f".mailbox/runs/{ident}/work/{seat}/prompt.md").read_text("utf-8")

    def clean(self) -> None:
        """The store is as it should be, and every edge comes out the same again."""
        assert self.json("mbox", "doctor")["clean"] is True

    def replay(self, ident: str = "r") -> None:
        """Every edge comes out the same from what is written."""
        assert all(row["ok"] for row in self.json("workflow", "replay", ident))


@contextmanager
def placed(run: Run, folder: Path) -> Iterator[Place]:
    """A `Place`; what is still under way there is ended afterwards."""
    try:
        yield Place(run, folder)
    finally:
        end_all(folder)


def first_on_path(folder: Path) -> str:
    """A PATH on which ``folder`` comes first."""
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
