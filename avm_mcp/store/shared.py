"""What processes share besides jobs: how long videos took, the query limit, leases, hosts, damage."""

from collections.abc import Callable
from dataclasses import replace

from avm_mcp.domain import rate_limit
from avm_mcp.domain.client_timeouts import Cuts
from avm_mcp.domain.rate_limit import Want
from avm_mcp.domain.timings import STANDARD, Timings
from avm_mcp.store.driver import Driver, Transaction
from avm_mcp.store.machine import Machine

JUST_NOW = 1.5
"""Seconds; what was asked less long ago, by whichever process, is not asked again. Below the shortest interval."""

IN_FLIGHT = 10.0
"""Seconds for which a question that was not answered yet holds others back."""

POLLS_KEPT = 60.0

REBUILT_WITHIN = 24 * 3600.0
"""Seconds after damage in which an account's last day is rebuilt; later, nothing of it would be found any more."""

_CUTS = "SELECT cut_age, cut_at, seconds, learned_at FROM hosts WHERE name = ?"


class Shared:
    """Durations, buckets, leases, and what hosts have cut. Every `now` is by `Store.clock`."""

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
        self, egress: str, now: float, want: Want = rate_limit.ANY, timings: Timings = STANDARD
    ) -> float:
        """Take one question from the allowance and return 0, or return the seconds to wait before asking again (P6).

        Who has to wait keeps a place for `WANTED_FOR` seconds, as long as it asks again in time.
        """
        async with self._driver.writing() as tx:
            found = await tx.rows(
                "SELECT tokens, filled_at, closed_until, polled_at FROM buckets WHERE egress = ?", egress
            )
            bucket = rate_limit.Bucket(**found[0]) if found else rate_limit.Bucket(timings.bucket_capacity, now)
            if bucket.filled_at - now > rate_limit.MAX_RETRY_AFTER + rate_limit.OUT_OF_ORDER:
                now = await self._caught_up(tx, now, bucket.filled_at)
            await tx.run("DELETE FROM wants WHERE until < ? OR until > ?", now, now + 10 * rate_limit.WANTED_FOR)
            since = now - want.waited
            if place := await tx.rows("SELECT since FROM wants WHERE name = ?", want.name):
                since = float(place[0]["since"])  # as the others read it, to the last digit
            want = replace(want, waited=now - since)
            others, served = await _queue(tx, egress, now, want)
            bucket, wait = rate_limit.take(bucket, now, want, others, served, timings=timings)
            await tx.run(
                "INSERT INTO buckets (egress, tokens, filled_at, closed_until, polled_at) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (egress) DO UPDATE SET tokens = excluded.tokens, filled_at = excluded.filled_at,"
                " closed_until = excluded.closed_until, polled_at = excluded.polled_at",
                *(egress, bucket.tokens, bucket.filled_at, bucket.closed_until, bucket.polled_at),
            )
            if wait == 0:
                await tx.run("DELETE FROM wants WHERE name = ?", want.name)
                await tx.run(
                    "INSERT INTO turns (egress, account, served_at) VALUES (?, ?, ?)"
                    " ON CONFLICT (egress, account) DO UPDATE SET served_at = excluded.served_at",
                    *(egress, want.account, now),
                )
            elif want.name:
                await tx.run(
                    "INSERT INTO wants (name, egress, account, urgent, since, until) VALUES (?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (name) DO UPDATE SET urgent = excluded.urgent, until = excluded.until",
                    *(want.name, egress, want.account, int(want.urgent), since, now + rate_limit.WANTED_FOR),
                )
            return wait

    async def _caught_up(self, tx: Transaction, now: float, to: float) -> float:
        """Put the state's clock on to what another machine has brought it to, for all processes here; return that."""
        self._ahead += to - now
        await tx.run(
            "UPDATE clocks SET ahead = ? WHERE boot = ? AND ahead < ?", self._ahead, self.machine.boot, self._ahead
        )
        return to

    async def claim_poll(self, account: str, task_id: str, now: float) -> bool:
        """Note that a task is asked about now, or that the list is (an empty id); False where somebody just did.

        A question holds others back until it is answered, or for `IN_FLIGHT` seconds, should its process have died.
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
        """Note how a question ended that was claimed; one that failed holds nobody back."""
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
        """Let nobody ask before `until`, by `Store.clock`; what closes it for longer stays."""
        async with self._driver.writing() as tx:
            await tx.run(
                "INSERT INTO buckets (egress, tokens, filled_at, closed_until) VALUES (?, 0, ?, ?)"
                " ON CONFLICT (egress) DO UPDATE SET tokens = 0, closed_until = CASE"
                " WHEN buckets.closed_until BETWEEN excluded.closed_until AND ? THEN buckets.closed_until"
                " ELSE excluded.closed_until END",
                *(egress, until, until, until + rate_limit.MAX_RETRY_AFTER),
            )

    async def lease(self, name: str, holder: str, now: float, seconds: float) -> bool:
        """Take or renew a lease; False while another holder's has not run out.

        One that reaches further ahead than any lease may was written by the clock of another machine: void.
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

    async def is_rebuilding(self, account: str, now: float) -> bool:
        """Return whether this replaces a damaged state, and the account's last day was not rebuilt yet."""
        found = await self._driver.rows(
            "SELECT 1 AS one FROM facts WHERE name = 'damaged' AND value > ?"
            " AND NOT EXISTS (SELECT 1 FROM facts WHERE name = ?)",
            *(now - REBUILT_WITHIN, f"rebuilt:{account}"),
        )
        return bool(found)

    async def record_rebuilt(self, account: str, now: float) -> None:
        """Note that the account's last day is known again."""
        async with self._driver.writing() as tx:
            await tx.run(
                "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", f"rebuilt:{account}", now
            )


async def _queue(tx: Transaction, egress: str, now: float, want: Want) -> tuple[list[Want], dict[str, float]]:
    """Return who else waits, and when accounts were served."""
    waiting = await tx.rows(
        "SELECT name, account, urgent, since FROM wants WHERE egress = ? AND name <> ?", egress, want.name
    )
    turns = await tx.rows("SELECT account, served_at FROM turns WHERE egress = ? AND served_at <= ?", egress, now)
    others = [Want(row["account"], bool(row["urgent"]), now - row["since"], row["name"]) for row in waiting]
    return others, {str(row["account"]): float(row["served_at"]) for row in turns}


async def _keep(tx: Transaction, host: str, cuts: Cuts) -> None:
    await tx.run(
        "INSERT INTO hosts (name, cut_age, cut_at, seconds, learned_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET cut_age = excluded.cut_age, cut_at = excluded.cut_at,"
        " seconds = excluded.seconds, learned_at = excluded.learned_at",
        *(host, cuts.cut_age, cuts.cut_at, cuts.seconds, cuts.learned_at),
    )
