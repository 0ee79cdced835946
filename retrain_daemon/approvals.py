"""Approvals: what people say to verdicts that wait for them, by an order or by a tag on the version in MLflow.

What follows from an answer is `core.approval`'s to say; promotions themselves are in `effects.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from retrain_daemon.core.approval import NOTHING_MEANWHILE, Answer, Meanwhile
from retrain_daemon.core.attempts import Attempt, State
from retrain_daemon.core.policy import Policy
from retrain_daemon.core.steps import AskPerson, TakeAnswer
from retrain_daemon.errors import NotFound, Refused
from retrain_daemon.journal import Journal
from retrain_daemon.journal.requests import Request
from retrain_daemon.labels import APPROVAL_TAG, VOID, WAITS
from retrain_daemon.log import get_logger
from retrain_daemon.news import NOBODY, Announcer, News
from retrain_daemon.registry_view import RegistryView

#: Who answered by the version's tag: MLflow does not tell who set one.
BY_TAG = "a tag in MLflow"

_log = get_logger()


class Approvals:
    """Asks people, and takes answers that tags give."""

    def __init__(
        self, journal: Journal, view: RegistryView, clock: Callable[[], datetime],
        in_force: Callable[[str], Policy | None], announcer: Announcer = NOBODY,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._view = view
        self._clock = clock
        self._in_force = in_force
        self._announcer = announcer
        self._misread: set[tuple[str, int, str]] = set()

    def meanwhile(self, attempt: Attempt) -> Meanwhile:
        """What people did since they were asked; raises RegistryUnreachable."""
        if attempt.asked is None or attempt.state is not State.JUDGED or attempt.version is None:
            return NOTHING_MEANWHILE
        policy = self._in_force(attempt.model)
        seen = Meanwhile(policy_digest=policy.digest if policy is not None else "")
        if not attempt.asked.is_open or self._view.problem:
            return seen
        try:
            said = self._view.tags_of(attempt.model, attempt.version).get(APPROVAL_TAG, "")
        except NotFound:
            return Meanwhile(policy_digest=seen.policy_digest, version_gone=True)
        return Meanwhile(policy_digest=seen.policy_digest, tag=self._understood(attempt, said.strip().lower()))

    def _understood(self, attempt: Attempt, said: str) -> Answer | None:
        """What the tag says; another word than was asked for is said once."""
        if said in (Answer.APPROVE, Answer.REJECT):
            return Answer(said)
        key = (attempt.id, attempt.round, said)
        if said not in ("", WAITS, VOID) and key not in self._misread:
            self._misread.add(key)
            _log.warning("approval.not_understood", attempt=attempt.id, model=attempt.model, version=attempt.version,
                         value=said[:100], reason=f"the tag {APPROVAL_TAG} takes approve or reject")  # fmt: skip
        return None

    def take(self, attempt: Attempt, step: AskPerson | TakeAnswer) -> None:
        """Journal the question, or what a tag answers."""
        match step:
            case AskPerson(expires_at=expires_at):
                self._ask(attempt, expires_at)
            case TakeAnswer(answer=answer):
                self._journal.approvals.answer(attempt, answer, BY_TAG, "", self._clock())
                _log.info("approval.answered", attempt=attempt.id, model=attempt.model, answer=answer.value, by=BY_TAG)

    def _ask(self, attempt: Attempt, expires_at: datetime) -> None:
        """Told to whom it concerns as it is journaled."""
        now = self._clock()
        self._journal.approvals.ask(attempt, expires_at, now)
        summary = attempt.verdict.summary if attempt.verdict is not None else ""
        _log.info("approval.asked", attempt=attempt.id, model=attempt.model, version=attempt.version,
                  until=expires_at.isoformat("T", "seconds"), reason=summary)  # fmt: skip
        self._announcer.tell(
            News(occasion="awaiting_approval", at=now, model=attempt.model, attempt=attempt.id,
                 version=attempt.champion_version or None, reason=f"version {attempt.version}, until"
                 f" {expires_at:%Y-%m-%d %H:%M} UTC: {summary}")
        )  # fmt: skip


class ApprovalOrders:
    """Takes the orders `approve` and `reject`; raises NotFound or Refused with the answer for the one who asked."""

    def __init__(self, journal: Journal, clock: Callable[[], datetime]) -> None:
        self._journal = journal
        self._clock = clock

    def answer(self, request: Request, policy: Policy | None) -> str:
        """Journal a person's answer, about the very evidence they were asked about."""
        answer = Answer(request.verb)
        attempt = self._waiting(request)
        self._refuse_other_evidence(attempt, request.argument("evidence"))
        if answer is Answer.APPROVE:
            self._refuse_approval(attempt, policy)
        self._journal.approvals.answer(attempt, answer, request.by, request.why, self._clock())
        _log.info("approval.answered", attempt=attempt.id, model=attempt.model, answer=answer.value, by=request.by)
        if answer is Answer.REJECT:
            champion = attempt.champion_version
            stays = f"version {champion} stays champion" if champion else f"{attempt.model} still has no champion"
            return f"attempt {attempt.id} is rejected: {stays}"
        return (
            f"attempt {attempt.id} is approved: version {attempt.version} becomes champion of {attempt.model}, unless"
            " someone has moved the alias"
        )

    def _waiting(self, request: Request) -> Attempt:
        attempt = self._journal.attempts.find(request.argument("attempt"))
        if attempt is None or attempt.model != request.model:
            raise NotFound(f"there is no attempt {request.argument('attempt')} of {request.model}.",
                           "`retraind history` shows those there are.")  # fmt: skip
        refuse_unless_waiting(attempt)
        assert attempt.asked is not None
        if self._clock() >= attempt.asked.expires_at:
            raise Refused(f"attempt {attempt.id} could be answered until {attempt.asked.expires_at:%Y-%m-%d %H:%M} UTC"
                          " only.", "What it was about is judged again with the next attempt.")  # fmt: skip
        return attempt

    def _refuse_other_evidence(self, attempt: Attempt, evidence: str) -> None:
        assert attempt.asked is not None
        if evidence != attempt.asked.evidence or evidence != self._journal.approvals.evidence_of(attempt.id):
            raise Refused(
                f"the evidence of attempt {attempt.id} is not the one you answered to any more.",
                f"Look at `retraind show {attempt.id}` and answer again.",
            )

    def _refuse_approval(self, attempt: Attempt, policy: Policy | None) -> None:
        row = self._journal.models.find(attempt.model)
        if row is not None and row.hold is not None:
            raise Refused(
                f"{attempt.model} is paused by {row.hold.by}: {row.hold.why}; nothing is promoted meanwhile.",
                f"First `retraind resume {attempt.model}`.",
            )
        if policy is None:
            raise NotFound(f"no policy in force names the model {attempt.model}.",
                           "`retraind check` shows what is in force.")  # fmt: skip
        if policy.digest != attempt.policy.digest:
            raise Refused(
                f"attempt {attempt.id} was judged by another policy ({attempt.policy.digest[:12]}) than is in force"
                f" ({policy.digest[:12]}).",
                "It ends, and the policy in force decides anew.",
            )


def refuse_unless_waiting(attempt: Attempt) -> None:
    """Raise Refused, with how the attempt stands, where no answer is awaited."""
    if attempt.awaits_approval:
        return
    if attempt.ended_at is None and attempt.asked is not None and attempt.asked.said:
        raise Refused(f"attempt {attempt.id} was {attempt.asked.said}.")
    raise Refused(f"attempt {attempt.id} awaits no approval: it is {attempt.state.value}.",
                  f"`retraind show {attempt.id}` says why.")  # fmt: skip
