"""The codes of decisions, by what is decided: stable words for programs and for tests of policies."""

from __future__ import annotations

from collections.abc import Mapping

from retrain_daemon.core.decide import Action
from retrain_daemon.core.facts import ChampionState

#: Every code that `decide` gives.
CODES: Mapping[Action, tuple[str, ...]] = {
    Action.TRAIN: ("rule_holds", "requested"),
    Action.JUDGE: ("challenger_offered", "second_look"),
    Action.WAIT: (
        "attempt_open",
        "awaiting_approval",
        "held",
        "too_many_failures",
        "registry_unknown",
        *(
            f"champion_{state.value}"
            for state in ChampionState
            if state not in (ChampionState.FOUND, ChampionState.UNKNOWN)
        ),
        "folder_problem",
        "files_missing",
        "inspection_trouble",
        "framework_missing",
        "no_rows",
        "judging_rows_unknown",
        "too_few_judging_rows",
        "new_rows_unknown",
        "nothing_new",
        "measuring",
        "no_rule_holds",
        "cooldown",
        "per_day",
        "quiet_hours",
    ),
}
