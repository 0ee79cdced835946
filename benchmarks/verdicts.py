"""What each gate does in a year of weekly retrains: promotions that were noise, gains found, losses let through.

`.venv/bin/python benchmarks/verdicts.py [--quick] [--only PART ...]`. The models' truth is known; rows are
drawn. Years by the ten thousand are counted with the rule that `worker.compare` and `core.judge` follow for accuracy,
after it was found to say the same as they do on rows; log loss and ROC AUC go through the two themselves.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import mlflow
import numpy as np
from judged import METRICS, Judged, asked, drawn, evidence_of, in_slices, promotes, slices_of, true_loss
from mlflow.exceptions import MlflowException
from mlflow.models import EvaluationResult, MetricThreshold
from scipy.special import ndtri
from streams import STREAMS, follow
from streams import WEEKS as STREAM_WEEKS
from tenures import (
    ACCURACY,
    ALPHA,
    BETTER,
    CREEPING,
    DISCORDANT,
    EQUAL,
    GATES,
    HIDDEN,
    MARGIN,
    ONE_SLICE,
    SLICE_MARGIN,
    SLICES,
    WEEKS,
    WORSE,
    Gate,
    Seen,
    World,
    Years,
    better,
    higher,
    not_worse,
    score,
    second_looks,
    years,
)
from threadpoolctl import threadpool_limits

from retrain_daemon.core.budget import alpha_of
from retrain_daemon.core.evidence import Evidence
from retrain_daemon.core.policy import Claim

SIZES = (2000, 20_000)
WAYS = {False: "new rows", True: "same rows"}
SHOWN = {name: gate for name, gate in GATES.items() if "slices" not in name}
SLICED = {name: gate for name, gate in GATES.items() if "plain" not in name and "no anchor" not in name}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the years")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="only these parts")
    given = parser.parse_args()
    began = time.process_time()
    with threadpool_limits(1):
        for part in given.only:
            PARTS[part](0.05 if given.quick else 1.0)
    print(f"\n{time.process_time() - began:.0f} s of CPU")
    return 0


def percent(hits: np.ndarray, places: int = 1) -> str:
    """A share with its Monte Carlo standard error, in percent."""
    share = float(hits.mean())
    return f"{100 * share:.{places}f} ± {100 * (share * (1 - share) / hits.size) ** 0.5:.{places}f}"


def share_of(found: Years) -> str:
    """Of all comparisons of all years, those that promote; years are independent, comparisons of one are not."""
    return mean(100 * found.promoted.mean(axis=0), 1)


def mean(values: np.ndarray, places: int = 2) -> str:
    return f"{values.mean():.{places}f} ± {values.std(ddof=1) / len(values) ** 0.5:.{places}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    height = max(cell.count("\n") for cell in head) + 1
    heads = list(zip(*(["", *cell.split("\n")][-height:] for cell in head), strict=True))
    lines = [*heads, *rows]
    widths = [max(len(row[place]) for row in lines) for place in range(len(head))]
    for row in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def by_world(
    title: str, world: World, gates: dict[str, Gate], head: Sequence[str], figures: Callable[[Years], Sequence[str]],
    lineages: int,
) -> None:  # fmt: skip
    """One table of a world: gates beside figures, for both numbers of rows and both ways to come by them."""
    print(f"\n{title}; {lineages:,} years of {WEEKS} retrains each\n", flush=True)
    lines = []
    for rows in SIZES:
        for name, gate in gates.items():
            found = [years(world, gate, rows, reused, lineages, seed=rows + reused) for reused in WAYS]
            lines.append([f"{rows:,}", name, *(cell for one in found for cell in figures(one))])
    table(["rows", "gate", *(f"{way}:\n{cell}" for way in WAYS.values() for cell in head)], lines)


# The parts


def check(scale: float) -> None:
    """That the rule used for the mass of the years is what the product does, bounds and verdicts."""
    made = np.random.default_rng(5)
    cases, furthest, promoted = max(40, int(400 * scale)), 0.0, 0
    for case in range(cases):
        rows, comparison = int(made.choice(SIZES)), int(made.integers(1, WEEKS + 1))
        judged = any_rows(made, rows)
        evidence = evidence_of(judged, ("accuracy",), comparison, case)
        evidence = replace(evidence, slices=slices_of(judged, SLICE_MARGIN, case))
        seen = Seen(*judged.apart(0, 1), *judged.apart(2, 1), rows // SLICES, np.array([comparison]))
        for promotion, gate in SAME:
            verdict = promotes(promotion, evidence)
            assert verdict == bool(gate(seen)[0]), (promotion, evidence)
            promoted += verdict
        furthest = max(furthest, away(evidence, seen))
    count = len(SAME) * cases
    print(
        f"The rule for accuracy says what compare, harm and judge say in {count:,} of {count:,} verdicts on rows "
        f"({promoted:,} promote); its\nbounds are at most {furthest:.1g} standard errors from theirs",
        flush=True,
    )
    mlflow_rule(made)


BETTER_BY = ("accuracy", Claim.BETTER_BY, 0.0)
NOT_WORSE_BY = ("accuracy", Claim.NOT_WORSE_BY, MARGIN)
SAME = (
    (asked(BETTER_BY), better(budget=True)),
    (asked(NOT_WORSE_BY), not_worse()),
    (asked(NOT_WORSE_BY, ("accuracy", Claim.UNLESS_WORSE_BY, SLICE_MARGIN)), not_worse(slices=True)),
)


def any_rows(made: np.random.Generator, rows: int) -> Judged:
    """Rows in slices: a challenger that is a little better or worse than the champion, and much worse in one slice or
    not; and an anchor that is about as good."""
    gain, loss = made.choice([-0.02, -0.01, 0.0, 0.01, 0.02]), made.choice([0.0, 0.06, 0.1])
    anchor = made.normal(0, 0.005)
    slices = [(ACCURACY, ACCURACY + gain - loss * (number == 0), ACCURACY + anchor) for number in range(SLICES)]
    return in_slices(made, rows // SLICES, slices)


def away(evidence: Evidence, seen: Seen) -> float:
    """How far, in standard errors, the product's lower bounds are from where the score says; a bound held at 0 by the
    mid-p value is not looked at."""
    [measured] = evidence.metrics
    gained, lost = float(seen.gained.sum()), float(seen.lost.sum())
    bounds = ((measured.gain_low, ALPHA), (measured.gain_strict, alpha_of(ALPHA, int(seen.comparison[0]))))
    found = [
        abs(float(score(np.array(gained), np.array(lost), evidence.rows, bound)) + float(ndtri(alpha)))
        for bound, alpha in bounds
        if bound
    ]
    return max(found, default=0.0)


def mlflow_rule(made: np.random.Generator, cases: int = 200) -> None:
    """That MLflow's gate is a comparison of two values."""
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    for _ in range(cases):
        old, new = made.integers(1780, 1820, size=2) / 2000
        threshold = MetricThreshold(min_absolute_change=0.005, greater_is_better=True)
        results = [EvaluationResult(metrics={"accuracy_score": float(value)}, artifacts={}) for value in (new, old)]
        try:
            mlflow.validate_evaluation_results({"accuracy_score": threshold}, *results)
            passed = True
        except MlflowException:
            passed = False
        assert passed == (float(new) >= float(old) + 0.005), (old, new)
    print(f"mlflow.validate_evaluation_results says the same as `new >= old + 0.005` in {cases} of {cases} cases")


def equal(scale: float) -> None:
    by_world(
        "No true improvement, ever", EQUAL, SHOWN, ["% of tenures ended", "promotions a year"],
        lambda found: (percent(found.promoted.any(axis=0)), mean(found.promoted.sum(axis=0))), int(10_000 * scale),
    )  # fmt: skip


def improved(scale: float) -> None:
    def figures(found: Years) -> Sequence[str]:
        first = np.where(found.promoted.any(axis=0), found.promoted.argmax(axis=0) + 1, WEEKS + 1)
        median = int(np.median(first))
        shares = [percent(first <= weeks) for weeks in (1, 4, WEEKS)]
        return (*shares, str(median) if median <= WEEKS else "-")

    by_world(
        "Every challenger is 1 pp better than the first champion", BETTER, SHOWN,
        ["% in week 1", "by week 4", "in the year", "median"], figures, int(4000 * scale),
    )  # fmt: skip


def worse(scale: float) -> None:
    by_world(
        "Every challenger is worse than its champion by just more than 1 pp", WORSE, SHOWN,
        ["% in week 1", "% of all", "% of years"],
        lambda found: (percent(found.promoted[0]), share_of(found), percent(found.promoted.any(axis=0))),
        int(4000 * scale),
    )  # fmt: skip


def creeping(scale: float) -> None:
    by_world(
        "Every challenger is 0.3 pp worse than its champion: small losses that add up", CREEPING, SHOWN,
        ["promotions", "pp lost", "% lost > 1 pp"],
        lambda found: (
            mean(found.promoted.sum(axis=0)), mean(100 * (ACCURACY - found.accuracies.mean(axis=1))),
            percent(found.accuracies.mean(axis=1) < ACCURACY - MARGIN - 1e-9),
        ), int(2000 * scale),
    )  # fmt: skip


def sliced(scale: float) -> None:
    for title, world in (
        (f"Every challenger loses 10 pp in one slice of {SLICES}, and is equal in the others", ONE_SLICE),
        ("The same, but the others gain so much that the total is equal", HIDDEN),
        (f"No slice of {SLICES} loses anything", World("equal", EQUAL.challenger, SLICES)),
    ):
        by_world(
            title, world, SLICED, ["% in week 1", "% of all", "% of years"],
            lambda found: (percent(found.promoted[0]), share_of(found), percent(found.promoted.any(axis=0))),
            int(1000 * scale),
        )  # fmt: skip


def metrics(scale: float) -> None:
    """Tenures and margins by the product's own functions on rows, for metrics with probabilities too."""
    made = np.random.default_rng(11)
    print(
        "\nThe product's own functions on rows, by metric: new rows each week, one line of requirements\n", flush=True
    )
    lines = []
    for rows, pairs in ((2000, int(6000 * scale)), (20_000, int(1000 * scale))):
        shown = dict(zip(METRICS, _shown(made, rows, pairs).T, strict=True))
        through = dict(zip(METRICS, _through(made, rows, pairs).T, strict=True))
        for metric in METRICS:
            margin = true_loss(metric, ACCURACY, ACCURACY - MARGIN - 0.0001)
            lines.append([f"{rows:,}", f"{pairs:,}", metric, _tenures(shown[metric]), f"{margin:.4f}",
                          percent(through[metric])])  # fmt: skip
    table(["rows", "pairs", "metric", "better_by 0, equal models:\n% of tenures ended in a year",
           "not_worse_by m:\nm", "worse by m:\n% let through"], lines)  # fmt: skip


def _tenures(last: np.ndarray) -> str:
    """The chance that a year of new rows each week ends a tenure, from how each pair would fare at each comparison."""
    chances = [float((last >= number).mean()) for number in range(1, WEEKS + 1)]
    error = last.std(ddof=1) / len(last) ** 0.5  # of the sum of the chances, which the chance of any is close to
    return f"{100 * (1 - np.prod([1 - chance for chance in chances])):.1f} ± {100 * error:.1f}"


def _shown(made: np.random.Generator, rows: int, pairs: int) -> np.ndarray:
    """Up to which comparison of a tenure equal models on the same rows pass as better, by metric (pairs, metrics)."""
    last = np.zeros((pairs, len(METRICS)), dtype=int)
    for pair in range(pairs):
        judged, passing = drawn(made, rows, ACCURACY, ACCURACY), METRICS
        for number in range(1, WEEKS + 1):
            evidence = evidence_of(judged, passing, number, pair)
            passing = tuple(each for each in passing if promotes(asked((each, Claim.BETTER_BY, 0.0)), evidence))
            if not passing:
                break
            last[pair, [METRICS.index(each) for each in passing]] = number
    return last


def _through(made: np.random.Generator, rows: int, pairs: int) -> np.ndarray:
    """Which challengers that are worse by the margin pass, by metric (pairs, metrics)."""
    worse = ACCURACY - MARGIN - 0.0001
    lines = [asked((metric, Claim.NOT_WORSE_BY, true_loss(metric, ACCURACY, worse))) for metric in METRICS]
    passed = np.zeros((pairs, len(METRICS)), dtype=bool)
    for pair in range(pairs):
        evidence = evidence_of(drawn(made, rows, ACCURACY, worse), METRICS, 1, pair)
        passed[pair] = [promotes(line, evidence) for line in lines]
    return passed


def drifting(scale: float) -> None:
    """What strictness costs where the truth moves."""
    seeds = max(2, int(20 * scale))
    gates: dict[str, Gate | None] = {
        "always promote": None, "promote if higher": higher(), "not_worse_by 0.01, anchor": not_worse(),
        "better_by 0, plain 5 % each": better(budget=False), "better_by 0, budget": better(budget=True), "never": None,
    }  # fmt: skip
    print(f"\nStreams: a refit each week for {STREAM_WEEKS} weeks, {seeds} seeds; accuracy of whoever is champion on "
          "the next drop, and promotions\n", flush=True)  # fmt: skip
    lines = []
    for name, stream in STREAMS.items():
        runs = [follow(stream, gates, seed) for seed in range(seeds)]
        for gate in gates:
            lines.append([name, gate, mean(np.array([run[gate].accuracy for run in runs]), 4),
                          mean(np.array([run[gate].promotions for run in runs], dtype=float), 1)])  # fmt: skip
    table(["stream", "gate", "accuracy on the next drop", "promotions"], lines)


def looks(scale: float) -> None:
    """Whether judging the same challenger again pays, in weeks, where each week brings 2,000 rows."""
    lineages = int(40_000 * scale)
    print(f"\nbetter_by 0 with a budget, 2,000 new rows each week: a new challenger each week, or the same one again; "
          f"{lineages:,} years each\n", flush=True)  # fmt: skip
    lines = []
    for gain in (0.0, 0.005, 0.01):
        for at_most in (0, 1, 2, 5):
            ended = second_looks(gain, 2000, at_most, lineages, seed=at_most)
            median = int(np.median(ended))
            lines.append([f"{100 * gain:g} pp", str(at_most), *(percent(ended <= week) for week in (1, 4, 12, WEEKS)),
                          str(median) if median <= WEEKS else "-"])  # fmt: skip
    table(["gain", "second looks", "% promoted in week 1", "by week 4", "by 12", "in the year", "median"],
          lines)  # fmt: skip


PARTS: dict[str, Callable[[float], None]] = {
    "check": check, "equal": equal, "improved": improved, "worse": worse, "creeping": creeping, "slices": sliced,
    "looks": looks, "metrics": metrics, "streams": drifting,
}  # fmt: skip


if __name__ == "__main__":
    print(f"Two classifiers, accuracy {ACCURACY}, {DISCORDANT:.0%} of the rows discordant, alpha {ALPHA:.0%}; figures "
          "± their Monte Carlo standard error\n")  # fmt: skip
    sys.exit(main())
