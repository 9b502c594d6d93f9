"""What waits for what: cycles, order and drawings of a dependency graph.  Pure functions.

Promised: ``edges`` maps each name to the names it depends on (a name that is no key depends on nothing), and every
answer depends on the graph alone, whatever order its sets and mappings come in; names sort as people count, t9 before
t10.  Nothing recurses: a chain of 100,000 tasks is like one of three.  Text in a drawing is data: no control
character, escape sequence or piece of the format's own syntax passes from a title to its reader.
Not promised: the least number of dropped edges (`all_cycles_broken` is greedy, but drops none in vain).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from mbox.format import drawing
from mbox.format.checks import one_line
from mbox.format.drawing import Box, Sign, svg

__all__ = ["svg"]

Edges = Mapping[str, Iterable[str]]

FORMATS = ("text", "mermaid", "dot")
"""What `render` draws; ``svg`` is `svg` of ``dot``."""

LOOKS = {
    "queued": Sign(" ", "#ffffff", "#6c757d", "box"),
    "held": Sign("=", "#f8f9fa", "#adb5bd", "octagon"),
    "claimed": Sign("~", "#fff3cd", "#b8860b", "parallelogram"),
    "running": Sign(">", "#cfe2ff", "#0a58ca", "cds"),
    "review": Sign("?", "#e2d9f3", "#6f42c1", "hexagon"),
    "done": Sign("x", "#d1e7dd", "#146c43", "ellipse"),
    "failed": Sign("!", "#f8d7da", "#b02a37", "invhouse"),
    "deadletter": Sign("#", "#e8b4b8", "#7a1f28", "box3d"),
    "cancelled": Sign("-", "#e9ecef", "#adb5bd", "note"),
}
"""Every status, no two alike in any of these; ``held`` is queued with a hold."""

WORST_FIRST = ("failed", "deadletter", "held", "review", "running", "claimed", "queued", "cancelled", "done")
"""Which status of many is shown where one stands for them all: what needs somebody, then what moves, then what is over."""

FOLDED_ABOVE = 200
"""Tasks that a picture shows one by one; of more it shows groups."""

GROUPS = 40
"""Groups that a picture shows; what is in smaller ones is counted together."""

BANDS = 12
"""Groups of connected tasks that have neither stage nor label, by how many steps come before them."""

_TITLE = 72
_DEEPEST = 12  # levels of indentation: a long chain must not make a wide page
_REFERENCES = 8
_DIGITS = re.compile("[0-9]+")


def _natural(name: str) -> str:
    return _DIGITS.sub(lambda digits: f"{len(digits[0]):03}{digits[0]}", name)


def _sorted(names: Iterable[str]) -> list[str]:
    """``names`` once each, in natural order."""
    return sorted(set(names), key=_natural)


def _listed(edges: Edges) -> dict[str, list[str]]:
    """``edges`` in natural order, with every name that occurs as a key."""
    lists = {name: _sorted(deps) for name, deps in edges.items()}
    return {name: lists.get(name, []) for name in _sorted([*lists, *(dep for deps in lists.values() for dep in deps)])}


def cycle(edges: Edges) -> list[str] | None:
    """One cycle as ``[a, b, c, a]``, each depending on the next, from its first name on; None if there is none."""
    done: set[str] = set()
    for start in _sorted(edges):
        path: dict[str, Iterator[str]] = {} if start in done else {start: iter(_sorted(edges[start]))}
        while path:
            here = next(reversed(path))
            dep = next((dep for dep in path[here] if dep not in done), None)
            if dep is None:
                done.add(here)
                path.popitem()
            elif dep in path:
                members = list(path)
                return _from_its_first(members[members.index(dep) :])
            else:
                path[dep] = iter(_sorted(edges.get(dep, ())))
    return None


def _from_its_first(members: list[str]) -> list[str]:
    first = members.index(min(members, key=_natural))
    return [*members[first:], *members[: first + 1]]


def cycle_through(start: str, deps_of: Callable[[str], Iterable[str]], new_deps: Iterable[str]) -> list[str] | None:
    """The shortest cycle ``[start, …, start]`` that ``start`` depending on ``new_deps`` would close, or None.

    Asks ``deps_of`` only for what is reachable from ``new_deps``, each name once, and never for ``start``.
    """
    came_from = dict.fromkeys(_sorted(new_deps), start)
    queue = list(came_from)
    for here in queue:  # grows while it is read
        if here == start:
            break
        for dep in _sorted(deps_of(here)):
            if dep not in came_from:
                came_from[dep] = here
                queue.append(dep)
    else:
        return None
    path = [start, came_from[start]]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]


class Urgency(NamedTuple):
    """How urgent a task is, and by whose priority: its own, or that of one that waits for it."""

    priority: int
    by: str


def urgencies(priority: Mapping[str, int], edges: Edges) -> dict[str, Urgency]:
    """How urgent each name in ``priority`` is: as the most urgent of all that wait for it, directly or not, or as itself.

    Edges from and to other names do not count.  Of several that are as urgent, the first by name is named.
    """
    found: dict[str, Urgency] = {}
    for first in sorted(priority, key=lambda name: (-priority[name], _natural(name))):
        if first in found:
            continue
        found[first] = Urgency(priority[first], first)
        queue = [first]
        for here in queue:  # grows while it is read
            for dep in edges.get(here, ()):
                if dep in priority and dep not in found:
                    found[dep] = found[first]
                    queue.append(dep)
    return found


def order(edges: Edges) -> list[str]:
    """Every name after all that it depends on; ValueError if there is a cycle."""
    listed = _listed(edges)
    names = [name for name, _ in _unfolded(listed)]
    if len(names) < len(listed):
        raise ValueError(f"no order: {' → '.join(cycle(listed) or [])}")
    return names


def _unfolded(listed: Mapping[str, list[str]]) -> Iterator[tuple[str, str | None]]:
    """Kahn's algorithm with a stack: each name after all it depends on, with the last of them, which it is close to.

    So the pairs are a forest in reading order, every name in it once.  What is on or behind a cycle never comes.
    """
    waiting = {name: len(deps) for name, deps in listed.items()}
    users: dict[str, list[str]] = {name: [] for name in listed}
    for name, deps in listed.items():
        for dep in deps:
            users[dep].append(name)
    stack: list[tuple[str, str | None]] = [(name, None) for name in reversed(waiting) if not waiting[name]]
    while stack:
        name, parent = stack.pop()
        yield name, parent
        for user in reversed(users[name]):
            waiting[user] -= 1
            if not waiting[user]:
                stack.append((user, name))


def all_cycles_broken(edges: Edges) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """``(kept, dropped)``: the graph without cycles, and the edges ``(name, dependency)`` that went for it.

    A greedy choice of few edges (Eades, Lin and Smyth 1993); putting any one of them back would close a cycle.
    """
    kept = {name: _sorted(deps) for name, deps in edges.items()}
    if cycle(kept) is None:
        return kept, []
    place = {name: number for number, name in enumerate(_nearly_ordered(kept))}
    against = [(name, dep) for name in _sorted(kept) for dep in kept[name] if place[dep] >= place[name]]
    kept = {name: [dep for dep in deps if place[dep] < place[name]] for name, deps in kept.items()}
    dropped = []
    for name, dep in against:
        if cycle_through(name, lambda known: kept.get(known, ()), [dep]):
            dropped.append((name, dep))
        else:
            kept[name] = _sorted([*kept[name], dep])
    return kept, dropped


def _nearly_ordered(edges: Edges) -> list[str]:
    """Names after what they depend on; where a cycle forbids it, next is whoever frees most and waits for least."""
    from heapq import heapify, heappop, heappush

    listed = _listed(edges)
    rank = {name: number for number, name in enumerate(listed)}
    deps = {name: {dep for dep in listed[name] if dep != name} for name in listed}
    users: dict[str, set[str]] = {name: set() for name in listed}
    for name in listed:
        for dep in deps[name]:
            users[dep].add(name)

    def entry(name: str) -> tuple[bool, int, int, str]:
        return bool(deps[name]), len(deps[name]) - len(users[name]), rank[name], name

    heap = [entry(name) for name in listed]
    heapify(heap)
    taken: dict[str, None] = {}
    while heap:
        found = heappop(heap)
        name = found[-1]
        if name in taken or found != entry(name):
            continue  # counted anew since
        taken[name] = None
        for user in users[name]:
            deps[user].discard(name)
            heappush(heap, entry(user))
        for dep in deps[name]:
            users[dep].discard(name)
            heappush(heap, entry(dep))
    return list(taken)


# Drawing


def render(nodes: Iterable[Mapping[str, object]], edges: Edges, fmt: str = "text", whole: bool = False) -> str:
    """The graph as ``text``, ``mermaid`` or ``dot``, ending in a newline; "" for no nodes.

    A node has ``task_id title status stage owner labels`` and, if it is held, ``hold``; edges from names without a node
    are left out, edges to them are drawn.  In ``dot`` more than `FOLDED_ABOVE` tasks are drawn as groups unless ``whole``.
    """
    draw = {"text": _text, "mermaid": _mermaid, "dot": _dot}.get(fmt)
    if draw is None:
        raise ValueError(f"no format {fmt!r}: {', '.join(FORMATS)}")
    by_name = {str(node["task_id"]): node for node in nodes}
    known = {name: _sorted(edges.get(name, ())) for name in _sorted(by_name)}
    draw = _folded if fmt == "dot" and len(by_name) > FOLDED_ABOVE and not whole else draw
    return "".join(f"{line}\n" for line in draw(by_name, known)) if known else ""


Nodes = Mapping[str, Mapping[str, object]]


def _status(node: Mapping[str, object]) -> str:
    status = one_line(node.get("status") or "")
    return "held" if status == "queued" and node.get("hold") else status


def _text(nodes: Nodes, known: Mapping[str, list[str]]) -> Iterator[str]:
    """A tree for each part of the graph: below a task what it was the last to free, "after" what else it waits for.

    Each task is on one line, after everything it depends on; tasks without any edge come last.
    """
    inner, _ = all_cycles_broken({name: [dep for dep in deps if dep in nodes] for name, deps in known.items()})
    parts = _parts(inner)
    lone = [part[0] for part in parts if len(part) == 1]
    for part in [*(part for part in parts if len(part) > 1), lone]:
        depth: dict[str | None, int] = {None: -1}
        for name, parent in _unfolded({name: inner[name] for name in part}):
            depth[name] = min(depth[parent] + 1, _DEEPEST)
            shown = parent if depth[parent] < _DEEPEST else None
            yield "  " * depth[name] + _line(name, nodes[name], [dep for dep in known[name] if dep != shown])
        if part and part is not lone:
            yield ""
    seen = {_status(node) for node in nodes.values()}
    yield "signs: " + "  ".join(f"[{look.sign}] {status}" for status, look in LOOKS.items() if status in seen)


def _line(name: str, node: Mapping[str, object], after: list[str]) -> str:
    status = _status(node)
    more = f" +{len(after) - _REFERENCES}" if len(after) > _REFERENCES else ""
    return "".join(
        [
            f"[{LOOKS[status].sign if status in LOOKS else status}] {one_line(name)}",
            f" ({one_line(node['stage'])})" if node.get("stage") else "",
            f" @{one_line(node['owner'])}" if node.get("owner") else "",
            f" after {' '.join(map(one_line, after[:_REFERENCES]))}{more}" if after else "",
            f": {one_line(node.get('title') or '', _TITLE)}",
        ]
    )


def _parts(edges: Mapping[str, list[str]]) -> list[list[str]]:
    """The connected parts, each in natural order, by their first name."""
    beside: dict[str, list[str]] = {name: [] for name in edges}
    for name, deps in edges.items():
        for dep in deps:
            beside[name].append(dep)
            beside[dep].append(name)
    parts, seen = [], set()
    for first in beside:
        if first in seen:
            continue
        seen.add(first)
        part = [first]
        for name in part:  # grows while it is read
            fresh = set(beside[name]) - seen
            seen |= fresh
            part.extend(fresh)
        parts.append(_sorted(part))
    return parts


def _label(name: str, node: Mapping[str, object]) -> str:
    owner = f" @{one_line(node['owner'])}" if node.get("owner") else ""
    return f"{one_line(name)}: {one_line(node.get('title') or '', _TITLE)}{owner}" if node else one_line(name)


def _mermaid(nodes: Nodes, known: Mapping[str, list[str]]) -> Iterator[str]:
    listed = _listed(known)
    boxes = {name: _box(name, nodes.get(name, {})) for name in listed}
    yield from drawing.mermaid(boxes, {(dep, name): "" for name, deps in listed.items() for dep in deps}, LOOKS)


def _dot(nodes: Nodes, known: Mapping[str, list[str]]) -> Iterator[str]:
    """From left to right; what nothing is connected to stands in a block beside, and the legend in another."""
    listed = _listed(known)
    joined = {name for name, deps in listed.items() if deps} | {dep for deps in listed.values() for dep in deps}
    lone = [name for name in listed if name not in joined]
    boxes = {name: _box(name, nodes.get(name, {})) for name in listed}
    arrows = {(dep, name): "" for name, deps in listed.items() for dep in deps}
    yield from drawing.dot("tasks", boxes, arrows, LOOKS, lone, _OVER_SAID)


def _folded(nodes: Nodes, known: Mapping[str, list[str]]) -> Iterator[str]:
    """As `_dot`, a box for each group of tasks (`_groups`), those apart of which nothing is connected to."""
    listed = {name: [dep for dep in deps if dep in nodes] for name, deps in known.items()}
    joined = {name for name, deps in listed.items() if deps} | {dep for deps in listed.values() for dep in deps}
    group = _groups(nodes, listed, joined)
    members: dict[str, list[str]] = {}
    for name in listed:
        members.setdefault(group[name], []).append(name)
    boxes = {key: _group_box(key.partition(": ")[2], [_status(nodes[name]) for name in names]) for key, names in members.items()}
    between: dict[tuple[str, str], int] = {}
    for name, deps in listed.items():
        for dep in deps:
            if group[dep] != group[name]:
                edge = (group[dep], group[name])
                between[edge] = between.get(edge, 0) + 1
    lone = [key for key in boxes if key.startswith(_APART)]
    yield from drawing.dot("tasks", boxes, {edge: str(count) for edge, count in between.items()}, LOOKS, lone, _OVER_SAID)


_OVER = "\n"
"""The status of what is not among the tasks that are drawn; no status is a line break."""

_OVER_SAID = (_OVER, "no box: it has ended")

_APART = "apart: "
"""What the name of a group of unconnected tasks begins with; no task's id holds a blank."""


def _groups(nodes: Nodes, edges: Mapping[str, list[str]], joined: set[str]) -> dict[str, str]:
    """The group of each task: its stage, else its first label, else how many steps come before it.

    The largest `GROUPS` of each side have a name of their own.
    """
    waves = {name: wave for name, wave in _waves(edges).items() if name in joined}
    said = {name: node.get("stage") or next(iter(_labels(node)), "") for name, node in nodes.items()}
    keys = {name: one_line(text or waves.get(name, "no stage, no label"), _TITLE) for name, text in said.items()}
    found: dict[str, str] = {}
    for side, prefix in ((True, "group: "), (False, _APART)):
        mine = [name for name in edges if (name in joined) is side]
        counts: dict[str, int] = {}
        for name in mine:
            counts[keys[name]] = counts.get(keys[name], 0) + 1
        largest = set(sorted(counts, key=lambda key: (-counts[key], _natural(key)))[:GROUPS])
        other = f"{len(counts) - GROUPS} smaller groups"
        found |= {name: prefix + (keys[name] if keys[name] in largest else other) for name in mine}
    return found


def _labels(node: Mapping[str, object]) -> list[str]:
    labels = node.get("labels")
    return [str(label) for label in labels] if isinstance(labels, list | tuple) else []


def _waves(edges: Mapping[str, list[str]]) -> dict[str, str]:
    """For each task how many others come before it at most, in bands of which there are few."""
    inner, _ = all_cycles_broken(edges)
    before: dict[str, int] = {}
    for name, _ in _unfolded({name: _sorted(deps) for name, deps in inner.items()}):
        before[name] = 1 + max((before[dep] for dep in inner[name]), default=-1)
    wide = -(-(1 + max(before.values(), default=0)) // BANDS)

    def band(step: int) -> str:
        first = step // wide * wide + 1
        return f"step {first}" if wide == 1 else f"steps {first} to {first + wide - 1}"

    return {name: band(step) for name, step in before.items()}


def _box(name: str, node: Mapping[str, object]) -> Box:
    return Box([_label(name, node)], _status(node) if node else _OVER)


def _group_box(key: str, statuses: list[str]) -> Box:
    count = len(statuses)
    counts = [f"{statuses.count(status)} {status}" for status in LOOKS if status in statuses]
    worst = next((status for status in WORST_FIRST if status in statuses), "")
    return Box([f"{key}: {count} task{'s' * (count != 1)}", *counts], worst)
