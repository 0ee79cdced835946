"""How the daemon stands, in one line for `systemctl status`: what is wrong first, then what it does."""

from __future__ import annotations

from dataclasses import dataclass

_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class StatusLine:
    """What there is to say after a turn. `registry` and `state` are the problems of the registry and the state folder,
    "" for none; `troubles` are models of which a step failed; `unwatched` drop folders have files found by looking
    only.
    """

    models: int
    attempts: tuple[str, ...] = ()
    workers: int = 0
    registry: str = ""
    state: str = ""
    policy_files: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()
    unwatched: bool = False

    @property
    def sentence(self) -> str:
        """Such as "Degraded: policy problems in churn.yaml. Watching 3 models; under way: fraud-7 (1 worker)"."""
        problems = "; ".join(self._problems())
        return (f"Degraded: {problems}. " if problems else "") + self._doing()

    def _problems(self) -> list[str]:
        said = [self.state.rstrip(".")] if self.state else []
        if self.policy_files:
            said.append(f"policy problems in {_names(self.policy_files)}")
        if self.troubles:
            said.append(f"trouble with {_names(self.troubles)}")
        if self.unwatched:
            said.append("drop folders without file events")
        if self.registry:
            said.append(f"the registry does not answer ({self.registry.rstrip('.')})")
        return said

    def _doing(self) -> str:
        watching = f"Watching {_count(self.models, 'model')}"
        workers = f" ({_count(self.workers, 'worker')})" if self.workers else ""
        if self.attempts:
            return f"{watching}; under way: {_names(self.attempts)}{workers}"
        return f"{watching}; inspecting{workers}" if self.workers else f"{watching}; idle"


def _names(names: tuple[str, ...]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
