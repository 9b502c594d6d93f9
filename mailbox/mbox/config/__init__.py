"""What may be set, with its default and its reason; how YAML says it; ``config.yaml`` and its cache.

Promised: a value that cannot be used is refused with file and line, never replaced by a default; a small command reads
no YAML.  Not promised: that a change reaches a process that has loaded the configuration before.
"""
