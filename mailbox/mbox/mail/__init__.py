"""Messages: sending, finding, taking under a lease, waiting for answers, what could not be delivered.

Promised: to all receivers or to none; in order for one sender, receiver and priority; listing is not reading, reading is
not acknowledging; nothing is dropped in silence.  Not promised: exactly once, where a reader dies before it acknowledges.
"""
