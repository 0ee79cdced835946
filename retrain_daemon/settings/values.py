"""Single values of the settings: from the text that was written, and where, to what it means, or to what is wrong.

Which settings there are is not known here.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

from retrain_daemon.secrets import hide_credentials

LOG_FORMATS = ("auto", "json", "console")
#: What a notification can be about.
OCCASIONS = (
    "promoted", "rejected", "inconclusive", "abandoned", "awaiting_approval", "rolled_back", "held", "champion_lost",
    "champion_worse", "watch_lost", "quarantined", "registry_lost", "registry_back",
)  # fmt: skip
DEFAULT_OCCASIONS = (
    "promoted", "awaiting_approval", "rolled_back", "held", "champion_lost", "champion_worse",
)  # fmt: skip

_LAST_PORT = 65535
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_NICEST = 19
_BYTES = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(r"(\d{1,9}) ?(MB|GB|MiB|GiB)", re.ASCII)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")


class Wrong(Exception):
    """A value that cannot be used, with where it stands."""


@dataclass(frozen=True)
class Given:
    """A value as it was written, where, and the folder that relative paths in it are meant from."""

    text: str
    where: str
    base: Path
    home: Path

    def wrong(self, why: str) -> Wrong:
        return Wrong(f'{self.where} is "{hide_credentials(self.text)}", {why}')


def read_path(given: Given) -> Path:
    """A path, meant from the folder of the file or the working directory."""
    if given.text == "~" or given.text.startswith("~/"):
        return given.home / given.text[2:]
    return given.base / given.text


def read_uri(given: Given) -> str:
    """A URI that means the same in every process: a relative SQLite path would follow the working directory."""
    scheme, separator, rest = given.text.partition("://")
    if not separator or scheme == "file":
        raise given.wrong("which MLflow reads as a file store; write sqlite:///PATH, http://HOST or https://HOST")
    if scheme.partition("+")[0] != "sqlite" or rest.startswith("//"):
        return given.text
    if rest in ("", "/") or rest.startswith("/:memory:"):
        raise given.wrong("a database in memory, which workers cannot see; write sqlite:///PATH")
    return f"{scheme}:///{given.base / rest.removeprefix('/')}"


def read_span(given: Given) -> timedelta:
    """A duration above zero, such as "1h30m"."""
    parts = _SPAN.findall(given.text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != given.text or seconds <= 0:
        raise given.wrong('which is no duration above zero; write for example "15s", "5m" or "1h30m"')
    return timedelta(seconds=seconds)


def read_span_or_off(given: Given) -> timedelta | None:
    """A duration above zero, or "off", which is None."""
    if given.text == "off":
        return None
    try:
        return read_span(given)
    except Wrong:
        raise given.wrong('which is no duration above zero; write for example "5m", or "off"') from None


def read_count(given: Given) -> int:
    """A whole number above zero."""
    if not given.text.isascii() or not given.text.isdigit() or int(given.text) == 0:
        raise given.wrong("which is no whole number above zero")
    return int(given.text)


def read_nice(given: Given) -> int:
    """How far behind other work, 0 to 19."""
    if not given.text.isascii() or not given.text.isdigit() or int(given.text) > _NICEST:
        raise given.wrong(f"which is no whole number from 0 to {_NICEST}")
    return int(given.text)


def read_size(given: Given) -> int:
    """An amount of memory above zero, such as "8GiB", in bytes."""
    found = _SIZE.fullmatch(given.text)
    if not found or int(found[1]) == 0:
        raise given.wrong('which is no size above zero; write for example "500MB" or "8GiB"')
    return int(found[1]) * _BYTES[found[2]]


def read_log_format(given: Given) -> str:
    """One of LOG_FORMATS."""
    if given.text not in LOG_FORMATS:
        raise given.wrong(f"which is none of {', '.join(LOG_FORMATS)}{meant(given.text, LOG_FORMATS)}")
    return given.text


def read_names(given: Given) -> tuple[str, ...]:
    """Names separated by commas, at least one."""
    names = tuple(name.strip() for name in given.text.split(",") if name.strip())
    if not names:  # nobody named is everybody trusted, which nobody means by an empty list
        raise given.wrong("which names nobody; name those you trust, or leave it out to trust whoever makes a champion")
    return names


@dataclass(frozen=True)
class Address:
    """Where to listen. Port 0 is any that is free."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only processes of this machine can reach it."""
        return self.host == "localhost" or ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


DEFAULT_ADDRESS = Address("127.0.0.1", 9464)


def read_address(given: Given) -> Address | None:
    """HOST:PORT with an address of this machine, or "off"."""
    if given.text == "off":
        return None
    host, colon, port = given.text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        known = host == "localhost" or bool(ip_address(host))
    except ValueError:
        known = False
    if not known or not colon or not port.isascii() or not port.isdigit() or int(port) > _LAST_PORT:
        raise given.wrong('which is no address to listen on; write for example "127.0.0.1:9464", or "off"')
    return Address(host, int(port))


def read_words(given: Given) -> tuple[str, ...]:
    """A command as its words; never shown, as they may hold a secret."""
    try:
        words = tuple(shlex.split(given.text))
    except ValueError as error:
        raise Wrong(f"{given.where} is no command: {error}") from None
    if not words or not Path(words[0]).is_absolute():
        raise Wrong(f"{given.where} must begin with the absolute path of a program")
    return words


def read_occasions(given: Given) -> tuple[str, ...]:
    """Names of OCCASIONS separated by commas, at least one."""
    names = tuple(name.strip() for name in given.text.split(",") if name.strip())
    unknown = [name for name in names if name not in OCCASIONS]
    if unknown or not names:
        raise given.wrong(f"which names no occasion{meant(unknown[0] if unknown else '', OCCASIONS)}")
    return names


def read_devices(given: Given) -> tuple[str, ...]:
    """Names of GPUs separated by commas, each once; none at all is a box that has none to hand out."""
    names = tuple(name.strip() for name in given.text.split(",") if name.strip())
    if len(set(names)) < len(names):
        raise given.wrong("which names a device twice")
    return names


def meant(name: str, known: Iterable[str]) -> str:
    """What was probably meant by an unknown name, as the end of a sentence."""
    known = list(known)
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
