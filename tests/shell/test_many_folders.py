"""A thousand folders, and more events than the kernel keeps: every file becomes a recorded drop, once."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from tests.fake_box import POLICY, FakeBox

FOLDERS, FILES = 1000, 12
QUEUED = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


def thousand(root: Path) -> FakeBox:
    box = FakeBox(root)
    for number in range(FOLDERS):
        model = f"m{number:03}"
        (root / "drops" / model).mkdir()
        text = POLICY.replace("model: churn", f"model: {model}").replace(">= 1000", ">= 1000000")
        (root / "policies" / f"{model}.yaml").write_text(text.format(folder=root / "drops" / model), "utf-8")
        box.registry.create_version_by_hand(model)
        box.registry.move_alias_by_hand(model, "champion", 1)
    return box


@pytest.mark.slow
def test_no_file_of_a_thousand_folders_is_lost_or_counted_twice_when_events_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert FOLDERS * FILES * 2 > QUEUED, "two events for each file overflow the queue"
    box = thousand(tmp_path)
    with box.life() as daemon:
        daemon.turn()
        events = daemon._to.folders._events
        go_on, held = threading.Event(), threading.Event()
        wake = events._wake

        def hold() -> None:
            held.set()
            go_on.wait(60)

        events._wake = hold
        (box.root / "drops" / "m000" / "0.csv").write_text("x,churned\n0,yes\n")
        assert held.wait(10)
        events._wake = wake
        for number in range(1, FILES):
            for folder in range(FOLDERS):
                path = box.root / "drops" / f"m{folder:03}" / f"{number}.csv"
                path.write_text(f"x,churned\n{number},yes\n")
        go_on.set()
        for _ in range(8):
            daemon.turn()
            box.clock.now += timedelta(seconds=2)
    assert "folder.overflow" in capsys.readouterr().out
    with box.journal() as journal:
        drops = journal.drops.listing(None)
    assert Counter(drop.state for drop in drops) == {"recorded": FOLDERS * (FILES - 1) + 1}
    assert len({drop.path for drop in drops}) == len(drops)
