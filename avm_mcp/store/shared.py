"""What processes share besides jobs: how long videos took, the query limit, leases, hosts, damage."""

from collections.abc import Callable
from dataclasses import replace

from avm_mcp.domain import rate_limit
from avm_mcp.domain.client_timeouts import Cuts
from avm_mcp.domain.rate_limit import PendingQuery
from avm_mcp.domain.timings import STANDARD, Timings
from avm_mcp.store.driver import Driver, Transaction
from avm_mcp.store.machine import Machine

JUST_NOW = 1.5
"""Seconds. What any process has polled less long ago is not polled again. Less than the shortest poll interval."""

IN_FLIGHT = 10.0
"""Seconds for which a poll without an answer yet keeps others from polling the same."""

POLLS_KEPT = 60.0
"""Seconds for which polls are remembered."""

REBUILT_WITHIN = 24 * 3600.0
"""Seconds after damage in which an account's last day is rebuilt. Later, the service's list shows nothing of it."""

_CUTS = "SELECT cut_age, cut_at, seconds, learned_at FROM hosts WHERE name = ?"


class Shared:
    """Durations, buckets, leases, and the calls that hosts cut. Every `now` is by `Store.clock`."""

    _driver: Driver
    _ahead: float
    machine: Machine

    async def durations(self, account: str, model: str, seconds: int, limit: int) -> list[float]:
        """Return how many seconds the last videos of this kind took, newest first."""
        found = await self._driver.rows(
            "SELECT took FROM durations WHERE account = ? AND model = ? AND seconds = ?"
            " ORDER BY finished_at DESC LIMIT ?",
            *(account, model, seconds, limit),
        )
        return [float(row["took"]) for row in found]

    async def take_token(
        self, egress: str, now: float, query: PendingQuery = rate_limit.ANY_QUERY, timings: Timings = STANDARD
    ) -> float:
        """Take a token of the query limit and return 0, or return the seconds to wait before the next try (P6).

        A query that has to wait keeps its place for `PLACE_LIFETIME` seconds from each try.
        """
        async with self._driver.writing() as tx:
            found = await tx.rows(
                "SELECT tokens, filled_at, closed_until, polled_at FROM buckets WHERE egress = ?", egress
            )
            bucket = rate_limit.Bucket(**found[0]) if found else rate_limit.Bucket(timings.bucket_capacity, now)
            if bucket.filled_at - now > rate_limit.MAX_RETRY_AFTER + rate_limit.OUT_OF_ORDER:
                now = await self._advance_clock(tx, now, bucket.filled_at)
            await tx.run("DELETE FROM wants WHERE until < ? OR until > ?", now, now + 10 * rate_limit.PLACE_LIFETIME)
            since = now - query.waited
            if place := await tx.rows("SELECT since FROM wants WHERE name = ?", query.name):
                since = float(place[0]["since"])  # as the others read it, to the last digit
            query = replace(query, waited=now - since)
            others, served = await _queue(tx, egress, now, query)
            bucket, wait = rate_limit.take_token(bucket, now, query, others, served, timings=timings)
            await tx.run(
                "INSERT INTO buckets (egress, tokens, filled_at, closed_until, polled_at) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (egress) DO UPDATE SET tokens = excluded.tokens, filled_at = excluded.filled_at,"
                " closed_until = excluded.closed_until, polled_at = excluded.polled_at",
                *(egress, bucket.tokens, bucket.filled_at, bucket.closed_until, bucket.polled_at),
            )
            if wait == 0:
                await tx.run("DELETE FROM wants WHERE name = ?", query.name)
                await tx.run(
                    "INSERT INTO turns (egress, account, served_at) VALUES (?, ?, ?)"
                    " ON CONFLICT (egress, account) DO UPDATE SET served_at = excluded.served_at",
                    *(egress, query.account, now),
                )
            elif query.name:
                await tx.run(
                    "INSERT INTO wants (name, egress, account, urgent, since, until) VALUES (?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (name) DO UPDATE SET urgent = excluded.urgent, until = excluded.until",
                    *(query.name, egress, query.account, int(query.urgent), since, now + rate_limit.PLACE_LIFETIME),
                )
            return wait

    async def _advance_clock(self, tx: Transaction, now: float, to: float) -> float:
        """Advance the clock of all processes here to what a process of another machine has reached, and return that."""
        self._ahead += to - now
        await tx.run(
            "UPDATE clocks SET ahead = ? WHERE boot = ? AND ahead < ?", self._ahead, self.machine.boot, self._ahead
        )
        return to

    async def claim_poll(self, account: str, task_id: str, now: float) -> bool:
        """Record that a task, or the list (an empty id), is polled now; return False where another process just did.

        A poll keeps others back until it is answered, or for `IN_FLIGHT` seconds if its process has died.
        """
        async with self._driver.writing() as tx:
            await tx.run("DELETE FROM polls WHERE account = ? AND asked_at < ?", account, now - POLLS_KEPT)
            asked = await tx.rows(
                "SELECT 1 AS one FROM polls WHERE account = ? AND task_id IN (?, '') AND asked_at <= ? AND"
                " (asked_at > ? OR (asked_at > ? AND (seen_at IS NULL OR seen_at < asked_at)))",
                *(account, task_id, now, now - JUST_NOW, now - IN_FLIGHT),
            )
            if not asked:
                await tx.run(
                    "INSERT INTO polls (account, task_id, asked_at) VALUES (?, ?, ?)"
                    " ON CONFLICT (account, task_id) DO UPDATE SET asked_at = excluded.asked_at",
                    *(account, task_id, now),
                )
            return not asked

    async def record_poll(self, account: str, task_id: str, now: float, *, answered: bool) -> None:
        """Record how a claimed poll ended. One that failed keeps nobody back."""
        async with self._driver.writing() as tx:
            await tx.run(
                "UPDATE polls SET seen_at = CASE WHEN ? THEN ? ELSE seen_at END, asked_at = CASE WHEN ? THEN asked_at"
                " ELSE 0 END WHERE account = ? AND task_id = ?",
                *(answered, now, answered, account, task_id),
            )

    async def polls(self, account: str, now: float) -> dict[str, float]:
        """Return how many seconds ago tasks, and the list (an empty id), were last seen by any process."""
        found = await self._driver.rows(
            "SELECT task_id, seen_at FROM polls WHERE account = ? AND seen_at BETWEEN ? AND ?",
            *(account, now - POLLS_KEPT, now),
        )
        return {str(row["task_id"]): now - float(row["seen_at"]) for row in found}

    async def close_bucket(self, egress: str, until: float) -> None:
        """Let no query be sent before `until`, by `Store.clock`. A closure that lasts longer stays."""
        async with self._driver.writing() as tx:
            await tx.run(
                "INSERT INTO buckets (egress, tokens, filled_at, closed_until) VALUES (?, 0, ?, ?)"
                " ON CONFLICT (egress) DO UPDATE SET tokens = 0, closed_until = CASE"
                " WHEN buckets.closed_until BETWEEN excluded.closed_until AND ? THEN buckets.closed_until"
                " ELSE excluded.closed_until END",
                *(egress, until, until, until + rate_limit.MAX_RETRY_AFTER),
            )

    async def lease(self, name: str, holder: str, now: float, seconds: float) -> bool:
        """Take or renew a lease; return False while another holder's is valid.

        A lease that ends later than any may was written by the clock of another machine, and is void.
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

    async def pass_lease(self, name: str, holder: str, to: str) -> None:
        """Make `to` the holder of a lease that is still `holder`'s."""
        async with self._driver.writing() as tx:
            await tx.run("UPDATE leases SET holder = ? WHERE name = ? AND holder = ?", to, name, holder)

    async def free(self, name: str) -> None:
        """End a lease, whoever holds it."""
        async with self._driver.writing() as tx:
            await tx.run("DELETE FROM leases WHERE name = ?", name)

    async def holder(self, name: str, now: float) -> str | None:
        """Return the holder of a lease; None where nobody holds it."""
        found = await self._driver.rows("SELECT holder FROM leases WHERE name = ? AND until >= ?", name, now)
        return str(found[0]["holder"]) if found else None

    async def cuts(self, host: str) -> Cuts:
        """Return what is known of the calls that this host has cut."""
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

    async def is_rebuilding(self, account: str, now: float) -> bool:
        """Return whether this state replaces a damaged one, and the account's last day has not been rebuilt yet."""
        found = await self._driver.rows(
            "SELECT 1 AS one FROM facts WHERE name = 'damaged' AND value > ?"
            " AND NOT EXISTS (SELECT 1 FROM facts WHERE name = ?)",
            *(now - REBUILT_WITHIN, f"rebuilt:{account}"),
        )
        return bool(found)

    async def record_rebuilt(self, account: str, now: float) -> None:
        """Record that the account's last day is known again."""
        async with self._driver.writing() as tx:
            await tx.run(
                "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", f"rebuilt:{account}", now
            )


async def _queue(
    tx: Transaction, egress: str, now: float, query: PendingQuery
) -> tuple[list[PendingQuery], dict[str, float]]:
    """Return the other queries that wait, and when each account got its last token."""
    waiting = await tx.rows(
        "SELECT name, account, urgent, since FROM wants WHERE egress = ? AND name <> ?", egress, query.name
    )
    turns = await tx.rows("SELECT account, served_at FROM turns WHERE egress = ? AND served_at <= ?", egress, now)
    others = [PendingQuery(row["account"], bool(row["urgent"]), now - row["since"], row["name"]) for row in waiting]
    return others, {str(row["account"]): float(row["served_at"]) for row in turns}


async def _keep(tx: Transaction, host: str, cuts: Cuts) -> None:
    await tx.run(
        "INSERT INTO hosts (name, cut_age, cut_at, seconds, learned_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET cut_age = excluded.cut_age, cut_at = excluded.cut_at,"
        " seconds = excluded.seconds, learned_at = excluded.learned_at",
        *(host, cuts.cut_age, cuts.cut_at, cuts.seconds, cuts.learned_at),
    )
