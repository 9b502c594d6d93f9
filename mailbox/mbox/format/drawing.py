"""Boxes and arrows as Mermaid, DOT and SVG.  Pure functions, but for `svg`.

Promised: text in a drawing is data: no control character, escape sequence or piece of the format's own syntax passes from a
label to its reader.  The same boxes and arrows in the same order are the same drawing.  Not promised: where a box stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mbox.errors import MboxError, TimedOut, Usage
from mbox.system import executables

from .checks import one_line


class Sign(NamedTuple):
    """How a status looks: its sign in text, and fill, line and shape in a picture."""

    sign: str
    fill: str
    line: str
    shape: str


class Box(NamedTuple):
    """A box of a picture: the lines of its label, each plain text, and the status that it looks like."""

    lines: list[str]
    status: str


Arrows = Mapping[tuple[str, str], str]
"""From which box to which, and what stands at the arrow."""

Looks = Mapping[str, Sign]
"""By status, in the order of the legend."""


def mermaid(boxes: Mapping[str, Box], arrows: Arrows, looks: Looks) -> Iterator[str]:
    """Line by line.  Nodes are n0, n1, …: ``end`` or ``click`` is a word of Mermaid's own."""
    yield "graph TD"
    ids = {name: f"n{number}" for number, name in enumerate(boxes)}
    for name, box in boxes.items():
        label = "<br/>".join(map(_entities, box.lines))
        yield f'  {ids[name]}["{label}"]' + (f":::{box.status}" if box.status in looks else "")
    for (before, after), text in arrows.items():
        yield f"  {ids[before]} -->" + (f'|"{_entities(one_line(text))}"|' if text else "") + f" {ids[after]}"
    seen = {box.status for box in boxes.values()}
    for status, look in looks.items():
        if status in seen:
            yield f"  classDef {status} fill:{look.fill},stroke:{look.line},color:#000000"


def _entities(text: str) -> str:
    """Mermaid's own escapes, for all of ASCII that could be syntax, Markdown or HTML in some version of it."""
    return "".join(
        char if char.isalnum() or char in " .,-/()" or not char.isascii() else f"#{ord(char)};" for char in text
    )


def dot(
    name: str, boxes: Mapping[str, Box], arrows: Arrows, looks: Looks, lone: Sequence[str] = (), other: tuple[str, str] = ("", "")
) -> Iterator[str]:
    """A graph of graphviz, line by line: ``boxes`` by id, ``arrows``, which boxes stand apart, and a legend of the looks.

    ``other`` is a status that has no look, and what the legend says of it.
    """
    yield f"digraph {name} {{"
    yield '  rankdir=LR; ranksep=0.4; nodesep=0.15; node [style="rounded,filled", fillcolor="#ffffff", fontname="sans-serif"];'
    apart = set(lone)
    yield from _drawn({ident: box for ident, box in boxes.items() if ident not in apart}, looks)
    seen = {box.status for box in boxes.values()}
    legend = {f"legend: {status}": Box([status], status) for status in looks if status in seen}
    legend |= {"legend: over": Box([other[1]], other[0])} if other[1] and other[0] in seen else {}
    for title, block, some in (("legend", "legend", legend), ("not connected", "apart", {one: boxes[one] for one in lone})):
        if some:
            yield f"  subgraph cluster_{block} {{"
            yield f'  label="{title}"; fontname="sans-serif"; color="#adb5bd";'
            yield from _drawn(some, looks)
            yield from _block(list(some))
            yield "  }"
    for (before, after), text in arrows.items():
        yield f"  {_quoted(before)} -> {_quoted(after)}" + (f" [label={_quoted(text)}];" if text else ";")
    yield "}"


def _drawn(boxes: Mapping[str, Box], looks: Looks) -> Iterator[str]:
    """The boxes, by their shapes: a shape is said once for all that have it."""
    for status in (*looks, None):
        mine = {ident: box for ident, box in boxes.items() if (box.status if box.status in looks else None) == status}
        _, fill, line, shape = looks[status] if status else Sign("", "#ffffff", "#000000", "plain")
        if mine:
            yield f"  node [shape={shape}];"
        for ident, box in mine.items():
            label = "\\n".join(_quoted(text)[1:-1] for text in box.lines)
            yield f'  {_quoted(ident)} [label="{label}", fillcolor="{fill}", color="{line}"];'


def _block(idents: list[str]) -> Iterator[str]:
    """Edges that nobody sees put boxes below and beside each other: many more rows than columns, since boxes are wide."""
    columns = max(1, round((len(idents) / 12) ** 0.5))
    for at in range(0, len(idents), columns):
        row = idents[at : at + columns]
        if len(row) > 1:
            yield f"  {' -> '.join(map(_quoted, row))} [style=invis];"


def _quoted(text: str) -> str:
    """A DOT string: graphviz reads backslashes, quotes and HTML entities in it."""
    safe = one_line(text).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{safe}"'


def svg(dot_text: str) -> str:
    """The picture that graphviz makes of ``dot_text``; `Usage` where there is no graphviz, `TimedOut` after 60 s."""
    import subprocess

    try:
        line = [executables.find("dot"), "-Tsvg"]
        done = subprocess.run(line, input=dot_text.encode(), capture_output=True, timeout=60, check=False)
    except FileNotFoundError:
        raise Usage("graphviz is not installed: apt-get install graphviz, or use --format dot") from None
    except subprocess.TimeoutExpired:
        raise TimedOut("graphviz did not finish in 60 s: draw less, or use --format dot") from None
    if done.returncode:
        said = one_line(done.stderr.decode(errors="replace"), 200)
        raise MboxError(f"graphviz failed ({done.returncode}): {said}; use --format dot")
    return done.stdout.decode()
