"""The real Claude Code, Codex and Gemini in panes, against a scripted model on loopback: mail starts a turn that reads it,
no bell cuts an answer off, and a member in a working tree works within what its program lets it do.

They run when MBOX_REAL_CLIENTS=1; ``scripts/setup --test`` then has put the pinned programs into .venv/real-clients.
Nothing leaves this machine: base URLs are loopback, keys are dummies, and any other connection goes to a closed proxy.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import CHECKOUT, Run
from mbox.hosts import programs
from mbox.system.host import REAL
from mbox.team.doorbell import Doorbell
from mbox.team.tmux import Tmux
from scripted_model import Model
from teamkit import BIN, CONFIG, HAVE_TMUX, end_all, server, until

CLIENTS = CHECKOUT / ".venv/real-clients/node_modules"
WANTED = os.environ.get("MBOX_REAL_CLIENTS") == "1"
KEY = "sk-ant-dummy-" + "0" * 28

pytestmark = [
    pytest.mark.skipif(not WANTED, reason="MBOX_REAL_CLIENTS is not 1: the real agent programs are not run"),
    pytest.mark.timeout(240),
]

Made = tuple[list[str], dict[str, str]]


def claude(home: Path, folder: Path, url: str) -> Made:
    """Claude Code past its first screens, allowed to run what the model wants."""
    project = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True, "allowedTools": []}
    (home / ".claude.json").write_text(json.dumps({
        "hasCompletedOnboarding": True, "theme": "dark", "bypassPermissionsModeAccepted": True,
        "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []}, "projects": {str(folder): project},
    }))  # fmt: skip
    found = sorted((CLIENTS / "@anthropic-ai").glob("claude-code-*/claude"))
    words = [str(found[0]), "--model", "claude-sonnet-4-5", "--permission-mode", "bypassPermissions"]
    return words, {"IS_SANDBOX": "1", "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": KEY,
                   "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}  # fmt: skip


def codex(home: Path, folder: Path, url: str) -> Made:
    """Codex with the scripted provider."""
    (home / ".codex").mkdir()
    (home / ".codex/config.toml").write_text(
        'model_provider="scripted"\napproval_policy="never"\ncheck_for_update_on_startup=false\n'
        'sandbox_mode="danger-full-access"\n[model_providers.scripted]\nname="scripted"\n'
        f'base_url="{url}/v1"\nwire_api="responses"\nenv_key="KEY"\n[projects."{folder}"]\ntrust_level="trusted"\n'
    )
    return [str(CLIENTS / ".bin/codex")], {"KEY": "x"}


def gemini(home: Path, folder: Path, url: str) -> Made:
    """Gemini CLI without its trust dialog and updates."""
    (home / ".gemini").mkdir()
    (home / ".gemini/settings.json").write_text(json.dumps({
        "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
        "general": {"disableAutoUpdate": True}, "telemetry": {"enabled": False},
    }))  # fmt: skip
    words = [str(CLIENTS / ".bin/gemini"), "--approval-mode", "yolo"]
    return words, {"GEMINI_API_KEY": "x", "GOOGLE_GEMINI_BASE_URL": url, "GEMINI_CLI_TRUST_WORKSPACE": "true"}


def outside(home: Path, environ: dict[str, str]) -> dict[str, str]:
    """Everything that such a program has in its environment, beside PATH; no connection but to loopback goes anywhere.

    Its temporary folder is beside its home: in a home below the temporary one Codex makes no sandbox where bwrap is installed.
    """
    temporary = home.parent / "tmp"
    temporary.mkdir(exist_ok=True)
    closed = {f"{kind}_PROXY": "http://127.0.0.1:9" for kind in ("HTTPS", "HTTP")}
    return {"HOME": str(home), "TERM": "tmux-256color", "LANG": "C.UTF-8", "NO_PROXY": "127.0.0.1",
            "TMPDIR": str(temporary), **closed, **environ}  # fmt: skip


def end_under(home: Path) -> None:
    """Kill what still runs out of a program's home: Codex leaves a daemon there, in a session of its own."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "exe").startswith(f"{home}/"):
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue


def with_node() -> str:
    """A PATH with the commands and, if it is not there, Node.js."""
    node = shutil.which("node", path=f"{BIN}:{os.environ['PATH']}")
    return ":".join([str(BIN), *([str(Path(node).parent)] if node else []), os.environ["PATH"]])


@pytest.mark.parametrize("start", [claude, codex, gemini], ids=lambda start: start.__name__)
def test_a_message_to_an_idle_agent_starts_a_turn_that_reads_it(
    start: Callable[[Path, Path, str], Made], repo: Path, tmp_path: Path, run: Run
) -> None:
    """Under `mbox run` in a pane: `mbox send` from bob, the watchdog rings, the program's turn runs `mbox read`."""
    assert HAVE_TMUX and CLIENTS.is_dir(), "MBOX_REAL_CLIENTS=1 wants tmux and `scripts/setup --test`"
    host, home = start.__name__, tmp_path / "home"
    home.mkdir()
    run("mbox", "init", cwd=repo, check=True)
    (repo / ".mailbox/config.yaml").write_text(CONFIG.replace("nudge_again: 1s", "nudge_again: 5s"), encoding="utf-8")
    run("mbox", "agent", "add", "ann", "--host", host, cwd=repo, check=True)
    run("mbox", "agent", "add", "bob", cwd=repo, check=True)
    model = Model(f"{BIN}/mbox read --all --as ann --root {repo}")
    program, environ = start(home, repo, model.url)
    path = with_node()
    wrapper = [sys.executable, "-m", "mbox.cli.main", "mbox", "run", "--as", "ann", "--root", str(repo), "--no-watchdog", "--"]
    words = ["env", "-i", f"PATH={path}", *(f"{name}={value}" for name, value in outside(home, environ).items())]
    dog = None
    try:
        with server(tmp_path) as socket:
            one = Tmux(socket)
            pane = one.new_session("ann", [*wrapper, *words, *program], str(repo), {"PATH": path}, (120, 40))
            one.mark(pane, "ann", "ann")
            bell = Doorbell(one, pane, programs.get(host), REAL)
            until(lambda: bell.look().state == "idle", lambda: "\n".join(one.look(pane)[1]), 90)
            dog = subprocess.Popen([str(BIN / "mbox"), "watchdog"], cwd=repo)
            run("mbox", "send", "ann", "--subject", "a question", "--body", "SECRET", "--as", "bob", cwd=repo, check=True)
            until(
                lambda: json.loads(run("mbox", "log", "--op", "mail.ack", cwd=repo, check=True).stdout),
                lambda: "\n".join(one.look(pane)[1]), 90,
            )  # fmt: skip
            assert json.loads(run("mbox", "inbox", "--as", "ann", cwd=repo, check=True).stdout) == []
            assert model.asked >= 1
    finally:
        if dog is not None:
            dog.kill()
            dog.wait()
        end_all(repo)
        end_under(home)
        model.shutdown()
        model.server_close()


PIECES = [f"Sentence {number} of a long answer goes on. " for number in range(24)]
QUOTE = "\n\nIt asked:\n\nDo you want to proceed?\n\n1. Yes\n2. No\n\nPress esc to interrupt, Enter to confirm.\n"


@pytest.mark.parametrize("start", [claude, codex], ids=lambda start: start.__name__)
def test_no_bell_cuts_an_answer_off_and_an_answer_that_quotes_a_dialog_silences_nobody(
    start: Callable[[Path, Path, str], Made], repo: Path, tmp_path: Path
) -> None:
    """Every bell while it streams is busy, and the answer comes to its end; a bell after it is taken, once."""
    home = tmp_path / "home"
    home.mkdir()
    model = Model("", [*PIECES, QUOTE], 0.3)
    program, environ = start(home, repo, model.url)
    words = ["env", "-i", f"PATH={with_node()}", *(f"{name}={value}" for name, value in outside(home, environ).items())]
    try:
        with server(tmp_path) as socket:
            one = Tmux(socket)
            pane = one.new_session("ann", [*words, *program], str(repo), {"PATH": with_node()}, (120, 40))
            bell = Doorbell(one, pane, programs.get(start.__name__), REAL)

            def shown() -> str:
                return "\n".join(one.look(pane)[1])

            until(lambda: bell.look().state == "idle", shown, 90)
            one.type(pane, "tell me")
            until(lambda: bell.glance().typed == "tell me", shown)
            REAL.sleep(0.7)
            one.press(pane, "Enter")
            until(lambda: "Sentence 1 " in shown(), shown, 30)
            rung = []
            while "Sentence 20 " not in shown():
                rung.append(bell.ring())
                REAL.sleep(0.1)
            assert set(rung) == {"busy"} and len(rung) > 5, rung
            until(lambda: bell.look().state == "idle", shown, 30)
            assert "Sentence 23 " in " ".join(shown().split()) and "Do you want to proceed?" in shown()
            assert bell.ring() == "taken", shown()
            until(lambda: any("there is mail for you" in heard for heard in model.heard), shown, 30)
    finally:
        end_under(home)
        model.shutdown()
        model.server_close()


WORK = "mbox read --all && task claim --start && git commit -q --allow-empty -m made && task done one"


@pytest.mark.parametrize("start", [claude, codex], ids=lambda start: start.__name__)
def test_a_member_in_a_working_tree_reads_commits_and_finishes(
    start: Callable[[Path, Path, str], Made], repo: Path, tmp_path: Path, run: Run
) -> None:
    """By `team up`, with the permissions that docs/teams.md names: Codex in its sandbox, Claude Code without a question."""
    home, tree = tmp_path / "home", repo.parent / f"{repo.name}.worktrees/blue-ann"
    home.mkdir()
    run("mbox", "init", cwd=repo, check=True)
    (repo / ".mailbox/config.yaml").write_text(CONFIG, encoding="utf-8")
    for name in ("ann", "bob"):
        run("mbox", "agent", "add", name, cwd=repo, check=True)
    run("mbox", "send", "ann", "--subject", "hello", "--as", "bob", cwd=repo, check=True)
    model = Model(WORK)
    (program, *_), environ = start(home, tree, model.url)
    environ.pop("IS_SANDBOX", None)
    said = {
        "claude": ["--model", "claude-sonnet-4-5", "--allowedTools", "Bash(mbox *) Bash(task *) Bash(reserve *) Bash(git *)",
                   "--permission-mode", "acceptEdits"],
        "codex": ["--sandbox", "workspace-write", "--ask-for-approval", "never", "-c", "model_provider=scripted",
                  "-c", "sandbox_workspace_write.exclude_slash_tmp=true",
                  "-c", "sandbox_workspace_write.exclude_tmpdir_env_var=true"],
    }[start.__name__]  # fmt: skip
    member = {"name": "ann", "host": start.__name__, "command": [program, *said], "prompt": "Begin.", "worktree": True,
              "env": {**outside(home, environ), "PATH": with_node()}}  # fmt: skip
    file = tmp_path / "blue.yaml"
    file.write_text(json.dumps({"team": "blue", "members": [member]}))
    (tmp_path / "plan.jsonl").write_text('{"id": "one", "title": "One"}\n')
    try:
        with server(tmp_path) as socket:
            run("team", "up", str(file), "--tasks", str(tmp_path / "plan.jsonl"), "--socket", socket, cwd=repo, check=True)

            def shown() -> str:
                return Tmux(socket).run("capture-pane", "-p", "-t", "%0")

            until(lambda: json.loads(run("task", "show", "one", cwd=repo, check=True).stdout)["status"] == "done", shown, 90)
            commits = subprocess.run(["git", "log", "--format=%s", "mbox/blue/ann"], cwd=repo, capture_output=True, text=True,
                                     check=True).stdout.split()  # fmt: skip
            assert commits[0] == "made"
            run("team", "down", "--force", cwd=repo, check=True)
    finally:
        end_all(repo)
        end_under(home)
        model.shutdown()
        model.server_close()
