"""`retraind drop list`: every dropped file, what became of it, and what to do about one that is not used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.composition import journal_to_read
from retrain_daemon.cli.output import moment, print_json, print_table
from retrain_daemon.cli.reading import watched
from retrain_daemon.journal.drift import DropDistance
from retrain_daemon.journal.drops import DropRow
from retrain_daemon.settings import Settings


@dataclass(frozen=True, kw_only=True)
class DropShown(DropRow):
    """One revision of one file, and what to do about it: "" where nothing is. `drift` is how far it was from what was
    learned when it was new, in the column that was farthest; None where it was not measured.
    """

    what_to_do: str
    drift: float | None
    drift_column: str


def drops(arguments: Arguments, settings: Settings) -> int:
    """Print every dropped file and what became of it, or only those that wait for a person."""
    journal = journal_to_read(settings)
    listed = journal.drops.listing(watched(journal, arguments.model))
    names = Counter(Path(drop.path).name for drop in journal.drops.listing(None) if drop.current)
    distances = journal.drift.of_drops(arguments.model)
    shown = [_shown(drop, names, distances.get(drop.id)) for drop in listed]
    if arguments.quarantined:
        shown = [drop for drop in shown if drop.current and drop.state == "quarantined"]
    if arguments.json:
        print_json(shown)
    else:
        _print(shown)
    return 0


def _print(shown: Sequence[DropShown]) -> None:
    print_table(
        ("no.", "model", "file", "state", "rows", "new", "corrected", "arrived", "why, and what to do"),
        (
            (
                str(drop.id),
                drop.model,
                Path(drop.path).name,
                "missing" if drop.missing else drop.state,
                f"{drop.rows:,}",
                f"{drop.new:,}",
                f"{drop.corrected:,}",
                moment(drop.arrived_at),
                _why(drop),
            )
            for drop in shown
        ),
    )


def _why(drop: DropShown) -> str:
    """What is known of the file, as sentences."""
    said = ["it is gone:" if drop.missing else drop.reason, drop.what_to_do]
    if drop.released_at is not None:
        said.append(f"Released by {drop.released_by}: {drop.released_why}.")
    return " ".join(part for part in (*said, *drop.notes) if part)


def _shown(drop: DropRow, names: Counter[str], distance: DropDistance | None) -> DropShown:
    return DropShown(
        **vars(drop),
        what_to_do=_what_to_do(drop, names),
        drift=distance.value if distance else None,
        drift_column=distance.worst if distance else "",
    )


def _what_to_do(drop: DropRow, names: Counter[str]) -> str:
    name = Path(drop.path).name
    named = quote(name) if names[name] == 1 and name.isprintable() else str(drop.id)
    if drop.missing:
        meanwhile = "; its rows do not count meanwhile" if drop.skipped else ""
        return f"put it back, or `retraind drop retract {named} --why TEXT`{meanwhile}"
    if drop.state != "quarantined" or not drop.current:
        return drop.hint
    if drop.suspect and "drop release" not in drop.hint:
        return f"{drop.hint} If it is right as it is: `retraind drop release {named} --why TEXT`".strip()
    return drop.hint or "Drop a corrected file under the same name, or remove it."
