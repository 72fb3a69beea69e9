"""What a day has cost: the sums over what all processes of a state have written of each job."""

from avm_mcp.journal.driver import Driver, Transaction
from avm_mcp.models import CANCEL, FAILED, NOT_CREATED, Spending
from avm_mcp.pacing import day_of


class Sums:
    """A day's money. Every method raises `StateUnavailable` where the state cannot be read."""

    _driver: Driver

    async def spending_today(self, account: str, now: float) -> Spending:
        """Return the sums of this UTC day."""
        return await spending(self._driver, account, day_of(now))

    async def spent_today(self, account: str, now: float) -> int:
        """Return the credits of this UTC day: charged, or while that is unknown quoted, less what came back."""
        return (await self.spending_today(account, now)).spent


async def spending(source: Driver | Transaction, account: str, day: str) -> Spending:
    """Return what the jobs that were started here on this day (as in `pacing.day_of`) came to."""
    (row,) = await source.rows(
        "SELECT count(*) AS videos, COALESCE(SUM(credits_quoted), 0) AS quoted,"
        " COALESCE(SUM(credits_charged), 0) AS charged, COALESCE(SUM(credits_refunded), 0) AS refunded,"
        " COALESCE(SUM(CASE"
        " WHEN status IN (?, ?) AND credits_charged IS NULL THEN 0"  # the seed API refunds without saying so
        " ELSE COALESCE(credits_charged, credits_quoted, 0) - COALESCE(credits_refunded, 0) END), 0) AS spent"
        " FROM jobs WHERE account = ? AND day = ? AND mine = 1 AND status <> ?",
        *(FAILED, CANCEL, account, day, NOT_CREATED),
    )
    return Spending(**{name: int(value) for name, value in row.items()})
