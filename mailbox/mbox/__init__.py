"""Mail, tasks and file reservations for coding agents that share one repository."""

__version__ = "0.1.0"
