"""A real headless Chromium for tests, spoken to through a pipe: pages are opened, looked at and photographed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
WITHOUT = "needs a Chromium (Debian's package chromium)"

_OPTIONS = (
    *("--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-sync"),
    *("--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb"),
)


@dataclass
class Page:
    """One open tab. `requests` are the URLs it asked for, `errors` what it wrote to the console or failed at."""

    _to: Any
    _from: Any
    session: str = ""
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _number: int = 0
    _unread: bytes = b""
    _loaded: bool = False

    def open(self, url: str) -> None:
        """Load a page and wait until it has."""
        self._loaded = False
        self.ask("Page.navigate", url=url)
        while not self._loaded:
            self._read()

    def look_as(self, width: int, height: int = 900, *, dark: bool = False, print_it: bool = False) -> None:
        """Be a screen of this size, light or dark, or paper."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                 mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media="print" if print_it else "screen", features=[scheme])

    def value(self, expression: str) -> Any:
        """What an expression gives in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def photograph(self, file: Path, *, whole: bool = True) -> None:
        """A picture of the page, as PNG."""
        taken = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(taken["data"]))

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while (answer := self._read()) is None or answer.get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return dict(answer["result"])

    def _read(self) -> dict[str, Any] | None:
        """The next message; None for an event, which is noted."""
        while b"\0" not in self._unread:
            piece = os.read(self._from.fileno(), 2**20)
            assert piece, "the browser has gone"
            self._unread += piece
        text, _, self._unread = self._unread.partition(b"\0")
        message = dict(json.loads(text))
        if "id" in message:
            return message
        self._note(message.get("method", ""), message.get("params", {}))
        return None

    def _note(self, event: str, said: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        elif event == "Log.entryAdded":
            self.errors.append(said["entry"]["text"])
        elif event == "Runtime.exceptionThrown":
            self.errors.append(str(said["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.errors.append(str(said["args"]))


@contextmanager
def browser() -> Iterator[Page]:
    """A browser with one empty tab, gone at the end with all its processes."""
    told, tell = os.pipe()
    answer, answered = os.pipe()

    def take_up() -> None:
        # The protocol's pipes are descriptors 3 and 4; moved aside first, as they may have these numbers already.
        inward, outward = os.dup(told), os.dup(answered)
        spare = os.dup(inward), os.dup(outward)
        os.dup2(spare[0], 3)
        os.dup2(spare[1], 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen([CHROMIUM, *_OPTIONS, f"--user-data-dir={profile}"], preexec_fn=take_up,
                                   close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
        os.close(told)
        os.close(answered)
        try:
            with os.fdopen(tell, "wb") as to, os.fdopen(answer, "rb") as back:
                yield _first_tab(Page(to, back))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _first_tab(page: Page) -> Page:
    target = page.ask("Target.createTarget", url="about:blank")["targetId"]
    page.session = page.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Network", "Runtime", "Log"):
        page.ask(f"{domain}.enable")
    return page
