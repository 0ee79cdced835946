"""Approval: when a person must agree before the alias moves, what they were asked and said, and what makes it void.

Pure. Asking, and writing answers down, is the daemon's part.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from retrain_daemon.core.judge import Outcome, Verdict
from retrain_daemon.core.policy import Approval, Promotion, Then


class Answer(StrEnum):
    """What a person says, on the command line or in a tag."""

    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A person was asked about this very `evidence` (its sha256). The last three belong to the answer."""

    evidence: str
    asked_at: datetime
    expires_at: datetime
    answer: Answer | None = None
    by: str = ""
    why: str = ""
    answered_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether nobody has answered yet."""
        return self.answer is None

    @property
    def said(self) -> str:
        """The answer as a clause, "" while there is none."""
        if self.answer is None:
            return ""
        word = "approved" if self.answer is Answer.APPROVE else "rejected"
        return f"{word} by {self.by}{f': {self.why}' if self.why else ''}"


@dataclass(frozen=True, kw_only=True)
class Meanwhile:
    """What people did since they were asked: the digest of the policy in force ("" where none is), what the version's
    tag says, and whether the version is gone.
    """

    policy_digest: str = ""
    tag: Answer | None = None
    version_gone: bool = False


NOTHING_MEANWHILE = Meanwhile()


def approval_for(verdict: Verdict, promotion: Promotion, look: int) -> Approval | None:
    """What a person must be asked for before the challenger becomes champion; None where nobody is asked.

    After the last look a policy may have a person decide what is not shown, but not where two models cannot be
    compared at all.
    """
    if verdict.outcome is Outcome.PROMOTE:
        return promotion.approval
    last = look > promotion.inconclusive.at_most
    compared = any(finding.code == "requirement" and not finding.observed for finding in verdict.findings)
    if verdict.outcome is Outcome.INCONCLUSIVE and promotion.inconclusive.then is Then.ASK and last and compared:
        return promotion.approval or Approval()
    return None


def why_void(asked: Asked, meanwhile: Meanwhile, policy_digest: str, version: int | None, now: datetime) -> str:
    """Why the challenger is not promoted after a person was asked, as a clause; "" when nothing stands against it."""
    if asked.answer is Answer.REJECT:
        return asked.said
    if meanwhile.policy_digest not in ("", policy_digest):
        return f"another policy came into force ({meanwhile.policy_digest[:12]}) while it awaited approval"
    if meanwhile.version_gone:
        return f"version {version} was deleted while it awaited approval"
    if asked.is_open and now >= asked.expires_at:
        return f"nobody approved it until {asked.expires_at:%Y-%m-%d %H:%M} UTC"
    return ""
