"""Who is registered, in which incarnation, alive or not, and in which team under whom.

Promised: an agent's verb is refused once its name has a newer incarnation; who is alive is told from heartbeats alone and
is the same for everybody on this machine.  Not promised: that an agent which is alive does anything, nor that one without
a heartbeat is dead.
"""
