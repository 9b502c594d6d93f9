"""The graph of a workflow: every way once with its rule, in each format; and the schema for editors."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.dom.minidom
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from conftest import CHECKOUT, Run
from flows import BASE, STEPS, loaded
from mbox.format.drawing import svg
from mbox.format.parsing import yaml_document
from mbox.workflow import parts
from mbox.workflow.definition import load, reader
from mbox.workflow.graph import FORMATS, STATUSES, data, graph
from mbox.workflow.schema import schema

LOOP = CHECKOUT / "workflows/review-loop.yaml"
SHIPPED = [path for path in sorted((CHECKOUT / "workflows").glob("*.yaml")) if not path.name.endswith(".scenario.yaml")]


def test_the_text_of_the_loop() -> None:
    """A line a step, below it the ways that do not just lead down, and what the signs mean."""
    assert graph(load(*reader(str(LOOP)))) == (
        "[*] implement  coder\n"
        "[*] review     reviewer\n"
        "                 → save if output.verdict == 'approve' and not any(f.severity == 'high…\n"
        "                 → fix else\n"
        "[*] fix        coder\n"
        "                 → review\n"
        "[+] save       git commit\n"
        "                 → succeeded\n"
        "signs: [*] agent  [+] git\n"
    )


def test_each_way_once_in_each_format() -> None:
    """Two rules to one step are one arrow; ends and the failure have boxes; a name of the format's own is harmless."""
    text = BASE.replace("steps:\n", "on_failure: end\nsteps:\n") + STEPS.replace(
        "  - id: last\n",
        "    next: [{when: output.ok, go: last}, {when: output.n > 2, go: last}, {else: needs_human}]\n  - id: last\n"
    )
    made = loaded(text + "  - {id: end, send: user, subject: s, body: b}\n")
    mermaid, dot = graph(made, None, "mermaid"), graph(made, None, "dot")
    assert mermaid.count("-->") == 5 and re.search(r'n0 -->\|"output.ok / output.n #62; 2"\| n1', mermaid)
    assert len(re.findall(r'^  "[^"]+" -> ', dot, re.M)) == 5
    assert '"work" -> "last" [label="output.ok / output.n > 2"];' in dot and '"on failure" -> "end";' in dot
    assert {(one["from"], one["to"], one.get("when", "")) for one in data(made)["edges"]} == {
        ("work", "last", "output.ok"), ("work", "last", "output.n > 2"), ("work", "needs_human", "else"),
        ("last", "succeeded", ""), ("end", "succeeded", ""),
    }  # fmt: skip
    with pytest.raises(ValueError, match="no format"):
        graph(made, None, "svg")


def test_what_happened_is_drawn() -> None:
    """By status and visits; what the run did not come to is that."""
    made = loaded(BASE + STEPS)
    happened = {"work": {"status": "failed", "visits": 3}}
    for fmt in FORMATS:
        page = graph(made, happened, fmt)
        assert "3 visits" in page and "not-reached" in page, fmt
    assert STATUSES["failed"].fill in graph(made, happened, "dot")
    assert graph(made, happened).startswith("[!] work  coder (3 visits)\n[ ] last")


def test_text_is_data() -> None:
    """What stands in a file becomes no syntax of a drawing, and no escape sequence of a terminal."""
    text = BASE + STEPS.replace("run: make", "run: \"echo \\e[31m '\\\"];--> <b> `\"")
    for fmt in FORMATS:
        page = graph(loaded(text), None, fmt)
        assert "\x1b" not in page and all(line.isprintable() for line in page.split("\n"))
        assert fmt == "text" or '"];--' not in page.replace('\\"];--', "")


@pytest.mark.skipif(shutil.which("dot") is None, reason="no graphviz here")
def test_graphviz_draws_what_ships() -> None:
    """The pictures are pictures."""
    for path in SHIPPED:
        xml.dom.minidom.parseString(svg(graph(load(*reader(str(path))), None, "dot")))


def test_lint_and_graph_as_commands(run: Run, tmp_path: Path) -> None:
    """Findings a line each with exit 1, also as rows; warnings alone exit 0; both programs; the graph as data."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/bad.yaml").write_text(BASE + STEPS.replace("agent: coder", "agent: codr"), encoding="utf-8")
    done = run("workflow", "lint", "sub/bad.yaml", LOOP, cwd=tmp_path)
    line = f"{BASE.count(chr(10)) + 2}:12"
    assert (done.returncode, done.stdout) == (1,
    f"sub/bad.yaml:{line}: error: no role codr, and no host; did you mean coder, codex, opencode?\n")
    assert done.stderr == "workflow: 1 error\n"
    rows = json.loads(run("mbox", "workflow", "lint", "sub/bad.yaml", "-o", "json", cwd=tmp_path).stdout)
    assert [(row["file"], row["level"]) for row in rows] == [("sub/bad.yaml", "error")]
    (tmp_path / "warned.yaml").write_text(BASE + STEPS.replace("run: make", "run: make\n    next: failed"), encoding="utf-8")
    done = run("workflow", "lint", "warned.yaml", cwd=tmp_path)
    assert done.returncode == 0 and "warning: nothing leads to succeeded" in done.stdout
    assert "gone.yaml:1:1: error: No such file" in run("workflow", "lint", "gone.yaml", cwd=tmp_path).stdout
    found = json.loads(run("workflow", "graph", LOOP, "-o", "json", cwd=tmp_path, check=True).stdout)
    assert [node["id"] for node in found["nodes"]] == ["implement", "review", "fix", "save"]
    assert run("workflow", "graph", LOOP, "--format", "nope", cwd=tmp_path).returncode == 2
    assert "sub/bad.yaml" not in run("workflow", "graph", LOOP, "--format", "mermaid", cwd=tmp_path, check=True).stdout


def test_which_commands_load_what(run: Run, tmp_path: Path) -> None:
    """Reading a workflow loads jinja2; whether a value fits loads jsonschema, and not jinja2."""
    import sys

    code = "import sys; from mbox.workflow.types import check; check({'type': 'string'}, 'x'); "
    code += "print('jinja2' in sys.modules, 'jsonschema' in sys.modules)"

    assert run(sys.executable, "-c", code, cwd=tmp_path, check=True).stdout == "False True\n"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", "import mbox.workflow.lint"], capture_output=True,
    text=True, check=True)
    assert not re.search(r"\| +(jinja2|jsonschema|ruamel|yaml)\b", done.stderr)


# -- the schema ------------------------------------------------------------------------------------------------------


def document(text: str) -> Any:
    """A file as plain values."""
    return json.loads(json.dumps(yaml_document(text, "f.yaml", core=True)[0]))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_what_ships_validates(path: Path) -> None:
    """The schema is one, and takes every shipped file."""
    Draft202012Validator.check_schema(schema())
    Draft202012Validator(schema()).validate(document(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "change",
    [("version: 1", "version: 2"), ("name: flow", "nam: flow"), ("prompt:", "promt:"), ("run: make", "run: make\n    wait: 3m"),
    ("id: last", "id: La"),
     ("run: make", "run: make\n    next: [{when: x}]"), ("{dispatches: 9}", "{dispatch: 9}"), ("phase: plan", "phase: x"),
      ("- id: last", "- idd: last"),
     ("run: make", "run: make\n    visits: true"), ("run: make", "run: make\n    retry: {gates: 1}"), ("run: make",
      "run: make\n    git: rebase")],
)  # fmt: skip
def test_what_does_not_validate(change: tuple[str, str]) -> None:
    """An editor sees what is wrong in the keys and words of a file."""
    text = (BASE + STEPS).replace("phase: implement", "phase: plan")
    assert change[0] in text
    Draft202012Validator(schema()).validate(document(text))
    assert not Draft202012Validator(schema()).is_valid(document(text.replace(*change)))


def test_the_schema_knows_every_key() -> None:
    """No key of the language is missing in it."""
    made = schema()
    step = set(made["$defs"]["step"]["properties"])
    assert step == {"id", *parts.KINDS, *parts.COMMON, *sum(parts.KINDS.values(), ())} and set(made["properties"]) == {*parts.TOP}
