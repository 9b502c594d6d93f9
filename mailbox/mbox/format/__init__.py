"""What stands in a file and what may stand there: places, documents, leases, patterns, checks, what people wrote.

Promised: pure functions; what a document is read from and written to is the same to the byte; what does not fit is
refused with the field, and what people wrote with line and column.  Not promised: that a path which may stand here does.
"""
