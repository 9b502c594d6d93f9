"""Who has to do with a run: its starter is answered in the thread, a helper is of another family, members wait for tasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Run
from flows import linted
from runkit import Place, placed

FLOW = """\
version: 1
name: flow
inputs: {thread: {type: string?, default: null}}
roles:
  helper: {phase: implement, family: not user}
steps:
  - {id: help, agent: helper, prompt: "Help.", output: string}
  - {id: tell, send: user, subject: "told", body: "{{ steps.help.output }}", thread: "{{ inputs.thread | default('') }}"}
"""

HOSTS = """\
hosts:
  alpha: {command: [./answer], family: greek}
  beta: {command: [./answer], family: roman}
phases: {implement: [alpha, beta]}
"""


@pytest.fixture
def place(run: Run, repo: Path) -> Iterator[Place]:
    """A repository with two hosts of two families, and agents ann (of the first) and bob."""
    with placed(run, repo) as made:
        made.write(".mailbox/hosts.yaml", HOSTS)
        made.program("answer", 'echo "I am $MBOX_TASK" >"$MBOX_RESULT"\n')
        made.write("flow.yaml", FLOW)
        made.call("mbox", "agent", "add", "ann", "--host", "alpha")
        made.call("mbox", "agent", "add", "bob")
        yield made


def test_an_answer_comes_in_the_thread_that_asked(place: Place) -> None:
    """`thread` is the message that the mail answers; what is no message begins a thread of its own, and says so."""
    asked = place.json("mbox", "send", "ann", "--body", "how?", "--as", "bob")["msg_id"]
    place.begin("flow.yaml", env={"MBOX_AGENT": "ann"}, thread=asked)
    (row,) = [one for one in place.json("mbox", "inbox", "--as", "ann") if one["msg_id"] != asked]
    told = place.json("mbox", "show", row["msg_id"])
    assert (told["thread_id"], told["parent_id"], told["body"]) == (asked, asked, "I am r.help.1")
    place.begin("flow.yaml", ident="s", env={"MBOX_AGENT": "ann"}, thread="m999")
    assert "no message 'm999'" in place.step("tell", ident="s")["detail"]
    place.begin("flow.yaml", ident="t", env={"MBOX_AGENT": "ann"})
    alone = place.step("tell", ident="t")["detail"]
    assert place.json("mbox", "show", alone)["thread_id"] == alone
    place.clean()


def test_the_helper_is_of_another_family_than_who_asks(place: Place) -> None:
    """`family: not user`: by the starter's host; of a person and of an agent without one nobody knows, and anybody helps."""
    place.begin("flow.yaml", env={"MBOX_AGENT": "ann"})
    assert [(row["host"], row["family"]) for row in place.step("help")["attempts"]] == [("beta", "roman")]
    assert "alpha is of family greek" in place.step("help")["attempts"][0]["why"]
    place.begin("flow.yaml", ident="s", env={"MBOX_AGENT": "bob"})
    place.begin("flow.yaml", ident="t")
    assert [place.step("help", ident=one)["attempts"][0]["host"] for one in ("s", "t")] == ["alpha", "alpha"]


def test_a_called_run_knows_who_started_the_first(place: Place) -> None:
    """What is called was started by the same agent."""
    place.write("outer.yaml", "version: 1\nname: outer\nsteps:\n  - {id: go, call: flow.yaml}\n")
    place.begin("outer.yaml", env={"MBOX_AGENT": "ann"})
    assert place.step("help", ident="r.go.1")["attempts"][0]["host"] == "beta"


def test_a_role_of_that_name_is_that_role() -> None:
    """`user` is whoever started the run unless the file has a role that is called so; another name is refused."""
    assert linted(FLOW) == []
    assert "family: no role usr; did you mean user" in str(linted(FLOW.replace("not user", "not usr"))[0])


def test_a_member_s_family_is_what_the_person_s_file_says(place: Place) -> None:
    """Who claims a task by hand is of the family that hosts.yaml has for its host: the starter's is refused, another not."""
    place.begin("flow.yaml", "--workers", "0", "--detach", env={"MBOX_AGENT": "ann"})
    refused = place.call("task", "claim", "r.help.1", fine=1, env={"MBOX_AGENT": "ann"})
    assert "is for a family other than greek, and yours is greek" in refused.stderr
    place.call("mbox", "agent", "add", "carl", "--host", "beta")
    place.call("task", "claim", "r.help.1", "--start", env={"MBOX_AGENT": "carl"})
    place.call("task", "done", "r.help.1", "--result", '"so"', env={"MBOX_AGENT": "carl"})
    place.call("workflow", "watch", "r", "--timeout", "60s")


def test_who_waits_for_a_run_s_tasks_waits_until_it_has_ended(place: Place) -> None:
    """Between two steps no task is open, and the claim goes on waiting; at the end it says that there is none."""
    place.write("slow.yaml", """\
version: 1
name: slow
steps:
  - {id: stop, run: "until [[ -e go ]]; do sleep 0.1; done", idempotent: true}
  - {id: help, agent: helper, prompt: x}
roles: {helper: {phase: implement}}
""")
    place.begin("slow.yaml", "--workers", "0", "--detach")
    place.call("task", "claim", "--label", "run:r", "--wait", "1s", fine=4, env={"MBOX_AGENT": "bob"})
    place.write("go", "")
    claimed = place.json("task", "claim", "--label", "run:r", "--wait", "60s", "--start", env={"MBOX_AGENT": "bob"})
    place.call("task", "done", claimed["task_id"], env={"MBOX_AGENT": "bob"})
    place.call("workflow", "watch", "r", "--timeout", "60s")
    place.call("task", "claim", "--label", "run:r", "--wait", "60s", fine=1, env={"MBOX_AGENT": "bob"})
