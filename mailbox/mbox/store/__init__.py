"""One lock, one journal, then the files: the transaction, and what brings the files back after a death.

Promised: a transaction happens completely or not at all, whatever dies at whatever instruction; what a command reported
as done is in the journal.  Not promised: that the files already follow for whoever reads without the lock; nor anything
across machines but what a log in front of the journal promises.  `store` has the protocol, `commit` its steps.
"""
