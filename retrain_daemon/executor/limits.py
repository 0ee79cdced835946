"""What a worker may take: time, memory, processes, CPUs and GPUs, and how amounts of them are said.

Values only; by which means a limit holds is in `holding.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_MAX_THREADS", "LOKY_MAX_CPU_COUNT",
    "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS",
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """How long a worker may run, and what it and all it started may take together: bytes of memory, processes, CPUs.

    None is no limit. `gpus` are handed to it alone.
    """

    run_for: timedelta
    memory: int | None = None
    processes: int | None = None
    cpus: float | None = None
    gpus: int = 0

    def or_else(self, memory: int | None, processes: int | None) -> Limits:
        """These limits, with others where they say nothing."""
        return replace(
            self,
            memory=memory if self.memory is None else self.memory,
            processes=processes if self.processes is None else self.processes,
        )


def thread_variables(cpus: float | None) -> dict[str, str]:
    """What keeps libraries from starting a thread for each CPU of the box where a worker may use only `cpus`."""
    return {} if cpus is None else dict.fromkeys(_THREAD_VARIABLES, str(math.ceil(cpus)))


def can_be_forked(limits: Limits) -> bool:
    """Whether a worker within these limits may come from a process that has imported what it needs: libraries read
    how many threads they may start when they are imported.
    """
    return not thread_variables(limits.cpus)


def in_bytes(count: int) -> str:
    """An amount of memory, such as "1.5 GiB"."""
    for exponent, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 2**exponent:
            return f"{count / 2**exponent:.1f}".removesuffix(".0") + f" {unit}"
    return f"{count} bytes"


def in_time(span: timedelta) -> str:
    """Such as "1h30m"; below a minute in seconds with their fraction."""
    seconds = span.total_seconds()
    if seconds < _UNITS[2][0]:
        return f"{seconds:g}s"
    parts, rest = [], round(seconds)
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        parts.append(f"{count}{unit}" if count else "")
    return "".join(parts)
