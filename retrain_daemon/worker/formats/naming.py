"""How a file and its values are named in messages: on one line, whatever characters they have."""

from __future__ import annotations

from pathlib import Path

DROP_AGAIN = "Write the file again and drop it; rename it into the folder when it is complete."


def shown(path: str) -> str:
    """A file's name for a message, on one line whatever characters it has."""
    name = Path(path).name
    return name if name.isprintable() else ascii(name)


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, shortened."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def listed(names: list[str]) -> str:
    """A few names for a message, each quoted and shortened, and how many more there are."""
    return ", ".join(repr(name[:60]) for name in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
