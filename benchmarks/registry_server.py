"""A stand-in for an MLflow server: every model has a champion, version 1, and nothing ever changes. It counts requests.

Run as a process of its own, so that its costs are not the daemon's: `python registry_server.py PORT`. `/count` says how
often models were searched for.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

MADE = 1_700_000_000_000
_asked: Counter[str] = Counter()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        words = {name: values[0] for name, values in parse_qs(asked.query).items()}
        verb = asked.path.removeprefix("/api/2.0/mlflow/")
        _asked[verb] += 1
        body = json.dumps(_answer(verb, words)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


def _answer(verb: str, words: dict[str, str]) -> object:
    if verb == "registered-models/search":
        listed = re.search(r"IN (\(.*\))", words["filter"])
        names = ast.literal_eval(listed[1].replace(")", ",)")) if listed else ()
        return {"registered_models": [_model(name) for name in names]}
    if verb == "model-versions/get":
        return {"model_version": _version(words["name"])}
    return {"searches": _asked["registered-models/search"]}


def _model(name: str) -> object:
    aliases = [{"alias": "champion", "version": "1"}]
    times = {"creation_timestamp": MADE, "last_updated_timestamp": MADE}
    return {"name": name, **times, "aliases": aliases, "latest_versions": [_version(name)]}


def _version(name: str) -> object:
    return {
        "name": name,
        "version": "1",
        "creation_timestamp": MADE,
        "last_updated_timestamp": MADE,
        "current_stage": "None",
        "source": "models:/m-0123456789abcdef0123456789abcdef",
        "run_id": "0123456789abcdef0123456789abcdef",
        "status": "READY",
    }


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()
