"""`retraind data`: what became of every dropped row, found out by a worker; also while a daemon runs."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.composition import clock, journal_to_read, readable_policies, registry_of
from retrain_daemon.cli.one_job import done
from retrain_daemon.cli.output import moment, print_json, print_table
from retrain_daemon.core.policy import DataSpec, Policy, unit_of
from retrain_daemon.errors import NotFound, RegistryUnreachable
from retrain_daemon.executor.limits import Limits
from retrain_daemon.journal import Journal
from retrain_daemon.journal.drops import DropRow
from retrain_daemon.settings import Settings
from retrain_daemon.worker.job import (
    AccountRows,
    DropFile,
    RowsAccounted,
    RowsOfDrop,
    RowsOfVersion,
    Side,
    Source,
    VersionRecord,
    dated,
)

LIMITS = Limits(run_for=timedelta(hours=1), memory=None)
#: Of each version all key files are read: of older ones that no champion continues from, only so many.
_VERSIONS = 10


@dataclass(frozen=True, kw_only=True)
class FileAccount:
    """One file in use, and what became of its rows; None where the file is gone."""

    number: int
    file: str
    arrived_at: datetime
    account: RowsOfDrop | None


@dataclass(frozen=True, kw_only=True)
class VersionAccount:
    """One version, the one it continued from, until when what it learned is not recorded, and its account."""

    champion: bool
    continues: int | None
    unknown_until: datetime | None
    account: RowsOfVersion


@dataclass(frozen=True, kw_only=True)
class DataShown:
    """Everything `retraind data` says. `counted` rows are there once, of `units` different units in the window;
    `bytes_of_drops` and `bytes_of_versions` are what the records of rows and of learned rows take on disk.
    """

    model: str
    champion: int | None
    files: tuple[FileAccount, ...]
    versions: tuple[VersionAccount, ...]
    counted: int
    units: int
    bytes_of_drops: int
    bytes_of_versions: int


def data(arguments: Arguments, settings: Settings) -> int:
    """Print what became of the rows, file by file and version by version, or the rows of one side as csv."""
    model = arguments.model or ""
    journal = journal_to_read(settings)
    row = journal.models.find(model)
    policy = readable_policies(settings.policies, model)[0].get(model)
    if row is None or policy is None:
        names = ", ".join(each.name for each in journal.models.all()) or "none"
        raise NotFound(f"no model {model} with a policy was ever watched.", f"Watched were: {names}.")
    drops = journal.drops.in_use(model)
    with tempfile.TemporaryDirectory(prefix="retraind-data-") as name:
        folder = Path(name)
        (folder / "jobs").mkdir()
        job = _job(journal, settings, policy, row.champion_seen, drops, arguments.side, folder / "rows.csv")
        found = _run(settings, job, folder)
        if arguments.side:
            _print_listing(folder / "rows.csv", drops)
            return 0
    shown = _shown(journal, job, drops, found)
    if arguments.json:
        print_json(shown)
    else:
        _print(shown, policy.data)
    return 0


def _job(
    journal: Journal, settings: Settings, policy: Policy, champion: int | None, drops: Iterable[DropRow], side: Side,
    listing: Path,
) -> AccountRows:  # fmt: skip
    registry = registry_of(settings)
    now = clock()
    unit = unit_of(policy.data)
    records = [_record(journal, policy.model, version, unit) for version in _versions(journal, policy.model, champion)]
    until = next((record.unknown_until for record in records if record.version == champion), None)
    files = (
        DropFile(drop=drop.id, path=drop.path, first_seen=journal.drops.first_seen(drop), fingerprint=drop.fingerprint)
        for drop in drops
        if not drop.missing
    )
    return AccountRows(
        source=Source(
            tracking_uri=registry.tracking_uri, registry_uri=registry.registry_uri, model=policy.model, version=champion
        ),
        data=policy.data,
        drops=tuple(dated(file, until, now) for file in files),
        versions=() if side else tuple(records),
        now=now,
        side=side,
        listing=str(listing),
    )


def _versions(journal: Journal, model: str, champion: int | None) -> list[int]:
    """The champion and all it continued from, then other recorded versions, newest first."""
    chain: list[int] = []
    while champion is not None and champion not in chain:
        chain.append(champion)
        link = journal.models.lineage(model, champion)
        champion = link.continues if link else None
    others = (link.version for link in journal.models.lineages(model) if link.version not in chain)
    return chain + sorted(others, reverse=True)[: max(0, _VERSIONS - len(chain))]


def _record(journal: Journal, model: str, version: int, unit: str) -> VersionRecord:
    barred = journal.barred(model, [version], unit)
    return VersionRecord(
        version=version, learned=barred.learned, unknown_until=barred.unknown_until, early=barred.early
    )


def _run(settings: Settings, job: AccountRows, folder: Path) -> RowsAccounted:
    try:
        found = done(settings, job, LIMITS, folder / "jobs")
    except RegistryUnreachable as error:
        raise RegistryUnreachable(
            f"The model's signature says how its files are read: {error.message}", error.hint
        ) from error
    assert isinstance(found, RowsAccounted)  # what AccountRows answers
    return found


def _print_listing(listing: Path, drops: Iterable[DropRow]) -> None:
    for drop in drops:
        if drop.missing:
            print(f"{Path(drop.path).name} is gone: its {drop.usable:,} rows are not in this list.", file=sys.stderr)
    if listing.exists():
        with listing.open("rb") as stream:
            shutil.copyfileobj(stream, sys.stdout.buffer)
        sys.stdout.flush()


def _shown(journal: Journal, job: AccountRows, drops: Iterable[DropRow], found: RowsAccounted) -> DataShown:
    model, champion = job.source.model, job.source.version
    accounts = {account.drop: account for account in found.drops}
    links = {link.version: link for link in journal.models.lineages(model)}
    return DataShown(
        model=model,
        champion=champion,
        files=tuple(
            FileAccount(number=drop.id, file=drop.path, arrived_at=drop.arrived_at, account=accounts.get(drop.id))
            for drop in drops
        ),
        versions=tuple(
            VersionAccount(
                champion=record.version == champion,
                continues=links[record.version].continues if record.version in links else None,
                unknown_until=record.unknown_until,
                account=account,
            )
            for record, account in zip(job.versions, found.versions, strict=False)
        ),
        counted=sum(account.usable - account.repeated for account in found.drops),
        units=found.units,
        bytes_of_drops=_size(journal.drops.key_files(model)),
        bytes_of_versions=_size({link.learned_file for link in links.values() if link.learned_file}),
    )


def _size(paths: Iterable[str]) -> int:
    return sum(Path(path).stat().st_size for path in paths if os.path.exists(path))  # noqa: PTH110  names of any bytes


def _print(shown: DataShown, spec: DataSpec) -> None:
    learned = f"learned by {shown.champion}" if shown.champion is not None else "learned"
    titles = ("no.", "file", "rows", "usable", "repeated", "corrected", "train", "judge", "outside", learned)
    accounts = [each.account for each in shown.files if each.account]
    total = ("", "all", *_sums(accounts, shown.champion))
    print_table(titles, [*(_file_line(each, shown.champion) for each in shown.files), total])
    print("repeated: come again, further down or in a newer file; corrected: of these, with another label then.")
    print("outside: not in data.window, younger than data.label_delay, or dated more than a day ahead.")
    print(f"{shown.counted:,} rows count once; those in the window have {shown.units:,} {_units(spec)}.")
    if shown.versions:
        print_table(
            ("version", "continues", "learned from", "may judge it", "excluded", "too early", "not recorded until"),
            (_version_line(each) for each in shown.versions),
        )
    usable = sum(account.usable for account in accounts)
    if usable:
        drops, versions = (size / usable for size in (shown.bytes_of_drops, shown.bytes_of_versions))
        print(f"The records take {drops:.1f} bytes a row of the drops, and {versions:.1f} for all versions together.")


def _file_line(each: FileAccount, champion: int | None) -> tuple[str, ...]:
    name = Path(each.file).name
    if each.account is None:
        return (str(each.number), f"{name} (gone)", *["-"] * 8)
    return (str(each.number), name, *_sums([each.account], champion))


def _sums(accounts: list[RowsOfDrop], champion: int | None) -> list[str]:
    names = ("rows", "usable", "repeated", "corrected", "training", "judging", "outside")
    sums = [sum(int(getattr(account, name)) for account in accounts) for name in names]
    by_champion = sum(rows for account in accounts for version, rows in account.learned if version == champion)
    return [*(f"{number:,}" for number in sums), "-" if champion is None else f"{by_champion:,}"]


def _version_line(each: VersionAccount) -> tuple[str, ...]:
    account = each.account
    return (
        f"{account.version}{' (champion)' if each.champion else ''}",
        str(each.continues or "-"),
        *(f"{number:,}" for number in (account.learned, account.judging, account.excluded, account.too_early)),
        _until(each.unknown_until),
    )


def _until(when: datetime | None) -> str:
    return "for ever" if when is not None and when.year >= 2200 else moment(when)


def _units(spec: DataSpec) -> str:
    return f"different groups by {spec.group}" if spec.group else "different rows of features"
