"""Cycles, order and drawings of a dependency graph, against brute force and against hostile titles."""

from __future__ import annotations

import html
import os
import random
import re
import shutil
import xml.dom.minidom
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mbox.errors import MboxError, Usage
from mbox.format import checks
from mbox.format.documents import TASK_STATES
from mbox.tasks import graph

NAMES = [f"t{number}" for number in range(7)]
Edges = dict[str, list[str]]
graphs = st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=4), max_size=7)
LONG = 10_000

HOSTILE = [
    'say "hi"; click',
    "a]b[c](d){e}|f|",
    "`**md** _i_ ~~s~~`",
    "<script>alert(1)</script> &lt; &#35; #quot; #35;",
    '%%{init: {"theme":"dark"}}%%',
    "line\nend\r\nsubgraph x",
    "esc \x1b[31m bell\x07 csi\x9b nul\x00",
    'style x:#a;b classDef y:"#c";',
    'back\\slash\\" \\N \\l \\',
    "rtl \u202eevil\u2066 \u2028 sep \ud800",
]


def pairs(edges: dict[str, list[str]]) -> set[tuple[str, str]]:
    """The edges as pairs."""
    return {(name, dep) for name, deps in edges.items() for dep in deps}


def reachable(edges: Edges) -> set[tuple[str, str]]:
    """All ``(a, b)`` with a way from a to b, by multiplying until nothing is new: slow, and plainly right."""
    found = pairs(edges)
    while True:
        more = found | {(a, d) for a, b in found for c, d in found if b == c}
        if more == found:
            return found
        found = more


def cyclic(edges: Edges) -> bool:
    """Whether some name reaches itself."""
    return any(a == b for a, b in reachable(edges))


def node(task_id: str, title: str = "", status: str = "queued", **more: object) -> dict[str, object]:
    """A node as the caller of `render` has it."""
    return {"task_id": task_id, "title": title, "status": status, "stage": "", "owner": None, **more}


def nodes(names: Iterable[str]) -> list[dict[str, object]]:
    """Plain nodes of these names."""
    return [node(name, f"Title of {name}") for name in names]


# Cycles and order


@given(graphs)
def test_a_cycle_is_found_exactly_when_there_is_one_and_is_a_real_one(edges: Edges) -> None:
    """`cycle` answers as brute force does, and every step of what it names is an edge, no name twice."""
    found = graph.cycle(edges)
    assert (found is not None) == cyclic(edges)
    if found:
        assert found[0] == found[-1] == min(found)
        assert len(set(found)) == len(found) - 1
        assert set(pairwise(found)) <= pairs(edges)


@given(graphs, st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=3))
def test_new_dependencies_close_a_cycle_exactly_when_one_leads_back(edges: Edges, start: str, new: list[str]) -> None:
    """`cycle_through` finds a shortest way back, and asks once for what is reachable and for nothing else."""
    asked: list[str] = []

    def deps_of(name: str) -> list[str]:
        asked.append(name)
        return edges.get(name, [])

    found = graph.cycle_through(start, deps_of, new)
    ways = reachable(edges) | {(name, name) for name in NAMES}
    assert (found is not None) == any((dep, start) in ways for dep in new)
    assert len(set(asked)) == len(asked)
    assert start not in asked
    assert all(any((dep, name) in ways for dep in new) for name in asked)
    if found:
        assert found[0] == found[-1] == start
        assert found[1] in new
        assert set(pairwise(found[1:])) <= pairs(edges)
        assert len(found) == 2 + min(distance(edges, dep, start) for dep in new)


def distance(edges: Edges, start: str, end: str) -> int:
    """Steps on the shortest way; many if there is none."""
    ring, steps = {start}, 0
    while end not in ring and steps <= len(NAMES):
        ring, steps = {dep for name in ring for dep in edges.get(name, [])}, steps + 1
    return steps if end in ring else 99


@given(graphs)
def test_order_puts_every_name_once_and_after_what_it_depends_on(edges: Edges) -> None:
    """`order` holds every name that occurs, dependencies first; with a cycle it refuses and names it."""
    if cyclic(edges):
        with pytest.raises(ValueError, match=r"no order: t\d( → t\d)+"):
            graph.order(edges)
        return
    names = graph.order(edges)
    place = {name: number for number, name in enumerate(names)}
    assert len(place) == len(names)
    assert set(names) == set(edges) | {dep for _, dep in pairs(edges)}
    assert all(place[dep] < place[name] for name, dep in pairs(edges))


@given(graphs)
def test_breaking_cycles_drops_no_edge_in_vain(edges: Edges) -> None:
    """What is kept has no cycle, nothing is lost but what is reported, and any dropped edge put back closes one."""
    kept, dropped = graph.all_cycles_broken(edges)
    assert set(kept) == set(edges)
    assert not cyclic(kept)
    assert pairs(kept) | set(dropped) == pairs(edges)
    assert pairs(kept).isdisjoint(dropped)
    for name, dep in dropped:
        assert cyclic({**kept, name: [*kept[name], dep]})
    loops = sum(a == b for a, b in dropped)
    assert len(dropped) - loops <= sum(a != b for a, b in pairs(edges)) / 2


def test_many_cycles_through_one_edge_cost_one_edge() -> None:
    """Twenty cycles that share x → y are all broken by dropping it, not one edge each."""
    edges = {"x": ["y"], "y": [f"p{n}" for n in range(20)], **{f"p{n}": ["x"] for n in range(20)}}
    assert graph.all_cycles_broken(edges)[1] == [("x", "y")]


@given(graphs, st.randoms(use_true_random=False))
def test_answers_do_not_depend_on_the_order_of_the_input(edges: Edges, luck: random.Random) -> None:
    """The same graph said in another order, with dependencies repeated, gives the same answers and drawings."""
    names = list(edges)
    luck.shuffle(names)
    other = {name: [*reversed(edges[name]), *edges[name][:1]] for name in names}
    assert graph.cycle(other) == graph.cycle(edges)
    ways = [
        graph.cycle_through("t0", lambda name, said=said: said.get(name, []), new)  # type: ignore[misc]
        for said, new in [(edges, NAMES[1:]), (other, NAMES[:0:-1])]
    ]
    assert ways[0] == ways[1]
    assert graph.all_cycles_broken(other)[1] == graph.all_cycles_broken(edges)[1]
    if not cyclic(edges):
        assert graph.order(other) == graph.order(edges)
    for fmt in graph.FORMATS:
        assert graph.render(nodes(reversed(NAMES)), other, fmt) == graph.render(nodes(NAMES), edges, fmt)


def test_a_chain_of_ten_thousand_is_no_deeper_than_one_of_three() -> None:
    """Nothing recurses: cycles, order, cuts and drawings of a long chain and a long ring come back."""
    chain = {f"t{n}": [f"t{n + 1}"] for n in range(LONG)}
    assert graph.cycle(chain) is None
    assert graph.order(chain)[0] == f"t{LONG}"
    assert graph.cycle_through(f"t{LONG}", lambda name: chain.get(name, []), ["t0"]) is not None
    ring = {**chain, f"t{LONG}": ["t0"]}
    found = graph.cycle(ring)
    assert found is not None
    assert (found[:2], len(found)) == (["t0", "t1"], LONG + 2)
    assert len(graph.all_cycles_broken(ring)[1]) == 1
    page = graph.render(nodes(chain), chain)
    assert page.count("\n") == LONG + 2  # a blank line, and the signs
    assert max(map(len, page.splitlines())) < 120
    assert f"\n{'  ' * 12}[ ] t5 after t6: Title of t5\n" in page  # too deep to show it by indentation


def test_names_sort_as_people_count() -> None:
    """t9 stands before t10, and names that differ only in zeros have a place each."""
    assert graph.order({name: [] for name in ["t10", "t9", "a", "t09", "b2c10", "b2c9"]}) == [
        *("a", "b2c9", "b2c10", "t9", "t09", "t10")
    ]


def test_a_cycle_is_told_from_its_first_name_in_the_direction_of_depending() -> None:
    """[a, b, c, a] means that a depends on b, b on c and c on a; depending on oneself is [a, a]."""
    assert graph.cycle({"c": ["a"], "a": ["b"], "b": ["c"]}) == ["a", "b", "c", "a"]
    assert graph.cycle({"a": ["a"]}) == ["a", "a"]
    assert graph.cycle({"a": ["c"], "c": ["b"], "b": ["c"]}) == ["b", "c", "b"]
    assert graph.cycle({"a": ["b", "c"], "b": ["c"]}) is None


# Drawings

PLAN = [
    node("t1", "Parse", "done"),
    node("t2", "Check", "running", owner="ann", stage="impl"),
    node("t3", "Lone", "queued", hold="waits for Bob"),
    node("t10", "Ship", "queued"),
    node("t4", "Docs", "failed"),
]
WAITS = {"t2": ["t1"], "t10": ["t2", "t4", "t77"], "t4": ["t1"], "t99": ["t1"]}


def test_text_is_a_tree_with_each_task_once() -> None:
    """A task stands below the last thing it waits for, names the others, and what has no edge comes last."""
    assert graph.render(PLAN, WAITS) == (
        "[x] t1: Parse\n"
        "  [>] t2 (impl) @ann: Check\n"
        "  [!] t4: Docs\n"
        "    [ ] t10 after t2 t77: Ship\n"
        "\n"
        "[=] t3: Lone\n"
        "signs: [ ] queued  [=] held  [>] running  [x] done  [!] failed\n"
    )


@given(graphs)
def test_text_names_every_task_on_one_line_and_every_edge(edges: Edges) -> None:
    """Each task heads one line, after what it depends on; each edge is its line's indentation or its "after"."""
    above: list[str] = []
    seen: list[str] = []
    drawn: set[tuple[str, str]] = set()
    for line in filter(None, graph.render(nodes(NAMES), edges).splitlines()[:-1]):
        found = re.fullmatch(r"( *)\[ \] (t\d)((?: after)?(?: t\d)*): .*", line)
        assert found, line
        indent, name, after = found.groups()
        del above[len(indent) // 2 :]
        drawn |= {(name, dep) for dep in [*above[-1:], *after.split()[1:]]}
        above.append(name)
        seen.append(name)
    assert sorted(seen) == NAMES
    assert drawn == pairs(edges)
    if not cyclic(edges):
        assert all(seen.index(dep) < seen.index(name) for name, dep in drawn)


def test_mermaid_draws_work_in_the_direction_it_flows() -> None:
    """A dependency points at what it frees; nodes are numbered, classes say the status, unseen ones have their id."""
    assert graph.render(PLAN[:2], {"t2": ["t1", "end"]}, "mermaid") == (
        "graph TD\n"
        '  n0["end"]\n'
        '  n1["t1#58; Parse"]:::done\n'
        '  n2["t2#58; Check #64;ann"]:::running\n'
        "  n0 --> n2\n"
        "  n1 --> n2\n"
        "  classDef running fill:#cfe2ff,stroke:#0a58ca,color:#000000\n"
        "  classDef done fill:#d1e7dd,stroke:#146c43,color:#000000\n"
    )


def test_dot_draws_the_same_graph() -> None:
    """DOT has the same boxes and arrows, by their ids."""
    page = graph.render(PLAN[:2], {"t2": ["t1"]}, "dot")
    assert page.startswith("digraph tasks {\n")
    assert '  "t1" [label="t1: Parse", fillcolor="#d1e7dd", color="#146c43"];\n' in page
    assert page.endswith('  "t1" -> "t2";\n}\n')


def test_nothing_to_draw_is_nothing() -> None:
    """No nodes, no output; an unknown format is refused."""
    assert [graph.render([], {"t1": ["t2"]}, fmt) for fmt in graph.FORMATS] == ["", "", ""]
    with pytest.raises(ValueError, match="text, mermaid, dot"):
        graph.render(PLAN, WAITS, "svg")


def lines_of(title: str, fmt: str) -> list[str]:
    """Three tasks, the middle one with every text field hostile."""
    middle = node("end", title, title, stage=title, owner=title)
    return graph.render([node("t1"), middle, node("x")], {"x": ["end"], "end": ["t1"]}, fmt).split("\n")


@pytest.mark.parametrize("fmt", graph.FORMATS)
@example("failed")
@given(
    st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(), max_size=30), st.text('"\\`#&;[]{}<>|\n', max_size=9))
)
def test_no_title_breaks_a_drawing(fmt: str, title: str) -> None:
    """Whatever a title says, the page has the lines of a harmless one and not one control or bidi character."""
    lines, harmless = lines_of(title, fmt), title if title in TASK_STATES else "queue"  # a state's own word has its style
    assert len(lines) == len(lines_of(harmless, fmt))
    assert all(char.isprintable() or char in "\u200c\u200d" for line in lines for char in line)


@pytest.mark.parametrize("title", HOSTILE)
def test_mermaid_and_dot_show_a_hostile_title_as_it_is(title: str) -> None:
    """Labels hold no character of the format's syntax unescaped, and unescaped they are the title on one line."""
    shown = f"end: {checks.one_line(title)}"
    label = re.search(r'n0\["(.*)"\]', "\n".join(lines_of(title, "mermaid")))
    assert label
    assert re.fullmatch(r"(?:[\w .,\-/()]|[^\x00-\x7f]|#\d+;)*", label[1])
    assert html.unescape(re.sub(r"#(\d+);", r"&#\1;", label[1])).startswith(shown)
    label = re.search(r'^  "end" \[label="((?:[^"\\]|\\.)*)", fill', "\n".join(lines_of(title, "dot")), re.M)
    assert label
    assert html.unescape(re.sub(r"\\(.)", r"\1", label[1])).startswith(shown)


def test_one_line_is_short_and_keeps_what_people_write() -> None:
    """White space becomes single spaces, a long line ends in an ellipsis, joiners of emoji and Persian stay."""
    assert checks.one_line(" a\r\n\t b\u3000c ") == "a b c"
    assert checks.one_line("x" * 10, 5) == "xxxx…"
    assert checks.one_line("x" * 5, 5) == "xxxxx"
    assert checks.one_line("می\u200cخواهم 👩\u200d🔬") == "می\u200cخواهم 👩\u200d🔬"
    assert checks.one_line("a\x1b[1mb\u202e\U000e0041") == "a\ufffd[1mb\ufffd\ufffd"


# graphviz


def fake_dot(folder: Path, script: str, patch: pytest.MonkeyPatch) -> None:
    """The only program on the PATH is a ``dot`` of ours."""
    (folder / "dot").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / "dot").chmod(0o755)
    patch.setenv("PATH", str(folder))


def test_without_graphviz_the_mend_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ``dot`` on the PATH: exit 2, with what to install and what works without."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Usage, match="graphviz is not installed: apt-get install graphviz, or use --format dot"):
        graph.svg("digraph {}")


def test_graphviz_gets_the_graph_on_stdin_and_two_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``dot`` is started without a shell, as ``dot -Tsvg``; its output comes back as text."""
    fake_dot(tmp_path, 'echo "$# $1"; while read -r line; do echo "$line"; done', monkeypatch)
    assert graph.svg('"$(touch x) ü";\n') == '1 -Tsvg\n"$(touch x) ü";\n'


def test_a_failing_graphviz_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``dot`` complains about is quoted on one line, without its control characters."""
    fake_dot(tmp_path, "printf 'bad\\n\\033[1mgraph\\n' >&2; exit 3", monkeypatch)
    with pytest.raises(MboxError) as caught:
        graph.svg("digraph {}")
    assert str(caught.value) == "graphviz failed (3): bad \ufffd[1mgraph; use --format dot"


@pytest.mark.skipif(not shutil.which("dot", path=os.environ.get("PATH")), reason="graphviz is not installed")
def test_the_real_graphviz_shows_hostile_titles_as_text() -> None:
    """Every hostile title is one text element of the SVG, word for word; beside it are the legend and nothing else."""
    tasks = [node(f"n{number}", title) for number, title in enumerate(HOSTILE)]
    page = xml.dom.minidom.parseString(graph.svg(graph.render(tasks, {"n1": ["n0"]}, "dot")))
    texts = [getattr(text.firstChild, "data", "") for text in page.getElementsByTagName("text")]
    wanted = [f"n{number}: {checks.one_line(title)}" for number, title in enumerate(HOSTILE)]
    beside = ["legend", "queued", "not connected"]
    assert sorted(" ".join(text.split()) for text in texts) == sorted([*wanted, *beside])
    assert not page.getElementsByTagName("script")


# many


def many(count: int, connected: int, stages: int = 0, labels: int = 0) -> tuple[list[dict[str, object]], Edges]:
    """So many tasks in every state, the first ``connected`` of them behind one another at random."""
    chance = random.Random(count)
    states = list(graph.LOOKS)
    tasks = []
    for number in range(count):
        status, stage = states[number % len(states)], f"stage-{number % stages}" if stages else ""
        made = node(f"n{number}", f"Do the thing that is number {number}", "queued" if status == "held" else status, stage=stage)
        more = {"hold": "x" if status == "held" else "", "labels": [f"label-{number % labels}"] if labels else []}
        tasks.append({**made, **more})
    edges = {f"n{number}": [f"n{chance.randrange(max(0, number - 40), number)}"] for number in range(1, connected)}
    return tasks, edges


def drawn_size(page: str) -> tuple[float, float]:
    """Width and height of an SVG in points."""
    width, height = re.findall(r'(?:width|height)="([\d.]+)pt"', page)[:2]
    return float(width), float(height)


needs_dot = pytest.mark.skipif(not shutil.which("dot", path=os.environ.get("PATH")), reason="graphviz is not installed")


@needs_dot
@pytest.mark.parametrize(
    ("connected", "stages", "labels"), [(0, 0, 0), (300, 5, 0), (300, 0, 7), (1000, 900, 0), (1000, 0, 0)],
    ids=["none connected", "by stage", "by label", "a stage each", "neither"],
)  # fmt: skip
def test_a_thousand_tasks_fit_a_page(connected: int, stages: int, labels: int) -> None:
    """The picture stays within a few screens either way, and every task is counted in it."""
    tasks, edges = many(1000, connected, stages, labels)
    page = graph.svg(graph.render(tasks, edges, "dot"))
    width, height = drawn_size(page)
    assert width < 6000 and height < 6000, (width, height)
    counts = [int(count) for count in re.findall(r"(?:: |>)(\d+) tasks?<", page)]
    assert sum(counts) == 1000


@needs_dot
def test_tasks_that_nothing_is_connected_to_stand_apart() -> None:
    """A block of their own beside the graph, as deep as it is wide, not one row; from left to right."""
    tasks, edges = many(190, 30)
    text = graph.render(tasks, edges, "dot")
    assert "rankdir=LR" in text and 'label="not connected"' in text
    width, height = drawn_size(graph.svg(text))
    assert width < 16_000 and height < 6000, (width, height)
    assert all(f'"n{number}" [label=' in text for number in range(190))


def test_each_status_has_a_shape_and_a_colour_and_stands_in_the_legend() -> None:
    """No two states look alike in either, so that a print without colours can be read; the legend names those that occur."""
    looks = graph.LOOKS.values()
    assert len({look.shape for look in looks}) == len({look.fill for look in looks}) == len(looks)
    tasks, edges = many(18, 9)
    text = graph.render(tasks, edges, "dot")
    legend = text.partition("subgraph cluster_legend {")[2].partition("}")[0]
    for status, look in graph.LOOKS.items():
        assert re.search(rf'"legend: {status}" \[label="{status}", fillcolor="{look.fill}", color="{look.line}"', legend), status
        assert f"node [shape={look.shape}]" in text
    assert '"legend: failed"' not in graph.render(PLAN[:2], {}, "dot")


def test_a_folded_graph_keeps_what_waits_for_what() -> None:
    """Stages are joined by as many dependencies as their tasks have; `whole` draws each task, however many."""
    tasks = [node(f"{name}{number}", stage=stage) for name, stage in (("a", "first"), ("b", "then")) for number in range(150)]
    edges = {f"b{number}": [f"a{number}"] for number in range(100)}
    text = graph.render(tasks, edges, "dot")
    assert '"group: first" -> "group: then" [label="100"];' in text
    assert '"a5"' not in text and "first: 100 tasks" in text and "first: 50 tasks" in text
    assert '"a5" -> "b5";' in graph.render(tasks, edges, "dot", whole=True)


@pytest.mark.parametrize("title", HOSTILE)
def test_a_hostile_stage_is_shown_as_it_is_when_folded(title: str) -> None:
    """It is one line of a label, nothing of the format's syntax."""
    tasks = [node(f"a{number}", stage=title) for number in range(250)]
    label = re.search(r'\[label="((?:[^"\\]|\\.)*): 250 tasks', graph.render(tasks, {}, "dot"))
    assert label and html.unescape(re.sub(r"\\(.)", r"\1", label[1])) == checks.one_line(title, 72)


def test_what_is_drawn_without_a_box_stands_in_the_legend() -> None:
    """A dependency that has ended is not among the tasks that are drawn: its name stands alone, and the legend says why."""
    node = {"task_id": "t2", "title": "go on", "status": "queued"}
    assert "no box: it has ended" in graph.render([node], {"t2": ["t1"]}, "dot")
    assert "no box" not in graph.render([node], {"t2": []}, "dot")
