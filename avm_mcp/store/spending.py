"""What a day has cost: the sums over what all processes of a state have written of each job."""

from avm_mcp.domain.bounds import MOST_CREDITS
from avm_mcp.domain.job import CANCEL, FAILED, NOT_CREATED, Spending
from avm_mcp.domain.rate_limit import day_of
from avm_mcp.store.driver import Driver, Transaction


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
    """Return what the jobs that were started here on this day (as in `pacing.day_of`) came to.

    Within what each number can mean, also where an earlier version wrote more: a job never adds less than nothing, and
    only what has failed or was cancelled gives back.
    """
    (row,) = await source.rows(_SUMS, *(FAILED, CANCEL, account, day, NOT_CREATED))
    return Spending(**{name: int(value) for name, value in row.items()})


def _bounded(name: str) -> str:
    column = f"credits_{name}"
    return (
        f"CASE WHEN {column} < 0 THEN 0 WHEN {column} > {MOST_CREDITS} THEN {MOST_CREDITS} ELSE {column} END AS {name}"
    )


_SUMS = (
    "SELECT count(*) AS videos,"  # noqa: S608 - columns and limits of our own
    " COALESCE(SUM(quoted), 0) AS quoted, COALESCE(SUM(charged), 0) AS charged,"
    " COALESCE(SUM(CASE WHEN refunded > paid THEN paid ELSE refunded END), 0) AS refunded,"
    " COALESCE(SUM(CASE"
    " WHEN ended = 1 AND charged IS NULL THEN 0"  # the seed API refunds without saying so
    " WHEN refunded > paid THEN 0 ELSE paid - refunded END), 0) AS spent"
    " FROM (SELECT quoted, charged, COALESCE(charged, quoted, 0) AS paid, ended,"
    " CASE WHEN ended = 1 THEN COALESCE(refunded, 0) ELSE 0 END AS refunded"
    f" FROM (SELECT {_bounded('quoted')}, {_bounded('charged')}, {_bounded('refunded')},"
    " CASE WHEN status IN (?, ?) THEN 1 ELSE 0 END AS ended"
    " FROM jobs WHERE account = ? AND day = ? AND mine = 1 AND status <> ?) AS bounded) AS paid"
)
