"""A line to an HTTP server on loopback on which, from one moment to the next, requests meet a fault."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

#: What a request may meet instead of an answer. A dead end takes it and stays silent; a drip sends a byte a second.
RESET, DEAD_END, ERROR, DRIP, HALF = "reset", "dead end", "error", "drip", "half an answer"
FAULTS = (RESET, DEAD_END, ERROR, DRIP, HALF)

_HOP = ("connection", "transfer-encoding", "content-length", "keep-alive", "host")
_LONGEST = 90.0


class FaultyLine:
    """Passes requests on to `server`, one a connection. `fault` is what they meet, "" for nothing; with `only` just the
    requests, as "METHOD /path", for which it is true.
    """

    def __init__(self, server: str) -> None:
        self.fault = ""
        self.only: Callable[[str], bool] = lambda _request: True
        self.asked: list[str] = []
        self._server = server.removeprefix("http://")
        self._mended = threading.Event()
        line = self

        class Request(BaseHTTPRequestHandler):
            def _pass(self) -> None:
                line._serve(self)

            # The names are http.server's.
            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _pass  # noqa: N815

            def log_message(self, *_: object) -> None: ...

        self._near = ThreadingHTTPServer(("127.0.0.1", 0), Request)
        self._near.daemon_threads = True

    @property
    def uri(self) -> str:
        """Where to reach the server over this line."""
        return f"http://127.0.0.1:{self._near.server_port}"

    def break_down(self, fault: str, only: Callable[[str], bool] = lambda _request: True) -> None:
        """From now on requests meet this fault."""
        self._mended.clear()
        self.only, self.fault = only, fault

    def mend(self) -> None:
        """From now on requests are passed on; those at a dead end are let go."""
        self.fault = ""
        self._mended.set()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        name = f"{request.command} {request.path.partition('?')[0]}"
        self.asked.append(name)
        fault = self.fault if self.only(name) else ""
        match fault:
            case "reset":
                request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                request.connection.close()
            case "dead end":
                self._mended.wait(_LONGEST)
            case "error":
                request.send_error(500, "the database is locked")
            case _:
                self._forward(request, fault)

    def _forward(self, request: BaseHTTPRequestHandler, fault: str) -> None:
        status, headers, body = self._ask(request)
        try:
            request.send_response(status)
            for key, value in headers:
                request.send_header(key, value)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            if fault == DRIP:
                self._drip(request, body)
            elif request.command != "HEAD":
                request.wfile.write(body[: len(body) // 2] if fault == HALF else body)
        except OSError:
            return  # the other side has given up

    def _drip(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        """So slowly that every wait for a next byte is short and all of them together are very long."""
        for at in range(len(body)):
            request.wfile.write(body[at : at + 1])
            request.wfile.flush()
            if self._mended.wait(1.0):
                request.wfile.write(body[at + 1 :])
                return

    def _ask(self, request: BaseHTTPRequestHandler) -> tuple[int, list[tuple[str, str]], bytes]:
        far = http.client.HTTPConnection(self._server, timeout=60)
        try:
            headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP}
            far.request(request.command, request.path, _body(request), headers)
            answer = far.getresponse()
            kept = [(key, value) for key, value in answer.getheaders() if key.lower() not in _HOP]
            return answer.status, kept, answer.read()
        finally:
            far.close()

    def __enter__(self) -> FaultyLine:
        threading.Thread(target=self._near.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.mend()
        self._near.shutdown()
        self._near.server_close()


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers.get("Transfer-Encoding", "").lower() == "chunked":
        parts = []
        while size := int(request.rfile.readline().split(b";")[0], 16):
            parts.append(request.rfile.read(size))
            request.rfile.readline()
        request.rfile.readline()
        return b"".join(parts)
    return request.rfile.read(int(request.headers.get("Content-Length") or 0))
