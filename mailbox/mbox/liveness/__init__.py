"""What keeps work moving though nobody is asked to: expiry, the process above an agent's program, the watchdog.

Promised: what an agent leaves goes back in one transaction; one watchdog a store; a failure of one step is said and keeps
no other from its work.  Not promised: that any of it runs: the store is right without it, and only slower to notice.
"""
