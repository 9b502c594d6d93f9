"""Scenarios: which answer is whose, and what is refused before a run begins."""

from __future__ import annotations

import pytest

from flows import BASE, STEPS, loaded
from mbox.errors import Usage
from mbox.workflow.scenarios import load

TEXT = BASE + STEPS + """\
  - {id: look, each: inputs.names, agent: reviewer, prompt: p}
  - {id: agree, ask: q, choices: [go, stop]}
  - {id: save, git: commit, message: m}
"""
FILE = "s.yaml"

GOOD = """\
work:
  - {write: {src/a.py: "x = 1\\n"}, text: prose, seconds: 0.2}
  - {output: {verdict: approve}, usage: {cost_usd: 0.1, tokens: 900}}
look: [{text: all}]
look/2:
  - {fail: rate_limited, reset: 2h}
  - {text: third}
agree: [{choice: go}]
last: [{exit: 3}]
"""


def test_which_answer_is_whose() -> None:
    """In order by dispatch, the last repeats; an item's own go before the step's; none is None."""
    found = load(GOOD, FILE, loaded(TEXT))
    assert [found.answer("work", None, n) for n in (0, 1, 7)] == [
        {"write": {"src/a.py": "x = 1\n"}, "text": "prose", "seconds": 0.2},
        *[{"output": {"verdict": "approve"}, "usage": {"cost_usd": 0.1, "tokens": 900}}] * 2,
    ]
    assert [found.answer("look", item, 0) for item in (0, 2)] == [{"text": "all"}, {"fail": "rate_limited", "reset": 7200.0}]
    assert found.answer("look", 2, 1) == found.answer("look", 2, 9) == {"text": "third"}
    assert found.answer("agree", None, 0) == {"choice": "go"} and found.answer("last", None, 0) == {"exit": 3}
    assert found.answer("save", None, 0) is None
    assert load(GOOD, FILE, loaded(TEXT)) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [("wrok: [{text: x}]", "1:1: no step 'wrok'; did you mean work"), ("save: [{text: x}]",
    "1:1: save is git: the engine does that itself"),
     ("work/0: [{text: x}]", "1:1: 'work/0': an item is a number"), ("look/x: [{text: x}]", "an item is a number"),
      ("look/-1: [{}]", "an item"),
     ("look/01: [{}]", "an item"), ("work: []", "1:7: work must be a list of answers"), ("work: {text: x}",
      "1:7: work must be a list"),
     ("work: [x]", "1:8: an answer must be a mapping"), ("work: [{txt: x}]", "1:9: unknown key 'txt'; did you mean text"),
     ("work: [{fail: broken}]", "1:15: fail must be gate or exit"), ("work: [{reset: 2h}]", "1:9: reset: is when a limit ends"),
     ("work: [{seconds: -1}]", "1:18: seconds must be a number"), ("work: [{seconds: true}]", "seconds must be"),
      ("work: [{seconds: .nan}]", "seconds"),
     ("work: [{usage: {usd: 1}}]", "1:17: unknown key 'usd'"), ("work: [{exit: 256}]", "exit must be"),
      ("work: [{output: .inf}]", "output has"),
     ("work: [{write: {../a: x}}]", "1:17: write '../a' must be a path in the tree"), ("work: [{write: {/etc/x: x}}]",
      "a path in the tree"),
     ("work: [{write: {a/../../b: x}}]", "a path in the tree"), ("work: [{write: {~/x: x}}]", "a path in the tree"),
     ("work: [{write: {.git/hooks/x: x}}]", "a path in the tree"), ("work: [{write: {a: 3}}]", "a must be text"), ("- a",
      "1:1: a scenario is a mapping"),
     ("", "1:1: a scenario is a mapping"), ("work: [", "not YAML"), ("work: [{text: x}]\nwork: [{}]",
      "2:1: 'work' stands twice")],
)  # fmt: skip
def test_what_is_refused(text: str, says: str) -> None:
    """Unknown steps, keys and kinds with the nearest; paths that leave the tree; each at its place."""
    with pytest.raises(Usage) as told:
        load(text, FILE, loaded(TEXT))
    assert says in str(told.value) and str(told.value).startswith(f"{FILE}:")
