"""A gate before an MLflow server on loopback: only who knows user and password passes; it can also answer 500."""

from __future__ import annotations

import base64
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

_NOT_PASSED_ON = {"transfer-encoding", "connection", "content-encoding", "content-length"}


class Gate:
    """Passes requests on to `server`. While `broken`, each is answered with status 500; `passed` counts the others."""

    def __init__(self, server: str, user: str, password: str) -> None:
        self.broken = False
        self.passed = 0
        wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        target = urlsplit(server).netloc
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def do_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Authorization") != wanted:
                    self.send_error(401)
                elif gate.broken:
                    self.send_error(500)
                else:
                    gate.passed += 1
                    self.pass_on(body)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_any  # noqa: N815

            def pass_on(self, body: bytes) -> None:
                kept = {name: value for name, value in self.headers.items() if name not in ("Host", "Authorization")}
                line = http.client.HTTPConnection(target, timeout=60)
                line.request(self.command, self.path, body, kept | {"Host": target, "Accept-Encoding": "identity"})
                answer = line.getresponse()
                content = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _NOT_PASSED_ON:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                line.close()

            def log_message(self, *_: object) -> None:
                """A test prints nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Gate:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
