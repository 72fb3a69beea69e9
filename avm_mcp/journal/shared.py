"""What processes share besides jobs: how long films took, the allowance for questions, who does what, and hosts."""

from collections.abc import Callable

from avm_mcp import pacing
from avm_mcp.hosts import Cuts
from avm_mcp.journal.driver import Driver, Transaction

_CUTS = "SELECT cut_age, cut_at, seconds, learned_at FROM hosts WHERE name = ?"


class Shared:
    """Durations, buckets, leases, and what hosts have cut."""

    _driver: Driver

    async def durations(self, account: str, model: str, seconds: int, limit: int) -> list[float]:
        """Return how many seconds the last films of this kind took, newest first."""
        found = await self._driver.rows(
            "SELECT took FROM durations WHERE account = ? AND model = ? AND seconds = ?"
            " ORDER BY finished_at DESC LIMIT ?",
            *(account, model, seconds, limit),
        )
        return [float(row["took"]) for row in found]

    async def take_token(self, egress: str, now: float) -> float:
        """Take one question from the allowance and return 0, or return the seconds to wait before asking again (P6)."""
        async with self._driver.writing() as tx:
            found = await tx.rows("SELECT tokens, filled_at, closed_until FROM buckets WHERE egress = ?", egress)
            bucket = pacing.Bucket(**found[0]) if found else pacing.Bucket(pacing.BUCKET_CAPACITY, now)
            bucket, wait = pacing.take(bucket, now)
            await tx.run(
                "INSERT INTO buckets (egress, tokens, filled_at, closed_until) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (egress) DO UPDATE SET tokens = excluded.tokens, filled_at = excluded.filled_at,"
                " closed_until = excluded.closed_until",
                *(egress, bucket.tokens, bucket.filled_at, bucket.closed_until),
            )
            return wait

    async def close_bucket(self, egress: str, until: float) -> None:
        """Let nobody ask before `until`, seconds since 1970; what closes it for longer stays."""
        async with self._driver.writing() as tx:
            await tx.run(
                "INSERT INTO buckets (egress, tokens, filled_at, closed_until) VALUES (?, 0, ?, ?)"
                " ON CONFLICT (egress) DO UPDATE SET tokens = 0, closed_until = CASE"
                " WHEN buckets.closed_until BETWEEN excluded.closed_until AND ? THEN buckets.closed_until"
                " ELSE excluded.closed_until END",
                *(egress, until, until, until + pacing.MAX_RETRY_AFTER),
            )

    async def lease(self, name: str, holder: str, now: float, seconds: float) -> bool:
        """Take or renew a lease; False while another holder's has not run out.

        One that reaches further ahead than any lease may was written before the wall clock jumped back: void.
        """
        async with self._driver.writing() as tx:
            changed = await tx.run(
                "INSERT INTO leases (name, holder, until) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
                " holder = excluded.holder, until = excluded.until"
                " WHERE leases.holder = excluded.holder OR leases.until < ? OR leases.until > ?",
                *(name, holder, now + seconds, now, now + 10 * seconds),
            )
            return changed > 0

    async def release(self, name: str, holder: str) -> None:
        async with self._driver.writing() as tx:
            await tx.run("DELETE FROM leases WHERE name = ? AND holder = ?", name, holder)

    async def holder(self, name: str, now: float) -> str | None:
        """Return who holds a lease; None where nobody does."""
        found = await self._driver.rows("SELECT holder FROM leases WHERE name = ? AND until >= ?", name, now)
        return str(found[0]["holder"]) if found else None

    async def cuts(self, host: str) -> Cuts:
        """Return what is known of the calls that this host cut."""
        found = await self._driver.rows(_CUTS, host)
        return Cuts(**found[0]) if found else Cuts()

    async def learn_cuts(self, host: str, learn: Callable[[Cuts], Cuts]) -> None:
        """Replace what is known of a host by what `learn` makes of it."""
        async with self._driver.writing() as tx:
            found = await tx.rows(_CUTS, host)
            known = Cuts(**found[0]) if found else Cuts()
            if (now_known := learn(known)) != known:
                await _keep(tx, host, now_known)

    async def hosts_that_cut(self) -> dict[str, Cuts]:
        """Return the hosts that a limit was learned of, by name."""
        found = await self._driver.rows(
            "SELECT name, cut_age, cut_at, seconds, learned_at FROM hosts WHERE seconds IS NOT NULL ORDER BY name"
        )
        return {str(row["name"]): Cuts(**{key: row[key] for key in row if key != "name"}) for row in found}


async def _keep(tx: Transaction, host: str, cuts: Cuts) -> None:
    await tx.run(
        "INSERT INTO hosts (name, cut_age, cut_at, seconds, learned_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET cut_age = excluded.cut_age, cut_at = excluded.cut_at,"
        " seconds = excluded.seconds, learned_at = excluded.learned_at",
        *(host, cuts.cut_age, cuts.cut_at, cuts.seconds, cuts.learned_at),
    )
