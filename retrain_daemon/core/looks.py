"""Challengers that exist already: one that a person put up, and one of ours of which nothing was shown. How they stand:
whether they can be judged now, and what they wait for.

What comes first where several things could be done is `decide`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

from retrain_daemon.core.facts import ChampionState, Facts, LastLook
from retrain_daemon.core.judge import compares
from retrain_daemon.core.policy import Policy

#: Codes of findings that no number of rows changes.
NEVER_MENDED = frozenset({"unknown_digest", "champion_nan", "confidence", "nothing_required"})

_ORDINALS = {2: "second", 3: "third", 4: "fourth", 5: "fifth", 21: "21st"}


@dataclass(frozen=True)
class Standing:
    """How a challenger stands, as a sentence; an empty `code`: it can be judged now."""

    code: str
    sentence: str

    @property
    def ready(self) -> bool:
        """Whether it can be judged now."""
        return not self.code


def offer(policy: Policy, facts: Facts) -> Standing | None:
    """How the challenger stands that a person put up; None where there is none."""
    offered = facts.offered
    if offered is None:
        return None
    if offered.obstacle:
        return Standing(offered.code, offered.obstacle)
    counting = [line for line in policy.promote.require if not line.observe]
    if facts.champion.state is ChampionState.NONE and all(map(compares, counting)):
        return _nothing_to_judge_by(policy, offered.version)
    rows, needed = offered.judging_rows, policy.promote.min_rows
    named = f"version {offered.version}"
    if rows is None:
        return Standing("rows_unknown", f"it is not known how many rows may judge {named}")
    if rows < needed:
        newer = facts.champion.version is not None and facts.champion.version > offered.version
        than = f"version {facts.champion.version}" if newer else "it"
        return Standing("too_few_rows", f"{named} waits for {needed - rows:,} held-out rows newer than {than}")
    told = _looked_at(named, offered.last_look, needed)
    return told or Standing("", f"{named} can be judged by at most {rows:,} rows")


def _nothing_to_judge_by(policy: Policy, version: int) -> Standing:
    sentence = (
        f"version {version} cannot become the first champion by a verdict: no line of promote.require is about a"
        " challenger alone. Run `retraind adopt"
        f" {policy.model} --version {version}`, or add a line such as `{{metric: roc_auc, at_least: 0.8}}`"
    )
    return Standing("no_absolute_line", sentence)


def _looked_at(named: str, look: LastLook | None, needed: int) -> Standing | None:
    """A version that was judged already and has the alias still, or again: the same rows would say the same."""
    if look is None:
        return None
    if look.rows + look.more < needed:
        sentence = f"{named} waits for more held-out rows: {look.rows:,} of {needed:,} could judge at the last look"
        return Standing("too_few_rows", sentence)
    if look.more == 0:
        sentence = f"{named} was judged by attempt {look.attempt} on all held-out rows there are: {look.reason}"
        return Standing("judged_already", sentence)
    return None


def second_look(policy: Policy, facts: Facts) -> Standing | None:
    """How our newest challenger stands, if it is to be judged once more; None where it is not, or not any more: another
    champion or policy text, no look left, or a reason that more rows do not mend.
    """
    undecided, looks = facts.undecided, policy.promote.inconclusive
    if undecided is None or undecided.stale or undecided.look > looks.at_most:
        return None
    if (undecided.policy_digest, undecided.champion) != (policy.digest, facts.champion.version):
        return None
    if NEVER_MENDED.intersection(undecided.codes):
        return None
    number = undecided.look + 1
    which = f"{_ORDINALS.get(number, f'{number}th')} look ({number} of {looks.at_most + 1})"
    if undecided.more is None:
        return Standing("rows_unknown", f"it is not known how many rows came since for the {which} of attempt "
                        f"{undecided.first}")  # fmt: skip
    missing = max(looks.rows, policy.promote.min_rows - undecided.rows) - undecided.more
    if missing > 0:
        return Standing("waits", f"attempt {undecided.first} waits for {missing:,} more held-out rows for its {which}")
    return Standing("", f"at most {undecided.more:,} more held-out rows may judge the challenger of attempt "
                    f"{undecided.first}: its {which}")  # fmt: skip
