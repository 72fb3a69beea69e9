"""Prices that somebody was told: by a refusal for want of a yes, or by a quote; for all processes of a state."""

from avm_mcp.domain.job import Job
from avm_mcp.store.driver import Driver

KEPT = 24 * 3600.0
"""Seconds; far longer than any of them can be answered."""


class Questions:
    """The table of questions. Every method raises `StateUnavailable` where the state cannot be read or written."""

    _driver: Driver

    async def ask(self, draft: Job) -> None:
        """Note that exactly this request was refused at its price, for want of a yes."""
        await self._told(draft.account, draft.caller, draft.identity, draft.credits_quoted or 0, draft.started)

    async def quote(self, account: str, caller: str, model: str, seconds: int, amount: int, now: float) -> None:
        """Note that the price of any such video was told, in credits."""
        await self._told(account, caller, _kind(model, seconds), amount, now)

    async def _told(self, account: str, caller: str, what: str, amount: int, now: float) -> None:
        async with self._driver.writing() as tx:
            await tx.run("DELETE FROM questions WHERE asked_at < ?", now - KEPT)
            await tx.run(
                "INSERT INTO questions (account, caller, identity, credits, asked_at) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (account, caller, identity) DO UPDATE SET credits = excluded.credits,"
                " asked_at = excluded.asked_at",
                *(account, caller, what, amount, now),
            )

    async def asked(self, draft: Job, since: float, until: float) -> bool:
        """Return whether the price of this request, or a higher one, was told, and last between these times.

        By a refusal of exactly this request, or by a quote for one of its model and length.
        """
        found = await self._driver.rows(
            "SELECT credits FROM questions WHERE account = ? AND caller = ? AND identity IN (?, ?)"
            " AND asked_at > ? AND asked_at <= ?",
            *(draft.account, draft.caller, draft.identity, _kind(draft.model, draft.seconds), since, until),
        )
        return any(int(row["credits"]) >= (draft.credits_quoted or 0) for row in found)


def _kind(model: str, seconds: int) -> str:
    """Return what stands for all requests of a price; no identity of one request, which is a digest, looks like it."""
    return f"quote {model} {seconds}"
