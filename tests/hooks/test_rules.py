"""Rules of ``guard.deny`` and ``guard.ask``: which commands a rule is about, and what is outside of a repository."""

from __future__ import annotations

import os
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbox.hooks import rules, shell

MATCHES = [
    ("git push --force", "git push --force"),
    ("git push --force", "git push -f"),
    ("git push --force", "git push -uf origin main"),
    ("git push --force", "git push origin main --forc"),
    ("git push --force", "git push --force=yes"),
    ("git push --force", "git push origin +main"),
    ("git push --force", "git push origin +HEAD:refs/heads/main"),
    ("git push --force", "git push --mirror backup"),
    ("git push --force", "/usr/bin/git push -f"),
    ("git push --force", "git -C x -c a.b=c --no-pager --git-dir y push -f"),
    ("git push --force", "git --git-dir=y push -f"),
    ("git push --force", "sudo -u x env A=b git push -f"),
    ("git push --force", "bash -c 'cd a && git push \"--force\"'"),
    ("git push --force", 'G=push; git $G --fo"rce"'),
    ("git push --force", "Git.exe push -f"),
    ("git push --force", "echo x | xargs git push -f"),
    ("git reset --hard", "git reset --hard HEAD~1"),
    ("git reset --hard", "git reset HEAD --har"),
    ("git reset --hard", "git reset -q --ha"),
    ("git clean -x", "git clean -xdf"),
    ("git clean -x", "git clean -fdx"),
    ("git clean -x", "git clean -d -f -x src"),
    ("git commit|push --no-verify", "git commit --no-verify -m x"),
    ("git commit|push --no-verify", "git push --no-verify"),
    ("git commit|push --no-verify", "git commit -nm x"),
    ("git commit|push --no-verify", "git commit -anm x"),
    ("git commit|push --no-verify", "git commit -m x --no-veri"),
    ("git -c core.hooksPath", "git -c core.hooksPath=/dev/null commit"),
    ("git -c core.hooksPath", "git -c CORE.HOOKSPATH=x commit"),
    ("git -c core.hooksPath", "git -C a -c user.name=b -c core.hookspath= push"),
    ("git -c core.hooksPath", "git --config-env=core.hooksPath=X commit"),
    ("git -c core.hooksPath", "git --config-env core.hooksPath=X commit"),
    ("git -c core.hooksPath", "git config core.hooksPath x"),
    ("git -c core.hooksPath", "git config --global --add core.hookspath x"),
    ("git -c core.hooksPath", "git config set --local core.hooksPath x"),
    ("git -c core.hooksPath", "git config --unset core.hooksPath"),
    ("git -c core.hooksPath", "git clone -c core.hooksPath=x url"),
    ("git -c core.hooksPath", "git clone --config=core.hooksPath=x url"),
    ("rm -r", "rm -rf x"),
    ("rm -r", "rm -R x"),
    ("rm -r", "rm x --recursive"),
    ("rm -r", "rm x --recur"),
    ("rm -r -f", "rm -fR x"),
    ("sudo", "sudo ls"),
    ("curl|wget", "wget x"),
    ("npm publish", "npm --prefix x publish"),
    ("docker system prune", "docker -H x system prune -f"),
    ("find -delete", "find . -name x -delete"),
    ("git branch -D|-M", "git branch -D x"),
    ("pip install --break-system-packages", "pip install x --break-system"),
]

OTHERS = [
    ("git push --force", "git push"),
    ("git push --force", "git push --force-with-lease"),
    ("git push --force", "git push --force-if-includes --force-with-lease=main"),
    ("git push --force", "git push --follow-tags"),
    ("git push --force", "git push -- --force"),
    ("git push --force", "git push -o -f origin"),
    ("git push --force", "git push --push-option --force origin"),
    ("git push --force", "git fetch --force"),
    ("git push --force", "git commit -m 'git push --force'"),
    ("git push --force", "echo git push --force"),
    ("git push --force", "git stash push -f"),
    ("git push --force", "git log --grep push -f"),
    ("git push --force-with-lease", "git push --force"),
    ("git reset --hard", "git reset --soft"),
    ("git reset --hard", "git reset -- --hard"),
    ("git clean -x", "git clean -fdX"),
    ("git clean -x", "git clean -fd -e x"),
    ("git clean -x", "git clean -fd -ex"),
    ("git commit|push --no-verify", "git commit -m --no-verify"),
    ("git commit|push --no-verify", "git commit -mnote"),
    ("git commit|push --no-verify", "git commit -am no"),
    ("git commit|push --no-verify", "git commit -m 'x -n' -F n"),
    ("git commit|push --no-verify", "git commit -m x -Sn"),
    ("git commit|push --no-verify", "git commit --no-edit"),
    ("git commit|push --no-verify", "git push -n"),
    ("git commit|push --no-verify", "git merge --no-verify x"),
    ("git -c core.hooksPath", "git -c core.editor=x commit"),
    ("git -c core.hooksPath", "git config core.hooksPath"),
    ("git -c core.hooksPath", "git config --get core.hooksPath x"),
    ("git -c core.hooksPath", "git config get core.hooksPath"),
    ("git -c core.hooksPath", "git commit -m core.hooksPath=x"),
    ("rm -r", "rm -f x"),
    ("rm -r", "rm -- -r"),
    ("rm -r", "rmdir -r"),
    ("rm -r -f", "rm -r x"),
    ("docker system prune", "docker system df"),
    ("docker system prune", "docker prune system"),
    ("npm publish", "npm"),
    ("sudo", "sudoedit x"),
]


def about(rule: str, line: str) -> bool:
    """Whether the rule is about one of the commands of the line."""
    words = rules.split(rule)
    return any(rules.matches(words, command) for command in shell.read(line, "/r", "/h").commands)


@pytest.mark.parametrize(("rule", "line"), MATCHES)
def test_a_rule_is_about_a_command(rule: str, line: str) -> None:
    """However the command is spelled, wrapped or shortened."""
    assert about(rule, line)


@pytest.mark.parametrize(("rule", "line"), OTHERS)
def test_a_rule_is_not_about_what_only_looks_like_it(rule: str, line: str) -> None:
    """Words of messages, of options and behind ``--``, other verbs, other options."""
    assert not about(rule, line)


@pytest.mark.parametrize(
    "line",
    [
        "git push -f",
        "git reset --hard",
        "git clean -xf",
        "git commit -n",
        "git push --no-verify",
        "git -c core.hooksPath= x",
    ],
)
def test_what_is_shipped_denies(line: str) -> None:
    """Each of the shipped rules holds; without it the command passes all others."""
    assert [rule for rule in rules.SHIPPED if about(rule, line)]


@pytest.mark.parametrize(
    "line",
    [
        "git status",
        "git push origin main",
        "git commit -am 'no -n'",
        "git reset HEAD~1",
        "git clean -fd",
        "git config -l",
        "ls",
    ],
)
def test_what_is_shipped_lets_the_rest_pass(line: str) -> None:
    """Everyday commands are none of theirs."""
    assert not [rule for rule in rules.SHIPPED if about(rule, line)]


def test_nothing_matches_an_empty_rule() -> None:
    """Neither an empty rule nor an empty command matches."""
    assert not rules.matches([], ["git"]) and not rules.matches(["git"], [])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("git push --force", ["git", "push", "--force"]),
        ("  a\t'b c'  d\"e f\" ", ["a", "b c", "de f"]),
        ("git commit|push -n", ["git", "commit|push", "-n"]),
        ("", []),
        ("''", [""]),
        ("it's", ["its"]),
    ],
)
def test_a_rule_is_split_into_words(text: str, words: list[str]) -> None:
    """By blanks; quotes hold words together, one that is never closed too."""
    assert rules.split(text) == words


@pytest.mark.parametrize(
    ("line", "cwd", "found"),
    [
        ("rm -rf build", "/home/u/p", []),
        ("rm -rf .", "/home/u/p", ["/home/u/p"]),
        ("rm -rf *", "/home/u/p", []),
        ("rm -rf ../q ~/x", "/home/u/p", ["/home/u/q", "/home/u/x"]),
        ("rm -rf /", "/home/u/p", ["/"]),
        ("rm -rf /*", "/home/u/p", ["/*"]),
        ("sudo rm -r --no-preserve-root /etc", "/home/u/p", ["/etc"]),
        ("cd .. && rm -rf p2", "/home/u/p", ["/home/u/p2"]),
        ("rm -rf p2", "/home/u", ["/home/u/p2"]),
        ("rm ../q", "/home/u/p", []),
        ("rm -rf /tmp/x $TMPDIR", "/home/u/p", []),
        ("rm -rf /tmp", "/home/u/p", ["/tmp"]),
        ("rm -rf /tmpx", "/home/u/p", ["/tmpx"]),
        ("rm -rf /scratch/own/x /scratch/x", "/home/u/p", ["/scratch/x"]),
        ("find ~ -delete", "/home/u/p", ["/home/u"]),
        ("find . -name '*.pyc' -delete", "/home/u/p", []),
    ],
)
def test_removals_outside_of_the_repository(
    monkeypatch: pytest.MonkeyPatch, line: str, cwd: str, found: list[str]
) -> None:
    """``rm -r`` of what is not below the root is told; temporary folders are free."""
    monkeypatch.setenv("TMPDIR", "/scratch/own/")
    assert rules.outside(shell.read(line, cwd, "/home/u"), "/home/u/p") == found


@pytest.mark.parametrize("own", ["/", "", "/home", "rel", None])
def test_a_wide_temporary_folder_frees_nothing(monkeypatch: pytest.MonkeyPatch, own: str | None) -> None:
    """``TMPDIR`` that is a top folder, or no path, opens no door."""
    monkeypatch.delenv("TMPDIR", raising=False)
    if own is not None:
        monkeypatch.setenv("TMPDIR", own)
    assert rules.outside(shell.read("rm -rf /home/x/y", "/r", "/h"), "/r") == ["/home/x/y"]
    assert os.environ.get("TMPDIR") == own


@given(st.lists(st.text(max_size=12), max_size=8), st.lists(st.text(max_size=12), max_size=8))
@settings(max_examples=200, deadline=None)
def test_any_words_are_matched(rule: list[str], command: list[str]) -> None:
    """Whatever the words, an answer comes."""
    assert rules.matches(rule, command) in (True, False)


@given(
    st.lists(st.text(st.characters(exclude_characters="'\"", exclude_categories=["Cc", "Z"]), min_size=1), max_size=5)
)
@settings(max_examples=100, deadline=None)
def test_words_come_back(words: list[str]) -> None:
    """Words that were quoted and put into a rule are the words of the rule."""
    assert rules.split(" ".join(f"'{word}'" for word in words)) == words
    assert rules.split(shlex.join(["a b", "c"])) == ["a b", "c"]
