"""The commands: `main` finds them, `options` and `output` are what they share; a module is a noun."""
