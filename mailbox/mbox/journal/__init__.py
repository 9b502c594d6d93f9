"""The journal: what a record is, in which line it stands, the numbered segments, and their fold.

Promised: an append lands whole where it was expected, or raises; a line whose checksum is wrong is never believed; nobody
else knows how a line is spelled.  Not promised: that the files follow; that is the store's.
"""
