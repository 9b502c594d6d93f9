"""The task graph: adding and importing, claiming, the verbs of the holder and of the reviewer, what is ready and why not.

Promised: of any number of claims exactly one wins; a verb of the holder by anyone else changes nothing; a cycle is refused
when it is made.  Not promised: that a task which is ready fits the agent that asks.
"""
