"""The language of workflows: what a file says, its expressions, templates and types, whether it holds, how it is drawn.

Promised: pure functions of texts; whatever stands in a file, reading it ends in a value or in `Usage` with file, line and
column, within bounds of time and memory that the file cannot move; nothing that a file or an agent wrote is run here.
Not promised: that the programs, files and agents exist which a workflow names; what a run does with it stands elsewhere.
"""
