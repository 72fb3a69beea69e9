"""Prices that somebody was to be asked about: what was refused for want of a yes, for all processes of a state."""

from avm_mcp.journal.driver import Driver
from avm_mcp.models import Job

KEPT = 24 * 3600.0
"""Seconds; far longer than any of them can be answered."""


class Questions:
    """The table of questions. Every method raises `StateUnavailable` where the state cannot be read or written."""

    _driver: Driver

    async def ask(self, draft: Job) -> None:
        """Note that exactly this request was refused at its price, for want of a yes."""
        async with self._driver.writing() as tx:
            await tx.run("DELETE FROM questions WHERE asked_at < ?", draft.created_at - KEPT)
            await tx.run(
                "INSERT INTO questions (account, caller, identity, credits, asked_at) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (account, caller, identity) DO UPDATE SET credits = excluded.credits,"
                " asked_at = excluded.asked_at",
                *(draft.account, draft.caller, draft.identity, draft.credits_quoted, draft.created_at),
            )

    async def asked(self, draft: Job, since: float, until: float) -> bool:
        """Return whether exactly this request was refused so, at this price or a higher one, and last between these."""
        found = await self._driver.rows(
            "SELECT credits FROM questions WHERE account = ? AND caller = ? AND identity = ?"
            " AND asked_at > ? AND asked_at <= ?",
            *(draft.account, draft.caller, draft.identity, since, until),
        )
        return bool(found) and int(found[0]["credits"]) >= (draft.credits_quoted or 0)
