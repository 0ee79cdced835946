"""The files of a test's world: how each came to count, and the sums of rows over them as the journal would have them.

Nothing here decides, and nothing is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from retrain_daemon.core.policy import DataSpec, MissingFiles
from retrain_daemon.core.timeline.given import File

#: The name under which a test that does not name its columns tells how far rows are.
ANY_COLUMN = "(any column)"


class Stands(StrEnum):
    """How a file stands."""

    SETTLING = "settling"  #: not complete yet
    FOUND = "found"  #: complete, and not inspected yet
    RECORDED = "recorded"
    QUARANTINED = "quarantined"
    DUPLICATE = "duplicate"
    RETRACTED = "retracted"


@dataclass
class Lying:
    """A file in the drop folder. `judged`: an attempt that came to a verdict had it."""

    number: int
    given: File
    arrived: datetime
    complete_at: datetime
    final_at: datetime
    training: int
    judging: int
    stands: Stands = Stands.SETTLING
    gone: bool = False
    judged: bool = False

    @property
    def new(self) -> int:
        """Rows that came in no file before."""
        return self.given.new

    @property
    def counts(self) -> bool:
        """Whether it is recorded, and not retracted since."""
        return self.stands is Stands.RECORDED


@dataclass(frozen=True)
class Cut:
    """What a version and all it continues from learned: the files of these attempts, and of rows that came until
    `unknown_until` nobody knows.
    """

    files: frozenset[int] = frozenset()
    unknown_until: datetime | None = None

    def may_judge(self, file: Lying) -> bool:
        """Whether rows of a file may judge the version."""
        return self.unknown_until is None or file.arrived > self.unknown_until

    def joined(self, other: Cut) -> Cut:
        """What either of two versions learned."""
        unknown = [each.unknown_until for each in (self, other) if each.unknown_until is not None]
        return Cut(self.files | other.files, max(unknown, default=None))


@dataclass
class Sums:
    """Rows over the files that count, as `journal.row_counts` sums them."""

    new: int = 0
    since_last: int = 0
    unlearned: int = 0
    judging: int = 0
    judging_since: int = 0
    usable: int = 0
    waiting_since: datetime | None = None

    def add(self, file: Lying, cut: Cut, last: frozenset[int]) -> None:
        """Count one more file. `last` are those of the last attempt that was to train."""
        self.usable += file.given.rows > 0
        if not file.judged and file.new:
            self.new += file.new
            self.since_last += file.new if file.number not in last else 0
            self.waiting_since = min(self.waiting_since or file.arrived, file.arrived)
        if cut.may_judge(file):
            self.judging += file.judging
            self.judging_since += min(file.judging, file.new) if file.number not in last else 0
            self.unlearned += file.training if file.number not in cut.files else 0


class Files:
    """All files of a world, by number in the order in which they began to arrive."""

    def __init__(self, data: DataSpec, adopted_at: datetime) -> None:
        self._data = data
        self._adopted_at = adopted_at
        self.all: list[Lying] = []
        self._by_name: dict[str, Lying] = {}
        self._coming: list[Lying] = []
        self._young: list[Lying] = []
        self._aside: list[Lying] = []
        self._gone: list[Lying] = []
        self._sums: dict[tuple[Cut, frozenset[int]], Sums] = {}

    def arrive(self, given: File, at: datetime) -> Lying:
        """A file begins to arrive; returns it."""
        arrived = self._adopted_at if given.history else at + given.grows_for
        waits = bool(given.grows_for) and not self._data.complete.marker
        settle = (self._data.complete.settle if waits else None) or timedelta(0)
        share = self._data.holdout.share
        judging = given.judging if given.judging is not None else round(given.rows * (1.0 if share is None else share))
        file = Lying(
            number=len(self.all),
            given=given,
            arrived=arrived,
            complete_at=at + given.grows_for + settle,
            final_at=arrived - given.age + self._data.label_delay if self._data.label_delay else arrived,
            training=given.rows - judging if share is not None else given.rows,
            judging=judging,
        )
        self.all.append(file)
        self._by_name[given.name] = file
        self._coming.append(file)
        return file

    def named(self, name: str) -> Lying:
        """The newest file of this name."""
        return self._by_name[name]

    def settle(self, now: datetime) -> None:
        """Files that are complete by now are found."""
        for file in self._coming:
            if file.stands is Stands.SETTLING and file.complete_at <= now:
                file.stands = Stands.FOUND

    def inspect(self, now: datetime) -> list[Lying]:
        """Take in what was found; returns those files."""
        taken = [file for file in self._coming if file.stands is Stands.FOUND]
        if taken:
            self._coming = [file for file in self._coming if file.stands is Stands.SETTLING]
        for file in taken:
            file.stands = self._inspected(file)
            if file.stands is Stands.QUARANTINED:
                self._aside.append(file)
            if file.stands is Stands.DUPLICATE and self.named(file.given.same_as).gone:
                self.go(file.given.same_as, gone=False)  # it is back, under another name
            self._count_in(file, now)
        return taken

    def _inspected(self, file: Lying) -> Stands:
        same = self._by_name.get(file.given.same_as)
        if same is not None:
            return Stands.QUARANTINED if same.stands in (Stands.RETRACTED, Stands.QUARANTINED) else Stands.DUPLICATE
        return Stands.QUARANTINED if file.given.broken else Stands.RECORDED

    def _count_in(self, file: Lying, now: datetime) -> None:
        """One more file may count."""
        if file.stands is not Stands.RECORDED:
            return
        if file.final_at > now:
            self._young.append(file)
            return
        for (cut, last), sums in self._sums.items():
            sums.add(file, cut, last)

    def retract(self, name: str) -> Lying:
        """A person takes a file out."""
        file = self.named(name)
        file.stands = Stands.RETRACTED
        self.recount()
        return file

    def release(self, name: str, now: datetime) -> None:
        """A person lets a file in that is set aside."""
        file = self.named(name)
        if file.stands is Stands.QUARANTINED:
            file.stands = Stands.RECORDED
            self._count_in(file, now)

    def go(self, name: str, *, gone: bool) -> None:
        """A file is gone from the folder, or back."""
        file = self.named(name)
        file.gone = gone
        self._gone = [*(each for each in self._gone if each is not file), *([file] if gone else [])]
        self.recount()

    def recount(self) -> None:
        """What counts is not what it was."""
        self._sums.clear()

    def sums(self, cut: Cut, last: frozenset[int], now: datetime) -> Sums:
        """Rows over the files that count now, of a version that learned `cut`; `last` are the files of an attempt."""
        if any(file.final_at <= now for file in self._young):
            final = [file for file in self._young if file.final_at <= now]
            self._young = [file for file in self._young if file.final_at > now]
            for file in final:
                self._count_in(file, now)
        found = self._sums.get((cut, last))
        if found is None:
            found = Sums()
            for file in self.in_use(now):
                found.add(file, cut, last)
            self._sums[cut, last] = found
        return found

    def in_use(self, now: datetime) -> Iterator[Lying]:
        """Files that count now: recorded, there or waited for, with labels that are final."""
        skips = self._data.missing is MissingFiles.SKIP
        for file in self.all:
            if file.stands is Stands.RECORDED and file.final_at <= now and not (file.gone and skips):
                yield file

    def to_use(self, now: datetime) -> frozenset[int]:
        """What an attempt that begins now has."""
        return frozenset(file.number for file in self.in_use(now) if not file.gone)

    def numbered(self, numbers: Iterable[int]) -> list[Lying]:
        """Files by their numbers."""
        return [self.all[number] for number in numbers]

    @property
    def young(self) -> list[Lying]:
        """Recorded files whose labels are not final."""
        return [file for file in self._young if file.stands is Stands.RECORDED]

    @property
    def quarantined(self) -> int:
        """How many are set aside."""
        return sum(file.stands is Stands.QUARANTINED for file in self._aside)

    @property
    def uninspected(self) -> int:
        """How many are complete and not looked into."""
        return sum(file.stands is Stands.FOUND for file in self._coming)

    @property
    def gone(self) -> tuple[Lying, ...]:
        """Recorded files that are not there."""
        return tuple(file for file in self._gone if file.stands is Stands.RECORDED)
