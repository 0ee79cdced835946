"""`init` by the real command: what it writes passes `check --registry` as it is, and the daemon trains with it."""

from __future__ import annotations

import pytest

from tests import networks
from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers

pytestmark = pytest.mark.slow


def register(box: Box, kind: str) -> tuple[str, ...]:
    """Register `shop` of this kind; returns what must be named for its first policy."""
    if kind == "sklearn":
        box.register()
        return ()
    networks.register(box, "shop", networks.log_torch if kind == "torch" else networks.log_keras)
    return ("--target", "bought", "--classes", "no", "yes")


@pytest.mark.parametrize(("kind", "package"), [("sklearn", "sklearn"), ("torch", "torch"), ("keras", "tensorflow")])
def test_a_first_policy_passes_as_it_is_and_the_daemon_trains_with_it(boxes: Boxes, kind: str, package: str) -> None:
    pytest.importorskip(package)
    box = boxes()
    named = register(box, kind)
    (box.folder / "drops" / "shop").mkdir()
    box.drop("a.csv", buyers(2, 300))
    file = box.folder / "policies" / "shop.yaml"
    words = ("init", "shop", "--data", str(box.folder / "drops" / "shop"), "--output", str(file), *named)
    assert box.run(*words).code == 0
    checked = box.run("check", "--registry")
    assert (checked.code, "problems: 0" in checked.out) == (0, True), checked.out
    again = box.run(*words)
    assert (again.code, "never overwritten" in again.err) == (5, True)
    file.write_text(file.read_text().replace("settle: 30s", "settle: 1s"))
    assert box.run("run", "--once").code == 0
    box.drop("b.csv", buyers(3, 2000))
    assert box.run("run", "--once").code == 0
    [attempt] = box.attempts()
    assert attempt.evidence is not None, attempt


def test_bad_requests_are_refused_in_a_sentence(boxes: Boxes) -> None:
    box = boxes()
    box.register()
    none = box.folder / "nothing"
    for words, code, said in (
        (("init", "shopp"), 4, "no registered model is named shopp"),
        (("init", "shop", "--data", str(none)), 4, "There is no folder"),
        (("init", "shop", "--data", str(box.folder / "retraind.toml")), 5, "is a file"),
        (("init", "shop"), 5, "Name it with --target"),
        (("init", "shop", "--target", "x", "--output", str(none / "p.yaml")), 5, "cannot be written"),
    ):
        ended = box.run(*words)
        assert (ended.code, ended.out) == (code, ""), words
        assert said in ended.err
        assert "Traceback" not in ended.err
