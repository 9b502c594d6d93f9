"""The reading of shell lines: which files they would write, what is certain, and that nothing makes it fail or wait."""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import CHECKOUT
from mbox.hooks import shell

R, H = "/r", "/home/u"

Case = tuple[str, str, bool]
"""A line, what it writes (below /r where it does not start with a /), and whether that is certain."""

REDIRECTIONS: list[Case] = [
    ("echo x > f", "f", True),
    ("echo x >> f", "f", True),
    ("echo x >| f", "f", True),
    ("echo x &> f", "f", True),
    ("echo x &>> f", "f", True),
    ("echo x >& f", "f", True),
    ("cat <> f", "f", True),
    ("ls 2>f", "f", True),
    ("ls 2>>f 1>&2", "f", True),
    ("ls {fd}> f", "f", True),
    (">f echo x", "f", True),
    ("echo a >f b", "f", True),
    ("echo 2>f", "f", True),
    ("echo x2>f", "f", True),
    (": > f", "f", True),
    ("> f", "f", True),
    ("exec > f", "f", True),
    ("exec 3>f; echo x >&3", "f", True),
    ("echo x > f > g", "f g", True),
    ("{ echo a; } > f", "f", True),
    ("if true; then echo; fi > f", "f", True),
    ("while read x; do echo $x; done < in > f", "f", True),
    ("echo x > /dev/null 2>&1", "", True),
    ("echo x > /dev/stderr", "", True),
    ("echo x >&2", "", True),
    ("echo x 2>&-", "", True),
    ("echo x > /dev/fd/2", "", True),
    ("echo x > /dev/tty", "", True),
    ("cat < f", "", True),
    ("echo '>' x", "", True),
    ('echo ">" x', "", True),
    ("echo \\> x", "", True),
    ("echo a'>'b > c", "c", True),
    ("[[ a > b ]]", "", True),
    ("(( a > b ))", "", True),
    ("[ a > b ]", "b", True),
    ("echo $(( 3 > 2 ))", "", True),
    ("echo > f # > g", "f", True),
    ("echo a#b > f", "f", True),
    ("echo x > $F", "", False),
    ("echo x > *.txt", "", False),
    ("echo x > f?", "", False),
    ("echo x >! f", "!", False),
    ("echo x > /abs/f", "/abs/f", True),
    ("echo x > ./a//b/../c", "a/c", False),
    ("echo x > ../s/f", "/s/f", True),
    ("echo x > ~/f", "/home/u/f", True),
    ("echo x > '~/f'", "~/f", True),
    ("echo x > ~other/f", "", False),
    ("echo x > $HOME/f", "/home/u/f", True),
    ('echo x > "${HOME}"/f', "/home/u/f", True),
    ("echo x > $PWD/f", "f", True),
    ('cat > "$(pwd)/f"', "f", True),
    ("cat > `pwd`/f", "f", True),
    ("cat > $(mktemp)", "", False),
    ("echo x > $(echo f)", "f", True),
    ("echo x > /proc/self/cwd/f", "/proc/self/cwd/f", False),
    ("tee >(cat > f) < in", "f", True),
    ("diff <(sort a) <(echo > f)", "f", True),
]

WORDS: list[Case] = [
    ("echo x > 'a b'", "a·b", True),
    ('echo x > "a b"', "a·b", True),
    ("echo x > a\\ b", "a·b", True),
    ("echo x > $'a\\tb'", "a\tb", True),
    ("echo x > $'\\x66'", "", False),
    ("echo x > a'b'\"c\"d", "abcd", True),
    ("echo x > \\\n f", "f", True),
    ("echo x > a\\\nb", "ab", True),
    ("F=a.txt; echo > $F", "a.txt", True),
    ('F=a; G="$F/b"; echo > "$G.txt"', "a/b.txt", True),
    ("F=a; F+=b; echo > $F", "ab", True),
    ("export F=a; echo > $F", "a", True),
    ("F=a echo > $F", "", False),
    ("F=~/a; echo > $F", "/home/u/a", True),
    ("F='*'; echo > $F", "", False),
    ("F='*'; echo > \"$F\"", "*", True),
    ("F='a b'; rm $F", "a b", False),
    ("read F; echo > $F", "", False),
    ("if x=1; then F=a; else F=b; fi; echo > $F", "", False),
    ("echo > ${F:-f}", "", False),
    ("touch {a,b}.txt", "a.txt b.txt", True),
    ("touch f{1..3}", "f1 f2 f3", True),
    ("touch a{b,c{d,e}}", "ab acd ace", True),
    ("touch 'a{b,c}'", "a{b,c}", True),
    ("touch a{b}", "a{b}", True),
    ("touch {a..9}", "", False),
    ("touch {1..9999}", "", False),
    ("touch \"x\"{a,'b'}", "xa xb", True),
    ("echo > ünï.txt", "ünï.txt", True),
    ("echo x > f\r\n", "f\r", True),
    ("echo x\0 > f", "f", False),
    ("echo x > a\0b", "", False),
    ("echo x > f; )", "", False),
    ("echo 'open > f", "", False),
    ("a=(1 2); touch f", "f", True),
    ("a[1]=x; touch f", "f", True),
    ("PATH=/x:$PATH; touch f", "f", False),
    ("GIT_PAGER=cat git log", "", True),
    ("GIT_DIR=/x git log", "", False),
]

DOCUMENTS: list[Case] = [
    ("cat > f <<EOF\nx\nEOF", "f", True),
    ("cat <<EOF > f\n> g\n EOF\nEOFX\nEOF \nrm h\nEOF\n", "f", True),
    ("cat <<'EOF' > f\n$(rm g)\nEOF\ntouch h", "f h", True),
    ("cat <<EOF > f\n$(rm g)\nEOF", "f g", True),
    ("cat <<EOF > f\n`rm g`\nEOF", "f g", True),
    ("cat <<EOF > f\n\\$(rm g)\nEOF", "f", True),
    ("cat <<-EOF > f\n\tx\n\tEOF\ntouch g", "f g", True),
    ('cat <<"E F" > f\nx\nE F\ntouch g', "f g", True),
    ("cat <<\\EOF > f\n$(rm x)\nEOF\ntouch g", "f g", True),
    ("cat <<A > f; cat <<B > g\n1\nA\n2\nB\ntouch h", "f g h", True),
    ("cat <<EOF > f\nno end > g", "f", True),
    ("cat <<EOF | tee f\n> g\nEOF", "f", True),
    ("cat <<EOF > f\r\nx\r\nEOF\r\n", "f\r", True),
    ("cat <<< '> x' > f", "f", True),
    ("bash <<'EOF'\necho > f\nEOF", "f", True),
    ("bash -s <<'EOF'\necho > f\nEOF", "f", True),
    ("python - <<EOF\nopen('f','w')\nEOF", "", False),
    ("cat <<EOF | sh\nrm f\nEOF", "", False),
    ("git commit -F - <<'EOF'\nrm x > y\nEOF", "", True),
    ("git commit -m \"$(cat <<'EOF'\nit's > here (\nEOF\n)\"", "", True),
]

PLACES: list[Case] = [
    ("cd d && echo > f", "d/f", True),
    ("cd d; echo > f", "d/f", False),
    ("cd d\nls", "", True),
    ("set -e; cd d; echo > f", "d/f", True),
    ("cd d || exit 1; echo > f", "d/f", True),
    ("cd d || { echo no; exit 1; }\necho > f", "d/f", True),
    ("cd d || cd e; echo > f", "d/f", False),
    ("(cd d && echo > f)", "d/f", True),
    ("(cd d && ls); echo > f", "f", True),
    ("( cd d; echo > f ); echo > g", "d/f g", False),
    ("cd d | cat; echo > f", "f", True),
    ("cd /x/y && cd .. && echo > f", "/x/f", True),
    ("cd && echo > f", "/home/u/f", True),
    ("cd ~/a && echo > f", "/home/u/a/f", True),
    ("cd - && echo > f", "", False),
    ("cd $X && echo > f", "", False),
    ("cd $X && echo > /a/f", "/a/f", True),
    ("pushd d && echo > f && popd && echo > g", "d/f g", True),
    ("if true; then cd d; fi; echo > f", "", False),
    ("while true; do cd d; echo > f; done", "d/f", False),
    ("env -C d tee f", "d/f", True),
    ('cd d && cat > "$(pwd)/f"', "d/f", True),
    ("command cd d && echo > f", "d/f", True),
    ("make -C d", "", False),
]

NESTED: list[Case] = [
    ("sh -c 'echo > f'", "f", True),
    ("sh -c \"sh -c 'echo > f'\"", "f", True),
    ("bash -lc 'cd d && echo > f'", "d/f", True),
    ("bash -euo pipefail -c 'echo > f'", "f", True),
    ("bash -c 'echo > $1' _ f", "f", True),
    ('bash -c "$X"', "", False),
    ("bash script.sh", "", False),
    ("zsh -c 'echo > f'", "f", True),
    ("eval 'echo > f'", "f", True),
    ('eval "$X"', "", False),
    ("env -i A=b tee f", "f", True),
    ("sudo -u x tee -a f", "f", True),
    ("sudo A=b -- tee f", "f", True),
    ("sudo -n rm f", "f", True),
    ("doas rm f", "f", True),
    ("nice -n 5 nohup timeout -k 3 5s stdbuf -oL rm f", "f", True),
    ("time -p rm f", "f", True),
    ("/usr/bin/time -p rm f", "f", True),
    ("! rm f", "f", True),
    ("xargs -I{} cp {} d", "d", False),
    ("ls | xargs rm", "", False),
    ("ls | xargs -0 -n1 grep x", "", True),
    ("ls | xargs sh -c 'echo > f'", "f", True),
    ("find . -name x -exec rm {} +", "", False),
    ("find . -exec sh -c 'echo > f' \\;", "f", True),
    ("find . -name x -exec grep y {} \\; -fprint f", "f", True),
    ("find . -delete", "@", False),
    ("find . -name '*.py'", "", True),
    ("flock l touch f", "l f", True),
    ("if x; then echo > f; fi", "f", False),
    ("if true; then echo > f; else echo > g; fi", "f g", True),
    ("if [ -f x ]; then :; elif rm a; then rm b; else rm c; fi", "a b c", True),
    ("for i in 1 2; do echo > f$i; done", "f1 f2", False),
    ("for i in *; do echo > $i; done", "", False),
    ("for i in $(ls); do cat $i; done", "", True),
    ("for ((i=0; i<3; i++)); do rm f; done", "f", True),
    ("until rm f; do rm g; done", "f g", True),
    ("case $x in a|b) echo > f;; (c) echo > g;& *) rm h; esac", "f g h", True),
    ("case x in 'a)') echo ');;' > f;; esac", "f", True),
    ("f() { echo > g; }", "", True),
    ("f() { echo > $1; }; f a; f b", "a b", True),
    ("function f { rm \"$@\"; }; f a 'b c'", "a b·c", True),
    ("ls() { rm f; }; ls", "f", True),
    ("f() { f; }; f", "", False),
    ("(rm a; (rm b))", "a b", True),
    ("rm a & rm b", "a b", True),
    ("rm a |& rm b", "a b", True),
    ("true && rm a || rm b", "a b", True),
    ("echo $(rm f)", "f", True),
    ('echo "`rm f`"', "f", True),
    ('echo "$(echo "$(rm f)")"', "f", True),
    ("X=$(rm f)", "f", True),
    ("echo ${X:-$(rm f)}", "f", True),
    ("echo $(( $(rm f) + 1 ))", "f", True),
    ("trap 'rm -f f' EXIT", "f", False),
    ("coproc rm f", "f", True),
    ("select x in a; do rm f; done", "f", False),
    ("mbox lock l -- rm f", "f", True),
    ("uv run tee f", "f", False),
]

PROGRAMS: list[Case] = [
    ("cp a b", "b b/a", True),
    ("cp -t d a b", "d/a d/b", True),
    ("cp --target-dir=d a", "d/a", True),
    ("cp a x/b d/", "d/a d/b", True),
    ("cp -T a b", "b", True),
    ("cp -r a b", "b@ b/a@", True),
    ("cp -r a/. b", "b@", True),
    ("mkdir -p d && cp a d", "d/a", True),
    ("mv a b", "a@ b@ b/a@", True),
    ("mv -- -x y", "-x@ y@ y/-x@", True),
    ("mv *.c d", "d@", False),
    ("mv a b d", "a@ d/a@ b@ d/b@", True),
    ("ln -sf a b", "b b/a", True),
    ("ln -sfn a b", "b", True),
    ("ln -s ../x/a", "a", True),
    ("ln -s a b && echo > b", "b b/a", False),
    ("install -D a b", "b b/a", True),
    ("install -m 644 -t d a", "d/a", True),
    ("install -d d", "", True),
    ("rsync -a a/ d", "d@", True),
    ("rsync -a a host:d", "", True),
    ("scp host:f g", "g@ g/f@", True),
    ("rm f g", "f g", True),
    ("rm -rf d", "d@", True),
    ("rm -rf d/*", "d@", False),
    ("rm -f d/*.o", "", False),
    ("rmdir d", "d", True),
    ("mkdir -p a/b", "", True),
    ("touch -r x f", "f", True),
    ("chmod +x f", "f", True),
    ("chmod -x f", "f", True),
    ("chmod -R 755 d", "d@", True),
    ("chown u:g f", "f", True),
    ("truncate -s 0 f", "f", True),
    ("dd if=a of=b bs=1", "b", True),
    ("tee -a f g", "f g", True),
    ("sort -u f", "", True),
    ("sort f -o g", "g", True),
    ("sort --output=g f", "g", True),
    ("uniq a b", "b", True),
    ("xxd -c 8 a", "", True),
    ("xxd -r a b", "b", True),
    ("curl -sSLo f http://x/y", "f", True),
    ("curl -O http://x/y/z.tgz?q=1", "z.tgz", True),
    ("curl -s http://x", "", True),
    ("wget -qO f http://x", "f", True),
    ("wget -qO- http://x", "", True),
    ("wget http://x/y.zip", "y.zip", False),
    ("tar czf a.tgz d", "a.tgz", True),
    ("tar tf a.tgz", "", True),
    ("tar xf a.tgz -C d", "", False),
    ("zip -r a.zip d", "a.zip", True),
    ("unzip -l a.zip", "", True),
    ("unzip a.zip", "", False),
    ("gzip f", "f f.gz", True),
    ("gunzip f.gz", "f.gz f", True),
    ("gzip -dc f.gz", "", True),
    ("patch f < p", "f", False),
    ("patch -p1 < p", "", False),
    ("patch --dry-run -p1 < p", "", True),
    ("sed -n 5,10p f", "", True),
    ("sed 's/>/w/g' f", "", True),
    ("sed -i s/a/b/ f g", "f g", True),
    ("sed -i.bak -e s/a/b/ f", "f f.bak", True),
    ("sed -i '' 's/a/b/' f", "f", True),
    ("sed -ni 's|/|w|p' f", "f", True),
    ("sed --in-place=.o s/a/b/ f", "f f.o", True),
    ("sed -n '/a/w f' g", "f", False),
    ("sed 's/a/b/w f' g", "f", False),
    ("sed 's/a/b/e' g", "", False),
    ("sed -e '/^$/d;$!N' f", "", True),
    ("sed -i '/x/{s/a/b/;d}' f", "f", True),
    ("perl -pi -e 's/a/b/g' f", "f", True),
    ("perl -i.bak -pe 's/a/b/' f", "f f.bak", True),
    ("perl -pi -e 'unlink q(x)' f", "f", False),
    ("perl -e 'print 1'", "", False),
    ("ruby -i -pe 's/a/b/' f", "f", True),
    ("awk '{print $1}' f", "", True),
    ("awk '{print > \"f\"}' g", "", False),
    ("jq . f", "", True),
    ("rg -n x .", "", True),
    ("rg --pre ./x y", "", False),
    ("ls -la && cat f | grep x | wc -l", "", True),
    ("./ls", "", False),
    ("/bin/ls", "", True),
    ("pytest -q", "", False),
    ("python --version", "", True),
    ("python help", "", False),
    ("vim f", "f", False),
    ("$CMD f", "", False),
    ("mbox send bob --body 'x > y'", "", True),
    ("task claim && reserve src/**", "", True),
    ("gh pr view 3", "", True),
    ("\\rm f", "f", True),
    ("'rm' f", "f", True),
]

GIT: list[Case] = [
    ("git status && git diff | head && git log -3", "", True),
    ("git add -A && git commit -m 'rm > x' && git push", "", True),
    ("git checkout -- f", "f@", True),
    ("git checkout HEAD~1 -- f g", "f@ g@", True),
    ("git checkout HEAD f", "f@", False),
    ("git checkout main", "", False),
    ("git checkout main --", "", False),
    ("git checkout -b new", "", True),
    ("git switch -c new", "", True),
    ("git switch main", "", False),
    ("git -C sub checkout -- f", "sub/f@", True),
    ("git restore f", "f@", True),
    ("git restore --staged f", "", True),
    ("git restore -SW -s HEAD f", "f@", True),
    ("git restore '*.py'", "", False),
    ("git rm f", "f@", True),
    ("git rm --cached f", "", True),
    ("git mv a b", "a@ b@ b/a@", True),
    ("git clean -fd", "", False),
    ("git clean -nd", "", True),
    ("git apply p", "", False),
    ("git apply --check p", "", True),
    ("git stash", "", False),
    ("git stash list", "", True),
    ("git reset --hard", "", False),
    ("git reset HEAD f", "", True),
    ("git rebase main", "", False),
    ("git pull", "", False),
    ("git diff --output=f", "f", True),
    ("git show HEAD:f > g", "g", True),
    ("git -c alias.x='!rm f' x", "", False),
    ("git -c user.name=a commit -m x", "", True),
    ("git clone https://h/a/b.git", "b@", True),
    ("git archive -o f HEAD", "f", True),
    ("git unknown", "", False),
]

FAILURES: list[Case] = [
    ("cd d; cd /r/d; touch f", "d/f", False),
    ("set -e; cd d && ls; touch f", "d/f", False),
    ("set -e; if cd d; then :; fi; touch f", "d/f", False),
    ("set -e; ! cd d; touch f", "d/f", False),
    ("set -e; x=$(cd d; touch f)", "d/f", False),
    ("cd d || return; touch f", "d/f", False),
    ("cd d || exit && cd e; touch f", "d/e/f", False),
    ("exit() { :; }; cd d || exit; touch f", "d/f", False),
    ("cd d && false || touch f", "", False),
    ("{ cd d; false; } || touch f", "", False),
    ("! cd d && touch f", "d/f", True),
    ("F=y; [ -f q ] && F=x; touch $F", "", False),
    ("F=x && touch $F; touch ${F}2", "x x2", True),
    ("for i in a b; do break; done; touch $i", "", False),
    ("case x in x) F=a;& y) touch $F;; esac", "", False),
    ("F=a; f() { local F=b; }; f; touch $F", "a", True),
    ("false && mkdir d; mv a d", "a@ d@ d/a@", True),
    ("trap 'rm f' EXIT; cd d", "f", False),
]

TRICKS: list[Case] = [
    ("RANDOM=5; touch $RANDOM", "5", False),
    ("F=a; bash -c 'touch x$F'", "", False),
    ("export F=a; bash -c 'touch x$F'", "xa", True),
    ("env F=a bash -c 'touch x$F'", "xa", True),
    ("ls() { rm x; }; env ls", "", True),
    ("set +B; touch {a,b}", "a b", False),
    ("exec {F}>a; touch $F", "a", False),
    ("bash 3<<E\ntouch f\nE", "", False),
    ("sed -e 's/a/b\\' -e '/w f' g", "f", False),
    ("perl -pi -e 's/a/b/;a;unlink 1' f", "f", False),
    ("/usr/bin/time -o f ls", "f", True),
    ("git diff --outp=f", "f", True),
    ("git config core.pager 'touch f'", "", False),
    ("less -o f g", "f", True),
    ("man -P 'touch f' ls", "", False),
    ("git switch -c new -f", "", False),
    ("git switch --force new", "", False),
    ("cp -$X a b", "b b/a", False),
    ("${$((}", "", False),
    ("alias ls='rm f'", "", False),
    ("source x; touch f", "f", False),
    ("a='x[$(touch f)]'; echo $((a))", "", False),
]

CASES = [*FAILURES, *TRICKS, *REDIRECTIONS, *WORDS, *DOCUMENTS, *PLACES, *NESTED, *PROGRAMS, *GIT]


def expected(text: str) -> tuple[list[str], list[str]]:
    """Writes and trees as a case says them, a ``@`` behind a tree, ``·`` for a blank in a name."""
    names = [name.replace("·", " ") for name in text.split(" ")] if text else []
    full = [os.path.normpath(os.path.join(R, name.rstrip("@") or ".")) for name in names]
    return sorted(full), sorted(path for path, name in zip(full, names, strict=True) if name.endswith("@"))


@pytest.mark.parametrize(("line", "writes", "certain"), CASES)
def test_a_line_is_read(line: str, writes: str, certain: bool) -> None:
    """Each line of the tables: its writes, the trees among them, and whether that is all for certain.

    What is read of an odd line is never called all (`shell.is_odd`).
    """
    reading = shell.read(line, R, H)
    assert (sorted(reading.writes), sorted(reading.trees)) == expected(writes)
    assert reading.certain is (certain and not shell.is_odd(line, R, reading.commands))


HIDDEN = [
    "tee /dev/fd/3 3<held <<<x", "exec 3<held; echo x >/dev/fd/3", "echo x <held >/dev/stdin", "echo \"${x:-'$(touch held)'}\"",
    "[[ -e <(touch held) ]]", "${x:-<(touch held)}", '"$\\\n(touch held)"', "[ -v 'a[$(touch held)]' ]",
    "wait -n -p 'a[$(touch held)]'",
    "for i in 'a[$(touch held)]'; do ((i)); done", "mapfile -C 'touch held #' -c 1 x",
    "ls(){ touch held;}; export -f ls; bash -c ls",
    "echo(){ touch held;}; unset -v echo; echo", "for PATH in ./bin:$PATH; do ls; done",
    "trap 'x=held' USR1; kill -USR1 $$; touch $x",
    "sort --o=held", "shuf --o=held", "mv --t=docs held", "sed --i s/a/b/ held", "env --s='touch held'", "tar cfC held docs a",
    "printf x | xxd - held", "uniq +1 free held", "patch --c", "curl -T free file:///r/held", "wget -O- -e logfile=held http://x",
    "ss -D held", "pip list --log held", "git stash show -p --output=sub/held", "cd link && echo x > ../held",
    "git -C link rm ../held", "env -C link tee ../held",
]  # fmt: skip


@pytest.mark.parametrize("line", HIDDEN)
def test_what_hides_its_write_is_never_certain(line: str) -> None:
    """Lines that an attacker found: each names the held file, or is looked at afterwards for what it did."""
    reading = shell.read(line, R, H)
    assert not reading.certain or any(path.endswith("/held") for path in reading.writes)


def test_the_tables_are_long_and_say_each_line_once() -> None:
    """At least 110 lines, none twice."""
    lines = [line for line, _, _ in CASES]
    assert len(lines) >= 110 and len(lines) == len(set(lines))


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ("sudo -u x env A=b git push -f", ["git push -f"]),
        ("bash -lc 'cd d && git push --force'", ["cd d", "git push --force"]),
        ("A=b git push 'or igin'|cat", ["git push or igin", "cat"]),
        ("x=$(git reset --hard)", ["git reset --hard"]),
        ("f() { git clean -xdf; }; f", ["git clean -xdf"]),
        ("if true; then git push; fi", ["true", "git push"]),
        ("echo a | xargs git push", ["echo a", "git push $"]),
        ("find . -exec git rm {} +", ["git rm $"]),
        ("git push $X *.c", ["git push $ *.c"]),
        ("eval git push", ["git push"]),
        ("P=push; git $P", ["git push"]),
        ("while git pull; do :; done", ["git pull", ":"]),
        ("time nohup timeout 5 git push &", ["git push"]),
        ("cat <<EOF\n$(git push)\nEOF", ["git push"]),
        ("command -v git", []),
        ("exec git push", ["git push"]),
    ],
)
def test_each_command_is_found_behind_its_wrappers(line: str, commands: list[str]) -> None:
    """Every simple command stands among ``commands`` as its words, peeled; and nothing is made up."""
    found = [" ".join(words) for words in shell.read(line, R, H).commands]
    assert [one for one in found if one in commands] == commands


def test_wrappers_stand_among_the_commands_too() -> None:
    """A rule about ``sudo`` itself can be kept: the command stands there as it is and peeled."""
    assert shell.read("sudo rm f", R, H).commands == [["sudo", "rm", "f"], ["rm", "f"]]


PATCH = "*** Begin Patch\n*** Add File: a\n+$x\n*** End Patch\n"


@pytest.mark.parametrize(
    ("line", "folder", "certain"),
    [
        (f"apply_patch <<'EOF'\n{PATCH}EOF", R, True),
        (f"cd sub && apply_patch <<'EOF'\n{PATCH}EOF\n", f"{R}/sub", True),
        (f"apply_patch {shlex.quote(PATCH)}", R, True),
        (f"bash -lc {shlex.quote(f'apply_patch {shlex.quote(PATCH)}')}", R, True),
        (f"cd sub; apply_patch <<'EOF'\n{PATCH}EOF\n", f"{R}/sub", False),
    ],
)
def test_the_text_of_a_patch_is_given_back(line: str, folder: str, certain: bool) -> None:
    """Of ``apply_patch``: the folder it starts in, and its text, byte for byte."""
    reading = shell.read(line, R, H)
    assert (reading.patches, reading.certain) == ([(folder, PATCH)], certain)


def test_a_patch_with_what_is_not_known_is_uncertain() -> None:
    """A here-document that the shell expands, or a patch from a pipe, is not certain."""
    assert not shell.read("apply_patch <<EOF\n$x\nEOF", R, H).certain
    unknown = shell.read("cat p | apply_patch", R, H)
    assert (unknown.patches, unknown.certain) == ([], False)


@pytest.mark.parametrize(
    ("line", "writes"),
    [
        ("mv a d", ["/r/a", "/r/d/a"]),
        ("mv a b", ["/r/a", "/r/b"]),
        ("cp -r a d", ["/r/d/a"]),
        ("cp a d/", ["/r/d/a"]),
        ("rm -rf d && cp -r a d", ["/r/d"]),
        ("mkdir n && mv a n", ["/r/a", "/r/n/a"]),
        ("ln -s a d", ["/r/d/a"]),
        ("ln -sn a d", ["/r/d"]),
    ],
)
def test_who_knows_folders_can_tell(line: str, writes: list[str]) -> None:
    """With ``is_folder`` a target that is a folder is told from a file, also one made or removed on the same line."""
    reading = shell.read(line, R, H, lambda path: path in ("/r/d", "/r"))
    assert (reading.writes, reading.certain) == (writes, True)


def test_a_file_is_no_tree() -> None:
    """``mv`` of what is no folder claims nothing below it."""
    assert shell.read("mv a b", R, H, lambda path: False).trees == []
    assert shell.read("mv d e", R, H, lambda path: path == "/r/d").trees == ["/r/d", "/r/e"]


def test_removals_keep_their_patterns() -> None:
    """``removed`` says what ``rm -r`` is given, patterns as they stand."""
    assert shell.read("rm -rf a ~/x/* / $X; rm b; rm -r ..", R, H).removed == ["/r/a", "/home/u/x/*", "/", "/"]


REAL = [
    "echo x > a",
    "cat > 'b c' <<'EOF'\n> no\nEOF",
    "sh -c \"sh -c 'echo > f'\"",
    "(cd d && echo > f); echo '>' g > h",
    'F=v.txt; echo > $F; echo > "${F}"2',
    "touch {p,q}_{1..2}",
    "f() { echo > \"$1\"; }; f one; f 'two three'",
    "sed -i s/old/new/ old.txt; cp old.txt copy.txt",
    "mv old.txt d",
    "rm -r d; echo x | tee t1 t2 > /dev/null",
    "echo a >x 2>y >&2; { echo b; } &> z",
    "case b in a) echo > no;; *) dd if=/dev/null of=dd status=none; ln -s old.txt ln; esac",
    "find . -name old.txt -exec sh -c 'echo $0 > found' {} \\;",
    "env -i A=b tee e1 < /dev/null; printf x >> old.txt; truncate -s 3 e2",
    "echo x > $'q\\nA' ; echo > \"\\$x\"; install -D old.txt deep/er",
]


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    found = [path for path in folder.rglob("*") if path.is_symlink() or path.is_file()]
    return {str(path): os.readlink(path).encode() if path.is_symlink() else path.read_bytes() for path in found}


@pytest.mark.parametrize("line", REAL)
def test_bash_writes_what_was_read(tmp_path: Path, line: str) -> None:
    """Run by bash, a line changes the files that were read, those below its trees, and no others."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d/kept").write_text("kept\n")
    (tmp_path / "old.txt").write_text("old\n")
    before = files(tmp_path)
    reading = shell.read(line, str(tmp_path), H, os.path.isdir)
    subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, check=True, timeout=20, env={"PATH": os.environ["PATH"], "HOME": H}
    )
    after = files(tmp_path)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    below = {path for path in changed if any(path.startswith(f"{tree}/") for tree in reading.trees)}
    unmoved = {f"{tmp_path}/no"} | set(reading.trees if below else ())
    assert changed - below == set(reading.writes) - unmoved
    assert reading.certain


NAME = st.sampled_from(["a", "b", "d/x", "d", "e", "$F", '"$G"', "f{1,2}", "$(echo b)", "'q r'", "${F}k", "n\\ m"])
BASIC = st.one_of(
    st.builds("echo x > {}".format, NAME),
    st.builds("touch {} {}".format, NAME, NAME),
    st.builds("rm -rf {}".format, NAME),
    st.builds("mv {} {}".format, NAME, NAME),
    st.builds("cp -r {} {}".format, NAME, NAME),
    st.builds("mkdir -p {}".format, NAME),
    st.builds("sed -i.o s/o/w/ {}".format, NAME),
    st.builds("F={}".format, NAME),
    st.builds("G={}".format, NAME),
    st.builds("f {}".format, NAME),
    st.builds("cat <<E > {}\n> $F $(touch h)\nE\n".format, NAME),
    st.sampled_from(
        ["cd d", "cd ..", "cd no", "true", "false", "set -e", "echo a | xargs touch", "trap 'touch k' EXIT"]
    ),
)
SCRIPT = st.recursive(
    BASIC,
    lambda inner: st.one_of(
        st.builds("{}{}{}".format, inner, st.sampled_from(["\n", " && ", " || ", "\n"]), inner),
        st.builds("({}\n)".format, inner),
        st.builds("if {}\nthen {}\nelse {}\nfi".format, inner, inner, inner),
        st.builds("for F in a p; do {}\ndone".format, inner),
        st.builds('f() {{ touch "$1"; {}\n}}'.format, inner),
        st.builds(lambda script: f"bash -c {shlex.quote(script)}", inner),
        st.builds("G=$({}\n)".format, inner),
        st.builds("{{ {}\n}} > {}".format, inner, NAME),
    ),
    max_leaves=8,
)


@given(SCRIPT)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_certain_is_all_that_bash_writes(tmp_path_factory: pytest.TempPathFactory, script: str) -> None:
    """Where a reading is certain, bash changes no file that it does not name, whatever fails on the way."""
    folder = tmp_path_factory.mktemp("w")
    (folder / "d").mkdir()
    for name in ("a", "b", "d/x"):
        (folder / name).write_text("foo\n")
    before = files(folder)
    readings = [shell.read(script, str(folder), H, asked) for asked in (None, os.path.isdir)]
    command = ["bash", "-c", script]
    env = {"PATH": os.environ["PATH"], "HOME": H, "FUNCNEST": "8"}  # a function that calls itself ends
    subprocess.run(command, cwd=folder, timeout=20, env=env, check=False, capture_output=True, stdin=subprocess.DEVNULL)
    after = files(folder)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    for reading in readings:
        if reading.certain:
            assert not {path for path in changed - set(reading.writes) if not path.startswith(below(reading))}


def below(reading: shell.Reading) -> tuple[str, ...]:
    """What paths below its trees begin with."""
    return tuple(f"{tree}/" for tree in reading.trees)


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_quickly(line: str) -> None:
    """Whatever the text, an answer comes, at once."""
    start = time.process_time()
    shell.read(line, R, H)
    assert time.process_time() - start < 1


@given(st.lists(st.sampled_from(
    ["echo", "rm", "f", " ", " ", "\n", ";", "&&", "||", "|", "&", "(", ")", "{", "}", "<<E", "E", "$(", "${", "$((", "`",
     "'", '"', "\\", ">", "<", ">&", "if", "then", "fi", "for", "in", "do", "done", "case", "esac", ";;", "[[", "]]", "=",
     "{a,b}", "..", "*", "~", "sed -i", "git", "xargs", "sh -c", "cd", "$x", "#", "$'", "!", "function", "-r", "\0", "\1"]
), max_size=60))  # fmt: skip
@settings(max_examples=600, deadline=None)
def test_any_syntax_is_read_quickly(pieces: list[str]) -> None:
    """Whatever the pieces of syntax, an answer comes; paths are absolute and hold no marks of ours."""
    start = time.process_time()
    reading = shell.read("".join(pieces), R, H)
    assert time.process_time() - start < 1
    assert all(path.startswith("/") and not set(path) & set("\0\1\2\3") for path in reading.writes)
    assert not any(set(word) & set("\0\1\2\3") for words in reading.commands for word in words)
    assert set(reading.trees) <= set(reading.writes)


NAMES = st.text(st.characters(exclude_characters="\0\1\2\3", exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(NAMES)
@settings(max_examples=300, deadline=None)
def test_a_quoted_path_is_exactly_that_write(name: str) -> None:
    """``shlex.quote`` of any path behind ``echo x >`` gives that path, normalised, and nothing else."""
    reading = shell.read(f"echo x > {shlex.quote(name)}", R, H)
    full = os.path.normpath(name if name.startswith("/") else f"{R}/{name}")
    full = full[1:] if full.startswith("//") else full
    assert reading.writes == [full] or full.startswith(("/dev/", "/proc/"))


HUGE = [
    "echo " + "a" * 1_000_000 + " > f",
    "echo '" + "a" * 1_000_000 + "' > f",
    'echo "' + "a$b" * 300_000 + '" > f',
    "echo > f;" * 110_000,
    "a " * 500_000,
    "(" * 100_000,
    "$(" * 100_000,
    "`" * 100_001,
    "{ " * 100_000,
    "if " * 100_000,
    "((" * 100_000,
    "$((" * 100_000,
    "${a:-" * 100_000,
    '"$(' * 100_000,
    "sh -c '" * 100_000,
    "eval " * 100_000,
    "sudo " * 100_000 + "rm f",
    "{a,b}" * 200,
    "{" * 100_000,
    "{," * 5_000 + "}" * 5_000,
    "touch {1..999999}",
    "<<E " * 100_000,
    "cat <<E\n" * 100_000,
    "\\" * 1_000_001,
    "for i in a b; do " * 200 + "echo > f" + "; done" * 200,
    "x=" + "a" * 1000 + ";" + "x=$x$x;" * 60,
    "f() { f; f; f; }; f",
    ":(){ :|:& };:",
    "sed -n " + "s/[/" * 100_000,
    "while :; do " * 19 + ":" + "; done" * 19,
    "\0" * 1_000_000,
    "é" * 1_000_000,
    "\ud800 > \udfff",
    "[[ " * 100_000,
    "case x in " * 100_000,
    "a=(" * 100_000,
    "touch " + " ".join(f"f{n}" for n in range(60_000)),
]  # fmt: skip


@pytest.mark.parametrize("line", HUGE, ids=[line[:12].strip() or "nul" for line in HUGE])
def test_huge_and_deep_lines_end_soon(line: str) -> None:
    """A megabyte, or 100,000 levels, takes about a second at most and is never read as more than it is."""
    start = time.process_time()
    reading = shell.read(line, R, H)
    assert time.process_time() - start < 1.5
    assert not reading.certain or reading.writes or line.startswith(("<<", "cat <<"))


def test_a_large_document_is_read_to_its_end() -> None:
    """A file of a megabyte in a here-document hides nothing of what follows."""
    text = "some line of a file > x\n" * 40_000
    reading = shell.read(f"cat > f <<'EOF'\n{text}EOF\nrm g", R, H)
    assert (reading.writes, reading.certain) == (["/r/f", "/r/g"], True)


def test_what_comes_before_the_unreadable_is_kept() -> None:
    """Commands before a mistake in syntax count: bash runs them."""
    reading = shell.read("rm a\nfor do (\nrm b", R, H)
    assert (reading.writes, reading.certain) == (["/r/a"], False)


def test_a_folder_that_is_no_path_is_uncertain() -> None:
    """Without a folder to start in, only absolute paths are known."""
    reading = shell.read("echo > f; echo > /g", "", H)
    assert (reading.writes, reading.certain) == (["/g"], False)


def test_it_loads_next_to_nothing() -> None:
    """What runs before every call of an agent's shell imports only what Python has loaded itself."""
    code = (
        "import os, sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1])\n"
        "from mbox.hooks import rules, shell\n"
        "shell.read('sed -i s/a/b/ f | git push', '/', '/'); print(sorted(set(sys.modules) - before))"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(CHECKOUT / "mailbox")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = ast.literal_eval(done.stdout)
    assert {one for one in loaded if not one.startswith("mbox")} <= {"__future__"}
