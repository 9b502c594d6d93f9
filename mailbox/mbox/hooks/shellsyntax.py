"""The syntax of a shell line: from text to commands, as far as it is read here.

Promised: what cannot be read raises `Unread`, what is too long or too deep too, before Python's own stack is full.
Not promised: all of bash.  Aliases, extended patterns and options of the shell that change its syntax are not known.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Part = tuple[str, Any, bool]
    """A piece of a word: its kind, what it is of, whether quotes stand around it.

    ``t`` a text; ``v`` a variable's name; ``x`` commands whose output it is; ``p`` commands behind a pipe's name; ``a`` the
    text of arithmetic; ``u`` what is not known, of (name, operator, parts inside that may run commands).
    """
    Word = list[Part]
    Chain = tuple[list[tuple[str, list["Clause"]]], bool]
    """Pipelines, each with the ``&&`` or ``||`` before it; whether the chain runs in the background."""
    Body = list[Chain]
    Redirection = tuple[str, str, Word]
    """The number or ``{name}`` before it, its sign, the word behind it; of a here-document, its text as a word."""

STEPS = 250_000
"""What reading may cost, in letters looked at: about a third of a second."""

DEEPEST = 20
"""Levels of nesting that are read; Python's own stack must hold them."""

HOLE = "\0"
"""Stands in a field for what cannot be known; no argument of a program holds this letter."""

LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
"""What a variable's name is made of."""

_SPECIAL = frozenset(" \t\n|&;()<>\\'\"$`")
_RESERVED = frozenset(("{", "}", "!", "[[", "if", "then", "elif", "else", "fi", "while", "until", "do", "done", "for",
                       "select", "case", "esac", "function", "time"))  # fmt: skip
_REDIRECTIONS = ("<<<", "<<-", "&>>", "<<", "<&", "<>", "&>", ">>", ">|", ">&", "<", ">")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}


class Unread(Exception):
    """The rest is not read: no syntax known here, too deep, or too much."""


class Budget:
    """What is left of the steps and of the depth."""

    __slots__ = ("depth", "left")

    def __init__(self) -> None:
        self.left, self.depth = STEPS, 0

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise Unread

    def down(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unread

    def up(self) -> None:
        self.depth -= 1


class Clause:
    """A command: ``simple``, ``group``, ``subshell``, ``if``, ``loop``, ``case``, ``function`` or ``test``.

    ``bodies``: of ``if``, condition and body by turns, and maybe the last; of ``loop``, all that is repeated.
    """

    __slots__ = ("assigns", "bodies", "kind", "name", "redirs", "words")

    def __init__(self, kind: str, bodies: Iterable[Body] = (), words: Iterable[Word] = (), name: str = "") -> None:
        self.kind, self.name = kind, name
        self.bodies, self.words = list(bodies), list(words)
        self.redirs: list[Redirection] = []
        self.assigns: list[tuple[str, Word]] = []


def _alone(node: Clause) -> Body:
    """One command as commands in a row."""
    return [([("", [node])], False)]


class Parser:
    """Reads commands from a text; `Unread` where it is none that is known."""

    __slots__ = ("at", "budget", "docs", "end", "negated", "text")

    def __init__(self, text: str, budget: Budget) -> None:
        self.text, self.at, self.end, self.budget = text, 0, len(text), budget
        self.docs: list[tuple[Word, str, bool, bool]] = []
        self.negated = False

    # -- letters --

    def peek(self, letters: int = 1) -> str:
        return self.text[self.at : self.at + letters]

    def take(self, text: str) -> bool:
        """Go behind ``text`` if it stands here."""
        found = self.text.startswith(text, self.at)
        self.at += len(text) if found else 0
        return found

    def next(self) -> str:
        """The letter that stands here, which is taken; `Unread` at the end."""
        self.budget.spend(1)
        if self.at >= self.end:
            raise Unread
        self.at += 1
        return self.text[self.at - 1]

    def until(self, letter: str) -> str:
        """What stands before the next such letter, which is taken too; `Unread` if there is none."""
        found = self.text.find(letter, self.at)
        if found < 0:
            raise Unread
        start, self.at = self.at, found + 1
        return self.text[start:found]

    def run(self, letters: frozenset[str], among: bool) -> str:
        """The letters from here on that are, or are not, among these."""
        start, text = self.at, self.text
        while self.at < self.end and (text[self.at] in letters) is among:
            self.at += 1
        self.budget.spend(self.at - start)
        return text[start : self.at]

    def blanks(self) -> None:
        while True:
            self.budget.spend(1)
            letter = self.peek()
            if letter == "#":
                found = self.text.find("\n", self.at)
                self.at = self.end if found < 0 else found
            elif letter and letter in " \t":
                self.at += 1
            elif not (letter == "\\" and self.take("\\\n")):
                return

    def newlines(self) -> None:
        self.blanks()
        while self.take("\n"):
            docs, self.docs = self.docs, []
            for doc in docs:
                self._document(*doc)
            self.blanks()

    def _document(self, word: Word, delimiter: str, quoted: bool, tabs: bool) -> None:
        """The here-document that begins here: up to the line that is its delimiter, or the end."""
        lines: list[str] = []
        joined = False
        while self.at < self.end:
            self.budget.spend(1)
            found = self.text.find("\n", self.at)
            line = self.text[self.at : self.end if found < 0 else found]
            self.at = self.end if found < 0 else found + 1
            line = line.lstrip("\t") if tabs else line
            if line == delimiter and not joined:
                break
            lines.append(line)
            joined = not quoted and (len(line) - len(line.rstrip("\\"))) % 2 == 1
        text = "".join(f"{line}\n" for line in lines)
        if quoted or not ("$" in text or "`" in text or "\\" in text):
            word.append(("t", text, True))
        else:
            word += Parser(text, self.budget).quoted("")

    def keyword(self) -> str:
        """The reserved word that stands here, or nothing; it is not taken."""
        at = self.at
        while at < self.end and at - self.at < 10 and self.text[at] not in _SPECIAL:
            at += 1
        word = self.text[self.at : at]
        return word if word in _RESERVED and self.text[at : at + 1] not in tuple("\\'\"$`") else ""

    def expect(self, word: str) -> None:
        self.newlines()
        if (word in _RESERVED and self.keyword() != word) or not self.take(word):
            raise Unread

    # -- commands --

    def line(self) -> Body:
        """The commands of the next line of a script that is not empty, with its here-documents; none at the end."""
        self.newlines()
        found: Body = []
        while self.at < self.end and self.peek() != "\n":
            found.append(self.chain())
            ended = self.text[self.at - 1] in ";&"
            self.blanks()
            if not ended and self.peek() not in ("", "\n"):
                raise Unread
        self.newlines()
        return found

    def body(self, *stops: str) -> Body:
        """Commands up to a ``)``, a ``;;``, the end, or one of the reserved words ``stops``."""
        self.budget.down()
        found: Body = []
        while True:
            self.newlines()
            if self.at >= self.end or self.peek() in ");" or self.keyword() in stops:
                self.budget.up()
                return found
            found.append(self.chain())

    def chain(self) -> Chain:
        items = [("", self.pipeline())]
        if self.negated:
            items.insert(0, ("", [Clause("group")]))  # a failure of what is negated ends no script
        while True:
            self.blanks()
            two = self.peek(2)
            if two in ("&&", "||"):
                self.at += 2
                self.newlines()
                items.append((two, self.pipeline()))
            else:
                ended = two[:1] == "&" or (two[:1] == ";" and two not in (";;", ";&"))
                self.at += ended
                return items, two[:1] == "&"

    def pipeline(self) -> list[Clause]:
        nodes: list[Clause] = []
        negated = False
        while True:
            self.blanks()
            while (word := self.keyword()) in ("!", "time"):
                self.at += len(word)
                self.blanks()
                negated = negated or word == "!"
                if word == "time" and self.peek(3).rstrip() == "-p":
                    self.at += 2
                    self.blanks()
            nodes.append(self.command())
            self.blanks()
            if self.peek() != "|" or self.peek(2) == "||":
                self.negated = negated
                return nodes
            self.at += 2 if self.peek(2) == "|&" else 1
            self.newlines()

    def command(self) -> Clause:
        self.budget.spend(4)
        self.budget.down()
        node = self._compound()
        if node is None:
            node = self.simple()
        elif node.kind != "function":
            self.blanks()
            while (redirection := self.redirection()) is not None:
                node.redirs.append(redirection)
                self.blanks()
        self.budget.up()
        return node

    def _compound(self) -> Clause | None:
        if self.peek(2) == "((":
            inside = self._sum(2)
            if inside is not None:
                return Clause("test", words=[inside])
        if self.take("("):
            return Clause("subshell", [self._inside()])
        word = self.keyword()
        self.at += len(word)
        if word == "{":
            node = Clause("group", [self.body("}")])
            self.expect("}")
            return node
        if word in ("while", "until"):
            return self._do([self.body("do")])
        if word == "function":
            self.blanks()
            return self._function(literal(self.word()))
        known = {"if": self._if, "for": self._for, "select": self._for, "case": self._case, "[[": self._test}.get(word)
        if word and known is None:
            raise Unread
        return None if known is None else known()

    def _if(self) -> Clause:
        bodies = [self.body("then")]
        self.expect("then")
        while True:
            bodies.append(self.body("elif", "else", "fi"))
            word = self.keyword()
            self.at += len(word)
            if word == "fi":
                return Clause("if", bodies)
            if word == "elif":
                bodies.append(self.body("then"))
                self.expect("then")
            elif word != "else" or len(bodies) % 2:
                raise Unread

    def _do(self, bodies: list[Body], words: Iterable[Word] = (), name: str = "") -> Clause:
        self.newlines()
        first, last = ("{", "}") if name and self.keyword() == "{" else ("do", "done")
        self.expect(first)
        bodies.append(self.body(last))
        self.expect(last)
        return Clause("loop", bodies, words, name)

    def _for(self) -> Clause:
        self.blanks()
        if self.peek(2) == "((":
            inside = self._sum(2)
            if inside is None:
                raise Unread
            self.blanks()
            self.take(";")
            return self._do([_alone(Clause("test", words=[inside]))], name=" ")
        name = literal(self.word())
        self.newlines()
        words: list[Word] = [[("v", "@", True)]]
        if self.take("in"):
            words = []
            self.blanks()
            while self.peek() not in (";", "\n", ""):
                words.append(self.taken())
                self.blanks()
        self.take(";")
        return self._do([], words, name)

    def _case(self) -> Clause:
        self.blanks()
        node = Clause("case", words=[self.taken()])
        self.expect("in")
        while True:
            self.newlines()
            if self.keyword() == "esac":
                self.at += 4
                return node
            self.take("(")
            self.blanks()
            while not self.take(")"):
                node.words.append(self.taken())
                self.blanks()
                self.take("|")
                self.blanks()
            node.bodies.append(self.body("esac"))
            if self.take(";;&") or self.take(";&"):
                node.name = "on"
            elif not self.take(";;") and self.keyword() != "esac":
                raise Unread

    def _test(self) -> Clause:
        node = Clause("test")
        while True:
            self.newlines()
            if self.take("]]"):
                return node
            if self.peek() in tuple("()<>&|;"):
                self.at += 1
            else:
                node.words.append(self.taken())

    def _function(self, name: str) -> Clause:
        self.blanks()
        if self.take("("):
            self.expect(")")
        self.newlines()
        return Clause("function", [_alone(self.command())], name=name)

    def simple(self) -> Clause:
        node = Clause("simple")
        while True:
            self.blanks()
            letter = self.peek()
            redirection = self.redirection()
            if redirection is not None:
                node.redirs.append(redirection)
            elif letter in ("", "\n", ";", "&", "|", ")"):
                break
            elif letter == "(":
                if len(node.words) != 1 or node.redirs or node.assigns:
                    raise Unread
                return self._function(literal(node.words[0]))
            else:
                word = self.taken()
                name = "" if node.words else assigned(word)
                if name:
                    node.assigns.append((name, word))
                else:
                    node.words.append(word)
        if not (node.words or node.redirs or node.assigns):
            raise Unread
        return node

    def redirection(self) -> Redirection | None:
        """The redirection that stands here, with its number or its ``{name}``, if there is one."""
        at = self.at
        while at < self.end and at - self.at < 10 and self.text[at].isdigit():
            at += 1
        if at == self.at and self.peek() == "{":
            found = self.text.find("}", at, at + 60)
            if found > 0 and LETTERS.issuperset(self.text[at + 1 : found]):
                at = found + 1
        two = self.text[at : at + 2]
        if two in ("<(", ">(") or not (two[:1] in ("<", ">") or (two == "&>" and at == self.at)):
            return None
        before, self.at = self.text[self.at : at], at
        op = next(one for one in _REDIRECTIONS if self.take(one))
        self.blanks()
        if op not in ("<<", "<<-"):
            return before, op, self.taken()
        start = self.at
        raw: list[str] = []
        while self.peek() not in ("", *" \t\n|&;()<>"):
            letter = self.next()
            raw.append(self.until(letter) if letter in "'\"" else self.next() if letter == "\\" else letter)
        written = self.text[start : self.at]
        if not written or "$'" in written or "`" in written or "$(" in written:
            raise Unread
        word: Word = []
        self.docs.append((word, "".join(raw), any(mark in written for mark in "\\'\""), op == "<<-"))
        return before, "<<", word

    # -- words --

    def taken(self) -> Word:
        """A word that must be there."""
        start = self.at
        word = self.word()
        if self.at == start:
            raise Unread
        return word

    def word(self) -> Word:
        parts: Word = []
        self.budget.spend(8)
        while self.at < self.end:
            letter = self.text[self.at]
            if letter not in _SPECIAL:
                parts.append(("t", self.run(_SPECIAL, among=False), False))
            elif letter in "\\'\"$`":
                self._mark(parts, letter)
            elif letter in "<>" and self.peek(2)[1:] == "(":
                self.at += 2
                parts.append(("p", self._inside(), True))
            elif letter == "(" and parts and assigned(parts) and parts[-1][1][-1:] == "=":
                parts.append(("u", ("", "", self._array()), False))
            else:
                break
        return parts

    def _array(self) -> Word:
        self.at += 1
        inside: Word = []
        while True:
            self.newlines()
            if self.take(")"):
                return inside
            inside += self.taken()

    def _mark(self, parts: Word, letter: str) -> None:
        """What a backslash, a quote, a ``$`` or a backtick begins, outside of double quotes."""
        self.budget.spend(1)
        if letter == "\\":
            two = self.peek(2)
            self.at = min(self.at + 2, self.end)
            if two != "\\\n":
                parts.append(("t", two[1:] or "\\", True))
        elif self.take("'"):
            parts.append(("t", self.until("'"), True))
        elif self.take('"') or self.take('$"'):
            inside = self.quoted('"')
            self.at += 1
            parts.extend(inside)
        elif self.take("$'"):
            parts.append(("t", self._escaped(), True))
        else:
            parts.append(self._dollar(False) if letter == "$" else self._backtick(False))

    def quoted(self, stop: str) -> Word:
        """What stands here up to the letter ``stop`` (to the end, if it is empty), with substitutions alone."""
        parts: Word = []
        run: list[str] = []
        marks = frozenset(f"\\$`{stop}")
        while True:
            self.budget.spend(1)
            run.append(self.run(marks, among=False))
            letter = self.peek()
            if letter == stop or not letter:
                break
            if letter == "\\":
                two = self.peek(2)
                self.at = min(self.at + 2, self.end)
                run.append("" if two == "\\\n" else two[1:] if two[1:] in marks else two)
                continue
            parts.append(("t", "".join(run), True))
            run.clear()
            parts.append(self._dollar(True) if letter == "$" else self._backtick(True))
        if stop and not letter:
            raise Unread
        return [*parts, ("t", "".join(run), True)]

    def _escaped(self) -> str:
        """What stands in a ``$'…'``; letters by their numbers are not known."""
        out: list[str] = []
        while (letter := self.next()) != "'":
            out.append(_ESCAPES.get(self.next(), HOLE) if letter == "\\" else letter)
        return "".join(out)

    def _inside(self) -> Body:
        """Commands up to the ``)`` that closes them."""
        body = self.body()
        self.expect(")")
        return body

    def _dollar(self, quoted: bool) -> Part:
        if self.peek(3) == "$((":
            inside = self._sum(3)
            if inside is not None:
                return "u", ("", "", inside), quoted
        if self.take("$("):
            return "x", self._inside(), quoted
        if self.take("${"):
            return self._parameter(quoted)
        if self.take("$["):
            raise Unread
        self.at += 1
        letter = self.peek()
        if letter and letter in "0123456789@*#?-$!":
            self.at += 1
            return "v", letter, quoted
        name = self.run(LETTERS, among=True)
        return ("v", name, quoted) if name else ("t", "$", True)

    def _parameter(self, quoted: bool) -> Part:
        name = self.run(LETTERS, among=True)
        if not name and self.peek() in ("@", "*", "?", "$", "-"):
            name = self.next()
        if name and self.take("}"):
            return "v", name, quoted
        if not name and self.peek() in ("", " ", "\t", "\n", "|"):
            raise Unread  # commands of bash 5.3 whose output it is
        operator = self.peek(2)
        parts: Word = []
        self.budget.down()
        while not self.take("}"):
            if self.peek() in tuple("\\'\"$`"):
                self._mark(parts, self.peek())
            else:
                self.next()
        self.budget.up()
        return "u", (name, operator, parts), quoted

    def _sum(self, opened: int) -> Word | None:
        """The parts of an arithmetic expression that may run commands or change variables; nothing if it is none."""
        start, depth = self.at, 0
        parts: Word = []
        self.at += opened
        self.budget.down()
        while (letter := self.peek()) and (depth or letter != ")"):
            depth += (letter == "(") - (letter == ")")
            if letter in '\\"$`':
                self._mark(parts, letter)
            else:
                self.next()
        self.budget.up()
        inside = self.text[start + opened : self.at]
        if not self.take("))"):
            self.at = start
            return None
        return [*parts, ("a", inside, True)]

    def _backtick(self, quoted: bool) -> Part:
        self.at += 1
        out: list[str] = []
        while (letter := self.next()) != "`":
            if letter == "\\" and self.peek() in ("`", "\\", "$", *('"' * quoted)):
                letter = self.next()
            out.append(letter)
        inner = Parser("".join(out), self.budget)
        body = inner.body()
        if inner.at < inner.end:
            raise Unread
        return "x", body, quoted


def literal(word: Word) -> str:
    """The text of a word that is nothing but a text; `Unread` for another."""
    if not word or any(kind != "t" for kind, _, _ in word):
        raise Unread
    return "".join(str(text) for _, text, _ in word)


def assigned(word: Word) -> str:
    """The name of the variable that a word gives a value, ``+`` behind it where it adds, ``[`` an element; or nothing."""
    kind, text, quoted = word[0]
    if kind != "t" or quoted:
        return ""
    name, equals, _ = text.partition("=")
    if not equals:
        name, bracket, _ = text.partition("[")
        known = bracket and any(part[0] == "t" and not part[2] and "]=" in part[1] for part in word)
        return f"{name}[" if known and LETTERS.issuperset(name) and name[:1] and not name[0].isdigit() else ""
    plain = name.partition("[")[0] if name.endswith(("]", "]+")) else name.removesuffix("+")
    if not plain or plain[0].isdigit() or not LETTERS.issuperset(plain):
        return ""
    return str(plain + ("[" if "[" in name else "+" if name.endswith("+") else ""))
