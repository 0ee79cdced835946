"""How many judging rows a claim about accuracy needs, and what so many rows show when they are drawn.

`.venv/bin/python benchmarks/sizes.py`, some seconds. Rows are reckoned as `plan` does (`core/budget.py`), for a chance
of 80 % at a confidence of 95 %; *% seen* is how often the claim was shown on so many rows, of 20,000 times, by the rule
that accuracy is judged by.
"""

from __future__ import annotations

import sys

import numpy as np
from tenures import ALPHA, above
from verdicts import percent, table

from retrain_daemon.core.budget import Measured, alpha_of, rows_to_show
from retrain_daemon.core.policy import Claim, Requirement

SHARES = (0.02, 0.05, 0.10, 0.20)
SIZES = (0.002, 0.005, 0.01, 0.02, 0.05)
COMPARISONS = (1, 2, 5, 10, 52)
#: A slice: what it may lose, what it truly loses, the share of its rows on which exactly one of the two is right.
LOSSES = ((0.02, 0.05, 0.10), (0.05, 0.10, 0.15), (0.05, 0.20, 0.25), (0.10, 0.20, 0.25))
SLICES = (1, 4, 8, 20)
PAIRS = 20_000


def main() -> int:
    print("`better_by: 0`: rows needed, by the true gain, the share of discordant rows (exactly one of the two models\n"
          "is right), and which comparison with the same champion it is; `plain` is 5 % each time\n")  # fmt: skip
    head = ["gain", "discordant", "plain", *(f"k = {number}" for number in COMPARISONS), "% seen, k = 1", "k = 10"]
    table(head, [gains(gain, share) for gain in SIZES for share in SHARES if gain < share])
    print("\n`not_worse_by: m`, at any comparison: rows needed where the two models are equally good\n")
    table(["m", "discordant", "rows", "% seen"], [margins(margin, share) for margin in SIZES for share in SHARES])
    print("\n`unless_worse_by: m` with `slices`: rows needed in a slice so that its true loss blocks, by the number of "
          "slices\n")  # fmt: skip
    table(["m", "true loss", "discordant", *map(str, SLICES), "% seen, 8 slices"], [losses(*each) for each in LOSSES])
    return 0


def gains(gain: float, share: float) -> list[str]:
    alphas = {number: alpha_of(ALPHA, number) for number in COMPARISONS}
    rows = {number: needed(gain, share, alpha, gain) for number, alpha in alphas.items()}
    plain = needed(gain, share, ALPHA, gain)
    shown = [seen(0.0, gain, share, rows[number], alphas[number]) for number in (1, 10)]
    return [f"{100 * gain:g} pp", f"{share:.0%}", f"{plain:,}", *(f"{each:,}" for each in rows.values()), *shown]


def margins(margin: float, share: float) -> list[str]:
    rows = needed(margin, share, ALPHA, 0.0)
    return [f"{100 * margin:g} pp", f"{share:.0%}", f"{rows:,}", seen(-margin, 0.0, share, rows, ALPHA)]


def losses(margin: float, loss: float, share: float) -> list[str]:
    rows = {slices: needed(loss - margin, share, ALPHA / slices, loss) for slices in SLICES}
    # A loss beyond m is a gain of the champion above m; that another slice blocks is left out.
    shown = seen(margin, loss, share, rows[8], ALPHA / 8)
    return [
        f"{100 * margin:g} pp",
        f"{100 * loss:g} pp",
        f"{share:.0%}",
        *(f"{each:,}" for each in rows.values()),
        shown,
    ]


def needed(beyond: float, share: float, alpha: float, difference: float) -> int:
    """Rows that show a claim whose threshold the truth is `beyond`, where the two truly differ by `difference`."""
    error = (share - difference**2) ** 0.5
    measured = Measured(metric="accuracy", standard_error=error, rows=1, gain=beyond, attempt="", champion=1)
    rows = rows_to_show(Requirement("accuracy", Claim.BETTER_BY, 0.0), measured, beyond, alpha)
    assert rows is not None
    return rows


def seen(least: float, difference: float, share: float, rows: int, alpha: float) -> str:
    """How often a difference above `least` is shown on so many rows."""
    chances = [(share + difference) / 2, (share - difference) / 2, 1 - share]
    gained, lost, _ = np.random.default_rng(rows).multinomial(rows, chances, size=PAIRS).T
    return percent(above(gained, lost, rows, least, alpha))


if __name__ == "__main__":
    sys.exit(main())
