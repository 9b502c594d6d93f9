"""Reconciliation: bringing whole folders to what the journal says, once somebody else was seen to have been in them.

Every file of such a folder is looked at, once, with the lock held (`drift.judge`), each that is not as the journal says is put
right (`redress`), and the folder is stamped (`stamps`).  Of mail at rest (archived, sent) by whoever lists it, and the names
alone; an archived letter is looked at by whoever reads it.  What was done is said, of many only some and how many more.

A folder may be full of what is none of ours: so it is done in parts (`Round`), with the lock free in between, in which others
come to their turn and signals strike.  Each hold of the lock ends once it has looked at `LADEN` bytes, a document counting as
`FILE` more, one that is put back as `MENDED` (some 500), one that is moved aside as `MOVED` (some 2,000).  Who looks goes on
until all is done, for it answers from the files.  Who decides goes on only through the folders that a decision takes at
their word (agents, teams, dead letters); of `ASKED` it verifies each document that it reads, and leaves the rest of them to
whoever comes next, a part each.

Promised: a folder is stamped only once all in it was compared and nobody has changed it since: in one hold of the lock, after
the parts, when what was compared before needs only to be seen unchanged.  A death anywhere before leaves it to be looked at
again.  Not promised: that nobody changes a folder again the moment after.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from mbox.errors import Corrupt, StoreError
from mbox.format import places
from mbox.journal.projection import Fold, last_state, standing
from mbox.journal.record import Tail

from . import redress, stamps
from .aside import settle
from .drift import GONE, UNKNOWN, Row, judge, judge_letter
from .earlier import earlier
from .files import FILE, Damage, folders_in, is_folder, print_of
from .state import State
from .transaction import LADEN

TRIES = 3
"""How often folders are compared that others go on changing."""

FEW = 16
"""Documents that are looked for in the journal one by one; for more it is read once, from its beginning."""

MENDED = 4 * FILE
"""Bytes that a document counts as which is put back, beside those of looking at it: three syncs."""

MOVED = FILE
"""Bytes that one counts as which is only moved aside, because the journal does not know it."""

NAME = 64
"""Bytes that a name counts as where no file is looked at."""

ASKED = (f"{places.TASKS}/", f"{places.RESERVATIONS}/", f"{places.INBOX}/")
"""Folders of whose documents a decision sees by itself whether they are the journal's."""

SAID = 8
"""Documents that are said one by one when many were moved; the others are counted."""


class Round:
    """One bringing back, over as many holds of the lock as it takes: how far it is, and what it knows by now.

    ``folder`` is compared though nobody may have been in it, and so are archived ``letters``.
    """

    __slots__ = ("_end", "_fold", "compared", "folder", "letters", "passed", "settled", "tries")

    def __init__(self, folder: str = "", letters: Iterable[str] = ()) -> None:
        self.folder = folder
        self.letters = list(letters)
        """Those that are left."""
        self.tries = TRIES
        """How often all is still gone through: others go on changing it."""
        self.passed: dict[str, str] = {}
        """This time: up to which path each folder was compared."""
        self.compared: set[tuple[str, str]] = set()
        """Paths, and by what the files there are known that were compared and left as they are."""
        self.settled = 0
        self._fold: Fold | None = None
        self._end = Tail(0, 1, 0)

    def states(self, state: State, paths: list[str]) -> Callable[[str], Any]:
        """A function that finds what the journal says stands at one of ``paths``."""
        end: Tail = state.tail
        if len(paths) <= FEW:
            return cache(lambda path: last_state(state.journal, path, end)[1])
        fold = self.fold(state)
        return lambda path: fold.document(state.journal, path)

    def fold(self, state: State) -> Fold:
        """What stands by the whole journal."""
        try:
            self._fold = standing(state.journal, state.tail, self._fold, self._end)
        except StoreError as error:
            raise Corrupt(f"{error}; `mbox doctor` says more") from None
        self._end = state.tail
        return self._fold

    def say(self, state: State, said: str) -> None:
        """Say what was done to a document, or only count it."""
        self.settled += 1
        if self.settled <= SAID:
            state.say(said)

    def say_rest(self, state: State) -> None:
        """Say how many more there were."""
        if self.settled > SAID:
            state.say(f"{self.settled - SAID} more likewise put back from the journal or taken out of the store; what stood "
                      f"there is kept in {state.absolute(places.ASIDE)}")  # fmt: skip


def reconcile(state: State, this: Round) -> str:
    """Bring the folders in which somebody else has been to what the journal says, as far as one hold of the lock goes.

    With the lock held.  The folder in which it broke off; "" once all is done.  Folders below one are compared too: it may
    have been moved away and back as a whole, which leaves their own times alone.
    """
    whose, limit = state.whose, state.looked + LADEN
    if this.letters and (left := _compare_letters(state, this, limit)):
        return left
    others = stamps.unstamped(state, whose)
    folders = list(dict.fromkeys([*others, *filter(None, [this.folder])]))
    if not folders:
        return ""
    index = state.caught_up_index()
    folders += [below for below in stamps.kept(state) if below.startswith(tuple(f"{above}/" for above in others))]
    if places.INBOX in folders:
        folders += [f"{places.INBOX}/{agent}" for agent in index.with_mail()]
    for agent in [folder for folder in folders if folder.count("/") == 2 and folder.startswith(places.INBOX)]:
        folders += [f"{agent}/new", f"{agent}/cur"]
    at_rest = _at_rest(state, this) if this.folder.startswith(stamps.AT_REST) else {}
    folders = [folder for folder in dict.fromkeys([*folders, *at_rest]) if _is_own(state, folder)]
    for folder in stamps.KEPT + stamps.AT_REST:
        if folder in folders:
            state.disk.folders(state.absolute(folder))
    folders.sort(key=lambda folder: f"{folder}/".startswith(ASKED))
    while this.tries:
        is_whole = not this.passed
        there = [at for folder in folders if is_folder(at := state.absolute(folder))]
        for at in there:
            stamps.begin(state, at)
        wrong, left = _wrong(state, folders, at_rest, this, limit)
        _mend(state, wrong, this)
        if left:
            return left
        this.passed.clear()
        this.tries -= 1
        if is_whole and not wrong:
            for at in there:
                stamps.finish(state, at, whose)
            break
    return ""


def _compare_letters(state: State, this: Round, limit: int) -> str:
    """Compare archived letters, up to a ``limit`` of what is looked at; the next of them, or "" once all is done."""
    known, wrong = this.states(state, this.letters), list[tuple[str, str]]()
    while this.letters and state.looked < limit:
        path = this.letters.pop()
        try:
            judge_letter(state, path, known)
        except Damage as damage:
            wrong.append((path, damage.detail))
            state.looked += MENDED
        state.looked += FILE
    _mend(state, wrong, this)
    return this.letters[-1] if this.letters else ""


def _at_rest(state: State, this: Round) -> dict[str, set[str]]:
    """The archive, or what was sent: every folder that is there or is to be, with the paths that the journal says are in it."""
    top = "/".join(this.folder.split("/")[:2])
    found: dict[str, set[str]] = {top: set()}
    for agent in filter(places.is_name, folders_in(state, top)):
        found[f"{top}/{agent}"] = set()
        for month in folders_in(state, f"{top}/{agent}") if top == places.ARCHIVE else ():
            found[f"{top}/{agent}/{month}"] = set()
    for path, at in this.fold(state).states.items():
        if at is not None and path.startswith(f"{top}/"):
            folder = path.rpartition("/")[0]
            found.setdefault(folder.rpartition("/")[0], set())
            found.setdefault(folder, set()).add(path)
    return found


def _wrong(state: State, folders: list[str], at_rest: Mapping[str, set[str]], this: Round,
           limit: int) -> tuple[list[tuple[str, str]], str]:  # fmt: skip
    """``(path, what is wrong)`` in ``folders``, up to a ``limit`` of what is looked at; the folder where that was met, or ""."""
    wrong = list[tuple[str, str]]()
    for folder in folders:
        if _is_of_agents(folder):
            continue
        found = _named(state, folder, at_rest[folder], this) if folder in at_rest else _compared(state, folder, this)
        for path, problem in found:
            this.passed[folder] = path
            if problem:
                wrong.append((path, problem))
                state.looked += MENDED if problem != UNKNOWN else MOVED
            if state.looked > limit:
                return wrong, folder
        this.passed[folder] = f"{folder}0"  # which comes after all that is in it
    return wrong, ""


def _is_own(state: State, folder: str) -> bool:
    """Whether ``folder`` is, or would be, a folder of this store: no symlink, nor behind one; `doctor` names those."""
    try:
        state.check_folder(folder)
    except Corrupt:
        return False
    return is_folder(state.absolute(folder)) or not os.path.lexists(state.absolute(folder))


def _is_of_agents(folder: str) -> bool:
    """Whether folders and no documents are to stand in ``folder``."""
    return folder in _OF_FOLDERS or (folder.startswith(_OF_AGENTS) and folder.count("/") == 2)


_OF_FOLDERS = (places.INBOX, *stamps.AT_REST)
_OF_AGENTS = (f"{places.INBOX}/", f"{places.ARCHIVE}/")


def _named(state: State, folder: str, known: set[str], this: Round) -> Iterator[tuple[str, str]]:
    """``(path, what is wrong)`` in a ``folder`` of mail at rest, by the names alone: what is in a letter sees who reads it."""
    after = this.passed.get(folder, "")
    there = {path for name in state.names(folder) if places.is_place(path := f"{folder}/{name}")}
    state.looked += NAME * len(there)
    for path in sorted(path for path in there ^ known if path > after):
        yield path, GONE if path in known else UNKNOWN


def _compared(state: State, folder: str, this: Round) -> Iterator[tuple[str, str]]:
    """``(path, what is wrong)`` of each document in ``folder`` that bears no stamp; "" where it is as the journal says."""
    after = this.passed.get(folder, "")
    if after > f"{folder}/\U0010ffff":
        return
    rows = _rows(state, folder)
    there = {f"{folder}/{name}" for name in state.names(folder)}
    unread = there & rows.keys() if folder.endswith("/new") else set[str]()
    fresh = {path for path in unread if path > after and not state.is_untouched(path)}
    stamped = unread - fresh
    known = this.states(state, list(fresh))
    for path in sorted(path for path in there | rows.keys() if path > after):
        if not places.is_place(path) or path in stamped:
            continue
        try:
            info = os.lstat(state.absolute(path)) if path in there else None
            if info and (path, print_of(info)) in this.compared:
                continue
            if path in fresh:
                judge_letter(state, path, known)
            else:
                row = rows.get(path)
                if info and row and row[1] == print_of(info) and stamps.is_stamped(state, info, state.whose):
                    continue
                judge(state, path, info is not None, row)
            state.looked += FILE + (info.st_size if info else 0)
            this.compared.add((path, print_of(os.lstat(state.absolute(path)))))
            yield path, ""
        except FileNotFoundError:
            yield path, GONE
        except Damage as damage:
            yield path, damage.detail


def _rows(state: State, folder: str) -> dict[str, Row]:
    """What the index has of ``folder``."""
    if not folder.endswith("/new"):
        return state.index.standing_in(folder)
    agent = folder.split("/")[2]
    return {f"{folder}/{msg_id}.json": (0, "") for msg_id in state.index.unread(agent, 0)}


def _mend(state: State, wrong: list[tuple[str, str]], this: Round) -> None:
    """Settle each by what the journal has; one more look for documents that were edited, all at once."""
    known = this.states(state, [path for path, _ in wrong])
    there = {path: found for path, _ in wrong if (found := redress.found(state, path))}
    edited = {path: found for path, found in there.items() if redress.is_edited(path, known(path), found)}
    older = earlier(state.journal, {path: found.data for path, found in edited.items()}, state.tail)
    left = set[str]()
    for path, problem in wrong:
        if is_folder(state.absolute(path)):
            state.say(f"{state.absolute(path)} is a folder where a document should be; move it away")
        elif known(path) is None:
            this.say(state, redress.taken_out(state, path, problem))
            left.add(path.rpartition("/")[0])
        elif path in edited and path not in older:
            state.say(redress.adopted(state, path, known(path), edited[path], problem))
        else:
            this.say(state, redress.put_right(state, path, known(path), problem))
            if this.settled <= SAID:
                redress.recall_copies(state, path)
    if left:
        settle(state, left)
