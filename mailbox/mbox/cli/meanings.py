"""What agents say where we say something else: "did you mean" by meaning, for verbs, options and states, in one table each.

An agent knows a hundred tools and types the word of another one: ``task close``, ``reserve unlock``, ``--message``.  By
spelling ``close`` is near ``release``, which would do harm; so these tables are asked before the spelling is.

A word means the first of its candidates that fits: for a verb one of the program it was typed for, else a whole call of
another; for an option one that the command has, be it an argument (``TITLE``).  A word that is a verb or an option of the
place where it is typed never comes here.  What no table knows is only taken for a slip of the finger (`misspelt`): words
that merely look alike are other words.

Loaded only where a call is wrong.  Nothing is guessed into action: whoever says such a word is told, and exits 2.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

VERBS = {
    # to make
    **dict.fromkeys(("create", "new", "insert"), ("add", "up", "task add")),
    **dict.fromkeys(("register", "join", "login", "signup"), ("add", "mbox agent add")),
    **dict.fromkeys(("plan", "load", "upload"), ("import", "task import")),
    # to take
    **dict.fromkeys(("next", "claimnext", "getnext", "pop", "fetch", "receive", "recv", "poll", "pull"), ("claim", "read")),
    **dict.fromkeys(("take", "pick", "accept", "grab", "acquire"), ("claim", "task claim", "reserve add")),
    "claim": ("task claim", "reserve add"),
    **dict.fromkeys(("lock", "own", "reserve"), ("reserve add", "claim", "mbox lock")),
    "hold": ("reserve add", "task update --hold", "mbox lock"),
    **dict.fromkeys(("begin", "work", "resume"), ("start", "up", "task claim")),
    **dict.fromkeys(("launch", "spawn"), ("start", "up", "run")),
    "start": ("up", "run"),
    # to end
    **dict.fromkeys(("close", "complete", "completed", "finish", "finished", "end", "resolve", "finalize", "markdone"),
                    ("done", "down", "release", "task done")),
    **dict.fromkeys(("unlock", "unreserve", "unclaim", "free", "drop", "unassign", "giveback", "return", "yield", "abandon",
                     "surrender", "putback"),
                    ("release", "reserve release")),
    **dict.fromkeys(("done", "cancel"), ("release",)),
    **dict.fromkeys(("stop", "halt", "shutdown"), ("down", "cancel", "release", "retire", "team down")),
    **dict.fromkeys(("quit", "exit"), ("down", "release", "retire", "mbox agent retire")),
    **dict.fromkeys(("delete", "del", "remove", "rm", "abort", "kill", "discard", "destroy"),
                    ("cancel", "release", "purge", "retire", "down", "ack", "task cancel")),
    **dict.fromkeys(("unregister", "deregister", "leave", "logout"), ("retire", "remove", "mbox agent retire")),
    **dict.fromkeys(("failed", "giveup"), ("fail", "task fail")),
    **dict.fromkeys(("reopen", "restart", "redo"), ("requeue", "retry", "up", "task requeue")),
    "retry": ("requeue", "task requeue"),
    "requeue": ("retry", "task requeue"),
    # to hand over and judge
    **dict.fromkeys(("handoff", "handin", "deliver", "pr", "submitreview", "requestreview", "reviewrequest"),
                    ("submit", "task submit")),
    **dict.fromkeys(("assign", "reassign", "delegate", "dispatch", "give"), ("mbox send --task",)),
    **dict.fromkeys(("ok", "lgtm", "merge", "pass"), ("approve", "task approve")),
    **dict.fromkeys(("deny", "decline", "refuse", "nack"), ("reject", "task reject")),
    # to say
    **dict.fromkeys(("mail", "messages", "unread", "mails", "peek"), ("inbox", "mbox inbox")),
    **dict.fromkeys(("post", "tell", "write", "email", "notify", "dm", "message", "msg"), ("send", "note", "mbox send")),
    **dict.fromkeys(("answer", "respond", "response"), ("reply", "mbox reply")),
    **dict.fromkeys(("question", "query"), ("ask", "mbox ask")),
    **dict.fromkeys(("acknowledge", "mark", "markread", "archive"), ("ack", "mbox ack")),
    **dict.fromkeys(("comment", "annotate", "lognote", "append"), ("note", "task note")),
    **dict.fromkeys(("save", "snapshot", "progress"), ("checkpoint", "task checkpoint")),
    **dict.fromkeys(("wake", "ping", "ring", "poke"), ("nudge", "mbox nudge")),
    # to look
    **dict.fromkeys(("ls", "who", "ps"), ("list", "status", "inbox", "mbox agent list")),
    **dict.fromkeys(("tasks", "todo", "todos", "issues", "backlog"), ("task list",)),
    **dict.fromkeys(("mine", "my", "assigned"), ("task list --mine", "me", "mbox me")),
    **dict.fromkeys(("members", "roster"), ("status", "mbox agent list")),
    "agents": ("mbox agent list",),
    **dict.fromkeys(("reservations", "locks", "leases"), ("list", "reserve list")),
    **dict.fromkeys(("get", "view", "cat", "describe", "info", "inspect", "display", "read", "open"), ("show", "task show")),
    **dict.fromkeys(("whoami", "self", "context"), ("me", "mbox me")),
    **dict.fromkeys(("prime", "onboard", "instructions"), ("primer", "mbox primer")),
    **dict.fromkeys(("health", "stat"), ("list", "status", "mbox status")),
    "status": ("list", "mbox status"),
    "list": ("inbox", "status"),
    **dict.fromkeys(("history", "journal", "events", "auditlog", "logs"), ("log", "mbox log")),
    **dict.fromkeys(("why", "blocked", "explain"), ("ready", "status", "task ready --explain")),
    **dict.fromkeys(("find", "grep"), ("search", "mbox search")),
    **dict.fromkeys(("listen", "follow", "tail", "monitor", "subscribe"),
                    ("watch", "team status --watch", "wait", "log", "mbox watch")),
    "watch": ("team status --watch", "task wait", "mbox watch"),
    "await": ("wait", "task wait"),
    **dict.fromkeys(("isfree", "verify", "holder", "canedit", "whohas"), ("check", "reserve check")),
    **dict.fromkeys(("deps", "dag", "tree", "dependencies"), ("graph", "task graph")),
    # to change
    **dict.fromkeys(("edit", "modify", "change", "rename", "prioritize"), ("update", "set", "task update")),
    **dict.fromkeys(("pause", "suspend", "park", "block", "postpone", "defer"), ("task update --hold",)),
    **dict.fromkeys(("unpause", "unblock", "unhold", "unpark"), ("task update --no-hold",)),
    **dict.fromkeys(("dep", "depend", "depends", "dependson", "link", "adddep"), ("task update --add-dep",)),
    **dict.fromkeys(("extend", "refresh", "touch", "keepalive", "heartbeat"), ("renew", "beat", "mbox agent beat")),
    **dict.fromkeys(("setup", "initialize"), ("init", "mbox init")),
    **dict.fromkeys(("fix", "repair", "diagnose"), ("doctor", "mbox doctor")),
    **dict.fromkeys(("backup",), ("audit", "mbox audit commit")),
    **dict.fromkeys(("settings", "configure"), ("config", "mbox config")),
    **dict.fromkeys(("version",), ("--version",)),
}  # fmt: skip
"""Word, without its hyphens → what it may mean here, the likeliest first: a verb of the table, or a whole call."""

OPTIONS = {
    **dict.fromkeys(("--message", "--text", "--content", "--msg", "--note", "--comment", "-m", "-b"),
                    ("--body", "TEXT", "--reason", "--description", "TITLE", "--result")),
    "-t": ("TITLE", "TEXT", "--type", "--to", "--timeout"),
    **dict.fromkeys(("--title", "--name", "--summary"), ("TITLE", "NAME", "--subject", "--title")),
    **dict.fromkeys(("--subj", "--topic", "-s"), ("--subject", "TITLE", "--stage", "--status")),
    **dict.fromkeys(("--recipient", "--recipients", "--receiver", "--agent", "--user"),
                    ("TO...", "--to", "AGENT", "--owner", "NAME", "--agent", "--as")),
    "--to": ("TO...", "AGENT", "--owner", "--requires", "--as"),
    **dict.fromkeys(("--sender", "--author", "--me", "--by", "--from", "-a"), ("--from", "--as")),
    **dict.fromkeys(("--assignee", "--assigned-to", "--assign", "--holder", "--owner"),
                    ("--owner", "--to", "--requires", "--as")),
    **dict.fromkeys(("--reviewer",), ("--to",)),
    **dict.fromkeys(("--wait-for", "--after", "--deps", "--dep", "--depends", "--dependency", "--blocked-by", "--needs",
                     "--depends-on"),
                    ("--depends-on", "--add-dep")),
    **dict.fromkeys(("--file", "--files", "--paths", "--touches", "--scope", "-p"),
                    ("--path", "FILE", "PATH...", "PATTERN...")),
    **dict.fromkeys(("-f", "--tail"), ("--follow", "FILE", "--path", "--format")),
    **dict.fromkeys(("--desc", "--details", "--body", "-d"), ("--description", "--body", "TEXT", "--reason")),
    **dict.fromkeys(("--why", "--because", "--cause"), ("--reason",)),
    **dict.fromkeys(("--reason",), ("--reason", "TEXT", "--body")),
    **dict.fromkeys(("--output-json", "--output-format", "--format", "--fmt"), ("--format", "-o")),
    **dict.fromkeys(("--data", "--outcome", "--returns", "--artifact"), ("--result", "--payload")),
    **dict.fromkeys(("--state",), ("--state", "--status")),
    **dict.fromkeys(("--count", "--max", "--num", "--head", "--top", "-n", "-c"), ("--limit", "--notes")),
    **dict.fromkeys(("--timeout", "--wait", "--block", "--for", "-w"), ("--timeout", "--wait")),
    **dict.fromkeys(("--duration", "--time", "--expires", "--expiry", "--ttl", "--minutes", "--lease"),
                    ("--ttl", "--lease", "--timeout")),
    **dict.fromkeys(("--tag", "--tags", "--labels"), ("--label",)),
    **dict.fromkeys(("--capability", "--capabilities", "--skills", "--skill"), ("--can", "--requires")),
    **dict.fromkeys(("--phase", "--kind", "--category"), ("--stage", "--type")),
    **dict.fromkeys(("--type",), ("--type", "--stage")),
    **dict.fromkeys(("--prio", "--urgent", "--importance"), ("--priority",)),
    **dict.fromkeys(("--in-reply-to", "--reply", "--parent"), ("--reply-to", "--thread", "ID")),
    **dict.fromkeys(("--thread-id",), ("--thread", "THREAD", "ID")),
    **dict.fromkeys(("--task-id", "--task", "--id", "--msg-id", "--message-id", "-i"),
                    ("--task", "--id", "[ID]", "ID", "ID...", "[ID]...", "THREAD")),
    **dict.fromkeys(("--claim", "--begin", "--take"), ("--start", "--next", "--claim")),
    **dict.fromkeys(("--everything", "-A"), ("--all",)),
    **dict.fromkeys(("--unread",), ("--next", "--all")),
    **dict.fromkeys(("--exclusive",), ("--shared",)),
    **dict.fromkeys(("--dryrun", "--check", "--simulate", "--noop"), ("--dry-run",)),
    **dict.fromkeys(("--verbose", "--long"), ("--full",)),
    **dict.fromkeys(("-v", "-V"), ("--version", "--full")),
    **dict.fromkeys(("--silent", "-q"), ("--quiet",)),
    **dict.fromkeys(("--dir", "--cwd", "--repo", "--project", "-C"), ("--root",)),
    **dict.fromkeys(("--ack", "--ack-required", "--require-ack"), ("--needs-ack",)),
    **dict.fromkeys(("--idempotency-key", "--dedupe"), ("--key",)),
    **dict.fromkeys(("-h", "-?", "--usage"), ("--help",)),
    **dict.fromkeys(("--yaml", "--jsonl", "--table", "--raw", "--pretty", "-j"), ("-o",)),
}  # fmt: skip
"""Option → what it may mean, the likeliest first: an option, or an argument as a help names it."""


STATES = {
    **dict.fromkeys(("open", "todo", "new", "pending", "ready", "waiting", "backlog"), "queued"),
    **dict.fromkeys(("inprogress", "progress", "active", "working", "doing", "wip", "started", "busy"), "running"),
    **dict.fromkeys(("assigned", "taken", "owned", "locked"), "claimed"),
    **dict.fromkeys(("complete", "completed", "finished", "closed", "resolved", "approved", "merged", "success"), "done"),
    **dict.fromkeys(("inreview", "reviewing", "submitted"), "review"),
    **dict.fromkeys(("dead", "deadletters", "dlq"), "deadletter"),
    **dict.fromkeys(("canceled", "aborted", "deleted", "dropped"), "cancelled"),
    **dict.fromkeys(("error", "errored", "failure", "broken"), "failed"),
}
"""Word, without its hyphens → the state of a task that it means."""

SPOKEN = ("--body", "--reason", "--result", "--description")
"""Options that hold what was said in a word too many."""


def _plain(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")


def verb(word: str, program: str, here: Collection[str]) -> str:
    """The call that ``word`` means, typed as a verb of ``program`` whose verbs are ``here``; empty if it means none of these."""
    for one in VERBS.get(_plain(word), ()):
        if one in here:
            return f"{program} {one}"
        if one.startswith(f"{program} ") or one[0] == "-":
            return one if one[0] != "-" else f"{program} {one}"
    return ""


def elsewhere(word: str) -> str:
    """The call of another program that ``word`` means; empty if that is not known."""
    return next((one for one in VERBS.get(_plain(word), ()) if " " in one), "")


def option(word: str, here: Collection[str]) -> str:
    """What ``word`` means among the options and arguments ``here``; empty if that is not known."""
    meant = (one for one in OPTIONS.get(word, ()) if one in here and one != word)
    return next(meant, "") or next(iter(misspelt(word, here)), "")


def state(word: str, here: Collection[str]) -> str:
    """The state of a task, of ``here``, that ``word`` means; empty if that is not known."""
    return STATES.get(_plain(word)) or next(iter(misspelt(word, here)), "")


def spoken(said: Sequence[str], here: Collection[str]) -> str:
    """``; did you mean --body?`` for words that are too many in a call with ``here``; empty if they are no text."""
    if len(said) == 1 and any(map(str.isdecimal, said[0])) and " " not in said[0]:
        return ""  # an id
    if "TEXT" in here or "TITLE" in here:
        return "; put the text in quotes"
    return next((f"; did you mean {one}?" for one in SPOKEN if one in here), "")


def misspelt(word: str, here: Collection[str]) -> list[str]:
    """Those of ``here`` that ``word`` is with one slip (a letter too many, too few or wrong, or two in each other's place), or
    that begin with it.
    """
    return [one for one in here if len(word) > 2 and (one.startswith(word) or _slips(word, one))]


def _slips(word: str, other: str) -> bool:
    """Whether one slip makes ``word`` of ``other``."""
    at = next((at for at, pair in enumerate(zip(word, other, strict=False)) if pair[0] != pair[1]), min(len(word), len(other)))
    left, right = word[at:], other[at:]
    swapped = left[:2] == right[1::-1] and left[2:] == right[2:]
    return swapped or left[1:] == right[1:] or left[1:] == right or left == right[1:]
