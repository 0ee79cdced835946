"""A model of the registry, ready to be trained further or judged: its files and what the framework made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrain_daemon.worker.cards import ModelCard
from retrain_daemon.worker.flavors import framework_of
from retrain_daemon.worker.model_code import make_way
from retrain_daemon.worker.model_files import ModelFiles, fetch
from retrain_daemon.worker.trainable import Meaning, Trainable


@dataclass(frozen=True)
class Loaded:
    """A model's files and the model."""

    files: ModelFiles
    model: Trainable

    @property
    def label(self) -> str:
        """What messages call it, such as "version 3 of churn"."""
        return self.files.card.label


def load(card: ModelCard, meaning: Meaning, folder: Path) -> Loaded:
    """Copy the model's files into `folder` and load it.

    Raises Refused, with the reason and what would help, for one that does not load or cannot be trained here.
    """
    framework = framework_of(card)
    files = fetch(card, folder)
    make_way(files)
    return Loaded(files, framework.load(files, meaning))
