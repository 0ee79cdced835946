"""What PyTorch raises, as the one line that says what is wrong."""

from __future__ import annotations

from retrain_daemon.worker.cards import first_line

_LONGEST = 300


def said_by(problem: BaseException) -> str:
    """The first line, of TorchScript the last, which is what was raised inside; cut where it lists backends."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    said = lines[-1].rstrip(". ") if lines and "TorchScript interpreter" in lines[0] else first_line(problem)
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST].rstrip()} ..."
