"""What the verbs of git write in a work tree.

Promised: a verb that is not known, or that changes files its words do not name, is in doubt.  Not promised: that aliases, hooks
and filters of a repository are seen through; what git writes below ``.git`` is no write.
"""

from __future__ import annotations

from .shellsyntax import HOLE
from .shellwalk import writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .shellwalk import Call, Handler


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_READS = _words(
    "add annotate blame branch cat-file check-attr check-ignore check-ref-format cherry commit commit-tree config"
    " count-objects describe diff diff-files diff-index diff-tree fetch for-each-ref fsck gc grep hash-object help"
    " log ls-files ls-remote ls-tree maintenance merge-base mktree name-rev notes pack-refs prune push range-diff"
    " reflog remote replace rev-list rev-parse shortlog show show-branch show-ref stage status stripspace"
    " symbolic-ref tag update-index update-ref var verify-commit verify-pack verify-tag version whatchanged"
    " write-tree merge-tree patch-id"
)
"""Verbs that write nothing, but where an option tells them to."""

_SILENT = _words(
    "add annotate blame branch cat-file commit describe ls-files merge-base notes remote rev-parse stage status tag"
)
"""Those of them that no option tells to."""

_LOOKS = {
    "bisect": "log view", "sparse-checkout": "list", "stash": "list show drop clear create store",
    "submodule": "status summary", "worktree": "list prune lock unlock",
}  # fmt: skip
"""Verbs of which only these write nothing."""

_STARTS = ("--open-files-in-pager", "--upload-pack", "--receive-pack", "--exec", "--ext-diff")
_HARMLESS = ("user.", "color.", "advice.", "commit.gpgsign", "tag.gpgsign", "core.quotepath", "init.defaultbranch", "log.")


def git(call: Call) -> None:
    call.options("Cc", "git-dir work-tree namespace super-prefix config-env exec-path attr-source", leading=True)
    inner = call.place.copy()
    for word in call.values("-C"):
        call.walker.enter(inner, word)
    inner.sure = call.place.sure or inner.sure
    if any(not one.lower().startswith(_HARMLESS) for one in call.values("-c")):
        call.doubt()
    if call.values("--git-dir --work-tree --config-env --exec-path"):
        call.doubt()
    verb = "".join(call.plain[:1])
    call.place, call.words = inner, call.plain[1:]
    known = _VERBS.get(verb)
    if known is not None:
        known(call)
    elif verb in _READS:
        _read(call, verb)
    elif verb and "".join(call.words[:1]) not in _LOOKS.get(verb, "").split():
        call.doubt()


def _read(call: Call, verb: str) -> None:
    """A verb that writes nothing, unless an option tells it to."""
    for at, word in enumerate(call.words if verb not in _SILENT else ()):
        if word == "--":
            break
        name, equals, value = word.partition("=")
        if len(name) > 3 and "--output".startswith(name):
            call.write(value if equals else "".join(call.words[at + 1 : at + 2]))
        elif word[:2] == "-O" or name[:1] == HOLE or (len(name) > 3 and any(one.startswith(name) for one in _STARTS)):
            call.doubt()
    if verb == "config":
        call.options("f", "file type default comment")
        plain = call.plain[1:] if call.plain[:1] == ["set"] else call.plain
        if call.has("-e --edit"):
            call.doubt()
        if len(plain) > 1 and plain[0] not in ("get", "list") and not plain[0].lower().startswith(_HARMLESS):
            call.doubt()  # git may start other programs from here on
        for word in call.values("-f --file"):
            if not call.has("-l --list --get --get-all --get-regexp"):
                call.write(word)


def _paths(call: Call, words: list[str]) -> None:
    """Paths as git takes them; with wildcards or magic it is not known which they mean."""
    if call.has("--pathspec-from-file"):
        call.doubt()
    for word in words:
        if word[:1] == ":" or any(mark in word for mark in "*?["):
            call.doubt()
        else:
            call.tree(word)


def _checkout(call: Call) -> None:
    call.options("bB", "orphan conflict pathspec-from-file")
    if call.has("-f -m --force --merge"):
        call.doubt()
    if "--" in call.words[:-1]:
        _paths(call, call.words[call.words.index("--") + 1 :])
    elif call.plain or not call.values("-b -B"):
        call.doubt()
        _paths(call, call.plain[1:])


def _switch(call: Call) -> None:
    call.options("cC", "create orphan conflict")
    if call.plain or not call.values("-c -C --create") or call.has("-f -m --force --merge --discard-changes"):
        call.doubt()


def _restore(call: Call) -> None:
    call.options("s", "source conflict pathspec-from-file")
    if call.has("-W --worktree") or not call.has("-S --staged"):
        _paths(call, call.plain)


def _rm(call: Call) -> None:
    call.options("", "pathspec-from-file")
    if not call.has("--cached -n --dry-run"):
        _paths(call, call.plain)


def _mv(call: Call) -> None:
    from .shelltools import move

    call.options()
    if not call.has("-n --dry-run"):
        call.words = ["--", *call.plain]
        move(call)


def _apply(call: Call) -> None:
    call.options("pC", "directory exclude include whitespace build-fake-ancestor")
    if not call.has("--check --stat --numstat --summary --cached") or call.has("--apply --index -3 --3way"):
        call.doubt()


def _clone(call: Call) -> None:
    long = "branch origin depth reference config template upload-pack jobs filter separate-git-dir shallow-since bundle-uri"
    call.options("bocuj", long)
    if call.has("-c --config -u --upload-pack --template --separate-git-dir"):
        call.doubt()
    url = call.plain[0] if call.plain else HOLE
    name = url.rstrip("/").removesuffix("/.git").replace(":", "/").rpartition("/")[2].removesuffix(".git")
    call.tree(call.plain[1] if len(call.plain) > 1 else name)


_VERBS: dict[str, Handler] = {
    "apply": _apply, "archive": writer("o", "output format prefix remote exec", outputs="-o --output", doubts="--exec --remote"),
    "checkout": _checkout, "clean": writer("e", "exclude", idle="-n --dry-run", sure=False), "clone": _clone,
    "format-patch": writer(idle="--stdout", sure=False), "mv": _mv, "restore": _restore, "rm": _rm, "switch": _switch,
    "reset": writer("U", "pathspec-from-file unified", doubts="--hard --merge --keep"),
}  # fmt: skip
