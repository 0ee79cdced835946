"""Secrets: planted wherever they come from, used, and then looked for in everything that was written or answered."""

from __future__ import annotations

import base64
import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.box import Box, buyers
from tests.gate import Gate
from tests.mlflow_server import free_port, running_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

USER = "robot-user-q7"
PASSWORD = "Gate+Pass/w0rd&x"

#: Environment variables of the daemon that hold a secret each.
VARIABLES = {
    "MLFLOW_TRACKING_TOKEN": "tok-Planted-5511aa",
    "AWS_SECRET_ACCESS_KEY": "aws-Planted/6622bb",
    "AZURE_STORAGE_CONNECTION_STRING": "AccountName=acc;AccountKey=azure-Planted-7733cc==;EndpointSuffix=x",
    "HTTPS_PROXY": "http://proxyman:proxy-Planted-8844dd@127.0.0.1:9",
}
PLANTED = (
    PASSWORD, "tok-Planted-5511aa", "aws-Planted/6622bb", "azure-Planted-7733cc", "proxy-Planted-8844dd",
    "param-Planted-9955ee", "argv-Planted-1166ff", "policy-Planted-2277gg",
)  # fmt: skip

EVERYTHING = (("status",), ("history",), ("plan",), ("inspect", "shop"), ("check",), ("drop", "list"))

# A team's own training that lets slip what it knows, in every way it can.
LEAKING = """
import os, sys

def fit(champion, lesson):
    for name, value in os.environ.items():
        print(name, value)
        print(name, value, file=sys.stderr)
    sys.stdout.flush()
    known = " ".join(os.environ.get(name, "") for name in {names})
    raise OSError(f"no connection to https://me:param-Planted-9955ee@db/x?token=param-Planted-9955ee: {{known}}")
"""
TELL = 'cat > "$0.told"; echo "cannot reach $1"; exit 3'


def forms(secret: str) -> set[bytes]:
    """A secret as it may be written."""
    plain = {secret, quote(secret), quote(secret, safe="")}
    encoded = {base64.b64encode(f"{USER}:{secret}".encode()).decode(), base64.b64encode(secret.encode()).decode()}
    return {form.encode() for form in plain | encoded}


FORMS = {form: secret for secret in PLANTED for form in forms(secret)}


@dataclass
class Written:
    """Everything that was written, by where it was found; only what holds a secret is kept."""

    found: dict[str, set[str]] = field(default_factory=dict)
    looked_at: set[str] = field(default_factory=set)

    def look(self, where: str, content: bytes) -> None:
        self.looked_at.add(where)
        for form, secret in FORMS.items():
            if form in content:
                self.found.setdefault(where, set()).add(secret)

    def look_into(self, folder: Path, apart_from: frozenset[str] = frozenset()) -> None:
        """Job folders come and go meanwhile."""
        for root, _, names in os.walk(folder):
            for path in (Path(root, name) for name in names if name not in apart_from):
                with suppress(OSError):
                    self.look(str(path.relative_to(folder.parent)), path.read_bytes())

    @contextmanager
    def watching(self, folder: Path) -> Iterator[None]:
        """Job folders are gone once their result was taken, so they are looked into all the time."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.05):
                self.look_into(folder)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


class GuardedBox(Box):
    """A box whose daemon reaches its MLflow through a gate; people go to the server itself."""

    extra: dict[str, str] = {}  # noqa: RUF012

    def environment(self) -> dict[str, str]:
        return super().environment() | VARIABLES | self.extra


@pytest.fixture(scope="module", params=["in the URI", "in the environment"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Box, Written]]:
    """A promotion, a training that crashes, an MLflow that fails, a wrong policy, and every command that reads."""
    folder, server_folder = tmp_path_factory.mktemp("guarded"), tmp_path_factory.mktemp("server")
    written = Written()
    with running_server(server_folder) as server, Gate(server, USER, PASSWORD) as gate:
        box = GuardedBox(folder, server)
        try:
            play(box, gate, written, in_uri=request.param == "in the URI")
            box.ask_to_end()
        finally:
            box.close()
        written.look_into(folder, frozenset({"retraind.toml", "leaking.py", "wrong.yaml"}))
        written.look_into(server_folder)
        yield box, written


def play(box: GuardedBox, gate: Gate, written: Written, *, in_uri: bool) -> None:
    box.register()
    box.register("leaky")
    settings = box.folder / "retraind.toml"
    userinfo = f"{USER}:{quote(PASSWORD, safe='')}@" if in_uri else ""
    box.extra = {} if in_uri else {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
    port = free_port()
    words = ["/bin/sh", "-c", TELL, str(box.folder / "tell"), "argv-Planted-1166ff"]
    settings.write_text(
        settings.read_text()
        .replace(box.uri, f"http://{userinfo}{gate.address}")
        .replace('"off"', f'"127.0.0.1:{port}"')
        + f'\n[notify]\ncommand = {words}\non = ["promoted", "abandoned"]\n'
    )
    box.policy()
    box.policy("leaky", ("  mode: refit\n", '  mode: refit\n  with: "leaking:fit"\n  retries: 0\n'))
    (box.folder / "policies" / "leaking.py").write_text(LEAKING.format(names=[*VARIABLES, "MLFLOW_TRACKING_PASSWORD"]))
    with written.watching(box.state / "jobs"):
        box.start()
        box.drop("monday.csv", buyers(2))
        box.drop("monday.csv", buyers(3), "leaky")
        assert box.ended(patience=150).state == "promoted"
        assert box.ended(model="leaky", patience=150).state == "abandoned"
        box.until(lambda: len(box.events("notify.failed")) >= 2)
        ask(box, written, *EVERYTHING, *(("show", box.attempts(model)[0].id) for model in ("shop", "leaky")))
        read(written, port)
        gate.broken = True
        box.until(lambda: box.events("registry.unreachable"))
        read(written, port)
        ask(box, written, ("plan",), ("inspect", "shop"))
        secret = "http://me:policy-Planted-2277gg@db/x"
        box.policy("wrong", ("model: wrong", f"# from {secret}\nmodel: wrong\ndescription: {secret}"))
        box.until(lambda: box.events("policy.problem"))
        ask(box, written, ("check",))


def ask(box: Box, written: Written, *verbs: tuple[str, ...]) -> None:
    """Commands that read, for people and for programs."""
    for verb in verbs:
        for words in (verb, (*verb, "--json")):
            ended = box.run(*words)
            assert ended.out + ended.err
            written.look(" ".join(words), (ended.out + ended.err).encode())


def read(written: Written, port: int) -> None:
    """What the daemon answers over HTTP."""
    for page in ("metrics", "healthz"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=10) as answer:
            written.look(page, answer.read())


def test_no_secret_is_in_anything_that_was_written_or_answered(told: tuple[Box, Written]) -> None:
    box, written = told
    assert written.found == {}
    looked_at = " ".join(written.looked_at)
    for name in ("job.json", "worker.log", "result.json", "process.json", "journal.db", "daemon.log", "MLmodel",
                 "mlflow.db", "environment.json", "policy.yaml", "tell.told", "metrics", "show"):  # fmt: skip
        assert name in looked_at
    assert box.tail()


def test_what_a_team_s_code_let_slip_is_told_without_the_secrets(told: tuple[Box, Written]) -> None:
    box, _ = told
    assert "no connection to https://***@db/x?token=***" in box.attempts("leaky")[0].reason


def test_a_policy_that_holds_a_password_is_refused_with_its_line(told: tuple[Box, Written]) -> None:
    box, _ = told
    lines = [line["line"] for line in box.events("policy.problem")]
    assert lines == [1, 3]
