"""How a recipe reads in `plan` and `show`."""

from __future__ import annotations

from dataclasses import replace

from retrain_daemon.cli.recipes import how_trained, recipe_line
from retrain_daemon.core.evidence import Searched
from retrain_daemon.core.policy import Mode, Recipe, Search, Space
from tests.made import a_challenger, an_attempt

RECIPE = Recipe(
    mode=Mode.REFIT,
    hyperparameters={"depth": 3},
    spaces={
        "C": Space(low=0.01, high=10, log=True),
        "leaves": Space(choices=(15, None)),
        "n": Space(low=1, high=9, step=2),
    },
    search=Search(40, "log_loss"),
)
OVER = "over C from 0.01 to 10 on a logarithmic scale, leaves of 15, None, n from 1 to 9 in steps of 2"


def test_a_recipe_without_a_search_names_its_values() -> None:
    assert recipe_line(Recipe(mode=Mode.REFIT, hyperparameters={"depth": 3})) == "refit, depth=3"


def test_a_search_to_come_names_its_spaces() -> None:
    assert recipe_line(RECIPE) == f"refit, depth=3; a search of 40 trials by log_loss {OVER}"
    assert how_trained(an_attempt(recipe=RECIPE)) == recipe_line(RECIPE)


def test_a_search_that_has_chosen_names_the_values_their_score_and_how_many_trials_failed() -> None:
    chosen = {"C": 0.123456789, "leaves": None, "n": 5}
    found = Searched(metric="log_loss", score=0.31415926, rows=1200, trials=40, failed=2, chosen=chosen)
    attempt = an_attempt(recipe=RECIPE, challenger=replace(a_challenger(), searched=found))
    assert how_trained(attempt) == (
        "refit, depth=3, C=0.123457, leaves=None, n=5; C, leaves, n chosen by a search: log_loss 0.314159 on 1,200 rows"
        " of the training side, the best of 40 trials, 2 of which failed"
    )
