"""`promote.register: all`: every challenger that was judged becomes a version, also one that lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrain_daemon.core.attempts import State
from retrain_daemon.core.evidence import Evidence
from retrain_daemon.labels import ATTEMPT_TAG, REPLACES_TAG, VERDICT_TAG
from tests.fake_box import MODEL, FakeBox
from tests.made import CHAMPION, a_metric, some_evidence

OURS = CHAMPION + 1
WORSE = some_evidence(a_metric(-0.03, -0.02, -0.01))
UNCLEAR = some_evidence(a_metric(-0.01, 0.01, 0.03))


def lived(root: Path, evidence: Evidence, *, register_all: bool) -> FakeBox:
    box = FakeBox(root, evidence=evidence)
    if register_all:
        box.edit_policy("promote:\n", "promote:\n  register: all\n")
    box.record_champion()
    box.drop()
    box.live()
    return box


@pytest.mark.parametrize(
    ("evidence", "state", "verdict"),
    [(WORSE, State.REJECTED, "reject"), (UNCLEAR, State.INCONCLUSIVE, "inconclusive")],
)
def test_a_challenger_that_does_not_win_is_a_version_with_its_verdict_and_no_alias(
    tmp_path: Path, evidence: Evidence, state: State, verdict: str
) -> None:
    box = lived(tmp_path, evidence, register_all=True)
    (attempt,) = box.attempts()
    assert (attempt.state, attempt.version) == (state, OURS)
    tags = box.registry.version(MODEL, OURS).tags
    assert (tags[VERDICT_TAG], tags[ATTEMPT_TAG]) == (verdict, attempt.id)
    assert REPLACES_TAG not in tags
    assert box.aliases() == {"champion": CHAMPION}


def test_otherwise_one_that_does_not_win_is_none(tmp_path: Path) -> None:
    box = lived(tmp_path, WORSE, register_all=False)
    assert [attempt.version for attempt in box.attempts()] == [None]
    assert len(box.registry.every_version(MODEL)) == CHAMPION
