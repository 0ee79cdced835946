"""MLflow's filter language: how values are written in it, and how much fits in one request. Only text, no requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from retrain_daemon.errors import Refused

#: MLflow gives at most so many models a page; a filter of so many characters passes a plain MLflow server.
NAMES_AT_ONCE = 1000
_FILTER_AT_MOST = 30_000


def quoted(value: str) -> str:
    """The value as a string of MLflow's filter language, which knows two kinds of quotes and no escapes.

    Raises Refused for a value that holds both kinds.
    """
    if not quotable(value):
        raise Refused(
            f"{value!r} cannot be searched for: MLflow's filters have no way to write both ' and \" in one value.",
            "Choose a name with at most one kind of quotes.",
        )
    return f'"{value}"' if "'" in value else f"'{value}'"


def quotable(value: str) -> bool:
    """Whether the value can be written in a filter at all."""
    return not ("'" in value and '"' in value)


def listable(name: str) -> bool:
    """Whether the name survives a list in a filter, which MLflow reads as Python literals, backslashes included."""
    return quotable(name) and "\\" not in name and name.isprintable()


def chunks(names: Iterable[str]) -> Iterator[list[str]]:
    """Names in order, in lists that one request can ask for."""
    chunk: list[str] = []
    length = 0
    for name in names:
        # Two quotes and a comma.
        length += len(name) + 3
        if chunk and (len(chunk) == NAMES_AT_ONCE or length > _FILTER_AT_MOST):
            yield chunk
            chunk, length = [], len(name) + 3
        chunk.append(name)
    if chunk:
        yield chunk
