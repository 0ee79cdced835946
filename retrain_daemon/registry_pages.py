"""Search answers of an MLflow server, read again only when the server answers other bytes than the last time.

MLflow's own client makes entities of a thousand models at each poll, which costs forty times the request. The request
is MLflow's all the same: its credentials, certificates, time-outs and retries. What an answer means is `registry.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar
from urllib.parse import quote, urlencode

from retrain_daemon.filters import NAMES_AT_ONCE

Page = TypeVar("Page")

_ENDPOINT = "/api/2.0/mlflow/registered-models/search"
#: So many different questions are remembered: pages of a poll, and questions for single models between polls.
_KEPT = 64


class Pages(Generic[Page]):
    """What the server at `uri` answers to searches for registered models; `read` makes a page of an answer."""

    def __init__(self, uri: str, read: Callable[[bytes], Page]) -> None:
        self._uri = uri
        self._read = read
        self._kept: dict[tuple[str, str], tuple[bytes, Page]] = {}

    def search(self, wanted: str, token: str = "") -> Page:
        """The page for a filter, by one request; `token` is what the page before it gave. Raises what MLflow and its
        HTTP client raise, ValueError for an answer that is none of MLflow.
        """
        answer = _ask(self._uri, wanted, token)
        kept = self._kept.get((wanted, token))
        if kept is not None and kept[0] == answer:
            return kept[1]
        page = self._read(answer)
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        self._kept[wanted, token] = (answer, page)
        return page


def is_served(uri: str) -> bool:
    """Whether a registry URI names an MLflow server."""
    return uri.startswith(("http://", "https://"))


def _ask(uri: str, wanted: str, token: str) -> bytes:
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request, verify_rest_response

    # A query may hold quotes, brackets and commas as they are; each that is escaped costs, at every layer below.
    asked = {"filter": wanted, "max_results": NAMES_AT_ONCE, **({"page_token": token} if token else {})}
    question = urlencode(asked, safe="'(),", quote_via=quote)
    credentials = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
    response = http_request(credentials, _ENDPOINT, "GET", params=question)  # type: ignore[no-untyped-call]
    if response.status_code != 200:
        verify_rest_response(response, _ENDPOINT)  # raises what MLflow's client would
    answer: bytes = response.content
    return answer
