"""The ``command`` host: any program that reads a prompt on stdin and leaves its answer in files.

| variable | the file it names |
|---|---|
| ``MBOX_RESULT`` | the output: JSON where the step declares one (a text may stand as it is where that is a string) |
| ``MBOX_USAGE`` | what it cost, as far as that is known: ``{"cost_usd": 0.12, "tokens": 4100, "session": "…"}`` |
| ``MBOX_FAILURE`` | why there is no answer: ``{"kind": "rate_limited", "detail": "…", "reset": "2h"}`` |

It ends with 0 where it has answered.  75 is "refused by a quota, try later"; another status without a ``MBOX_FAILURE`` is a
failure of transport, an end by a signal a kill.  ``MBOX_SCHEMA`` names the JSON Schema of the output, where there is one.

`outcome` is pure: how an attempt ended, from what its program left.  It is the one place for a program's own ways: a codec of
another program stands beside this one and has the same two functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mbox.errors import Usage
from mbox.format.parsing import loads, why_not
from mbox.system.clock import parse_duration

from .ladder import Worker

QUOTA = 75
"""EX_TEMPFAIL of sysexits(3)."""

RESET = 3600.0
"""Seconds until a quota is asked again that says nothing of its reset."""

KINDS = ("rate_limited", "transport", "timeout", "invalid_output", "killed", "lost", "gave_up", "gate", "exit", "call", "config",
         "skipped")  # fmt: skip
"""What a failure may say that it is."""


def line(worker: Worker, model: str) -> list[str]:
    """The words that start it, the model's name in place of ``{model}``."""
    if not worker.command:
        raise Usage(f"host {worker.name}: say command: [WORD, …] for it in .mailbox/hosts.yaml")
    return [word.replace("{model}", model) for word in worker.command]


def outcome(exit: int, killed: bool, files: Mapping[str, bytes | None], declared: bool, is_text: bool, now: float,
            last: str = "") -> dict[str, Any]:  # fmt: skip
    """``kind`` (done or one of `KINDS`), and ``result``, or ``detail`` and ``reset_at`` (wall time); and what it cost."""
    usage = _usage(files.get("usage"))
    failure = _failure(files.get("failure"), now)
    if failure:
        return {**failure, **usage}
    if exit == QUOTA:
        return {"kind": "rate_limited", "detail": last or "refused by a quota", "reset_at": now + RESET, **usage}
    if killed:
        return {"kind": "killed", "detail": f"its program was killed ({exit})", **usage}
    if exit:
        return {"kind": "transport", "detail": f"exited with {exit}{': ' + last if last else ''}", **usage}
    if not declared:
        return {"kind": "done", "result": None, **usage}
    data = files.get("result")
    if data is None:
        return {"kind": "invalid_output", "detail": "it wrote no result to $MBOX_RESULT", **usage}
    try:
        text = data.decode()
        result = text.rstrip("\n") if is_text else loads(text)
    except (ValueError, RecursionError) as error:
        return {"kind": "invalid_output", "detail": f"$MBOX_RESULT is not JSON: {why_not(error)}", **usage}
    return {"kind": "done", "result": result, **usage}


def _usage(data: bytes | None) -> dict[str, Any]:
    said = _object(data)
    out: dict[str, Any] = {}
    cost, tokens, session = said.get("cost_usd"), said.get("tokens"), said.get("session")
    if isinstance(cost, int | float) and not isinstance(cost, bool) and 0 <= cost < 1e6:
        out["cost_usd"] = float(cost)
    if type(tokens) is int and 0 <= tokens < 1e12:
        out["tokens"] = tokens
    if isinstance(session, str) and len(session) <= 200:
        out["session"] = _whole(session)
    return out


def _failure(data: bytes | None, now: float) -> dict[str, Any]:
    if not (data or b"").strip():
        return {}
    said = _object(data)
    kind = said.get("kind")
    if kind not in KINDS:  # it says that it has failed, whatever that is
        return {"kind": "transport", "detail": "what it wrote to $MBOX_FAILURE names no kind of failure"}
    out: dict[str, Any] = {"kind": kind, "detail": _whole(str(said.get("detail") or "")[:600])}
    if kind == "rate_limited":
        try:
            out["reset_at"] = now + parse_duration(str(said.get("reset")), bare=True)
        except ValueError:
            out["reset_at"] = now + RESET
    return out


def _whole(text: str) -> str:
    """A text without half characters, which no document can hold."""
    return text.encode("utf-8", "replace").decode()


def _object(data: bytes | None) -> dict[str, Any]:
    try:
        found = loads((data or b"").decode())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
