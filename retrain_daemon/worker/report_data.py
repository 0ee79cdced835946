"""What a report shows of two models beyond the evidence, as values of bounded size, and the file they are kept in.

How it is computed lives in `report_measures.py` and `flipped_rows.py`, how it looks in `report_page.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from retrain_daemon.worker.durable import write_whole

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A curve of each model; `about` says what is drawn, such as "class yes against the others"."""

    about: str
    champion: Points
    challenger: Points


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How many rows of each true class (a line) each model gave each class (a column)."""

    classes: tuple[str, ...]
    champion: tuple[tuple[int, ...], ...]
    challenger: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Rows whose predicted probability is alike: their mean prediction, how often it came true, how many they are."""

    predicted: float
    observed: float
    rows: int


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Predicted probabilities against what came true, in bins; empty ones are left out."""

    about: str
    champion: tuple[Bin, ...]
    challenger: tuple[Bin, ...]


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """A regression's errors: points (prediction, truth - prediction) of some rows, and sizes of errors that so many
    percent of the rows stay within, each (percent, size).
    """

    output: str
    champion: Points
    challenger: Points
    champion_within: Points
    challenger_within: Points


@dataclass(frozen=True, kw_only=True)
class Example:
    """One row on which the models differ; values as text, `features` by name, some of them."""

    file: str
    truth: str
    champion: str
    challenger: str
    features: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Flipped:
    """Rows on which the models differ: `better` and `worse` are how many the challenger gets right, or is nearer on,
    and the other way round; `other`: both wrong in different ways, or equally far.
    """

    better: int
    worse: int
    other: int
    better_examples: tuple[Example, ...]
    worse_examples: tuple[Example, ...]
    features_left_out: int = 0


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything there is; what a model's outputs do not allow is None. `judged` counts judging rows by file name.

    `drawn_from`: curves and calibration are of so many rows, by chance, where there are more. `problem`: why there is
    nothing more to show.
    """

    rows: int = 0
    drawn_from: int = 0
    judged: Mapping[str, int] | None = None
    first_event: datetime | None = None
    last_event: datetime | None = None
    roc: Curves | None = None
    precision_recall: Curves | None = None
    confusion: Confusion | None = None
    calibration: Calibration | None = None
    residuals: Residuals | None = None
    flipped: Flipped | None = None
    problem: str = ""


_DATA: TypeAdapter[ReportData] = TypeAdapter(ReportData)


def save_report_data(path: Path, data: ReportData) -> None:
    """Write it whole; its folder is made where it is missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, _DATA.dump_json(data))


def load_report_data(path: str) -> ReportData:
    """Read it; where the file is gone or damaged, `problem` says so: a report is then shorter, not missing."""
    if not path:
        return ReportData(problem="nothing was kept for plots")
    try:
        return _DATA.validate_json(Path(path).read_bytes())
    except FileNotFoundError:
        return ReportData(problem="the file with what plots show is gone")
    except (OSError, ValidationError):
        return ReportData(problem="the file with what plots show cannot be read")
