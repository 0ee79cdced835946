"""Secrets: which values of an environment are some, and texts told without them.

Credentials leave URIs at the door (`worker/credentials.py`) and live in the environment from then on, so what the
environment holds is all there is to know. Daemon, command line and worker share this; it imports nothing of them.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote

HIDDEN = "***"
#: A shorter value cannot be told from any other word, so a text is not searched for it.
SHORTEST = 6

_SECRET_NAME = re.compile(
    r"(?i)passw|passphrase|(^|_)pass(_|$)|(?<!old)(?<!^)pwd|token(?!iz)|secret|signature|authorization|connection_?string"
    r"|(api|access|account|private|shared|signing)_?key(?!_?id)|(^|_)sas(_|$)"
)
_NOT_SECRET_NAME = re.compile(r"(?i)(file|path|dir|directory|uri|url|ttl|expir\w*)$")
_USERINFO = re.compile(r"\w://([^\s'\"/]*)@")
_PARAMETER = re.compile(r"(?i)([?&;]|^)([\w-]*(?:pass|pwd|token|secret|key|signature|sig)[\w-]*)=([^&;#\s'\"]*)")
_LARGEST_FILE = 65536


def hide_credentials(text: str) -> str:
    """Text with what stands before the "@" of a URI, and values of its secret-sounding parameters, replaced by ***."""
    hidden = re.sub(r"(\w://)[^\s'\"]*@", rf"\1{HIDDEN}@", text)
    return re.sub(r"(?i)([?&][\w-]*(?:pass|pwd|token|secret|key|signature)[\w-]*=)[^&#\s'\"]*", rf"\1{HIDDEN}", hidden)


def has_credentials(text: str) -> bool:
    """Whether a URI in the text holds a user or a password, or a parameter that sounds like a secret."""
    # Nearly all lines hold neither, and a pattern takes longer to say so.
    if not ("@" in text and "://" in text) and not ("=" in text and ("?" in text or "&" in text)):
        return False
    return bool(re.search(r"\w://[^\s/'\"@]+@", text)) or any(
        lead in "?&" and value for lead, _, value in _PARAMETER.findall(text) if lead
    )


@dataclass(frozen=True)
class Secrets:
    """Values that no text may show, in all forms they may be written in."""

    values: tuple[str, ...]

    def hide(self, text: str) -> str:
        """The text without these values, and without credentials of URIs."""
        if self.values:
            text = _pattern(self.values).sub(HIDDEN, text)
        return hide_credentials(text)


def secrets_of(environment: Mapping[str, str]) -> Secrets:
    """What is secret in an environment: by the names of variables, in URIs, and in systemd's folder of credentials."""
    found = {value for name, value in environment.items() for value in _in_variable(name, value)}
    if folder := environment.get("CREDENTIALS_DIRECTORY"):
        found |= set(_in_folder(folder))
    user, password = (environment.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
    found |= {_base64(f"{user}:{password}")} if password else set()
    forms = {form for value in found if len(value) >= SHORTEST for form in _forms(value)}
    return Secrets(tuple(sorted(forms, key=lambda form: (-len(form), form))))


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that hold no secret, whatever its length."""
    return {name: value for name, value in environment.items() if not any(_in_variable(name, value))}


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name holds a secret."""
    return bool(_SECRET_NAME.search(name)) and not _NOT_SECRET_NAME.search(name)


def _in_variable(name: str, value: str) -> Iterator[str]:
    if is_secret_name(name):
        yield value
    for userinfo in _USERINFO.findall(value):
        user, _, password = userinfo.partition(":")
        yield from (password or user, unquote(password or user), _base64(unquote(userinfo)))
    for _, _, parameter in _PARAMETER.findall(value):
        yield from (parameter, unquote(parameter))


@lru_cache(maxsize=4)
def _in_folder(folder: str) -> tuple[str, ...]:
    found = []
    for path in Path(folder).glob("*"):
        try:
            if path.is_file() and path.stat().st_size <= _LARGEST_FILE:
                found.append(path.read_text("utf-8", errors="ignore").strip())
        except OSError:
            continue  # what this process cannot read it cannot show
    return tuple(found)


def _forms(value: str) -> Iterator[str]:
    """As it is, as in URIs, as in JSON, and as HTTP sends it."""
    yield from (value, quote(value), quote(value, safe=""), json.dumps(value)[1:-1], _base64(value))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()


@lru_cache(maxsize=8)
def _pattern(values: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(value) for value in values))
