"""The text of a first policy, with comments for the person who will edit it. Pure; what it says was found out before.

Every name in it is quoted where it could be taken for something else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap

from retrain_daemon.cli.yaml_words import listed, quoted, remark, word
from retrain_daemon.core.policy import DEFAULT_ALIAS, DEFAULT_MIN_ROWS, Mode
from retrain_daemon.worker.job import FilesSeen, ModeReport, PolicySketched

_WIDTH = 116
_EPOCHS = 5
#: So many new rows put `DEFAULT_MIN_ROWS` on the judging side of a holdout of a fifth.
_LEAST_ROWS = 5 * DEFAULT_MIN_ROWS
_MOST_SHOWN = 12
_REFRESH = "A routine refresh need not be better, but harm must be ruled out:"
_MEANING = {
    Mode.REFIT: "learns everything anew from the rows of the window",
    Mode.WARM_START: "goes on from what the champion learned, over all rows of the window",
    Mode.INCREMENTAL: "goes on from what the champion learned, over rows it has not learned yet",
}


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a first policy is for: the model, its version and alias, and the drop folder as it will be written."""

    model: str
    version: int
    alias: str
    path: str


def first_policy(about: Beginning, found: PolicySketched) -> str:
    """The whole text, ending in a line break."""
    parts = (_head(about, found), _data(about, found), _train(found), _retrain(found), _promote(found))
    return "\n".join("\n".join(part) + "\n" for part in parts)


def _head(about: Beginning, found: PolicySketched) -> Iterator[str]:
    kind = f"{found.inspected.flavor}, {found.task}"
    yield from _comment(f"Written by `retraind init` for version {about.version} ({kind}).")
    yield from _comment("It is yours now: edit it, and see what `retraind check --registry` says.")
    yield f"model: {word(about.model)}"
    if about.alias != DEFAULT_ALIAS:
        yield f"alias: {about.alias}"
    yield "# description: What it predicts, and for whom."


def _data(about: Beginning, found: PolicySketched) -> Iterator[str]:
    yield "data:"
    seen = found.files
    if seen is None:
        yield from _comment("EDIT THIS: where labelled rows are dropped, and which files count. Nothing is read before "
                            "this folder is there.", 2)  # fmt: skip
    else:
        others = f" {seen.others} files of other kinds are not read." if seen.others else ""
        yield from _comment(f"{seen.files} file{_s(seen.files)}, about {seen.rows_in_all:,} rows.{others}", 2)
    yield f"  path: {quoted(about.path) if _odd(about.path) else about.path}"
    yield from _comment(
        "A file counts once it has not changed for so long; one that is renamed into place, at once.", 2
    )
    yield "  complete: {settle: 30s}"
    yield from _target(found)
    yield from _tensor(found)
    if seen is not None:
        yield from _beside(seen)
    yield from _comment("These rows never train; they judge.", 2)
    yield "  holdout: 20%"
    yield from _comment("Older rows may be left out, if the world changes:", 2)
    yield "  # window: 365d"


def _target(found: PolicySketched) -> Iterator[str]:
    if found.classes:
        if found.agreement is not None:
            yield from _comment(
                f"The class of each output, in their order. So the model is right in {found.agreement:.0%} of the "
                "first rows; is that far less than you know of it, the order is wrong.", 2)  # fmt: skip
        yield f"  target: {{column: {word(found.target)}, classes: {listed(found.classes)}}}"
        return
    if len(found.known) == 2:
        labels = " or ".join(quoted(remark(label, 40)) for label in found.known)
        yield from _comment(f"For precision, recall and f1, name the class they are about ({labels}):", 2)
        yield f"  # target: {{column: {word(found.target)}, positive: {word(found.known[1])}}}"
    elif found.known:
        shown = ", ".join(remark(label, 40) for label in found.known[:_MOST_SHOWN])
        more = ", ..." if len(found.known) > _MOST_SHOWN else ""
        yield from _comment(f"The model knows {len(found.known)} classes: {shown}{more}.", 2)
    yield f"  target: {word(found.target)}"


def _tensor(found: PolicySketched) -> Iterator[str]:
    """What only a network must be told."""
    if found.features:
        yield from _comment(f"The {found.columns} columns that fill a row of the network, in this order.", 2)
        yield f"  features: {listed(found.features)}"
    if found.shape:
        yield from _comment("The shape of one row, as the network takes it.", 2)
        yield f"  shape: {listed(found.shape)}"
    if found.model_outputs:
        why = f": {remark(found.why_outputs)}" if found.why_outputs else ""
        yield from _comment(f"What the network gives: logits, probabilities or value{why}.", 2)
        yield f"  model_outputs: {found.model_outputs}"


def _beside(seen: FilesSeen) -> Iterator[str]:
    for name in seen.times[:3]:
        yield from _comment(f"{quoted(name)} holds times. If it says when a row happened:", 2)
        yield f"  # event_time: {word(name)}"
    others = [name for name in seen.beside if name not in seen.times]
    for name in others[:3]:
        yield from _comment(f"If rows with the same {quoted(name)} belong together, as those of a customer:", 2)
        yield f"  # group: {word(name)}"


def _train(found: PolicySketched) -> Iterator[str]:
    modes = {report.mode: report for report in found.inspected.modes}
    yield "train:"
    yield from _comment(f"{found.mode} {_MEANING[Mode(found.mode)]}. Instead:", 2)
    for mode, report in modes.items():
        if mode != found.mode:
            yield from _comment(_alternative(report), 2)
    yield f"  mode: {found.mode}"
    yield from _hyperparameters(found)
    yield from _comment("A training that takes longer, or more memory, is ended:", 2)
    yield "  limits: {run_for: 2h}  # memory: 8GiB"


def _alternative(report: ModeReport) -> str:
    if report.possible:
        return f"- {report.mode} {_MEANING[Mode(report.mode)]}"
    return f"- not {report.mode}: {remark(report.reason)}"


def _hyperparameters(found: PolicySketched) -> Iterator[str]:
    present = [(name, text) for name, text in found.inspected.hyperparameters if name not in ("freeze", "loss")]
    layers = [text for name, text in found.inspected.hyperparameters if name == "freeze"]
    if found.network:
        yield "  hyperparameters:"
        yield from _comment("How often all rows are gone through.", 4)
        yield f"    epochs: {_EPOCHS}"
        yield "    # batch_size: 32"
        yield "    # early_stopping: {patience: 2, share: 10%}"
        for layer in layers[:1]:
            yield f"    # freeze: [{quoted(layer)}]"
    elif present:
        yield from _comment("As the champion has them; take the signs away from what you want to change.", 2)
        yield "  # hyperparameters:"
    for name, text in present:
        if text not in ("none", "damaged") or not found.network:
            yield f"    # {word(name)}: {_present(text)}" if found.network else f"  #   {word(name)}: {_present(text)}"


def _present(text: str) -> str:
    """A value as it is now, written so that it is read as the same again."""
    if text in ("True", "False"):
        return text.lower()
    if text == "None":
        return "null"
    try:
        return text if math.isfinite(float(text)) else quoted(text)
    except ValueError:
        return word(text)


def _retrain(found: PolicySketched) -> Iterator[str]:
    yield "retrain:"
    yield from _comment("The first rule that holds decides. `retraind plan` says how far each is.", 2)
    yield "  - name: enough fresh rows"
    rows = _threshold(found.files)
    yield f"    when: data.new_rows >= {rows}"
    yield from _comment("Further rules, such as:", 2)
    yield "  # - name: the world changed"
    yield f"  #   when: drift.max > 0.25 && data.new_rows >= {rows}"


def _threshold(seen: FilesSeen | None) -> int:
    """As many rows as the newest file has, roughly, and at least so many that enough of them can judge."""
    if seen is None or seen.rows <= _LEAST_ROWS:
        return _LEAST_ROWS
    size = int(10 ** (len(str(seen.rows)) - 1))
    return max(_LEAST_ROWS, seen.rows // size * size)


def _promote(found: PolicySketched) -> Iterator[str]:
    yield "promote:"
    yield "  require:"
    if found.task == "regression":
        yield from _comment(f"{_REFRESH} no more than 0.01 of r2 may be lost.", 4)
        yield "    - {metric: r2, not_worse_by: 0.01}"
        yield from _comment("A new recipe must show that it is better; in the target's own unit:", 4)
        yield "    # - {metric: mae, better_by: 0}"
    else:
        yield from _comment(f"{_REFRESH} no more than one row in a hundred may be lost.", 4)
        yield "    - {metric: accuracy, not_worse_by: 0.01}"
        yield from _comment("A new recipe must show that it is better:", 4)
        yield f"    # - {{metric: {'log_loss' if found.probabilities else 'f1_macro'}, better_by: 0}}"
    yield from _comment("Fewer judging rows settle nothing.", 2)
    yield f"  min_rows: {DEFAULT_MIN_ROWS}"
    yield from _comment("Have a person approve what would be promoted:", 2)
    yield "  # approval: required"


def _comment(text: str, indent: int = 0) -> Iterator[str]:
    lead = " " * indent + "# "
    for line in wrap(remark(text, 1000), _WIDTH - len(lead), break_on_hyphens=False) or [""]:
        yield f"{lead}{line}"


def _odd(path: str) -> bool:
    """Whether a path needs quotes: anything but letters, digits and the usual signs of paths."""
    return not all(letter.isascii() and (letter.isalnum() or letter in "/._-*") for letter in path)


def _s(number: int) -> str:
    return "" if number == 1 else "s"
