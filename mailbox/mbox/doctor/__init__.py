"""Files held against the journal, and against the machine they stand on; and what has one right answer, mended.

Promised: looking changes nothing; mending puts nothing away that is not kept; what it cannot mend is found again.  Not
promised: a look at one moment, where others write meanwhile: what moved is looked at once more, a few times.
"""
