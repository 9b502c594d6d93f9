"""Deeds: what the engine itself does for a step: commands, gates, git's effects, pull requests.

An effect carries the key ``RUN.STEP.VISIT[.ITEM]`` and is looked up before it is made: a commit by its trailer, a branch and a
push by what is there, a pull request by its branch.  A command has no key: one that was begun by another engine and is not
``idempotent`` is asked about with its ``probe``; without one nobody can know (`Unsure`).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mbox.errors import Refused, StoreError, Usage
from mbox.format import patterns, places
from mbox.format.documents import Document, compact
from mbox.git import history

from . import commands, course, runs
from .facts import Facts
from .standing import Result

if TYPE_CHECKING:
    from mbox.store.store import Store
    from mbox.workflow.definition import CommandLine, Step, Workflow

GH = 120.0
"""Seconds that ``gh`` may take."""


class Unsure(Exception):
    """A command was begun by an engine that is gone, and nobody can say whether it has happened."""


class Site:
    """One seat's place of work: its run, what its expressions see, where its logs go."""

    def __init__(self, store: Store, run: Document, workflow: Workflow, seat: Document, environ: Mapping[str, str],
                 wanted: Callable[[], bool] = lambda: True) -> None:  # fmt: skip
        self.store, self.run, self.workflow, self.seat, self.wanted = store, run, workflow, seat, wanted
        self.environ = environ
        self.step: Step = workflow.steps[seat["step"]]
        self.folder = runs.folder(store.root, run)
        self.facts = Facts(self.folder, (run["tree"] or {}).get("base"))
        self.inputs: dict[str, Any] = run["inputs"] or {}
        self.name = runs.seat_of(seat)
        self.key = f"{run['run']}.{self.name}"

    @property
    def names(self) -> dict[str, Any]:
        """What its templates see."""
        steps = course.Steps(self.store.read, self.run, self.workflow, {})
        return course.names(self.run, steps, self.facts.ask, item=self.seat["value"], visits=self.seat["visit"])

    def text(self, template: Any) -> str:
        """A template as text."""
        return course.text(template, self.names)

    def stdin(self) -> bytes:
        """The step's data: ``{inputs, steps, git, item, visits}``, as JSON."""
        names = self.names
        data = {"inputs": self.inputs, "steps": dict(names["steps"]), "git": _git(self.facts), "item": names["item"],
                "visits": names["visits"]}  # fmt: skip
        return json.dumps(data, ensure_ascii=False).encode()

    def logs(self, word: str) -> str:
        """The folder of one command's logs."""
        return f"{places.work(self.run['run'], self.name, len(self.seat['attempts']) or 1)}{word and '/' + word}"

    def perform(self, command: CommandLine, word: str, seconds: float | None, reads: bool = True) -> commands.Finished:
        """Run one command here."""
        env = {name: self.text(template) for name, template in self.step.env.items()} if word in ("", "probe") else {}
        environ = commands.environment(self.environ, self.inputs, self.seat["value"], env)
        words = commands.words_of(command, self.inputs)
        given = self.stdin if reads else None
        return commands.run(self.store, self.key, words, self.folder, environ, self.logs(word), given, seconds, self.wanted)


def _git(facts: Facts) -> dict[str, Any]:
    if not history.is_tree(facts.folder):
        return {"base": None, "head": None, "changed": [], "commits": []}
    return {name: facts.ask(name) for name in ("base", "head", "changed", "commits")}


# -- commands ------------------------------------------------------------------------------------------------------------


def command(site: Site, is_begun: bool) -> Result | None:
    """Run the step's command; None where the run was stopped meanwhile.  ``is_begun``: by an engine that is gone."""
    step = site.step
    assert step.command is not None
    if is_begun and not step.idempotent:
        if step.probe is None:
            raise Unsure
        probed = site.perform(step.probe, "probe", step.timeout.start_to_close)
        if probed.stopped:
            return None
        if probed.exit == 0:
            return said(step, commands.output_of(site.store.absolute(site.logs("probe"))), "its probe says that it had happened")
    ended = site.perform(step.command, "", step.timeout.start_to_close)
    if ended.stopped:
        return None
    return _came_to(site, ended)


def said(step: Step, data: bytes, how: str) -> Result:
    """What a command came to of which somebody else says that it had happened, and what its output was."""
    if step.output is None:
        return Result(detail=how, exit=0)
    try:
        return Result(_read(step, data), detail=how, exit=0)
    except Usage as error:
        return Result(failed="invalid_output", detail=f"{how}, and not what its output was: {error}", exit=0)


def _came_to(site: Site, ended: commands.Finished) -> Result:
    step, at = site.step, site.store.absolute(site.logs(""))
    last = commands.tail_of(f"{at}/stderr", 3, 600) or commands.tail_of(f"{at}/stdout", 3, 600)
    if ended.timed_out:
        return Result(failed="timeout", detail=f"not over within {step.timeout.start_to_close:.0f} s", exit=ended.exit)
    if ended.killed:
        return Result(failed="killed", detail=f"killed by {commands.signal_name(ended.exit)}", exit=ended.exit)
    if ended.exit and not course.takes_exit(step):
        return Result(failed="exit", detail=f"exited with {ended.exit}{': ' + last if last else ''}", exit=ended.exit)
    if step.output is None:
        return Result(exit=ended.exit)
    try:
        return Result(_read(step, commands.output_of(at)), exit=ended.exit)
    except Usage as error:
        if ended.exit:  # it failed, and its rules look at how: what it printed then need not be its output
            return Result(exit=ended.exit, detail=str(error))
        return Result(failed="invalid_output", detail=str(error), exit=ended.exit)


def _read(step: Step, data: bytes) -> Any:
    """What a command printed, as the output of its step; `Usage` where that is none."""
    from mbox.format.parsing import loads, why_not
    from mbox.workflow import types

    output = step.output
    assert output is not None
    if len(data) > commands.LARGEST:
        raise Usage(f"it printed over {commands.LARGEST >> 10} KiB")
    try:
        text = data.decode()
        value = text.rstrip("\n") if output.is_text else loads(text)
        compact(value).encode()
    except (ValueError, RecursionError) as error:
        raise Usage(f"what it printed is not JSON: {why_not(error)}") from None
    types.check(output.schema(), value)
    return value


def gates(site: Site) -> list[dict[str, Any]] | None:
    """Run the step's gates, up to the first that is red: how each ended; None where the run was stopped meanwhile."""
    rows = []
    for number, gate in enumerate(site.step.gates, 1):
        word = f"gate-{number}"
        logs = site.logs(word)
        ended = site.perform(gate, word, site.step.timeout.start_to_close, reads=False)
        if ended.stopped:
            return None
        at = site.store.absolute(logs)
        tail = "\n".join(part for part in (commands.tail_of(f"{at}/stdout"), commands.tail_of(f"{at}/stderr")) if part)
        last = tail.rpartition("\n")[2]
        said = f"no answer within {site.step.timeout.start_to_close:.0f} s" if ended.timed_out else last[:300]
        rows.append({"gate": gate.shown(), "ok": ended.exit == 0 and not ended.timed_out, "exit": ended.exit,
                     "seconds": round(ended.seconds, 3), "log": logs, "last": said, "tail": tail[-3000:]})  # fmt: skip
        if not rows[-1]["ok"]:
            break
    return rows


# -- git -----------------------------------------------------------------------------------------------------------------


def effect(site: Site) -> Result:
    """Make the step's effect on git, unless it is there: its output; a failure of kind ``exit`` says what is in the way."""
    try:
        return _ACTIONS[site.step.action](site)
    except (Refused, StoreError) as error:
        return Result(failed="exit", detail=str(error))


def _commit(site: Site) -> Result:
    run, store = site.run, site.store
    message = site.text(site.step.message).replace("\0", "").strip() or f"{run['workflow']}: {site.name}"
    root = store.read(places.run(runs.root_of(run))) or run
    reserved = (root["memory"] or {}).get("reserved", [])
    if (run["tree"] or {}).get("own"):
        wanted: Callable[[str], bool] = lambda path: True  # noqa: E731 - one of two
    else:
        wanted = history.matcher([patterns.parse(text, store.folds()) for text in reserved])
    made, left = history.commit(site.folder, site.facts.base, site.key, message, wanted, history.identity(site.folder),
                                int(store.host.wall()))  # fmt: skip
    more = f" and {len(left) - 20} more" if len(left) > 20 else ""
    detail = f"left: {', '.join(left[:20])}{more}" if left else ""
    return Result({"commit": made}, detail=detail)


def _branch(site: Site) -> Result:
    name = site.text(site.step.branch).strip()
    history.start_branch(site.folder, name)
    return Result({"branch": name})


def _current(site: Site) -> str:
    name = site.text(site.step.branch).strip() or history.branch(site.folder)
    if not name:
        raise Refused("HEAD is detached: a step with git: branch before this one, or branch: NAME here")
    return name


def _push(site: Site) -> Result:
    name = _current(site)
    history.push(site.folder, name)
    return Result({"branch": name})


def _pull_request(site: Site) -> Result:
    """By ``gh``: the pull request of the branch, open or made."""
    name = history.branch(site.folder)
    if not name:
        raise Refused("HEAD is detached: a pull request is of a branch")
    known = _gh(site, "pr", "list", "--head", name, "--state", "open", "--json", "url,number")
    rows = _rows(known)
    if not rows:
        base = site.text(site.step.base).strip()
        body = f"{site.text(site.step.body)}\n\n{history.TRAILER}: {site.key}\n"
        line = ["pr", "create", "--head", name, "--title", site.text(site.step.title).strip(), "--body", body]
        _gh(site, *line, *(["--base", base] if base else []))
        rows = _rows(_gh(site, "pr", "list", "--head", name, "--state", "open", "--json", "url,number"))
    if not rows:
        raise StoreError(f"gh made no pull request of {name}")
    return Result({"url": str(rows[0].get("url", "")), "number": int(rows[0].get("number", 0))})


def _rows(text: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(text or "[]")
    except ValueError:
        raise StoreError(f"gh pr list printed no JSON: {text[:100]!r}") from None
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def _gh(site: Site, *words: str) -> str:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("MBOX_")}
    try:
        done = subprocess.run(
            ["gh", *words], cwd=site.folder, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=GH, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise Refused("gh is not installed, and git: pull-request needs it") from None
    except subprocess.TimeoutExpired:
        raise StoreError(f"gh {' '.join(words[:2])}: no answer within {GH:.0f} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise StoreError(f"gh {' '.join(words[:2])}: {lines[-1] if lines else f'exit {done.returncode}'}")
    return done.stdout


_ACTIONS: dict[str, Callable[[Site], Result]] = {
    "commit": _commit, "branch": _branch, "push": _push, "pull-request": _pull_request,
}  # fmt: skip
