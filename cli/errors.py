"""What a command tells the person when it cannot do what it was asked."""

from __future__ import annotations


class CommandError(RuntimeError):
    """Ends the command with status 1; the message says what was wrong and what to do."""
