"""Asking a server for a thousand models: how often, and what its answers mean. The server is a stand-in that counts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from retrain_daemon.errors import Refused, RegistryUnreachable
from retrain_daemon.registry import MlflowRegistry

NAMES = [f"m{number:04}" for number in range(1000)]


class Server(ThreadingHTTPServer):
    """Answers searches for registered models as MLflow does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.champions = dict.fromkeys(NAMES, "1")
        self.status, self.body = 200, b""

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = self.server.body or json.dumps(self._page()).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return

    def _page(self) -> dict[str, object]:
        asked = parse_qs(urlsplit(self.path).query)
        begin, most = int(asked.get("page_token", ["0"])[0]), int(asked["max_results"][0])
        found = self._found(asked["filter"][0])
        more = {"next_page_token": str(begin + most)} if len(found) > begin + most else {}
        return {"registered_models": found[begin : begin + most], **more}

    def _found(self, wanted: str) -> list[dict[str, object]]:
        begin, like, end = wanted.removeprefix("name LIKE '").removesuffix("'").partition("%")
        return [
            {
                "name": name,
                "creation_timestamp": 1_700_000_000_000,
                "aliases": [{"alias": "champion", "version": version}],
                "tags": [{"key": "team", "value": "crm"}, {"key": "empty"}],
            }
            for name, version in self.server.champions.items()
            if (name.startswith(begin) and name.endswith(end) if like else f"'{name}'" in wanted)
        ]


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_a_thousand_models_are_asked_for_in_one_request(server: Server) -> None:
    found = MlflowRegistry(server.uri).models(NAMES)
    assert len(server.asked) == 1
    assert list(found) == NAMES
    assert found["m0007"].aliases == {"champion": 1}
    assert found["m0007"].tags == {"team": "crm", "empty": ""}


def test_names_too_long_for_one_request_line_are_asked_for_in_several(server: Server) -> None:
    long = [f"{'n' * 60}-{number}" for number in range(1000)]
    server.champions = dict.fromkeys(long, "2")
    assert len(MlflowRegistry(server.uri).models(long)) == 1000
    assert len(server.asked) == 3


def test_a_move_of_one_alias_is_seen_at_the_next_poll(server: Server) -> None:
    registry = MlflowRegistry(server.uri)
    before = registry.models(NAMES)
    assert registry.models(NAMES) == before
    server.champions["m0500"] = "2"
    after = registry.models(NAMES)
    assert [name for name in NAMES if after[name] != before[name]] == ["m0500"]
    assert after["m0500"].aliases == {"champion": 2}
    assert len(server.asked) == 3


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"registered_models": [{}]}', b"OK"])
def test_an_answer_that_is_none_of_mlflow_is_no_answer(server: Server, body: bytes) -> None:
    server.body = body
    with pytest.raises(RegistryUnreachable, match="not one of MLflow"):
        MlflowRegistry(server.uri).models(NAMES)


def test_no_model_found_is_an_answer(server: Server) -> None:
    server.body = b"{}"
    assert MlflowRegistry(server.uri).models(NAMES) == {}


def test_a_refusal_of_the_server_is_told_in_its_words(server: Server) -> None:
    server.status = 400
    server.body = b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "no such column"}'
    with pytest.raises(Refused, match="no such column"):
        MlflowRegistry(server.uri).models(NAMES)


def test_a_thousand_models_of_a_pattern_are_one_request_and_more_come_page_by_page(server: Server) -> None:
    registry = MlflowRegistry(server.uri)
    assert list(registry.matching(["m*"])) == NAMES
    assert len(server.asked) == 1
    server.champions |= {f"n{number}": "3" for number in range(1001)}
    assert len(registry.matching(["n*"])) == 1001
    assert len(server.asked) == 3
    assert set(registry.matching(["m*", "m00*", "*0", "n1?"])) == {
        *NAMES, *(name for name in server.champions if name.endswith("0")), *(f"n1{digit}" for digit in range(10)),
    }  # fmt: skip


def test_one_pattern_within_another_is_not_asked_for(server: Server) -> None:
    MlflowRegistry(server.uri).matching(["m*", "m1*", "m*7", "m*5*7"])
    assert len(server.asked) == 1


def test_very_many_patterns_are_one_list_of_everything(server: Server) -> None:
    found = MlflowRegistry(server.uri).matching([f"m{number:03}*" for number in range(90)])
    assert list(found) == NAMES[:900]
    assert len(server.asked) == 1


def test_a_list_whose_pages_go_round_in_a_circle_is_no_answer(server: Server) -> None:
    server.body = b'{"next_page_token": "again"}'
    with pytest.raises(RegistryUnreachable, match="circle"):
        MlflowRegistry(server.uri).matching(["m*"])
