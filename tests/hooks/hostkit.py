"""The real agent programs, headless, in a scratch repository, with a home of their own, against a model that plays turns.

`scripts/setup --test` with MBOX_REAL_CLIENTS=1 puts the pinned programs into .venv/real-clients.  Nothing leaves this
machine: base URLs are loopback, keys are dummies, and any other connection goes to a closed proxy.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from conftest import CHECKOUT
from teamkit import BIN

from .played import Played, Request

CLIENTS = CHECKOUT / ".venv/real-clients/node_modules"
WANTED = os.environ.get("MBOX_REAL_CLIENTS") == "1"
SECONDS = 100
KEY = "sk-ant-dummy-" + "0" * 28


@dataclass
class Place:
    """Where a program runs: a repository, a home, and the model that it asks; ``agent`` is who it is."""

    repo: Path
    home: Path
    model: Played
    agent: str = "ann"
    more: dict[str, str] = field(default_factory=dict)
    """Beside what the program's own way of running needs in its environment."""


@dataclass(frozen=True)
class Ran:
    """How a run ended, and the requests of the conversation that it sent."""

    status: int
    stdout: str
    stderr: str
    requests: list[Request]


@dataclass(frozen=True)
class Host:
    """How one program is called.

    ``ready`` writes its settings and gives its environment; ``words`` is the line that runs a prompt, in a new session or
    the last one.
    """

    name: str
    ready: Callable[[Place], dict[str, str]]
    words: Callable[[Place, str, bool], list[str]]
    program: str

    @property
    def is_here(self) -> bool:
        """Whether it is installed."""
        return (CLIENTS / self.program).exists()


def put(path: Path, doc: object) -> None:
    """Write a settings file, unless the place has one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(doc if isinstance(doc, str) else json.dumps(doc, indent=2), encoding="utf-8")


def _claude(place: Place) -> dict[str, str]:
    project = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True, "allowedTools": []}
    put(place.home / ".claude.json", {
        "hasCompletedOnboarding": True, "theme": "dark", "bypassPermissionsModeAccepted": True,
        "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []}, "projects": {str(place.repo): project},
    })  # fmt: skip
    return {"IS_SANDBOX": "1", "ANTHROPIC_BASE_URL": place.model.url, "ANTHROPIC_API_KEY": KEY,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}  # fmt: skip


def _claude_words(place: Place, prompt: str, again: bool) -> list[str]:
    program = sorted((CLIENTS / "@anthropic-ai").glob("claude-code-*/claude"))[0]
    return [str(program), "-p", prompt, *(["--continue"] if again else []), "--output-format", "json",
            "--model", "claude-sonnet-4-5", "--permission-mode", "bypassPermissions"]  # fmt: skip


def _codex(place: Place) -> dict[str, str]:
    put(place.home / ".codex/config.toml",
        'model_provider="scripted"\nmodel="gpt-5.5"\napproval_policy="never"\ncheck_for_update_on_startup=false\n'
        'sandbox_mode="danger-full-access"\n[model_providers.scripted]\nname="scripted"\n'
        f'base_url="{place.model.url}/v1"\nwire_api="responses"\nenv_key="KEY"\n'
        f'[projects."{place.repo}"]\ntrust_level="trusted"\n')  # fmt: skip
    return {"KEY": "x"}


def _codex_words(place: Place, prompt: str, again: bool) -> list[str]:
    begin = ["exec", "resume", "--last"] if again else ["exec"]
    return [str(CLIENTS / ".bin/codex"), *begin, "--json", "--dangerously-bypass-hook-trust", "--skip-git-repo-check", prompt]


def _gemini(place: Place) -> dict[str, str]:
    put(place.home / ".gemini/settings.json", {
        "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
        "general": {"disableAutoUpdate": True}, "telemetry": {"enabled": False},
    })  # fmt: skip
    return {"GEMINI_API_KEY": "x", "GOOGLE_GEMINI_BASE_URL": place.model.url, "GEMINI_CLI_TRUST_WORKSPACE": "true"}


def _gemini_words(place: Place, prompt: str, again: bool) -> list[str]:
    return [str(CLIENTS / ".bin/gemini"), *(["-r", "latest"] if again else []), "-p", prompt, "--output-format", "json",
            "--approval-mode", "yolo"]  # fmt: skip


def _copilot(place: Place) -> dict[str, str]:
    put(place.home / ".copilot/config.json", {"trusted_folders": [str(place.repo)], "banner": "never"})
    return {"COPILOT_OFFLINE": "true", "COPILOT_PROVIDER_BASE_URL": f"{place.model.url}/v1", "COPILOT_PROVIDER_TYPE": "openai",
            "COPILOT_PROVIDER_API_KEY": "x", "COPILOT_AUTO_UPDATE": "false"}  # fmt: skip


def _copilot_words(place: Place, prompt: str, again: bool) -> list[str]:
    return [str(CLIENTS / ".bin/copilot"), *(["--continue"] if again else []), "-p", prompt, "--allow-all-tools",
            "--allow-all-paths", "--no-ask-user", "--model", "scripted"]  # fmt: skip


def _qwen(place: Place) -> dict[str, str]:
    put(place.home / ".qwen/settings.json", {
        "security": {"auth": {"selectedType": "openai"}, "folderTrust": {"enabled": False}},
        "general": {"disableAutoUpdate": True, "enableAutoUpdate": False}, "privacy": {"usageStatisticsEnabled": False},
    })  # fmt: skip
    return {"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": f"{place.model.url}/v1", "OPENAI_MODEL": "scripted"}


def _qwen_words(place: Place, prompt: str, again: bool) -> list[str]:
    return [str(CLIENTS / ".bin/qwen"), *(["--continue"] if again else []), "-p", prompt, "-o", "json", "--approval-mode", "yolo"]


def _opencode(place: Place) -> dict[str, str]:
    put(place.home / ".npmrc", "fetch-retries=0\n")  # it looks for its plugins' library and would try for more than a minute
    models = {"scripted": {"name": "scripted", "limit": {"context": 200_000, "output": 8_000}}}
    put(place.home / ".config/opencode/opencode.json", {
        "provider": {"scripted": {"npm": "@ai-sdk/openai-compatible", "name": "scripted", "models": models,
                                  "options": {"baseURL": f"{place.model.url}/v1", "apiKey": "x"}}},
        "model": "scripted/scripted", "small_model": "scripted/scripted", "autoupdate": False, "share": "disabled",
        "permission": {"edit": "allow", "bash": "allow", "external_directory": "allow"},
    })  # fmt: skip
    return {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_LSP_DOWNLOAD": "1"}


def _opencode_words(place: Place, prompt: str, again: bool) -> list[str]:
    return [str(CLIENTS / "opencode-linux-x64/bin/opencode"), "run", *(["--continue"] if again else []), "--format", "json",
            "-m", "scripted/scripted", prompt]  # fmt: skip


HOSTS = {
    host.name: host
    for host in (
        Host("claude", _claude, _claude_words, ".bin/claude"),
        Host("codex", _codex, _codex_words, ".bin/codex"),
        Host("gemini", _gemini, _gemini_words, ".bin/gemini"),
        Host("copilot", _copilot, _copilot_words, ".bin/copilot"),
        Host("qwen", _qwen, _qwen_words, ".bin/qwen"),
        Host("opencode", _opencode, _opencode_words, "opencode-linux-x64/bin/opencode"),
    )
}


def environment(place: Place, more: dict[str, str]) -> dict[str, str]:
    """Everything that a program has in its environment: nothing of the caller's but git's settings for tests."""
    node = shutil.which("node", path=f"{BIN}:{os.environ['PATH']}")
    temporary = place.home.parent / "tmp"
    temporary.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name.startswith("GIT_")}
    closed = {f"{kind}_PROXY": "http://127.0.0.1:9" for kind in ("HTTPS", "HTTP")}
    path = ":".join([str(BIN), *([str(Path(node).parent)] if node else []), "/usr/local/bin:/usr/bin:/bin"])
    return {"HOME": str(place.home), "PATH": path, "TERM": "dumb", "LANG": "C.UTF-8", "NO_PROXY": "127.0.0.1",
            "TMPDIR": str(temporary), "MBOX_AGENT": place.agent, **kept, **closed, **more, **place.more}  # fmt: skip


def hooked(host: Host, place: Place, ours: Callable[..., object]) -> None:
    """Put our hooks into the program's settings, which are there as a person would have them."""
    host.ready(place)
    ours("mbox", "hooks", "install", host.name)


@contextmanager
def begun(
    host: Host, place: Place, prompt: str = "go", again: bool = False, more: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """The program, running, with ``more`` words; nothing of it runs afterwards.  With ``more`` it reads what it is told."""
    process = subprocess.Popen(
        [*host.words(place, prompt, again), *more], cwd=place.repo, env=environment(place, host.ready(place)),
        stdin=subprocess.PIPE if more else subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if more else subprocess.PIPE, text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        end_in(place.home)
        process.wait()


def run_host(host: Host, place: Place, prompt: str = "go", again: bool = False) -> Ran:
    """Run one prompt to its end."""
    before = len(place.model.asked)
    with begun(host, place, prompt, again) as process:
        try:
            stdout, stderr = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{host.name} does not end; it asked {len(place.model.asked) - before} times") from None
    return Ran(process.returncode, stdout, stderr, place.model.asked[before:])


def end_in(home: Path) -> None:
    """Kill what runs with this home: some of the programs leave a process of their own behind."""
    wanted = f"HOME={home}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue
