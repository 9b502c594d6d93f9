"""Programs that write files: which of their words they write.

Promised: what a program is told to write by its words is noted; where an option makes it start others, or write what its words
do not name, that is in doubt.  Not promised: every option of every version.
"""

from __future__ import annotations

import posixpath

from .shellsyntax import HOLE
from .shellwalk import writer
from .shellwords import code, is_plain, tame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .shellwalk import Call, Handler


# -- files are moved, copied, removed --------------------------------------------------------------------------------


def _into(call: Call, source: str, target: str, inside: bool | None) -> list[str]:
    """The fields that a copy of ``source`` may be at: ``target``, or below it; ``inside``: which, if the call tells."""
    name = source.rstrip("/").rpartition("/")[2]
    if name in ("", ".", ".."):
        return [target]
    below = f"{target.rstrip('/')}/{name}" if target.strip("/") else f"/{name}"
    cwd = call.place.cwd
    if inside is None and target.rpartition("/")[2] in (".", ".."):
        inside = True
    if inside is None and (target[:1] == "/" or cwd is not None) and is_plain(target) and target:
        inside = call.walker.folder(call.place, posixpath.normpath(posixpath.join(cwd or "/", target)))
    return [target, below] if inside is None else [below if inside else target]


def _put(call: Call, source: str, word: str) -> None:
    """A file, or a folder with all that is in it, is put at ``word``."""
    full = call.walker.path(call.place, source) if source and is_plain(source) else None
    known = None if full is None else call.walker.folder(call.place, full)
    if known is None:
        call.tree(word)
    else:
        call.walker.write(call.place, word, tree=known)


def _targets(call: Call, short: str = "tS", long: str = "", here: bool = False) -> list[tuple[str, list[str]]]:
    """Sources and where each is put by ``mv``, ``cp``, ``ln`` and ``install``; ``here``: a single word is put here."""
    call.options(short, f"target-directory suffix {long}")
    if call.has("-b --backup -S --suffix"):
        call.doubt()
    plain, folders = call.plain, call.values("-t --target-directory")
    if folders:
        return [(source, _into(call, source, folders[-1], True)) for source in plain]
    if len(plain) < 2:
        return [(source, _into(call, source, ".", True)) for source in plain if here]
    inside = False if call.has("-T --no-target-directory") else True if len(plain) > 2 else None
    if here and call.has("-n --no-dereference"):
        inside = inside or False
    return [(source, _into(call, source, plain[-1], inside)) for source in plain[:-1]]


def move(call: Call) -> None:
    for source, words in _targets(call):
        call.tree(source)
        for word in words:
            _put(call, source, word)


def _cp(call: Call) -> None:
    found = _targets(call)
    if call.has("--parents -l -s --link --symbolic-link"):
        call.doubt()
    for source, words in found:
        for word in words:
            if call.has("-r -R -a --recursive --archive"):
                _put(call, source, word)
            else:
                call.write(word)


def _ln(call: Call) -> None:
    words = [word for _, words in _targets(call, here=True) for word in words]
    for word in words:
        call.write(word)
    for word in words:  # from here on, what is written there is written elsewhere
        call.walker.links += tuple(f"{full}/" for full in [call.walker.path(call.place, word)] if full)


def _install(call: Call) -> None:
    found = _targets(call, "tSmog", "mode owner group strip-program")
    if call.has("-d --directory"):
        _make(call)
        return
    for _, words in found:
        for word in words:
            call.write(word)


def _mkdir(call: Call) -> None:
    call.options("m", "mode")
    _make(call)


def _make(call: Call) -> None:
    """Folders are made, with those above them: no writes, but other calls put files into them."""
    certain, folders = call.walker.certain, call.place.folders
    for word in call.plain:
        full = call.walker.path(call.place, word)
        while full and full != "/" and not folders.get(full):
            folders[full] = True
            full = posixpath.dirname(full)
    call.walker.certain = certain


def _rm(call: Call) -> None:
    call.options()
    for word in call.plain:
        if call.has("-r -R --recursive"):
            call.walker.remove(call.place, word)
        else:
            call.write(word)


def _chmod(call: Call) -> None:
    modes = [word for word in call.words if word[:1] == "-" and word[1:] and set("rwxXstugo,+=-").issuperset(word[1:])]
    call.words = [word for word in call.words if word not in modes]
    _own(call, 0 if modes else 1)


def _own(call: Call, skip: int = 1) -> None:
    """``chmod``, ``chown``, ``chgrp``: all words but the first are files."""
    call.options("", "reference from")
    for word in call.plain[0 if call.has("--reference") else skip :]:
        if call.has("-R --recursive"):
            call.tree(word)
        else:
            call.write(word)


def _elsewhere(word: str) -> bool:
    """Whether a word of ``rsync``, ``scp`` or ``tar`` is a path on another machine."""
    return ":" in word.partition("/")[0]


def _rsync(call: Call) -> None:
    call.options(
        "efBMT", "rsh exclude include filter exclude-from include-from files-from log-file out-format partial-dir temp-dir"
        " backup-dir link-dest compare-dest copy-dest chmod port"
    )  # fmt: skip
    for word in call.values("--log-file"):
        call.write(word)
    if call.has("-e -b -T --rsh --backup --backup-dir --partial-dir --temp-dir"):
        call.doubt()
    if not call.has("-n --dry-run"):
        _arrive(call)


def _scp(call: Call) -> None:
    call.options("cDFiJloPSX")
    _arrive(call)


def _arrive(call: Call) -> None:
    """Files, or all that is in folders, come from here or from another machine."""
    *sources, target = call.plain or [":"]
    for source in sources:
        inside = False if source.endswith("/") else True if len(sources) > 1 else None
        name = source.partition(":")[2] if _elsewhere(source) else source
        for word in () if _elsewhere(target) else _into(call, name, target, inside):
            call.tree(word)
        if call.has("--remove-source-files") and not _elsewhere(source):
            call.tree(source)


# -- files are made of others ----------------------------------------------------------------------------------------


def _dd(call: Call) -> None:
    for word in call.words:
        if word.startswith("of="):
            call.write(word[3:])
        elif word[:1] == HOLE:
            call.doubt()


def _apply_patch(call: Call) -> None:
    text, cwd = "".join(call.words[:1]) or call.stdin, call.place.cwd
    if text is None or cwd is None or HOLE in text or not call.place.sure:
        call.doubt()
    if text is not None and cwd is not None:
        call.walker.patches.append((cwd, tame(text)))


def _compress(suffix: str, undo: bool = False) -> Handler:
    """``gzip`` and its like: each file is replaced by another."""

    def handler(call: Call) -> None:
        call.options("SbToDM", "suffix threads")
        if call.has("-c --stdout --to-stdout -t --test -l --list"):
            return
        if call.has("-r --recursive -S --suffix -D -o -M"):
            call.doubt()
        for word in call.plain:
            call.write(word)
            if not (undo or call.has("-d --decompress --uncompress")):
                call.write(f"{word}{suffix}")
            elif word.endswith(suffix):
                call.write(word.removesuffix(suffix))
            else:
                call.doubt()

    return handler


def _tar(call: Call) -> None:
    words = call.words
    if words and words[0][:1] not in ("-", HOLE):
        # the old way: ``tar cfz FILE``, with the word of the f behind the cluster
        call.words = [f"-{words[0].replace('f', '')}", *(["-f"] if "f" in words[0] else []), *words[1:]]
    long = "file directory exclude exclude-from files-from use-compress-program to-command checkpoint-action transform"
    call.options("fCXTIbgFHKLNV", long)
    if call.has("-I -F -g --use-compress-program --to-command --checkpoint-action --remove-files --rsh-command"
                " --listed-incremental --index-file"):  # fmt: skip
        call.doubt()
    if call.has("-x --extract --get"):
        if not call.has("-O --to-stdout"):
            call.doubt()
    elif call.has("-c -r -u -A --create --append --update --delete --concatenate"):
        for word in call.values("-f --file"):
            if word != "-" and not _elsewhere(word):
                call.write(word)
    elif not call.has("-t --list --version --help"):
        call.doubt()


def _zip(call: Call) -> None:
    call.options("bnPtxiO")
    if call.has("-m -T -U"):
        call.doubt()
    for word in call.values("-O") or call.plain[:1]:
        if word != "-":
            call.write(word if "." in word.rpartition("/")[2] else f"{word}.zip")


def _xxd(call: Call) -> None:
    valued = ("-c", "-cols", "-g", "-groupsize", "-l", "-len", "-n", "-name", "-o", "-s", "-seek", "-R")
    before = ["", *call.words]
    plain = [word for at, word in enumerate(call.words) if word[:1] != "-" and before[at] not in valued]
    if any(word[:1] == HOLE for word in call.words):
        call.doubt()
    for word in plain[1:2]:
        call.write(word)


def _name(url: str) -> str:
    """The name that what is fetched from an address has here."""
    return url.partition("?")[0].partition("#")[0].partition("://")[2].partition("/")[2].rpartition("/")[2]


def _curl(call: Call) -> None:
    call.options("oDcKdHXuFbxmAeTEwrYyCQtzUP", (
        "output dump-header cookie-jar output-dir trace trace-ascii stderr etag-save hsts alt-svc libcurl config data"
        " data-raw data-binary data-urlencode header request user url cookie form proxy max-time connect-timeout retry"
        " user-agent referer cert key cacert write-out upload-file range resolve json"
    ))  # fmt: skip
    if call.has("-K --config -J --remote-header-name"):
        call.doubt()
    outputs = call.values("-o --output")
    urls = [code(url) for url in call.plain + call.values("--url")]
    if call.has("-O --remote-name --remote-name-all"):
        outputs += [_name(url if "://" in url else f"://{url}") for url in urls]
    if outputs and any(mark in one for one in [*outputs, *urls] for mark in ("#", "{", "[", HOLE)):
        call.doubt()  # a range of addresses
    folder = "".join(f"{one}/" for one in call.values("--output-dir")[-1:])
    others = "-D --dump-header -c --cookie-jar --trace --trace-ascii --stderr --etag-save --hsts --alt-svc --libcurl"
    for word in [*(one if one[:1] in ("-", "/") else folder + one for one in outputs), *call.values(others)]:
        if word != "-":
            call.write(word)


def _wget(call: Call) -> None:
    long = "output-document output-file append-output directory-prefix input-file tries timeout user-agent header"
    call.options("OoaPitTUeQwADRIXlBS", f"{long} save-cookies execute post-data quota")
    documents = call.values("-O --output-document")
    for word in documents + call.values("-o -a --output-file --append-output --save-cookies"):
        if word != "-":
            call.write(word)
    if not documents and not call.has("--spider"):
        call.doubt()
        folder = (call.values("-P --directory-prefix") or ["."])[-1]
        for url in call.plain:
            call.write(f"{folder}/{_name(url) or 'index.html'}")


# -- programs with a language of their own ---------------------------------------------------------------------------


def _sed(call: Call) -> None:
    call.options("efl", "expression file line-length", attached="i")
    suffixes = [value for name, value in call.given if name == "-i" or (name[:4] == "--in" and "--in-place".startswith(name))]
    scripts, plain, suffix = call.values("-e --expression"), call.plain, "".join(suffixes[-1:])
    if suffixes and not suffix and plain and (not plain[0] or plain[0][0] == "."):  # as macOS has it
        suffix, plain = plain[0], plain[1:] if not (scripts and plain[0]) else plain
    if call.has("-f --file"):
        call.doubt()
    elif not scripts:
        scripts, plain = plain[:1], plain[1:]
    _edits(call, code("\n".join(scripts)))
    for word in plain if suffixes else ():
        call.write(word)
        if not is_plain(suffix) or "*" in suffix:
            call.doubt()
        elif suffix:
            call.write(f"{word}{suffix}")


def _edits(call: Call, script: str, perl: bool = False) -> None:
    """Note what a script of ``sed`` writes, or a row of ``s///`` and ``y///`` of ``perl``; any other is in doubt."""
    at = 0
    while at < len(script):
        call.walker.budget.spend(1)
        letter = script[at]
        at += 1
        if letter in (" ;\n" if perl else " \t\n;{}!,0123456789$~+pPdDqQ=nNgGhHxlzFI"):
            continue
        stop = script[at : at + 1]
        if letter in "sy" and not (perl and (stop.isalnum() or stop in tuple(" _{(<[#\n=',;") or not stop)):
            at = _past(script, _past(script, at + 1, stop), stop)
            ended = at <= len(script)
            while letter == "s" and at < len(script) and script[at] in ("gimsx" if perl else "gpiIMm0123456789"):
                at += 1
            if ended and script[at : at + 1] in ("", " ", ";", "\n", "}"):
                continue
            letter = script[at : at + 1]
            at += 1
        elif letter in "/\\" and not perl:
            at = _past(script, at, "/") if letter == "/" else _past(script, at + 1, stop)
            continue
        elif letter in "btT:aicrR#" and not perl:
            at = _line(script, at, letter)
            continue
        call.doubt()
        if letter in ("w", "W") and not perl:
            call.write(script[at:].partition("\n")[0].strip())
        return


def _line(script: str, at: int, letter: str) -> int:
    """The end of what belongs to a command of ``sed`` that takes a label, a file to read, or lines of text."""
    found = script.find("\n", at)
    while letter in "aic" and found > 0 and script[found - 1] == "\\":
        found = script.find("\n", found + 1)
    found = len(script) if found < 0 else found
    semicolon = script.find(";", at, found) if letter in "btT:" else -1
    return found if semicolon < 0 else semicolon


def _past(script: str, at: int, stop: str) -> int:
    """The place behind the text that ``stop`` closes; behind the end of the script if nothing does for sure."""
    bracket = False
    while at < len(script):
        letter = script[at]
        if letter == "\\":
            at += 1
        elif letter == stop:
            return len(script) + 1 if bracket and script.find("]", at) >= 0 else at + 1
        elif letter == "[":
            bracket = True
        elif letter == "]":
            bracket = False
        at += 1
    return len(script) + 1


def _perl(call: Call) -> None:
    """``perl`` and ``ruby``: with ``-i`` their files are written, and by anything but a plain ``s///`` maybe others."""
    call.options("eE", attached="i", leading=True)
    codes, suffixes = call.values("-e -E"), call.values("-i")
    if not any(codes) or {name[1:] for name, _ in call.given} - set("pnlaweEi0"):
        call.doubt()
    if any(suffix and suffix[0] not in ".~" for suffix in suffixes):
        call.doubt()
    for text in codes:
        if any(mark in text for mark in ("@{", "(?{", "(??{", "${", "`", HOLE)):
            call.doubt()
        _edits(call, code(text), perl=True)
    for word in call.plain if suffixes else ():
        call.write(word)
        if suffixes[-1]:
            call.write(f"{word}{suffixes[-1]}")


def _awk(call: Call) -> None:
    call.options("Fvf", "field-separator assign file", leading=True)
    text = call.plain[0] if call.plain else HOLE
    if any(name not in ("-F", "-v", "--field-separator", "--assign") for name, _ in call.given):
        call.doubt()
    if any(mark in text for mark in (">", "|", "system", "@", HOLE)):
        call.doubt()


HANDLERS: dict[str, Handler] = {
    "mv": move, "gmv": move, "cp": _cp, "gcp": _cp, "ln": _ln, "install": _install, "mkdir": _mkdir, "rm": _rm,
    "grm": _rm, "trash": _rm, "chmod": _chmod, "chown": _own, "chgrp": _own, "rsync": _rsync, "scp": _scp, "dd": _dd,
    "tee": writer(first=0), "touch": writer("drtA", "date reference time", first=0), "unlink": writer(first=0),
    "rmdir": writer(first=0), "truncate": writer("sr", "size reference", first=0), "sponge": writer(first=0),
    "patch": writer("pioBrdDFVYzg", "input output reject-file directory strip fuzz prefix suffix ifdef", 0, 1,
                    outputs="-o -r --output --reject-file", idle="--dry-run -C --check", sure=False),
    "apply_patch": _apply_patch, "applypatch": _apply_patch, "gzip": _compress(".gz"), "pigz": _compress(".gz"),
    "gunzip": _compress(".gz", undo=True), "bzip2": _compress(".bz2"), "bunzip2": _compress(".bz2", undo=True),
    "xz": _compress(".xz"), "unxz": _compress(".xz", undo=True), "zstd": _compress(".zst"),
    "tar": _tar, "gtar": _tar, "bsdtar": _tar, "zip": _zip,
    "unzip": writer("dxP", idle="-l -t -p -c -z -Z -v", sure=False), "xxd": _xxd, "curl": _curl, "wget": _wget,
    "sort": writer("okSTt", "output key buffer-size temporary-directory field-separator", outputs="-o --output",
                   doubts="--compress-program"), "uniq": writer("fsw", "skip-fields skip-chars check-chars", 1, 2),
    "shuf": writer("oinr", "output input-range head-count random-source", outputs="-o --output"),
    "tree": writer("oLPIH", "filelimit", outputs="-o"), "file": writer(doubts="-C --compile"),
    "less": writer("oOpPjxyz", "log-file LOG-FILE", outputs="-o -O --log-file --LOG-FILE"),
    "base64": writer("oibDw", "output input wrap", outputs="-o --output"),
    "sdiff": writer("owI", "output", outputs="-o --output"),
    "iconv": writer("oft", "output from-code to-code", outputs="-o --output"),
    **dict.fromkeys(("fd", "fdfind"), writer(doubts="-x -X --exec --exec-batch")),
    **dict.fromkeys(("rg", "ag", "ack", "bat", "batcat"), writer(doubts="--pre --hostname-bin --pager --output")),
    "sed": _sed, "gsed": _sed, "perl": _perl, "ruby": _perl, "awk": _awk, "gawk": _awk, "mawk": _awk, "nawk": _awk,
    **dict.fromkeys(("sudoedit", "ed", "ex", "vi", "vim", "nvim", "nano", "emacs", "code", "black", "gofmt", "rustfmt",
                     "dos2unix", "unix2dos"), writer(first=0, sure=False)),
}  # fmt: skip
