"""The real Claude Code, Codex and Gemini in panes, against a scripted model on loopback: mail starts a turn that reads it.

They run when MBOX_REAL_CLIENTS=1; ``scripts/setup --test`` then has put the pinned programs into .venv/real-clients.
Nothing leaves this machine: base URLs are loopback, keys are dummies, and any other connection goes to a closed proxy.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import CHECKOUT, Run
from mbox.hosts import programs as hosts
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
    node = shutil.which("node", path=f"{BIN}:{os.environ['PATH']}")
    path = ":".join([str(BIN), *([str(Path(node).parent)] if node else []), os.environ["PATH"]])
    wrapper = [sys.executable, "-m", "mbox.cli.main", "mbox", "run", "--as", "ann", "--root", str(repo), "--no-watchdog", "--"]
    closed = {f"{kind}_PROXY": "http://127.0.0.1:9" for kind in ("HTTPS", "HTTP")}
    words = ["env", "-i", f"PATH={path}", f"HOME={home}", "TERM=tmux-256color", "LANG=C.UTF-8", "NO_PROXY=127.0.0.1",
             *(f"{name}={value}" for name, value in {**closed, **environ}.items())]  # fmt: skip
    dog = None
    try:
        with server(tmp_path) as socket:
            one = Tmux(socket)
            pane = one.new_session("ann", [*wrapper, *words, *program], str(repo), {"PATH": path}, (120, 40))
            one.mark(pane, "ann", "ann")
            bell = Doorbell(one, pane, hosts.get(host))
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
        model.shutdown()
        model.server_close()
