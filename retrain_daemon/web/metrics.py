"""/metrics: the published snapshot as Prometheus metrics.

A registry of its own, so that nothing is exported that is not in the table of docs/operations.md. The library is
imported only where a port is opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from retrain_daemon import __version__
from retrain_daemon.notify import Tally
from retrain_daemon.standing import TURN_BOUNDS, ModelStanding, Snapshot, Turns


class Exporter:
    """Turns snapshots into the text that Prometheus reads."""

    def __init__(
        self, snapshot: Callable[[], Snapshot], tally: Callable[[], Tally], clock: Callable[[], datetime]
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(snapshot, tally, clock))

    def page(self, accept: str) -> tuple[str, bytes]:
        """Content type and content, in the format that the reader accepts."""
        encode, kind = choose_encoder(accept)
        return kind, encode(self._registry)


class _Collector(Collector):
    def __init__(
        self, snapshot: Callable[[], Snapshot], tally: Callable[[], Tally], clock: Callable[[], datetime]
    ) -> None:
        self._snapshot = snapshot
        self._tally = tally
        self._clock = clock

    def describe(self) -> tuple[Metric, ...]:
        """Nothing: no second collector could take a name."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every metric there is."""
        seen, now, tally = self._snapshot(), self._clock(), self._tally()
        yield InfoMetricFamily("retraind_build", "The daemon's version.", {"version": __version__})
        yield from _turns(seen.turns)
        yield from _registry(seen, now)
        yield _gauge("retraind_workers_running", "Worker processes at work.", seen.workers)
        yield from _models(seen.models, now)
        ends = CounterMetricFamily("retraind_attempts", "Attempts that have ended.", labels=("model", "outcome"))
        for (model, outcome), count in sorted(seen.attempts.items()):
            ends.add_metric((model, outcome), count)
        yield ends
        yield _counter("retraind_notifications_sent", "Notifications whose command ended well.", tally.sent)
        yield _counter("retraind_notifications_failed", "Notifications that failed or were dropped.", tally.failed)


def _turns(turns: Turns) -> Iterator[Metric]:
    yield _counter("retraind_turns", "Turns of the loop since the daemon began.", turns.count)
    if turns.last_at is not None:
        yield _gauge(
            "retraind_last_turn_timestamp_seconds", "When the last turn ended (Unix time).", turns.last_at.timestamp()
        )
    buckets = [(str(most), float(count)) for most, count in zip(TURN_BOUNDS, turns.within, strict=True)]
    lengths = HistogramMetricFamily("retraind_turn_seconds", "How long turns took.")
    lengths.add_metric((), [*buckets, ("+Inf", float(turns.count))], turns.seconds)
    yield lengths


def _registry(seen: Snapshot, now: datetime) -> Iterator[Metric]:
    outage = (now - seen.outage_since).total_seconds() if seen.outage_since else 0.0
    yield _gauge("retraind_registry_up", "Whether MLflow answered last time, 1 or 0.", int(not seen.registry_problem))
    yield _gauge("retraind_registry_outage_seconds", "How long MLflow has not answered, 0 when it does.", outage)


def _models(models: Mapping[str, ModelStanding], now: datetime) -> Iterator[Metric]:
    states = GaugeMetricFamily("retraind_models", "Models by the reason they stand at.", labels=("state",))
    for state, count in sorted(Counter(model.state for model in models.values()).items()):
        states.add_metric((state,), count)
    yield states
    yield _each("retraind_model_champion_version", "The champion's version.", models, lambda model: model.champion)
    yield _each("retraind_model_new_rows", "Rows no judged attempt has had.", models, lambda model: model.new_rows)
    yield _each(
        "retraind_model_waiting_seconds", "Age of the oldest unused drop, 0 without one.", models,
        lambda model: (now - model.waiting_since).total_seconds() if model.waiting_since else 0.0,
    )  # fmt: skip
    yield _each("retraind_model_quarantined_files", "Files refused and not dealt with.", models,
                lambda model: model.quarantined)  # fmt: skip
    scores = GaugeMetricFamily(
        "retraind_model_champion_score", "The champion's score on the newest file.", labels=("model", "metric")
    )
    for name, model in models.items():
        for metric, value in model.scores:
            scores.add_metric((name, metric), value)
    yield scores


def _each(
    name: str, meaning: str, models: Mapping[str, ModelStanding], value: Callable[[ModelStanding], float | None]
) -> Metric:
    """A gauge by model; what is not known is left out."""
    family = GaugeMetricFamily(name, meaning, labels=("model",))
    for model, standing in models.items():
        if (known := value(standing)) is not None:
            family.add_metric((model,), known)
    return family


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value)


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(name, meaning, value)
