"""Credentials of MLflow stores: taken out of their URIs, and handed to workers through the environment.

A job file, a message or a log line holds only bare URIs. The environment of a process can be read by its own user
and root alone, and is gone with it. Shared by daemon and worker.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from urllib.parse import unquote, urlsplit

#: The URIs as they were given, where they hold credentials: ours, for this process and those it starts.
TRACKING, REGISTRY = "RETRAIND_TRACKING_STORE", "RETRAIND_REGISTRY_STORE"
USERNAME, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"

_SECRET_PARAMETER = re.compile(r"(?i)pass|pwd|token|secret|key|signature|sig$")


def bare(uri: str) -> str:
    """The URI without user, password and secret-sounding parameters."""
    scheme = uri.partition("://")[0]
    without = re.sub(r"^([^/]*//)[^/]*@", r"\1", uri)
    if without == uri and not scheme.startswith("http"):
        # The password of a database's URI may hold a slash.
        without = re.sub(r"^([^/]*//)[^/:]*:[^@]*@", r"\1", uri)
    start, mark, query = without.partition("?")
    kept = [part for part in query.split("&") if not _SECRET_PARAMETER.search(part.partition("=")[0])]
    return start + (mark + "&".join(kept) if kept and mark else "")


def lend(tracking_uri: str, registry_uri: str, environment: MutableMapping[str, str]) -> tuple[str, str]:
    """Take credentials out of both URIs into the environment; returns the bare ones.

    User and password of one MLflow server go to MLflow's own variables, so that no URL of a request holds them.
    Others (databases, two servers with different ones) stay with their URI, in a variable of ours.
    """
    environment.pop(TRACKING, None)
    environment.pop(REGISTRY, None)
    parts = urlsplit(tracking_uri) if tracking_uri.startswith(("http://", "https://")) else None
    if parts and tracking_uri == registry_uri and parts.username and parts.password and not parts.query:
        environment[USERNAME], environment[PASSWORD] = unquote(parts.username), unquote(parts.password)
        return bare(tracking_uri), bare(registry_uri)
    for variable, uri in ((TRACKING, tracking_uri), (REGISTRY, registry_uri)):
        if bare(uri) != uri:
            environment[variable] = uri
    return bare(tracking_uri), bare(registry_uri)


def whole(uri: str, variable: str, environment: Mapping[str, str]) -> str:
    """The URI with the credentials that were lent for it under `variable`; as it is where there are none."""
    lent = environment.get(variable, "")
    return lent.rstrip("/") if lent and bare(lent).rstrip("/") == uri.rstrip("/") else uri
