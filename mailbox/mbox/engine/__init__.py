"""The engine: takes a run of a workflow from step to step, and no model decides what comes next.

A run lives in the store and nowhere else (``docs/format.md``, "Runs"):

| document | what it says |
|---|---|
| ``runs/RUN/run.json`` | where it stands: status, step, visits, what is spent; stays small |
| ``runs/RUN/definition.json`` | every file of the workflow as it was when the run began |
| ``runs/RUN/steps/STEP.VISIT[.ITEM].json`` | how one visit stands, or ended: edge, values, gates, attempts, cost |
| ``runs/RUN/work/STEP.VISIT[.ITEM].N/`` | prompt, output and gates' logs of an attempt; ephemeral |

States of a run: *running* → *succeeded*, *failed*, *cancelled* (ended, for good), or *paused*, *needs_human*, *exceeded*
(stopped: ``resume`` goes on at that step).  What comes next is a function of these documents and the tasks that they name
(`course`), decided in the transaction that leaves a step and enters the next (`standing`): one record, ``run.step``.

An agent's step is a task (`tasks.orders`).  Its worker is a process of its own under ``mbox run`` (`worker`) which claims
it, runs the program and finishes it under its own token; an engine that dies harms none.

| killed after | what is there | who goes on |
|---|---|---|
| the record that enters a step | the step is open, its task queued | the next engine starts a worker |
| a worker was started, no claim yet | the task is queued | a second worker; one of the two claims |
| the claim | the worker works on | the next engine waits for it |
| ``run.start`` of a command that is not idempotent | the step is open and *started* | its ``probe``, else a person |
| an effect (commit, push, pull request), before the record | it is there, under its key | it is found by the key |
| the record that leaves a step | the next step is open | the next engine |

One engine at a time works on a run: a kernel lock, ``locks/@run-RUN``; the second is refused (exit 5).  What an engine knows
besides the documents (which workers it started) may be lost.

Promised: a run that was killed at any moment goes on from there, and nothing that was finished is done again; a run succeeds
only by an edge to ``succeeded``.  Not promised: that a command which was killed midway did nothing; that is what
``idempotent`` and ``probe`` are for.
"""
