"""The operations: what a record of the journal can be, by noun (``docs/format.md``, "The journal").

Promised: every record that this version makes is named by one of these, and no other module spells one.  Not promised:
that a journal holds no others; another version may have made them, and who reads passes over what it does not know.
"""

from __future__ import annotations

MAIL, TASK, RESERVE, AGENT, TEAM, RUN, STORE = "mail.", "task.", "reserve.", "agent.", "team.", "run.", "store."
"""How the operations on a noun begin."""

MAIL_SEND = "mail.send"
MAIL_REPLY = "mail.reply"
MAIL_ASK = "mail.ask"
MAIL_BROADCAST = "mail.broadcast"
MAIL_READ = "mail.read"
MAIL_ACK = "mail.ack"
MAIL_RETURN = "mail.return"
MAIL_EXPIRE = "mail.expire"
MAIL_DEAD = "mail.dead"
MAIL_REFUSED = "mail.refused"
MAIL_RETRY = "mail.retry"
MAIL_PURGE = "mail.purge"

TASK_ADD = "task.add"
TASK_IMPORT = "task.import"
TASK_CLAIM = "task.claim"
TASK_START = "task.start"
TASK_SUBMIT = "task.submit"
TASK_DONE = "task.done"
TASK_FAIL = "task.fail"
TASK_RELEASE = "task.release"
TASK_EXPIRE = "task.expire"
TASK_REVIEW = "task.review"
TASK_REVIEW_EXPIRE = "task.review-expire"
TASK_APPROVE = "task.approve"
TASK_REJECT = "task.reject"
TASK_REQUEUE = "task.requeue"
TASK_CANCEL = "task.cancel"
TASK_UPDATE = "task.update"
TASK_NOTE = "task.note"
TASK_CHECKPOINT = "task.checkpoint"

RESERVE_ADD = "reserve.add"
RESERVE_RELEASE = "reserve.release"
RESERVE_EXPIRE = "reserve.expire"

GUARD_OVERRIDE = "guard.override"

GUARD_WROTE = "guard.wrote"
"""A command that could not be read beforehand changed what another agent holds."""

AGENT_ADD = "agent.add"
AGENT_NEW = "agent.new"
AGENT_RETIRE = "agent.retire"
AGENT_END = "agent.end"
AGENT_DEAD = "agent.dead"

TEAM_UP = "team.up"
TEAM_LEAD = "team.lead"
TEAM_DRAIN = "team.drain"
TEAM_DOWN = "team.down"

RUN_BEGIN = "run.begin"
RUN_START = "run.start"
RUN_STEP = "run.step"
RUN_ITEM = "run.item"
RUN_RETRY = "run.retry"
RUN_ANSWER = "run.answer"
RUN_TELL = "run.tell"
RUN_PAUSE = "run.pause"
RUN_STOP = "run.stop"
RUN_RESUME = "run.resume"
RUN_CANCEL = "run.cancel"
RUN_END = "run.end"

STORE_SEGMENT = "store.segment"
STORE_QUARANTINE = "store.quarantine"
STORE_ADOPT = "store.adopt"
STORE_REPAIR = "store.repair"
STORE_RESTORE = "store.restore"

STORE_CHECKPOINT = "store.checkpoint"
STORE_ASIDE = "store.aside"
"""These two are in journals of format 1 only."""

SENDING = (MAIL_SEND, MAIL_REPLY, MAIL_ASK, MAIL_BROADCAST)
"""What counts against a sender's rate."""

BY_REVIEWER = (TASK_APPROVE, TASK_REJECT)
"""What the holder of a review's lease makes under it."""

BY_HOLDER = (TASK_START, TASK_SUBMIT, TASK_DONE, TASK_FAIL, TASK_RELEASE)
"""What the holder of a task's lease makes under it."""
