"""A workflow's inputs: read from a command line, and checked against their types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mbox.errors import Usage, did_you_mean

if TYPE_CHECKING:
    from mbox.workflow.definition import Input, Workflow


def checked(workflow: Workflow, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Every input's value, checked against its type; `Usage` for one that is missing, unknown or of another type."""
    from mbox.workflow import definition, types

    for name in given:
        if name not in workflow.inputs:
            raise Usage(f"{where}: no input {name!r}{did_you_mean(name, [*workflow.inputs])}")
    out = {}
    for name, one in workflow.inputs.items():
        if name not in given:
            if one.default is definition.MISSING:
                raise Usage(f"{where}: input {name} is missing")
            out[name] = one.default
            continue
        types.check(one.type.schema(), given[name], f"{where}: {name}")
        out[name] = given[name]
    return out


def read(workflow: Workflow, texts: Mapping[str, str]) -> dict[str, Any]:
    """What ``--input NAME=TEXT`` say: a text where the type is one, else JSON."""
    return {name: _read_input(workflow.inputs.get(name), name, text) for name, text in texts.items()}


def _read_input(one: Input | None, name: str, text: str) -> Any:
    if one is None or one.type.is_text or one.is_command or one.type.kind == "words":
        return text
    from mbox.format.parsing import loads, why_not

    try:
        return loads(text)
    except (ValueError, RecursionError) as error:
        if "string" in str(one.type.schema().get("type", "")):
            return text
        raise Usage(f"--input {name}: {why_not(error)}; its type is not text, so write JSON") from None
