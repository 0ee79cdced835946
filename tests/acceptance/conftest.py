"""Boxes for the acceptance tests; each is closed at the end, with whatever runs in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.box import Box

Boxes = Callable[..., Box]


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boxes]:
    """Makes boxes in folders of their own."""
    made: list[Box] = []

    def make(uri: str | None = None, folder: Path | None = None) -> Box:
        made.append(Box(folder or tmp_path_factory.mktemp("box"), uri))
        return made[-1]

    yield make
    for box in made:
        box.ask_to_end()
    for box in made:
        box.close()
