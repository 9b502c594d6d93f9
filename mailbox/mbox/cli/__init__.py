"""The command line: one table of commands, one place that turns an error into an exit status, a file a noun of bodies.

Promised: stdout is data and stderr is prose; a body reads its options, calls the domain and hands the answer to a
formatter; no command knows another.  Not promised: an interface for programs; they call the packages below.
"""
