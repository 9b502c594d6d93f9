"""Git as the toolkit uses it: the audit ref and the way back from it, work trees, what is staged.

Promised: the user's index, work tree, branches and hooks are not touched, nothing is pushed or fetched, and the ref moves
by compare-and-swap.  Not promised: that there is a repository; without one every other command works.
"""
