"""Whose versions are loaded: loading a model runs code of whoever made it.

Pure; who made a version is read in `registry.py`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trust:
    """`users` as the settings name them, empty where they name none; `own` are the daemon's: that of its process, and
    the one it is to MLflow, which writes that one down as the author.
    """

    users: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()

    def against_champion(self, author: str, version: int) -> str:
        """What stands against loading the champion, as a clause; "" when nothing does.

        Without named users whoever made a version champion vouches for it.
        """
        if not self.users or author in self.own or author in self.users:
            return ""
        return f"version {version} is by {author or 'nobody known'}, who is not among trust.users"

    def against_offered(self, author: str, champion_author: str | None, version: int) -> str:
        """The same for a version under the alias `challenger`: without named users only the daemon's own user and the
        champion's author are trusted, None where there is no champion. Not knowing who made it is not a yes.
        """
        if author and (author in self.own or author in (self.users or {champion_author})):
            return ""
        who = f"is by {author}" if author else "is by nobody known (its run has no tag mlflow.user)"
        other = (
            "is not the daemon's user"
            if champion_author is None
            else ("is neither the daemon's user nor the champion's author")
        )
        allowed = "is not among trust.users" if self.users else other
        return (
            f"version {version} {who}, who {allowed}: it is not loaded; name its author in trust.users of the settings"
        )


NOBODY_NAMED = Trust()
