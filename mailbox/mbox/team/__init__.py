"""Several agents called together in panes, and dismissed again.

Promised: what can be refused is refused before anything is begun; a pane gets one fixed line and never content; a tree
with work in it is kept.  Not promised: that a program which was started does anything; its screen and its heartbeat tell.
"""
