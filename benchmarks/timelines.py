"""What `retraind test` costs: a year of daily files on a timeline, by each example policy, in seconds of CPU."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import process_time

from retrain_daemon.core.timeline.given import File, Given, Setting
from retrain_daemon.core.timeline.playing import play
from retrain_daemon.policies import read_policies

START = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
BUDGET = 1.0


def main() -> None:
    print("a year of daily files on a timeline, best of three")
    for policy in read_policies(Path(__file__).parents[1] / "policies").policies:
        files = [
            Given(START + timedelta(days=day), File(name=str(day), rows=1000, new=1000, scores={"mae": 30, "rmse": 50}))
            for day in range(365)
        ]
        seconds, timeline = [], None
        for _ in range(3):
            begin = process_time()
            timeline = play(policy, Setting(), files, [], START, START + YEAR)
            seconds.append(process_time() - begin)
        assert timeline is not None
        verdict = "within" if min(seconds) <= BUDGET else "OVER"
        print(f"{policy.model:16} {len(timeline.starts):4} attempts  {min(seconds):5.2f} CPU s, {verdict} {BUDGET:g}")


if __name__ == "__main__":
    main()
