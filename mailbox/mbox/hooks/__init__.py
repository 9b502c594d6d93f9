"""What the agent programs call while they work: the guard before a tool, mail after it, gates at the end, the card at the start.

Promised: whatever a host sends, it gets an answer in exactly its own form and no traceback; a tool that would write what
another agent holds is denied before it runs; nobody is ever *allowed* anything that the person at the host has not allowed.
Not promised: that every write is seen beforehand: what a shell line cannot be read for is found afterwards, by git.

A host runs one fixed line (`launcher`), which runs `hook`, a script that imports next to nothing.  `codecs` turns a host's
JSON into a `codecs.HostCall` and an answer into a host's form; `quick` answers what needs no change of the store, reading a
few files; everything else is `calls`, with the store as every command has it.  What is *light* (`hook`, `codecs`, `shell`,
`rules`, `spelling`, `quick`) imports nothing but the interpreter's own modules, and not even `json`.
"""
