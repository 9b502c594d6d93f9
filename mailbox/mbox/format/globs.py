"""Globs, and the effort of comparing them: whether two sequences with stars can be the same.

A segment of a pattern is a sequence of *atoms* (a letter, or a class as ranges of code points) and stars; an alternative
of a pattern is a sequence of segments and stars.  So both levels are the same thing, a *glob*: elements that read one
item each, and ``STAR``, which reads any number.  A glob is a linear automaton whose states are the positions in it,
with a loop at every star.  Whether the product of two such automata accepts anything can be told without searching it:
`Effort.meet` does, and for two segments asks itself, one level down, whether they can be the same name.

Every comparison is counted by the `Effort` that makes it, in steps: one for a look at two elements, one for each range
of a class that is looked at, one for each element that is only passed over.  A step takes well under a microsecond and
never much more, so that steps bound the time; and their number depends on nothing but what is compared, in which order,
so that a decision that stops for it is a function of what it read.  Promised: with steps left the answer is exact; past
the last one every comparison raises `Spent`, also one that would have been cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Ranges = tuple[tuple[int, int], ...]
    Atom = str | Ranges
    Segment = str | tuple[Atom | None, ...]
    Alternative = tuple[Segment | None, ...]
    Glob = Sequence[Atom | None] | Sequence[Segment | None]
    Common = Callable[[Any, Any], str | None]

STAR = None
ANY_NAME = (STAR,)  # the segment `*`
NOT_NAMES = ("", ".", "..")  # what no segment of a path is
ENDLESS = float("inf")
"""Steps for who wants the exact answer, however long it takes."""

STEPS = 1_000_000
"""Steps that one decision may take for all its patterns: 400 pairs of the longest plain ones, half a second."""

_LAST = 0x10FFFF
_READABLE = ((ord("0"), ord("9")), (ord("A"), ord("Z")), (ord("a"), ord("z")))


class Spent(Exception):
    """The steps of an effort are used up."""


class Effort:
    """What one decision does to compare patterns, in at most ``steps``; not for patterns of different ``fold``.

    It remembers what it found, so that the same question is cheap the second time.
    """

    __slots__ = ("_names", "known", "left")

    def __init__(self, steps: float = STEPS) -> None:
        self.left = steps
        self.known: dict[Any, Any] = {}
        """What the caller wants to remember as long as this effort lasts."""
        self._names: dict[tuple[int, int], tuple[Segment, Segment, str | None]] = {}

    @property
    def is_spent(self) -> bool:
        return self.left < 0

    def spend(self, steps: int) -> None:
        """Count ``steps``; `Spent` if there were not so many."""
        self.left -= steps
        if self.left < 0:
            raise Spent

    def count(self, steps: int) -> None:
        """Count ``steps`` of something that is done already."""
        self.left -= steps

    # -- two globs of one level ----------------------------------------------------------------------------------

    def meet(self, a: Glob, b: Glob, common: Common, filler: list[str]) -> list[str] | None:
        """A sequence of items that both globs read, or None; ``filler`` is in it if both have a star.

        If only one has a star, it is to read the other.  If both have, what lies before the first star and after the
        last one of either must agree; then they always meet, since each can read the rest of the other with a star.
        """
        self.spend(1 + (len(a) + len(b)) // 16)
        if STAR not in a:
            a, b = b, a
        if STAR not in b:
            return self.read(a, b, common)
        head = _agree(a, b, common)
        tail = None if head is None else _agree(a[::-1], b[::-1], common)
        if head is None or tail is None:
            return None
        a, b = a[len(head) : len(a) - len(tail)], b[len(head) : len(b) - len(tail)]
        if a[0] is not STAR:
            a, b = b, a
        # Now a begins with a star, and a or b ends with one.  So b reads a's items with its last star, while a reads
        # with its first what b has before that star, and with its last what b has after it, if b has anything there.
        cut = len(b) - 1 - b[::-1].index(STAR)
        before, own, after = ([_some(x, common) for x in part if x is not STAR] for part in (b[:cut], a, b[cut:]))
        items = [*head, *before, *filler, *own, *after, *reversed(tail)]
        return [item for item in items if item is not None] if None not in items else None

    def read(self, glob: Glob, elements: Glob, common: Common) -> list[str] | None:
        """Items, one for each of ``elements`` (which have no star), that ``glob`` reads too; or None.

        On a mismatch only the last star needs to take one item more: what an earlier star could take, it can.
        """
        self.spend(1 + len(glob) // 16)
        if elements and glob[-1] is not STAR and common(glob[-1], elements[-1]) is None:
            return None
        items: list[str] = []
        i, star, retry = 0, -1, 0  # the position in glob, that of its last star, and the first item after that star
        while (k := len(items)) < len(elements):
            if i < len(glob) and glob[i] is STAR:
                star, retry, i = i, k, i + 1
                continue
            item = common(glob[i], elements[k]) if i < len(glob) else None
            if item is not None:
                i += 1
            elif star >= 0:
                item = _some(elements[retry], common)
                del items[retry:]
                i, retry = star + 1, retry + 1
            if item is None:
                return None
            items.append(item)
        return items if all(element is STAR for element in glob[i:]) else None

    def within(self, x: Glob, y: Glob, fits: Callable[[Any, Any], bool]) -> bool:
        """Whether ``y`` reads whatever ``x`` reads: element by element, where a star of ``y`` takes any, stars too."""
        at = _over_stars({0}, y)  # where in y one can be when x has been read up to here
        for element in x:
            self.spend(len(y))
            stay = {j for j in at if j < len(y) and y[j] is STAR}
            steps = {j + 1 for j in at - stay if j < len(y) and element is not STAR and fits(element, y[j])}
            at = _over_stars(stay | steps, y)
        return len(y) in at

    # -- names -----------------------------------------------------------------------------------------------------

    def name(self, x: Segment, y: Segment) -> str | None:
        """A name that both segments read, or None."""
        self.spend(1)
        if isinstance(x, str):
            if isinstance(y, str):
                return x if x == y else None
            x, y = y, x
        known = self._names.get((id(x), id(y)))
        if known is None:  # which keeps both alive, so that nothing else is found under their numbers
            known = self._names[id(x), id(y)] = (x, y, self._common_name(x, y))
        return known[2]

    def _common_name(self, x: tuple[Atom | None, ...], y: Segment) -> str | None:
        if isinstance(y, str):
            return None if self.read(x, y, self.letter) is None else y
        letters = self.meet(x, y, self.letter, ["x"])
        if letters == [".", "."]:  # `*.*` read `?.` from the left; read from the right, the first letter is free
            letters = self.meet(x[::-1], y[::-1], self.letter, ["x"])
            letters = letters and letters[::-1]
        name = "".join(letters or ())
        return None if name in NOT_NAMES else name

    def name_within(self, x: Segment, y: Segment) -> bool:
        """Whether ``y`` reads whatever the segment ``x`` reads."""
        return x == y or self.within(x, y, self._letter_within)

    # -- letters ---------------------------------------------------------------------------------------------------

    def letter(self, x: Atom, y: Atom) -> str | None:
        """A letter that both atoms read, or None; a dot only if there is no other, for a name must not be ``..``."""
        self.left -= 1
        if self.left < 0:
            raise Spent
        if isinstance(x, str):
            if isinstance(y, str):
                return x if x == y else None
            x, y = y, x
        if isinstance(y, str):
            self.left -= len(x)
            return y if any(low <= ord(y) <= high for low, high in x) else None
        self.left -= 4 * (len(x) + len(y))
        both = _overlap(x, y)
        for low, _ in reversed((*both, *_overlap(both, _READABLE))):
            if low != ord("."):  # no range goes on after the dot, since a slash follows it
                return chr(low)
        return "." if both else None

    def _letter_within(self, x: Atom, y: Atom) -> bool:
        if isinstance(x, str) or isinstance(y, str):
            return x == y or self.letter(x, y) == x
        self.spend(len(x) * len(y))
        return all(any(low >= a and high <= b for a, b in y) for low, high in x)


def _some(element: Any, common: Common) -> str | None:
    """An item that ``element`` reads, or None."""
    return element if isinstance(element, str) else common(element, element)


def _agree(a: Glob, b: Glob, common: Common) -> list[str] | None:
    """Items that both read before the first star of either, or None if there are none such."""
    items: list[str] = []
    for x, y in zip(a, b, strict=False):
        if x is STAR or y is STAR:
            break
        item = common(x, y)
        if item is None:
            return None
        items.append(item)
    return items


def _over_stars(at: set[int], y: Glob) -> set[int]:
    for j, element in enumerate(y):
        if j in at and element is STAR:
            at.add(j + 1)
    return at


def gaps(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """The code points that are in none of ``ranges``, as ascending ranges."""
    found, start = [], 0
    for low, high in sorted(ranges):
        if low > start:
            found.append((start, low - 1))
        start = max(start, high + 1)
    return (*found, (start, _LAST)) if start <= _LAST else tuple(found)


def _overlap(x: Sequence[tuple[int, int]], y: Sequence[tuple[int, int]]) -> Ranges:
    """The code points that are in both."""
    return gaps([*gaps(x), *gaps(y)])
