"""The journal: one SQLite file that holds everything the daemon knows, decided and did (law 3).

`schema.sql` is its description. Each module here owns the statements on its tables; none of them decides.
"""

from retrain_daemon.journal.record import JOURNAL_FILE, HistoryLine, Journal

__all__ = ["JOURNAL_FILE", "HistoryLine", "Journal"]
