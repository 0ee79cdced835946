"""Where a key stands in the text of a policy."""

from __future__ import annotations

import pytest

from retrain_daemon.policies.places import place_of, value_place_of

TEXT = """\
model: churn
train:
  hyperparameters:
    classifier__C: 0.5
    a.dotted: 1
    a.dotted.name: 2
retrain:
  - name: first
    when: data.new_rows >= 10
promote:
  require:
    - {metric: rmse, at_most: 3}
    - {metric: mae, better_by: 0}
"""


@pytest.mark.parametrize(
    ("key", "line", "column"),
    [
        ("model", 1, 1),
        ("train.hyperparameters.classifier__C", 4, 5),
        ("train.hyperparameters.a.dotted", 5, 5),
        ("train.hyperparameters.a.dotted.name", 6, 5),
        ("retrain[0].when", 9, 5),
        ("promote.require[1]", 13, 7),
        ("promote.require[1].better_by", 13, 21),
    ],
)
def test_a_key_is_found_where_it_is_written(key: str, line: int, column: int) -> None:
    assert place_of(TEXT, key) == (line, column)


@pytest.mark.parametrize(
    ("key", "line", "column"),
    [
        ("train.hyperparameters.epochs", 3, 3),
        ("train.mode", 2, 1),
        ("retrain[0].train.mode", 8, 5),
        ("retrain[7].when", 7, 1),
        ("pace.cooldown", 1, 1),
        ("model.name", 1, 1),
    ],
)
def test_of_a_key_that_is_not_written_the_nearest_above_is_found(key: str, line: int, column: int) -> None:
    assert place_of(TEXT, key) == (line, column)


def test_the_value_of_a_key_has_a_place_of_its_own() -> None:
    assert value_place_of(TEXT, "retrain[0].when") == (9, 11)


@pytest.mark.parametrize("text", ["", "- [", "a: &b 1", "just words"])
def test_a_text_without_keys_gives_its_beginning(text: str) -> None:
    assert place_of(text, "retrain[0].when") == (1, 1)
