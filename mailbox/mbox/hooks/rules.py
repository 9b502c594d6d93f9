"""The rules of ``guard.deny`` and ``guard.ask``: prefixes of commands by their words, not patterns over lines.

A rule is a program, the plain words that follow it in order, and options that must be among the command's.  ``|`` in a word
means either: ``git commit|push --no-verify``.

Promised: quoting, ``sudo``, ``sh -c`` and git's global options hide nothing (`shell.read` peels them); ``-fx`` holds ``-x``,
``--forc`` is ``--force``, ``--force-with-lease`` is not; what stands behind ``--``, or is the word of an option (a commit's
message), is no option.  Not promised: that aliases of git, scripts and variables are seen through.
"""

from __future__ import annotations

import os
import posixpath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .shell import Reading

SHIPPED: tuple[str, ...] = (
    "git push --force",
    "git reset --hard",
    "git clean -x",
    "git commit|push --no-verify",
    "git -c core.hooksPath",
)
"""What is denied unless the configuration says otherwise."""

_GLOBAL: dict[str, frozenset[str]] = {
    "git": frozenset(
        ("-C", "-c", "--git-dir", "--work-tree", "--namespace", "--super-prefix", "--config-env", "--attr-source")
    ),
    "docker": frozenset(("-H", "--host", "-c", "--context", "--config", "-l", "--log-level")),
    "kubectl": frozenset(("-n", "--namespace", "--context", "--cluster", "--kubeconfig", "-s", "--server", "--user")),
    "npm": frozenset(("--prefix", "-w", "--workspace", "-C", "--dir")),
    "gh": frozenset(("-R", "--repo", "--hostname")),
}
"""Options before a program's verb that take the next word."""

_VALUED: dict[tuple[str, ...], tuple[str, frozenset[str]]] = {
    ("git", "commit"): (
        "mFCctSu",
        frozenset(
            ("--message", "--file", "--author", "--date", "--template", "--reuse-message", "--reedit-message", "--fixup",
             "--squash", "--cleanup", "--trailer", "--pathspec-from-file")
        ),
    ),
    ("git", "push"): ("o", frozenset(("--push-option", "--repo", "--receive-pack", "--exec"))),
    ("git", "clean"): ("e", frozenset(("--exclude",))),
    ("git", "merge"): ("mFsXS", frozenset(("--message", "--file", "--strategy", "--strategy-option"))),
}  # fmt: skip
"""Options that take a word, which is no option then: the letters, the long ones."""

_ATTACHED = "Su"
"""Letters whose word, if any, stands in the same word."""

_EQUAL: dict[tuple[str, ...], tuple[tuple[str, ...], ...]] = {
    ("git", "push"): (("--force", "-f"), ("--delete", "-d")),
    ("git", "clean"): (("--force", "-f"),),
    ("git", "commit"): (("--no-verify", "-n"), ("--all", "-a")),
    ("git", "checkout"): (("--force", "-f"),),
    ("git", "switch"): (("--force", "-f", "--discard-changes"),),
    ("git", "branch"): (("--force", "-f"), ("--delete", "-d", "-D")),
    ("git", "tag"): (("--force", "-f"), ("--delete", "-d")),
    ("rm",): (("-r", "-R", "--recursive"), ("-f", "--force")),
    ("cp",): (("-r", "-R", "--recursive", "-a", "--archive"), ("-f", "--force")),
    ("mv",): (("-f", "--force"),),
    ("chmod",): (("-R", "--recursive"),),
    ("chown",): (("-R", "--recursive"),),
}
"""Options that mean the same."""


_WHOLE = ("--force", "--no", "--all")
"""Options that also begin others: they are themselves."""


def split(text: str) -> list[str]:
    """The words of a rule; quotes hold one together."""
    words: list[str] = []
    now: str | None = None
    quote = ""
    for letter in text:
        if quote:
            if letter == quote:
                quote = ""
            else:
                now = (now or "") + letter
        elif letter in "'\"":
            quote, now = letter, now or ""
        elif letter.isspace():
            if now is not None:
                words.append(now)
            now = None
        else:
            now = (now or "") + letter
    return words if now is None else [*words, now]


def matches(rule: list[str], command: list[str]) -> bool:
    """Whether a command, as words, is one that the rule is about."""
    if not rule or not command:
        return False
    program = command[0].replace("\\", "/").rpartition("/")[2].lower().removesuffix(".exe")
    if program not in rule[0].lower().split("|"):
        return False
    if program == "git" and len(rule) > 2 and rule[1] in ("-c", "--config-env"):
        return any(_sets(command[1:], one) for one in rule[2].split("|"))
    rest = _behind_global(program, command[1:])
    verb = next((word for word in rest if word[:1] != "-"), "")
    about = (program, verb) if (program, verb) in _VALUED or (program, verb) in _EQUAL else (program,)
    options, plain = _parts(about, rest)
    wanted = [word for word in rule[1:] if word[:1] != "-"]
    if len(plain) < len(wanted) or any(plain[at] not in one.split("|") for at, one in enumerate(wanted)):
        return False
    return all(
        any(_is_given(about, one, options, plain) for one in word.split("|")) for word in rule[1:] if word[:1] == "-"
    )


def outside(reading: Reading, root: str) -> list[str]:
    """What is removed with all that is below it (``rm -r``) and does not stand below ``root``; temporary folders are free."""
    free = [posixpath.normpath(root), "/tmp", "/private/tmp", "/var/tmp"]
    own = posixpath.normpath(os.environ.get("TMPDIR") or "/tmp")
    if own.count("/") > 1 and own.startswith("/"):
        free.append(own)
    return [path for path in reading.removed if not any(path.startswith(f"{one.rstrip('/')}/") for one in free)]


def _behind_global(program: str, words: list[str]) -> list[str]:
    """The words from the verb on; of a program without global options, all."""
    valued = _GLOBAL.get(program)
    if valued is None:
        return words
    at = 0
    while at < len(words) and words[at][:1] == "-":
        at += 2 if words[at] in valued else 1
    return words[at:]


def _parts(about: tuple[str, ...], words: list[str]) -> tuple[list[str], list[str]]:
    """The options, clusters taken apart beside the word itself, and the plain words."""
    letters, long = _VALUED.get(about, ("", frozenset()))
    options: list[str] = []
    plain: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--":
            return options, plain + words[at:]
        if word[:1] != "-" or word == "-":
            plain.append(word)
        elif word[:2] == "--":
            name, equals, _ = word.partition("=")
            options.append(name)
            at += not equals and name in long
        else:
            options.append(word.partition("=")[0])
            for place, letter in enumerate(word[1:], 2):
                options.append(f"-{letter}")
                if letter in letters:
                    at += place == len(word) and letter not in _ATTACHED
                    break
    return options, plain


def _is_given(about: tuple[str, ...], wanted: str, options: list[str], plain: list[str]) -> bool:
    """Whether an option, or one that means the same, is among a command's."""
    same = next((group for group in _EQUAL.get(about, ()) if wanted in group), (wanted,))
    if any(_is(given, one, about[0]) for given in options for one in same):
        return True
    if about == ("git", "push") and wanted == "--force":
        return any(word[:1] == "+" for word in plain[1:]) or any(_is(given, "--mirror", "git") for given in options)
    return False


def _is(given: str, wanted: str, program: str) -> bool:
    """Whether an option is the wanted one, or short for it; git takes any beginning, others are guessed from 4 letters on."""
    if given == wanted:
        return True
    least = 3 if program == "git" else 6
    return len(given) >= least and given[:2] == "--" and wanted.startswith(given) and given not in _WHOLE


def _sets(words: list[str], key: str) -> bool:
    """Whether a call of git gives a setting a value, for this call or for good."""
    wanted = key.lower()
    at = 0
    while at < len(words) and words[at][:1] == "-":
        name, _, value = words[at].partition("=")
        if words[at] in _GLOBAL["git"] and at + 1 < len(words):
            value = words[at + 1]
        if name in ("-c", "--config-env") and value.partition("=")[0].lower() == wanted:
            return True
        at += 2 if words[at] in _GLOBAL["git"] else 1
    if words[at : at + 1] in (["clone"], ["init"]):
        given = [word.lower().removeprefix("--config=").partition("=")[0] for word in words[at + 1 :]]
        return wanted in given and any(
            one in ("-c", "--config") or f"--config={wanted}" in one.lower() for one in words
        )
    return words[at : at + 1] == ["config"] and _is_set(words[at + 1 :], wanted)


def _is_set(words: list[str], wanted: str) -> bool:
    """Whether ``git config`` is told to change a setting, not to show it."""
    valued = ("-f", "--file", "--blob", "-t", "--type", "--default", "--comment", "--value", "--url")
    options: list[str] = []
    plain: list[str] = []
    at = 0
    while at < len(words):
        if words[at][:1] == "-":
            options.append(words[at].partition("=")[0])
            at += words[at] in valued
        else:
            plain.append(words[at])
        at += 1
    if plain[:1] in (["set"], ["unset"]):
        return [one.lower() for one in plain[1:2]] == [wanted]
    changing = ("--unset", "--unset-all", "--add", "--replace-all")
    named = [one.lower() for one in plain[:1]] == [wanted]
    return (
        named
        and (len(plain) > 1 or any(_is(one, full, "git") for one in options for full in changing))
        and not (any(one.startswith("--get") for one in options))
    )
