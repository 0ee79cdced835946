"""Whether two versions can be compared on the same rows: their kind, their columns, their classes.

Refusals and sentences only; predictions are for `judging.py`.
"""

from __future__ import annotations

from retrain_daemon.errors import Refused
from retrain_daemon.worker.cards import ModelCard, capital, spelled
from retrain_daemon.worker.evaluate import canonical
from retrain_daemon.worker.job import Source, Train
from retrain_daemon.worker.loaded import Loaded
from retrain_daemon.worker.schema import NETWORKS, Schema, unit_name


def refuse_other_kind(champion: ModelCard, offered: ModelCard) -> None:
    """What a policy says of a network's tensors and outputs does not go with a model that takes a table."""
    if (champion.flavor in NETWORKS) != (offered.flavor in NETWORKS):
        raise Refused(
            f"{capital(offered.label)} is a {spelled(offered.flavor)} model and the champion, {champion.label}, a "
            f"{spelled(champion.flavor)} model: one policy cannot describe a network and a model that takes a table.",
            "Adopt it under a registered model and a policy of its own.",
        )


def refuse_other_columns(champion: Source, offered: Source, job: Train, ours: Schema, theirs: Schema) -> None:
    """Both predict the same rows, so they take the same columns; a table's order is its own affair."""
    table = ours.tensor is None and theirs.tensor is None
    same = sorted(ours.names) == sorted(theirs.names) if table else ours.names == theirs.names
    if same and unit_name(job.data, ours) == unit_name(job.data, theirs):
        return
    only = sorted(set(theirs.names) ^ set(ours.names))[:5] or ["the same ones in another order"]
    raise Refused(
        f"Version {offered.version} of {offered.model} takes other columns than the champion, version "
        f"{champion.version}: {', '.join(only)}.",
        "Only models of the same columns can be compared on the same rows.",
    )


def compared_classes(champion: Loaded, challenger: Loaded) -> tuple[str, ...]:
    """A sentence where the two know different classes.

    Raises Refused where they predict different things, or have no class in common.
    """
    if champion.model.task is not challenger.model.task:
        raise Refused(
            f"{capital(challenger.label)} is for {challenger.model.task}, and the champion for {champion.model.task}.",
            "Only models of the same task can be compared.",
        )
    ours, theirs = (_class_names(each) for each in (champion, challenger))
    if ours == theirs:
        return ()
    if not ours & theirs:
        raise Refused(
            f"{capital(challenger.label)} knows the classes {', '.join(sorted(theirs))}, and the champion "
            f"{', '.join(sorted(ours))}: they have none in common.",
            "Register it with the labels that the files have.",
        )
    more, fewer = ", ".join(sorted(theirs - ours)), ", ".join(sorted(ours - theirs))
    said = [f"also knows {more}"] if more else []
    said += [f"does not know {fewer}"] if fewer else []
    return (f"{capital(challenger.label)} {' and '.join(said)}, other than the champion.",)


def _class_names(loaded: Loaded) -> frozenset[str]:
    classes = loaded.model.classes
    return frozenset(() if classes is None else map(canonical, classes.tolist()))
