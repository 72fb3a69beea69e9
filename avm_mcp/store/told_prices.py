"""Prices that somebody was told: by a refusal for want of a yes, or by a quote; for all processes of a state."""

from avm_mcp.domain.job import Job
from avm_mcp.store.driver import Driver

KEPT = 24 * 3600.0
"""Seconds; far longer than any of them can be answered."""


class ToldPrices:
    """The table of prices that were told. Every method raises `StateUnavailable` where it cannot be read or written."""

    _driver: Driver

    async def ask(self, draft: Job) -> None:
        """Note that exactly this request was refused at its price, for want of a yes."""
        await self._told(draft.account, draft.caller, draft.identity, draft.credits_quoted or 0, draft.started)

    async def quote(self, account: str, caller: str, model: str, seconds: int, amount: int, now: float) -> None:
        """Note that the price of any such video was told, in credits."""
        await self._told(account, caller, _kind(model, seconds), amount, now)

    async def _told(self, account: str, caller: str, what: str, amount: int, now: float) -> None:
        async with self._driver.writing() as tx:
            await tx.run("DELETE FROM told_prices WHERE told_at < ?", now - KEPT)
            await tx.run(
                "INSERT INTO told_prices (account, caller, identity, credits, told_at) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (account, caller, identity) DO UPDATE SET credits = excluded.credits,"
                " told_at = excluded.told_at",
                *(account, caller, what, amount, now),
            )

    async def asked(self, draft: Job, since: float, until: float) -> bool:
        """Return whether the price of this request, or a higher one, was told, and last between these times.

        By a refusal of exactly this request, or by a quote for one of its model and length.
        """
        found = await self._driver.rows(
            "SELECT credits FROM told_prices WHERE account = ? AND caller = ? AND identity IN (?, ?)"
            " AND told_at > ? AND told_at <= ?",
            *(draft.account, draft.caller, draft.identity, _kind(draft.model, draft.seconds), since, until),
        )
        return any(int(row["credits"]) >= (draft.credits_quoted or 0) for row in found)


def _kind(model: str, seconds: int) -> str:
    """Return what stands for all requests of a price; no identity of one request, which is a digest, looks like it."""
    return f"quote {model} {seconds}"
