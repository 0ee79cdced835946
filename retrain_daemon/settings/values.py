"""Single values of the settings: from the text that was written, and where, to what it means, or to what is wrong.

Which settings there are is not known here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

LOG_FORMATS = ("auto", "json", "console")

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")


def hide_credentials(text: str) -> str:
    """Text with what stands before the "@" of a URI, and values of its secret-sounding parameters, replaced by ***."""
    hidden = re.sub(r"(\w://)[^\s'\"]*@", r"\1***@", text)
    return re.sub(r"(?i)([?&][\w-]*(?:pass|pwd|token|secret|key|signature)[\w-]*=)[^&#\s'\"]*", r"\1***", hidden)


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


def meant(name: str, known: Iterable[str]) -> str:
    """What was probably meant by an unknown name, as the end of a sentence."""
    known = list(known)
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
