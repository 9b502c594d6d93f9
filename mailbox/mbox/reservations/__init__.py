"""Patterns of files that one agent holds for a time, alone or shared.

Promised: two patterns conflict exactly when some path matches both, as far as a decision's steps reach (`conflicts`), and
past that they count as meeting, which is said; several are taken together or not at all; who waits
cannot wait in a circle.  Not promised: that a program which does not ask keeps out.
"""
