"""The agent programs: how each is started, and what its screen says.

Promised: all that is known of a program stands in ``hosts.yaml``; a screen is read by pure functions, and what is not
recognised counts as busy.  Not promised: that a program of tomorrow looks like that of today.
"""
