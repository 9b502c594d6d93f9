"""A run's budget: what it may spend, what it has, and whether what comes next can be paid for.  Pure.

``spent`` is a dict in the root run's document: ``dispatches``, ``cost_usd``, ``tokens``, ``unknown`` (dispatches of which nobody
said what they cost) and ``seconds`` (without what an ask, a wait or a pause took).  A called run has no budget of its own.

Promised: a dispatch is counted before it is made; what is not known is counted as unknown and never as nothing; a limit can only
be raised above what is spent.  Not promised: that a dispatch costs what the one before did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mbox.errors import Usage
from mbox.system.clock import parse_duration, span

LIMITS = ("dispatches", "time", "cost_usd", "tokens")
_SPENT = {"dispatches": "dispatches", "time": "seconds", "cost_usd": "cost_usd", "tokens": "tokens"}

BLANK = {"dispatches": 0, "cost_usd": 0.0, "tokens": 0, "unknown": 0, "seconds": 0.0}
"""Of a run that has spent nothing."""


def refusal(limits: Mapping[str, Any], spent: Mapping[str, Any], need: Mapping[str, Any]) -> str:
    """Why what is needed more cannot be had, as ``dispatches: 30 of 30 spent``; empty if it can."""
    for name in LIMITS:
        limit, had, more = limits.get(name), spent.get(_SPENT[name], 0), need.get(name, 0)
        if limit is None:
            continue
        over = had + more > limit if more else name == "time" and had >= limit
        if over or (name in ("cost_usd", "tokens") and had >= limit and need.get("dispatches")):
            wanted = f", and {_shown(name, more)} more are needed" if more else ""
            return f"{name}: {_shown(name, had)} of {_shown(name, limit)} spent{wanted}"
    return ""


def _shown(name: str, value: float) -> str:
    if name == "time":
        return span(value)
    return f"{value:.2f}" if name == "cost_usd" else str(int(value))


def price(before: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a step is expected to need: what its last visit took; a visit that has not been is expected to need nothing more."""
    return {name: (before or {}).get(name, 0) for name in LIMITS}


def settled(spent: Mapping[str, Any], usage: Mapping[str, Any], assumed: float | None) -> dict[str, Any]:
    """``spent`` with what one dispatch says it cost; ``assumed`` dollars where it says nothing."""
    cost, tokens = usage.get("cost_usd"), usage.get("tokens")
    out = dict(spent)
    if cost is None and assumed is not None:
        cost = assumed
    if cost is not None:
        out["cost_usd"] = round(out["cost_usd"] + cost, 6)
    if tokens is not None:
        out["tokens"] += tokens
    if cost is None and tokens is None:
        out["unknown"] += 1
    return out


def raised(limits: Mapping[str, Any], spent: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """``limits`` with those that a person ``given`` them; `Usage` for one that is not above what is spent."""
    out = dict(limits)
    for name, text in given.items():
        if name not in LIMITS:
            raise Usage(f"--limit {name}: no such limit; it is one of {', '.join(LIMITS)}")
        value = _value(name, text)
        had = spent.get(_SPENT[name], 0)
        if value <= had:
            raise Usage(f"--limit {name}={text}: {_shown(name, had)} are spent already; say more than that")
        out[name] = value
    return out


def _value(name: str, text: str) -> float | int:
    try:
        if name == "time":
            return parse_duration(text)
        value: float | int = float(text) if name == "cost_usd" else int(text)
        if not 0 < value < 1e12:
            raise ValueError("must be a number above 0")
    except ValueError as error:
        raise Usage(f"--limit {name}={text}: {error}") from None
    return value
