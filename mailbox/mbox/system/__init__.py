"""What the machine offers: files, locks, processes, clocks, events.  It knows no mailbox.

Promised: only `disk` changes files, and every such call can be made to fail by a test; clocks and identities are handed
in.  Not promised: that a system call is there on every platform; where it is not, the module says what is done instead.
"""
