"""Prices that a caller knows: from a refusal that named one, or from a quote; for all processes of a state."""

from avm_mcp.domain.job import Job
from avm_mcp.store.driver import Driver

KEPT = 24 * 3600.0
"""Seconds for which a known price is kept: far longer than naming one counts as approval."""


class KnownPrices:
    """The table of known prices. Every method raises `StateUnavailable` where it cannot be read or written."""

    _driver: Driver

    async def record_refused_price(self, draft: Job) -> None:
        """Record that exactly this request was refused at its price, for want of approval."""
        await self._record(draft.account, draft.caller, draft.identity, draft.credits_quoted or 0, draft.started)

    async def record_quote(self, account: str, caller: str, model: str, seconds: int, amount: int, now: float) -> None:
        """Record that the price of every video of this model and length was quoted, in credits."""
        await self._record(account, caller, _kind(model, seconds), amount, now)

    async def _record(self, account: str, caller: str, what: str, amount: int, now: float) -> None:
        async with self._driver.writing() as tx:
            await tx.run("DELETE FROM known_prices WHERE known_since < ?", now - KEPT)
            await tx.run(
                "INSERT INTO known_prices (account, caller, identity, credits, known_since) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (account, caller, identity) DO UPDATE SET credits = excluded.credits,"
                " known_since = excluded.known_since",
                *(account, caller, what, amount, now),
            )

    async def knows_price(self, draft: Job, since: float, until: float) -> bool:
        """Return whether the caller learned the price of this request, or a higher one, between these times.

        By a refusal of exactly this request, or by a quote for one of its model and length; the last of each counts.
        """
        found = await self._driver.rows(
            "SELECT credits FROM known_prices WHERE account = ? AND caller = ? AND identity IN (?, ?)"
            " AND known_since > ? AND known_since <= ?",
            *(draft.account, draft.caller, draft.identity, _kind(draft.model, draft.seconds), since, until),
        )
        return any(int(row["credits"]) >= (draft.credits_quoted or 0) for row in found)


def _kind(model: str, seconds: int) -> str:
    """Return what stands for all requests of a price; no identity of one request, which is a digest, looks like it."""
    return f"quote {model} {seconds}"
