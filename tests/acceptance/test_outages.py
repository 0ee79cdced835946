"""MLflow behind a line that breaks in every way: the daemon stays up, says so, and nothing is lost or done twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers
from tests.faulty_line import DEAD_END, ERROR, FAULTS, HALF, RESET, FaultyLine
from tests.mlflow_server import running_server

pytestmark = pytest.mark.slow

SLOW_TRAINING = """
import pathlib, time

HERE = pathlib.Path(__file__).parent


def fit(champion, lesson):
    with (HERE / "trained").open("a") as stream:
        stream.write("once more\\n")
    while not (HERE / "go").exists():
        time.sleep(0.05)
    return champion.fit(lesson.frame(), lesson.target)
"""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyLine]:
    with running_server(tmp_path_factory.mktemp("server")) as server, FaultyLine(server) as line:
        yield line


@pytest.fixture(scope="module")
def box(boxes: Boxes, line: FaultyLine) -> Box:
    """A daemon with one model that never has rows enough."""
    box = boxes(line.uri)
    box.register()
    box.policy(rows=10**6)
    box.start()
    return box


@pytest.fixture(autouse=True)
def mended(line: FaultyLine) -> Iterator[None]:
    yield
    line.mend()


@pytest.mark.parametrize("fault", FAULTS)
def test_while_mlflow_is_away_files_are_found_and_status_answers_and_its_return_is_told(
    box: Box, line: FaultyLine, fault: str
) -> None:
    name = f"{fault.replace(' ', '-')}.csv"
    lost, back = len(box.events("registry.unreachable")), len(box.events("registry.recovered"))
    line.break_down(fault)
    box.until(lambda: len(box.events("registry.unreachable")) > lost)
    box.drop(name, buyers(FAULTS.index(fault) + 2, 100))
    box.until(lambda: name in box.drops())
    said = box.run("status", "--json")
    assert said.code == 0
    assert "did not answer" in said.out
    line.mend()
    box.until(lambda: len(box.events("registry.recovered")) > back)
    assert box.recorded(name).state == "recorded"
    assert box.events("registry.recovered")[-1]["seconds"] > 0
    assert box.events("model.trouble") == []


def storing(request: str) -> bool:
    """A request that a training makes when it is over."""
    return "runs/create" in request or "mlflow-artifacts" in request or "logged-models" in request


@pytest.mark.parametrize(("fault", "everything"), [(RESET, True), (DEAD_END, True), (ERROR, False), (HALF, False)])
def test_what_was_trained_while_mlflow_went_away_is_stored_and_promoted_once_and_not_trained_again(
    boxes: Boxes, line: FaultyLine, tmp_path: Path, fault: str, everything: bool
) -> None:
    model = fault.replace(" ", "-")
    box = boxes(line.uri)
    box.hurry()
    box.register(model)
    box.policy(model, ("mode: refit", "with: our_slow_training:fit"))
    own = box.folder / "policies"
    (own / "our_slow_training.py").write_text(SLOW_TRAINING)
    box.start()
    box.drop("monday.csv", buyers(2), model)
    box.until(lambda: (own / "trained").exists())
    line.break_down(fault, (lambda _request: True) if everything else storing)
    (own / "go").touch()
    box.until(lambda: any("waits on disk" in line["reason"] for line in box.events("attempt.failed")))
    time.sleep(3.0)
    line.mend()
    attempt = box.ended(1, model)
    assert (attempt.state, attempt.failures) == ("promoted", 0)
    assert (own / "trained").read_text().count("once more") == 1
    assert box.versions(model) == [1, 2]
    assert box.aliases(model) == {"champion": 2, "previous_champion": 1}
    assert [path.name for path in (box.state / "kept").iterdir()] == []
    box.close()
