"""The rebuildable index that decisions ask: its tables, what a record changes in them, the questions.

Promised: it carries the sequence up to which it is complete and is caught up before it is believed; deleting it costs
time and nothing else.  Not promised: that what it says still stands; whoever asks checks the document.
"""
