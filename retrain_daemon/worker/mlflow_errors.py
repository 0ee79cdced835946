"""What an error of MLflow, of its HTTP client or of its database means for us, and how to say it without secrets.

The one place where such errors are told apart; MLflow itself is imported only when a block is guarded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from retrain_daemon.errors import NotFound, Refused, RegistryUnreachable, RetrainError
from retrain_daemon.secrets import secrets_of
from retrain_daemon.shortage import is_shortage
from retrain_daemon.worker.credentials import bare

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

_LONGEST_WORDS = 200

_LENGTH_LIMIT = (
    "A proxy before it limits how long a request line may be: raise that (nginx: large_client_header_buffers)."
)

_ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})
_REFUSALS = frozenset(
    {
        *("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "NOT_IMPLEMENTED"),
        *("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS", "RESOURCE_CONFLICT", "ABORTED"),
        *("PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED", "UNAUTHENTICATED"),
    }
)

#: How the texts of requests, urllib3 and MLflow begin to make sense to a person; the first that is found counts.
_REASONS = (
    (r"Connection refused", "connection refused"),
    (r"Failed to resolve|Name or service not known|name resolution", "its host name is not known"),
    (r"timed out|timeout=", "no answer in time (MLFLOW_HTTP_REQUEST_TIMEOUT seconds)"),
    (r"CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted"),
    (r"too many (\d{3}) error responses", r"HTTP status \1"),
    (r"failed with error code (\d{3})", r"HTTP status \1"),
    (
        r"not in a valid JSON format|Failed to parse|Expecting value|line \d+ column \d+",
        "the answer is not one of MLflow",
    ),
    (
        r"Connection aborted|RemoteDisconnected|Connection reset|Connection broken|IncompleteRead",
        "the connection broke",
    ),
)


@contextmanager
def understood(uri: str) -> Iterator[None]:
    """Turn what MLflow, HTTP or a database raise inside the block into NotFound, Refused or RegistryUnreachable.

    An error of no known kind passes: it is a bug. Causes are cut off, as their texts may hold credentials.
    """
    from alembic.util.exc import CommandError
    from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except MlflowException as error:
        raise _meaning(error, uri) from None
    except SQLAlchemyError as error:
        raise _database_error(error, uri) from None
    # An answer cut short, or of something that is not MLflow, ends in a parser or a conversion (ValueError). Alembic
    # fails when a program that does not wait for its turn makes the same fresh database.
    except (RequestException, ParseError, CommandError, OSError, ValueError) as error:
        if is_shortage(error):
            raise  # of this machine, not of MLflow
        raise unreachable(uri, str(error)) from None


def unreachable(uri: str, words: str) -> RegistryUnreachable:
    """The error for a store that did not answer, its `words` made short and free of credentials."""
    reason = _reason(words, uri)
    return RegistryUnreachable(
        f"MLflow at {shown(uri)} did not answer: {reason}.",
        _LENGTH_LIMIT if reason == "HTTP status 414" else "Check that it runs and that its URI is right.",
    )


def shown(uri: str) -> str:
    """The URI as messages may show it: without user, password and query."""
    return bare(uri).partition("?")[0]


def _meaning(error: MlflowException, uri: str) -> RetrainError:
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error.__cause__, SQLAlchemyError):
        return _database_error(error.__cause__, uri)
    if "out-of-date database schema" in error.message:
        return Refused(
            f"The database at {shown(uri)} was made by another version of MLflow.",
            "Back it up, then run `mlflow db upgrade` on it, or use the MLflow it was made with.",
        )
    words = _short(error.message.removeprefix(f"{error.error_code}: "), uri)
    if error.error_code in _ABSENT:
        return NotFound(f"MLflow at {shown(uri)} does not know it: {words}.")
    if error.error_code in _REFUSALS:
        return Refused(f"MLflow at {shown(uri)} refused: {words}.", _remedy(words))
    if files := _files_gone(error.message):
        return NotFound(f"MLflow at {shown(uri)} does not have {', '.join(files)}.")
    return unreachable(uri, error.message)


def _files_gone(message: str) -> list[str]:
    """The files that a download through the server failed for, if it said of each that it is not there."""
    if not message.startswith("The following failures occurred while downloading"):
        return []
    files = re.findall(r"^##### File (.*) #####$", message, re.MULTILINE)
    return files[:3] if len(files) == message.count('"error_code":"RESOURCE_DOES_NOT_EXIST"') else []


def _remedy(words: str) -> str:
    if "Invalid Host header" in words:
        return "Start `mlflow server` with --allowed-hosts naming the host that the URI uses."
    return ""


def _database_error(error: SQLAlchemyError, uri: str) -> RetrainError:
    """Only rows that break a rule of the schema are a refusal; locks, full disks and lost connections may pass."""
    from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NoSuchModuleError

    # The text of a DBAPIError holds the statement with its values; `orig` is what the database said.
    words = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    if isinstance(error, (ArgumentError, DataError, IntegrityError, NoSuchModuleError)):
        return Refused(f"The database at {shown(uri)} refused: {_short(words, uri)}.")
    return unreachable(uri, words)


def _reason(words: str, uri: str) -> str:
    for pattern, plain in _REASONS:
        found = re.search(pattern, words)
        if found:
            return found.expand(plain)
    return _short(words, uri)


def _short(words: str, uri: str) -> str:
    """The first line without credentials, not longer than a sentence may be, without its full stop."""
    line = next(iter(words.strip().splitlines()), "no reason given")
    for secret in _secrets(uri):
        line = line.replace(secret, "…")
    line = re.sub(r"//[^/@\s]*@", "//", line)
    return (line if len(line) <= _LONGEST_WORDS else f"{line[:_LONGEST_WORDS]}…").rstrip(". ")


def _secrets(uri: str) -> list[str]:
    password = urlsplit(uri).password or ""
    variables = (os.environ.get(name, "") for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"))
    return [secret for secret in (password, unquote(password), *variables, *secrets_of(os.environ).values) if secret]
