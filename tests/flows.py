"""Workflow files for the tests: small ones that hold, and what is changed in them."""

from __future__ import annotations

from collections.abc import Mapping

from mbox.workflow.definition import Workflow, load
from mbox.workflow.lint import Families, lint
from mbox.workflow.parts import Remark

FILE = "flow.yaml"

BASE = """\
version: 1
name: flow
inputs:
  goal: string
  tests: {type: command, default: make test}
  level: low | high
  names: [string]
  count: integer
  maybe: string?
roles:
  coder: {phase: implement}
  reviewer: {phase: review, family: not coder, access: read}
limits: {dispatches: 9}
steps:
"""
"""A head with an input of each sort; steps come behind it."""

STEPS = """\
  - id: work
    agent: coder
    prompt: "{{ inputs.goal }}"
    output: {verdict: approve | revise, ok: boolean, note: string?, n: integer, list: [string], who: {name: string}}
  - id: last
    run: make
"""


def everybody(_role: object) -> frozenset[str]:
    """Every role may be of either of two families."""
    return frozenset(["a", "b"])


def loaded(text: str, more: Mapping[str, str] | None = None) -> Workflow:
    """The workflow that a text is."""
    return load(FILE, {FILE: text, **(more or {})}.__getitem__)


def linted(text: str, more: Mapping[str, str] | None = None, families: Families = everybody) -> list[Remark]:
    """What lint says of a text."""
    return lint(FILE, {FILE: text, **(more or {})}.__getitem__, families)
