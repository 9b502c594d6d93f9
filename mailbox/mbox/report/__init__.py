"""How things stand and what happened, for people: status, the journal's history, search.

Promised: nothing here changes a document or makes a record, and only who follows the journal takes the lock, for what a
dead command left unpublished; what is said is decided by fields, not by words.  Not promised: one moment for all of it,
where others write meanwhile.
"""
