"""The walk along the commands of a shell line: where each stands, and what is noted of it.

Promised: whatever cannot be followed is in doubt (``certain`` turns false), and what was noted before it stays.  Not promised:
which way an ``if`` goes; both are walked.  What programs write is not known here: who walks brings who knows it.
"""

from __future__ import annotations

import posixpath

from .shellsyntax import HOLE, Budget, Clause, Parser, Unread
from .shellwords import Surroundings, Words, code, is_plain, tame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .shellsyntax import Body, Redirection

    Options = list[tuple[str, str]]
    Handler = Callable[["Call"], None]

MOST = 4096
"""Writes that are listed."""

_QUIET = frozenset(
    f"/dev/{name}" for name in ("null", "stdin", "stdout", "stderr", "tty", "full", "zero", "console")
)  # fmt: skip
_SYSTEM = ("", "/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin", "/opt/homebrew/bin",
           "/run/current-system/sw/bin")  # fmt: skip


class Walker:
    """Goes along the commands of a line; ``handler`` knows what a program does.

    ``found``: what is written, and whether all below it is meant; the rest as in `shell.Reading`.
    """

    __slots__ = ("budget", "calls", "certain", "commands", "found", "handler", "is_folder", "lax", "links", "locals",
                 "patches", "removed", "words")  # fmt: skip

    def __init__(
        self, home: str, is_folder: Callable[[str], bool] | None, handler: Callable[[str, list[str]], Handler | None]
    ) -> None:
        self.certain = True
        self.found: dict[str, bool] = {}
        self.patches: list[tuple[str, str]] = []
        self.removed: list[str] = []
        self.commands: list[list[str]] = []
        self.is_folder, self.handler, self.budget = is_folder, handler, Budget()
        self.words = Words(home, self.budget, self._inside, self.doubt)
        self.lax = self.calls = 0
        self.locals: list[set[str]] = []
        self.links: tuple[str, ...] = ()

    def doubt(self) -> None:
        """Something here is not known."""
        self.certain = False

    # -- commands --

    def script(self, text: str, place: Surroundings) -> None:
        """A text of commands; where one cannot be read, those before it count."""
        parser = Parser(text, self.budget)
        self.budget.down()
        depth = self.budget.depth
        try:
            while body := parser.line():
                self.body(body, place)
        except Unread:
            self.doubt()
        self.budget.depth = depth
        self.budget.up()

    def body(self, body: Body, place: Surroundings, lax: bool = False) -> None:
        """Commands in a row, in one place; ``lax``: where ``set -e`` ends nothing."""
        self.budget.down()
        self.lax += lax
        for items, background in body:
            self._chain(items, place.copy() if background else place)
        self.lax -= lax
        self.budget.up()

    def _inside(self, body: Body, place: Surroundings) -> None:
        self.body(body, place, lax=True)

    def _chain(self, items: list[tuple[str, list[Clause]]], place: Surroundings) -> None:
        """Pipelines with ``&&`` and ``||``: each is taken to succeed, but what fails must not lead elsewhere unseen."""
        start = place.copy()
        first = start
        guarded = place.errexit and not self.lax and len(items) == 1
        self.lax += len(items) > 1
        for at, (op, nodes) in enumerate(items):
            if op == "||":
                guarded = _leaves(nodes, place)
                other = start.copy()
                if not (at == 1 and _goes(items[0][1], place)):
                    other = place.copy()
                    other.merge(start)
                self._pipeline(nodes, other)
                if not guarded:
                    _merge_values(place, other)
            else:
                guarded = guarded and not at
                self._pipeline(nodes, place)
            first = place.copy() if not at else first
        self.lax -= len(items) > 1
        if len(items) > 1:
            _merge_values(place, first)
        if (place.cwd != start.cwd or not start.sure) and not guarded:
            place.sure = False

    def _pipeline(self, nodes: list[Clause], place: Surroundings) -> None:
        for node in nodes:
            self.node(node, place if len(nodes) == 1 else place.copy())

    def node(self, node: Clause, place: Surroundings) -> None:
        """One command, whatever its kind."""
        self.budget.spend(6 + len(place.values))
        if node.kind == "simple":
            self._simple(node, place)
            return
        if node.kind == "function":
            place.functions[node.name] = node
            return
        for redirection in node.redirs:
            self._redirect(redirection, place)
        if node.kind in ("group", "subshell"):
            for body in node.bodies:
                self.body(body, place if node.kind == "group" else place.copy())
        elif node.kind == "if":
            self._if(node, place)
        elif node.kind == "loop":
            self._loop(node, place)
        else:
            for word in node.words:
                self.words.fields(word, place)
            ways = [place.copy()]
            for body in node.bodies:
                before = place.copy()
                if node.name:  # behind a ``;&`` the next one follows
                    before.merge(ways[-1])
                ways.append(self._way(body, before))
            _ways(ways, place)

    def _way(self, body: Body, place: Surroundings) -> Surroundings:
        other = place.copy()
        self.body(body, other)
        return other

    def _if(self, node: Clause, place: Surroundings) -> None:
        ways: list[Surroundings] = []
        for at in range(0, len(node.bodies) - 1, 2):
            self.body(node.bodies[at], place, lax=True)
            way = self._way(node.bodies[at + 1], place)
            if not _ends(node.bodies[at + 1], place):
                ways.append(way)
        ways.append(self._way(node.bodies[-1], place) if len(node.bodies) % 2 else place.copy())
        _ways(ways, place)

    def _loop(self, node: Clause, place: Surroundings) -> None:
        items = [field for word in node.words for field in self.words.fields(word, place)]
        if 0 < len(items) <= 32 and all(is_plain(item) for item in items):
            count = len(self.found)
            ways: list[Surroundings] = []
            for item in items:
                place.values[node.name] = item
                self.body(node.bodies[0], place)
                ways.append(place.copy())
            _ways(ways, place)
            if len(self.found) > count:
                self.doubt()
            return
        for _ in range(2):
            before = place.copy()
            if node.name:
                place.values[node.name] = None
            for at, body in enumerate(node.bodies):
                self.body(body, place, lax=not at and len(node.bodies) > 1)
            if place.same(before):
                return
            place.merge(before)

    def _simple(self, node: Clause, place: Surroundings) -> None:
        fields = [field for word in node.words for field in self.words.fields(word, place)]
        stdin: str | None = None
        for redirection in node.redirs:
            text = self._redirect(redirection, place)
            if redirection[0] in ("", "0") and redirection[1][0] == "<":
                stdin = text
        for name, word in node.assigns:
            if name == "IFS" and fields:
                self.words.text(word, place)  # it holds for one command
            else:
                self.words.assign(place, name, word)
        if fields:
            exported, place.exported = place.exported, place.exported.union(name for name, _ in node.assigns)
            self.command(fields, place, stdin)
            for name, _ in node.assigns:
                place.values[name.rstrip("[+")] = None
                place.exported = exported

    def _redirect(self, redirection: Redirection, place: Surroundings) -> str | None:
        """Note what a redirection writes; the text of a here-document, or None."""
        before, op, word = redirection
        if before[:1] == "{":
            self.words.set(place, before[1:-1], None)
        if op in ("<<", "<<<"):
            return self.words.text(word, place) + ("\n" if op == "<<<" else "")
        fields = self.words.fields(word, place)
        target = fields[0] if len(fields) == 1 else HOLE
        if op in ("<", "<&") or (op == ">&" and (target.rstrip("-").isdigit() or target == "-")):
            return None
        if target == "!":
            self.doubt()  # zsh has it otherwise
        self.write(place, target)
        return None

    def command(self, fields: list[str], place: Surroundings, stdin: str | None = None) -> None:
        """A command as fields: note it, and what its program writes."""
        self.budget.spend(10 + len(fields))
        self.budget.down()
        fields = ["[", *fields[1:]] if fields[0] == "\3" else fields
        self.commands.append([tame(field) for field in fields])
        name = fields[0]
        folder, _, base = name.rpartition("/")
        if folder not in _SYSTEM or not base or not is_plain(name):
            self.doubt()
        if name in place.functions:
            self._call(place.functions[name], fields, place)
        elif base and is_plain(name):
            known = self.handler(base, fields[1:])
            if known is None:
                self.doubt()
            else:
                known(Call(self, fields[1:], place, stdin))
        self.budget.up()

    def _call(self, function: Clause, fields: list[str], place: Surroundings) -> None:
        if len(function.bodies) > 1 or self.calls > 5:
            self.doubt()
        if self.calls > 5:
            return
        self.calls += 1
        self.locals.append(set())
        args, place.args, values = place.args, fields, dict(place.values)
        for body in function.bodies:
            self.body(body, place)
        place.args = args
        for name in self.locals.pop():
            place.values.pop(name, None)
            if name in values:
                place.values[name] = values[name]
        self.calls -= 1

    # -- paths --

    def enter(self, place: Surroundings, target: str) -> None:
        """Go to a folder, as ``cd`` does."""
        old = place.cwd
        if target == "-" or not is_plain(target) or (old is None and target[:1] != "/"):
            place.cwd = None
        elif target:
            place.cwd = _full(old or "/", target)
            if target[:1] == "/" or not old:
                place.sure = True

    def path(self, place: Surroundings, word: str) -> str | None:
        """The absolute path that a field means; nothing where that is not known, or is no file."""
        absolute = word.startswith("/")
        if not word or not is_plain(word) or (place.cwd is None and not absolute):
            self.doubt()
            return None
        if not absolute and not place.sure:
            self.doubt()
        named = False
        for name in word.split("/") if ".." in word else ():
            if name == ".." and named:
                self.doubt()  # behind a symlink that is another folder
            named = named or name not in ("", ".", "..")
        full = _full(place.cwd or "/", word)
        if full in _QUIET or full.startswith(("/dev/fd/", "/dev/pts/", "/dev/tcp/", "/dev/udp/", "/proc/self/fd/")):
            return None
        if full.startswith(("/proc/", "/dev/")):
            self.doubt()
        return full

    def write(self, place: Surroundings, word: str, tree: bool = False) -> None:
        """Note that the file of a field is written; ``tree``: and all that is below it."""
        full = self.path(place, word)
        if full is not None:
            self._note(full, tree)

    def _note(self, full: str, tree: bool) -> None:
        if f"{full}/".startswith(self.links):
            self.doubt()
        self.found[full] = tree or self.found.get(full, False)
        if len(self.found) > MOST:
            raise Unread

    def tree(self, place: Surroundings, word: str) -> None:
        """Note that what a field names is written: a file, or all of a folder."""
        full = self.path(place, word)
        if full is not None:
            self._note(full, self.folder(place, full) is not False)

    def remove(self, place: Surroundings, word: str) -> None:
        """Note that ``rm -r`` is given a field."""
        text = tame(word)
        if HOLE not in word and (text.startswith("/") or place.cwd is not None):
            self.removed.append(_full(place.cwd or "/", text))
        head, slash, last = word.rpartition("/")
        if last == "\1" and is_plain(head):
            self.doubt()
            self.write(place, head or slash or ".", tree=True)
            return
        self.tree(place, word)
        full = self.path(place, word)
        if full is not None:
            place.folders[full] = False

    def folder(self, place: Surroundings, full: str) -> bool | None:
        """Whether a path is a folder, as far as that is known."""
        if full in place.folders:
            return place.folders[full]
        return None if self.is_folder is None else bool(self.is_folder(full))


def _full(cwd: str, word: str) -> str:
    full = posixpath.normpath(posixpath.join(cwd, word))
    return full[1:] if full.startswith("//") else full


def _merge_values(place: Surroundings, other: Surroundings) -> None:
    """What differs is not known any more, but for the folder: ``sure`` says that."""
    cwd, sure, stack = place.cwd, place.sure, place.stack
    place.merge(other)
    place.cwd, place.sure, place.stack = cwd, sure, stack


def _ways(ways: list[Surroundings], place: Surroundings) -> None:
    """Go on in ``place`` as one who came by one of ``ways``."""
    ways[0].give(place)
    for way in ways[1:]:
        place.merge(way)


def _named(nodes: list[Clause]) -> str:
    """The program of a pipeline of one simple command, if it is a plain word."""
    if len(nodes) != 1 or nodes[0].kind != "simple" or not nodes[0].words or len(nodes[0].words[0]) != 1:
        return ""
    kind, text, quoted = nodes[0].words[0][0]
    return str(text) if kind == "t" and not quoted else ""


def _goes(nodes: list[Clause], place: Surroundings) -> bool:
    """Whether a pipeline is a ``cd``, which leaves all as it is where it fails."""
    return _named(nodes) in ("cd", "pushd", "popd") and not place.functions and not nodes[0].assigns


def _leaves(nodes: list[Clause], place: Surroundings) -> bool:
    """Whether a pipeline ends the script."""
    if len(nodes) == 1 and nodes[0].kind == "group" and nodes[0].bodies:
        return _ends(nodes[0].bodies[0], place)
    return _named(nodes) == "exit" and "exit" not in place.functions


def _ends(body: Body, place: Surroundings) -> bool:
    return bool(body) and not body[-1][1] and len(body[-1][0]) == 1 and _leaves(body[-1][0][0][1], place)


class Call:
    """A call as its program gets it: ``words`` behind its name, the text of its here-document, where it stands.

    ``given`` and ``plain``: its options and its other words, once `options` has told them apart.
    """

    __slots__ = ("given", "place", "plain", "stdin", "walker", "words")

    def __init__(self, walker: Walker, words: list[str], place: Surroundings, stdin: str | None) -> None:
        self.walker, self.words, self.place, self.stdin = walker, words, place, stdin
        self.given: Options = []
        self.plain: list[str] = []

    def doubt(self) -> None:
        self.walker.doubt()

    def options(self, short: str = "", long: str = "", attached: str = "", leading: bool = False) -> None:
        """Tell options from plain words; ``short`` and ``long`` name those that take a word, ``attached`` in the same word.

        ``leading``: only those before the first plain word.
        """
        self.given, self.plain = [], []
        known = long.split()
        rest = iter(self.words)
        for word in rest:
            if word == "--" or (leading and (word[:1] != "-" or word == "-")):
                self.plain += rest if word == "--" else [word, *rest]
            elif word[:2] == "--":
                name, equals, value = word[2:].partition("=")
                short_for = [one for one in known if len(name) > 1 and one.startswith(name)]
                name = name if name in known or not short_for else short_for[0]
                if HOLE in name:
                    self.doubt()
                self.given.append((f"--{name}", next(rest, "") if name in known and not equals else value))
            elif word[:1] == "-" and len(word) > 1:
                for at, letter in enumerate(word[1:], 2):
                    if letter == HOLE:
                        self.doubt()
                    if letter in short or letter in attached:
                        self.given.append((f"-{letter}", word[at:] or (next(rest, "") if letter in short else "")))
                        break
                    self.given.append((f"-{letter}", ""))
            else:
                if word[:1] == HOLE:
                    self.doubt()  # it may be an option
                self.plain.append(word)

    def has(self, names: str) -> bool:
        """Whether one of the options is given; a long one may be shortened."""
        return any(
            one == name or (len(one) > 2 and name[:2] == "--" and name.startswith(one))
            for name in names.split()
            for one, _ in self.given
        )

    def values(self, names: str) -> list[str]:
        """The words that the options are given."""
        return [value for one, value in self.given if one in names.split()]

    def write(self, word: str) -> None:
        self.walker.write(self.place, word)

    def tree(self, word: str) -> None:
        self.walker.tree(self.place, word)

    def set(self, name: str, value: str | None) -> None:
        self.walker.words.set(self.place, name, value)

    def home(self) -> str:
        return self.walker.words.lookup("HOME", self.place) or HOLE

    def start(self, words: list[str], place: Surroundings | None = None) -> None:
        """Go on with the command that this one starts, if any; ``place``: not as another program."""
        if words:
            self.walker.command(words, place or self.place.outside(), self.stdin)

    def run(self, text: str, place: Surroundings) -> None:
        """A text that is run as commands."""
        if HOLE in text:
            self.doubt()
        self.walker.script(code(text), place)


def writer(
    short: str = "", long: str = "", first: int | None = None, last: int | None = None, outputs: str = "",
    idle: str = "", doubts: str = "", sure: bool = True,
) -> Handler:  # fmt: skip
    """A program that writes what stands behind the options ``outputs``, and its plain words from ``first`` to before ``last``.

    With one of ``idle`` it writes nothing, with one of ``doubts`` it is in doubt, always so if it is not ``sure``.
    """

    def handler(call: Call) -> None:
        call.options(short, long)
        if call.has(idle):
            return
        if not sure or call.has(doubts):
            call.doubt()
        for word in [word for word in call.values(outputs) if word != "-"]:
            call.write(word)
        for word in call.plain[first:last] if first is not None else ():
            call.write(word)

    return handler
