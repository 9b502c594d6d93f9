"""What the shell's own commands do, and programs that start others: which commands stand behind them, and where.

Promised: a command that is started is noted as it is started.  Not promised: that a script in a file is read.
"""

from __future__ import annotations

from .shellsyntax import HOLE, LETTERS
from .shellwords import code, tame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .shellwalk import Call, Handler

# -- the shell's own -------------------------------------------------------------------------------------------------


def _cd(call: Call) -> None:
    plain = [word for word in call.words if word != "--" and (word[:1] != "-" or word == "-")]
    target = plain[0] if plain else call.home()
    call.walker.enter(call.place, "-" if len(plain) > 1 else target)


def _pushd(call: Call) -> None:
    if len(call.words) == 1 and call.words[0][:1] not in ("+", "-"):
        call.place.stack.append(call.place.cwd)
        call.walker.enter(call.place, call.words[0])
    else:
        call.place.cwd, call.place.stack = None, []


def _popd(call: Call) -> None:
    stack = call.place.stack
    call.place.cwd = stack.pop() if stack and not call.words else None


def _declare(call: Call) -> None:
    for word in call.words:
        name, equals, value = word.partition("=")
        if word[:1] in ("-", "+"):
            if set("nrilu").intersection(word):
                call.doubt()
        elif not name or not LETTERS.issuperset(name):
            call.doubt()
        elif equals:
            call.set(name, code(call.home() + value[1:] if value == "~" or value.startswith("~/") else value))


def _local(call: Call) -> None:
    if call.walker.locals:
        call.walker.locals[-1].update(word.partition("=")[0] for word in call.words)
    _declare(call)


def _export(call: Call) -> None:
    _declare(call)
    if not any(word[:1] == "-" for word in call.words):
        call.place.exported = call.place.exported.union(word.partition("=")[0] for word in call.words)


def _unset(call: Call) -> None:
    for word in call.words:
        if word[:1] != "-":
            call.place.functions.pop(word, None)
            call.set(word, "")


def _reads(call: Call) -> None:
    """A builtin that fills variables: those it names are not known any more."""
    for word in [*call.words, "REPLY", "MAPFILE"]:
        if HOLE in word or "[" in tame(word):
            call.doubt()
        elif word[:1] != "-" and LETTERS.issuperset(word):
            call.set(word, None)


def _printf(call: Call) -> None:
    if call.words[:1] and call.words[0].startswith("-v"):
        call.words = [call.words[0][2:] or "".join(call.words[1:2])]
        _reads(call)


def _set(call: Call) -> None:
    words = iter(call.words)
    for word in words:
        if word == "--" or word[:1] not in ("-", "+"):
            call.place.args = ["", *([] if word == "--" else [word]), *words]
            return
        name = next(words, "") if word[1:].endswith("o") else ""
        if "e" in word or name == "errexit":
            call.place.errexit = word[0] == "-"
        if name not in ("", "errexit", "pipefail", "nounset", "xtrace", "verbose", "noclobber", "noglob"):
            call.doubt()
        if not set(word[1:]) <= set("euxvfhCo"):
            call.doubt()


def _shift(call: Call) -> None:
    place = call.place
    if place.args is not None:
        place.args = None if call.words else place.args[:1] + place.args[2:]


def _eval(call: Call) -> None:
    call.run(" ".join(call.words), call.place)


def _trap(call: Call) -> None:
    words = call.words[1:] if call.words[:1] == ["--"] else call.words
    if len(words) > 1 and words[0] not in ("-", ""):
        inner = call.place.copy()
        inner.sure = False  # it runs later, wherever the script is then
        inner.values = dict.fromkeys(inner.values)
        if {"DEBUG", "ERR", "RETURN"}.intersection(word.upper() for word in words[1:]):
            call.doubt()
        call.run(words[0], inner)


def _command(call: Call) -> None:
    call.options(leading=True)
    if not call.has("-v -V"):
        functions, call.place.functions = call.place.functions, {}
        call.start(call.plain, call.place)
        call.place.functions = {**functions, **call.place.functions}


def _exec(call: Call) -> None:
    call.options("a", leading=True)
    call.start(call.plain, call.place)


# -- programs that start others --------------------------------------------------------------------------------------


def _shell(call: Call) -> None:
    """``sh -c TEXT``, or ``sh`` with its commands in a here-document."""
    call.options("oO", "rcfile init-file", leading=True)
    inner, rest = call.place.outside(), call.plain
    if call.has("-O") or "".join(rest[:1])[:1] == "+":
        call.doubt()
    inner.errexit = call.has("-e") or "errexit" in call.values("-o")
    if call.has("-c") and rest:
        inner.args = rest[1:] or [""]
        call.run(rest[0], inner)
    elif call.stdin is not None and (call.has("-s") or not rest or rest == ["-"]):
        call.run(call.stdin, inner)
    elif not call.has("--version --help"):
        call.doubt()


def _env(call: Call) -> None:
    call.options("uCPS", "unset chdir split-string", leading=True)
    inner, rest = call.place.outside(), call.plain
    for word in call.values("-C --chdir"):
        call.walker.enter(inner, word)
    if call.has("-i -u --ignore-environment --unset") or rest[:1] == ["-"]:
        inner.values["HOME"] = None
    rest = rest[1:] if rest[:1] == ["-"] else rest
    while rest and "=" in rest[0] and HOLE not in rest[0].partition("=")[0]:
        name, _, value = rest[0].partition("=")
        call.walker.words.set(inner, name, code(value))
        inner.exported |= {name}
        rest = rest[1:]
    for text in call.values("-S --split-string"):
        call.doubt()
        call.run(text, inner)
    call.start(rest, inner)


def _sudo(call: Call) -> None:
    long = "user group host prompt chdir chroot close-from role type other-user command-timeout"
    call.options("ughpCRrtTUD", long, leading=True)
    inner, rest = call.place.outside(), call.plain
    inner.values["HOME"] = None
    for word in call.values("-D --chdir"):
        call.walker.enter(inner, word)
    if call.has("-e --edit -i --login -s --shell -R --chroot"):
        call.doubt()
    while rest and LETTERS.issuperset(rest[0].partition("=")[0]) and "=" in rest[0]:
        call.walker.words.set(inner, rest[0].partition("=")[0], None)
        rest = rest[1:]
    call.start(rest[1:] if rest[:1] == ["--"] else rest, inner)


def _xargs(call: Call) -> None:
    long = "arg-file delimiter max-args max-chars max-procs max-lines process-slot-var"
    call.options("IJRSLnPsdEa", long, leading=True)
    marks = [mark or "{}" for mark in call.values("-I -J -i --replace")]
    words = call.plain or ["echo"]
    for mark in marks:
        words = [word.replace(mark, HOLE) for word in words]
    call.start(words if marks else [*words, HOLE])


def _find(call: Call) -> None:
    words, at, tests = call.words, 0, 0
    while at < len(words):
        word = words[at]
        at += 1
        tests += word[:1] in ("-", "(", "!") and word not in ("-delete", "-H", "-L", "-P", "-depth")
        if word in ("-exec", "-execdir", "-ok", "-okdir"):
            end = at
            while end < len(words) and words[end] != ";" and not (words[end] == "+" and words[end - 1] == "{}"):
                end += 1
            inner = call.place.outside()
            inner.cwd = None if word.endswith("dir") else inner.cwd
            call.start([one.replace("{}", HOLE) for one in words[at:end]], inner)
            at = end + 1
        elif word in ("-fprint", "-fprint0", "-fls", "-fprintf"):
            call.write("".join(words[at : at + 1]))
            at += 1
        elif word == "-delete" or word[:1] == HOLE:
            call.doubt()
    if "-delete" in words and not tests:
        for word in [one for one in words if one[:1] != "-"] or ["."]:
            call.walker.remove(call.place, word)


def _flock(call: Call) -> None:
    call.options("wEc", "timeout wait conflict-exit-code command", leading=True)
    if call.plain and not call.plain[0].isdigit():
        call.write(call.plain[0])
    rest = call.plain[1:]
    call.start(["sh", *rest] if rest[:1] == ["-c"] else rest)


def _time(call: Call) -> None:
    call.options("fo", "format output", leading=True)
    for word in call.values("-o --output"):
        call.write(word)
    call.start(call.plain)


def _mbox(call: Call) -> None:
    verb = call.words[0] if call.words else ""
    if verb in ("run", "watch", "hooks", "audit", "team", "workflow", "watchdog", "mcp", "doctor"):
        call.doubt()
    if verb in ("lock", "run"):
        if "--" in call.words[:-1]:
            call.start(call.words[call.words.index("--") + 1 :])
        else:
            call.doubt()


def _wrapper(short: str = "", long: str = "", skip: int = 0) -> Handler:
    """A program that starts the command behind its options and ``skip`` words."""

    def handler(call: Call) -> None:
        call.options(short, long, leading=True)
        call.start(call.plain[skip:])

    return handler


def _runner(*verbs: str) -> Handler:
    """A tool that starts a command in an environment of its own, which it may make first."""

    def handler(call: Call) -> None:
        call.doubt()
        if not verbs or call.words[:1] == [*verbs]:
            call.words = call.words[1:] if verbs else call.words
            call.options("pc", "with python package extra group", leading=True)
            call.start(call.plain)

    return handler


HANDLERS: dict[str, Handler] = {
    "cd": _cd, "pushd": _pushd, "popd": _popd, "export": _export, "declare": _local, "typeset": _local, "local": _local,
    "unset": _unset, "read": _reads, "mapfile": _reads, "readarray": _reads, "getopts": _reads, "printf": _printf,
    "set": _set, "shift": _shift, "eval": _eval, "trap": _trap, "exec": _exec, "command": _command,
    "builtin": _command, "noglob": _command, "nocorrect": _command,
    "sh": _shell, "bash": _shell, "dash": _shell, "ash": _shell, "zsh": _shell, "ksh": _shell,
    "env": _env, "sudo": _sudo, "doas": _sudo, "xargs": _xargs, "find": _find, "gfind": _find, "flock": _flock,
    "time": _time, "mbox": _mbox, "nice": _wrapper("n", "adjustment"), "nohup": _wrapper(),
    "coproc": _wrapper(), "setsid": _wrapper(), "timeout": _wrapper("ks", "kill-after signal", 1),
    "gtimeout": _wrapper("ks", "kill-after signal", 1), "stdbuf": _wrapper("ioe", "input output error"),
    "ionice": _wrapper("cnpP", "class classdata"), "caffeinate": _wrapper("tw"), "busybox": _wrapper(),
    "uv": _runner("run"), "poetry": _runner("run"), "pipenv": _runner("run"), "bundle": _runner("exec"),
    "npx": _runner(), "bunx": _runner(),
}  # fmt: skip
