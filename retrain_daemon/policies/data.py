"""The `data` section of a policy: where labelled rows come from and what they mean."""

from __future__ import annotations

import math
import os
import re
from datetime import timedelta
from fnmatch import fnmatchcase

from retrain_daemon.core.policy import Completion, DataSpec, Holdout, MissingFiles, Outputs, Window
from retrain_daemon.policies.expectations import read_expectations
from retrain_daemon.policies.nodes import MappingNode, Node, Scalar, Wrong
from retrain_daemon.policies.target import NO_TARGET, check_outputs, read_target
from retrain_daemon.policies.units import choice, count, duration, mapping, sequence, share, switch, text, word, words

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".jsonl", ".arrow", ".feather", ".npz")

_KEYS = ("path", "complete", "target", "features", "shape", "model_outputs", "weight", "group", "row_id", "event_time",
         "window", "holdout", "missing", "polling", "follow_links", "expect", "label_delay")  # fmt: skip
_LONGEST_NAME = 255
_WINDOW = re.compile(r"([0-9]{1,12}) ?(rows?|files?)")


def read_data(section: MappingNode, folder: str) -> DataSpec:
    """Given the `data` mapping and the folder of the policy file, its value; what is wrong is noted."""
    section.expect(_KEYS).require(
        path="Write where files arrive, such as `path: /srv/drops/churn/*.csv`.",
        target="Write the column to predict, such as `target: churned`.",
    )
    place, pattern = section.take("path", lambda node: _path(node, folder), ("", ""))
    data = DataSpec(
        folder=place,
        pattern=pattern,
        target=section.take("target", read_target, NO_TARGET),
        complete=section.take("complete", lambda node: _completion(node, pattern), Completion()),
        features=section.take("features", _features, ()),
        group=section.take("group", word, None),
        row_id=section.take("row_id", words, ()),
        event_time=section.take("event_time", word, None),
        window=section.take("window", _window, Window()),
        holdout=section.take("holdout", _holdout, Holdout(share=0.2)),
        shape=section.take("shape", _shape, ()),
        weight=section.take("weight", word, None),
        model_outputs=section.take("model_outputs", choice(Outputs), None),
        missing=section.take("missing", choice(MissingFiles), MissingFiles.REFUSE),
        polling=section.take("polling", switch, False),
        follow_links=section.take("follow_links", switch, False),
        expect=section.take("expect", read_expectations, ()),
        label_delay=section.take("label_delay", duration, None),
    )
    _check_columns(section, data)
    check_outputs(section, data)
    _check_shape(section, data)
    _check_delay(section, data)
    _check_holdout(section, data)
    return data


def _path(node: Node, folder: str) -> tuple[str, str]:
    """The absolute folder and the file name pattern in it."""
    value = word(node)
    if value.startswith(("~", "$")) or "://" in value:
        raise Wrong(f"`{node.name}` must be a folder of this machine.", "Write one such as /srv/drops/x/*.csv.")
    place, pattern = os.path.split(value)
    if any(sign in place for sign in "*?["):
        raise Wrong(f"`{node.name}` has a wildcard in its folder.", "Wildcards stand after the last `/` only.")
    if pattern in ("", ".", ".."):
        raise Wrong(f"`{node.name}` names a folder, not files.", f"Write {value.rstrip('/')}/*.csv.")
    if "**" in pattern:
        raise Wrong(f"`{node.name}` has `**`; folders inside the drop folder are not watched.", "Write `*`.")
    if len(os.fsencode(pattern)) > _LONGEST_NAME:
        raise Wrong(
            f"`{node.name}` is longer than a file name can be.", f"At most {_LONGEST_NAME} bytes after the `/`."
        )
    _check_suffix(node, pattern)
    return os.path.normpath(os.path.join(folder, place)), pattern  # noqa: PTH118 (a text, not a file)


def _check_suffix(node: Node, pattern: str) -> None:
    if pattern.endswith(SUFFIXES):
        return
    known = ", ".join(SUFFIXES)
    hint = f"End it with one of {known}, such as `*.csv`; one policy reads one kind of file."
    raise Wrong(f"`{node.name}` ends in `{pattern}`, which does not say what kind of file it is.", hint)


def _completion(node: Node, pattern: str) -> Completion:
    if isinstance(node, Scalar):
        raise Wrong(f"`{node.name}` must say how a file is known to be complete.", "Write {settle: 30s}.")
    section = mapping(node).expect(("settle", "marker"))
    if len(section.entries.keys() & {"settle", "marker"}) != 1:
        raise Wrong(f"`{node.name}` needs one of settle and marker.", "With a marker only the marker counts.")
    if "marker" in section.entries:
        return Completion(settle=None, marker=section.take("marker", lambda value: _marker(value, pattern), None))
    return Completion(settle=section.take("settle", duration, None))


def _marker(node: Node, pattern: str) -> str:
    value = word(node)
    if value.count("{name}") != 1 or re.search(r"[{}/]", value.replace("{name}", "")) or value == "{name}":
        message = f"`{node.name}` must be a file name that holds {{name}}, for the name of the data file."
        raise Wrong(message, 'Write "{name}.done".')
    if pattern and fnmatchcase(value.replace("{name}", pattern), pattern):
        raise Wrong(f"`{node.name}`: the marker itself would count as data ({pattern}).", 'Write "{name}.done".')
    return value


def _features(node: Node) -> tuple[str, ...]:
    if isinstance(node, Scalar):
        raise Wrong(f"`{node.name}` must be a list of columns.", f"Write [{node.value or 'age, income'}].")
    return words(node)


def _shape(node: Node) -> tuple[int, ...]:
    if isinstance(node, Scalar):
        raise Wrong(f"`{node.name}` must be a list of sizes.", "Write the shape of one row, such as [1, 8, 8].")
    sizes = tuple(count(1, 10**7)(item) for item in sequence(node))
    if len(sizes) > 8:
        raise Wrong(f"`{node.name}` has {len(sizes)} dimensions; at most 8 are taken.")
    return sizes


def _window(node: Node) -> Window:
    value = text(node)
    if value == "all":
        return Window()
    found = _WINDOW.fullmatch(value)
    if not found:
        return Window(age=_window_age(node))
    size = int(found[1])
    if size == 0:
        raise Wrong(f"`{node.name}` is {value}: nothing would be left.", "Write all, or a larger window.")
    return Window(rows=size) if found[2].startswith("row") else Window(files=size)


def _window_age(node: Node) -> timedelta:
    try:
        return duration(node)
    except Wrong as wrong:
        hint = f"Write {text(node)} rows." if text(node).isdigit() else "Write all, 180d, 2000000 rows or 12 files."
        raise Wrong(wrong.message.replace("a duration", "a window"), hint) from None


def _holdout(node: Node) -> Holdout:
    if isinstance(node, Scalar):
        return Holdout(share=share(0.01, 0.9)(node))
    section = mapping(node).expect(("newest",))
    section.require(newest="Write the time span whose rows judge, such as `newest: 14d`.")
    return Holdout(newest=section.take("newest", duration, None))


def _check_columns(section: MappingNode, data: DataSpec) -> None:
    """The target decides nothing but the answer: as a feature it would be learned, as a group it would split by it."""
    uses = {
        "features": data.features,
        "group": (data.group,),
        "event_time": (data.event_time,),
        "weight": (data.weight,),
    }
    for key, columns in uses.items():
        for target in data.target.columns:
            if target and target in columns:
                message = f"`{section.name}.{key}` names the target `{target}`."
                section.entries[key].problem(message, "Name another column.")
    if data.weight is not None and data.weight in (*data.features, data.group, data.event_time):
        message = f"`{section.name}.weight` names `{data.weight}`, which is used for something else."
        section.entries["weight"].problem(message, "Name a column that holds nothing but weights.")


def _check_shape(section: MappingNode, data: DataSpec) -> None:
    """Columns named one by one fill the shape; how many a pattern stands for is seen in the files."""
    patterns = any(sign in name for name in data.features for sign in "*?")
    if not data.shape or not data.features or patterns or math.prod(data.shape) == len(data.features):
        return
    message = f"`{section.name}.shape` has room for {math.prod(data.shape):,} values, and {len(data.features)} columns"
    section.entries["shape"].problem(f"{message} are named as features.", "Both must be as many.")


def _check_delay(section: MappingNode, data: DataSpec) -> None:
    """How old a row is only its event time says: files may bring rows of any age."""
    if data.label_delay is None:
        return
    if data.event_time is None:
        section.entries["label_delay"].problem(
            f"`{section.name}.label_delay` needs `{section.name}.event_time`: nothing else says how old a row is.",
            "Name the column that says when a row happened.",
        )
    if data.window.age is not None and data.label_delay >= data.window.age:
        section.entries["label_delay"].problem(
            f"`{section.name}.label_delay` is as long as `{section.name}.window`: nothing would be left.",
            "Write a longer window or a shorter delay.",
        )


def _check_holdout(section: MappingNode, data: DataSpec) -> None:
    newest = data.holdout.newest
    if newest is None:
        return
    delay = data.label_delay or timedelta(0)
    if data.group is not None:
        section.keys["group"].problem(
            "`data.group` cannot go with holdout {newest}: groups come back over time, "
            "so the same group would be trained on and judge.",
            "Leave out group, or write `holdout: 20%`.",
        )
    if data.window.age is not None and delay < data.window.age <= newest + delay:
        together = "`data.holdout.newest` and `data.label_delay` together are" if delay else "`data.holdout.newest` is"
        section.entries["holdout"].problem(
            f"{together} as long as `data.window`: nothing would be left to train on.",
            "Write a longer window or a shorter holdout.",
        )
