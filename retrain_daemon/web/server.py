"""The HTTP server: one thread that listens, GET and HEAD of two pages, nothing else.

Training matters more than metrics: a port that cannot be had is said and tried again, and never ends the daemon.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from retrain_daemon.log import get_logger
from retrain_daemon.settings import Address

RETRY_SECONDS = 30.0
#: How long a client may take to say what it wants.
_PATIENCE = 5.0

_log = get_logger()


class Pages(Protocol):
    """What is served, from any thread."""

    def health(self) -> tuple[int, bytes]:
        """Status and JSON of /healthz."""

    def metrics(self, accept: str) -> tuple[str, bytes]:
        """Content type and content of /metrics, in a format that is accepted."""


class Web:
    """Serves the pages from the moment it is made until `close`."""

    def __init__(self, address: Address, pages: Callable[[], Pages], retry: float = RETRY_SECONDS) -> None:
        """`pages` is called in the serving thread, so that its imports keep nobody waiting."""
        self._address = address
        self._pages = pages
        self._retry = retry
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._server: _Server | None = None
        if not address.is_loopback:
            _log.warning("web.exposed", address=str(address), reason="others can read /metrics, there is no password")
        self._thread = threading.Thread(target=self._work, name="web", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        with self._lock:
            self._closing.set()
            if self._server is not None:
                self._server.shutdown()
        self._thread.join()

    def _work(self) -> None:
        pages, said = self._pages(), ""
        while not self._closing.is_set():
            try:
                server = _Server(self._address, pages)
            except OSError as error:
                problem = error.strerror or str(error)
                if problem != said:
                    _log.warning("web.unavailable", address=str(self._address), reason=problem)
                said = problem
                self._closing.wait(self._retry)
                continue
            self._serve(server)

    def _serve(self, server: _Server) -> None:
        with server:
            with self._lock:
                if self._closing.is_set():
                    return
                self._server = server
            _log.info("web.listening", address=server.where)
            server.serve_forever()


class _Server(ThreadingHTTPServer):
    """Bound to its address; each request in a thread that ends with the process."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: Address, pages: Pages) -> None:
        self.pages = pages
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        super().__init__((address.host, address.port), _Handler)
        self.where = str(Address(address.host, self.server_address[1]))

    def server_bind(self) -> None:
        """Without the look-up of a host name, which may take long and is not needed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that breaks off is none of our business."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE
    server_version = "retraind"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one of the two pages; HEAD is the same without its content."""
        match self.path.partition("?")[0]:
            case "/healthz":
                status, content = self.server.pages.health()
                self._answer(status, "application/json", content)
            case "/metrics":
                kind, content = self.server.pages.metrics(self.headers.get("Accept", ""))
                self._answer(200, kind, content)
            case _:
                self._answer(404, "text/plain", b"there are /healthz and /metrics\n")

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""
