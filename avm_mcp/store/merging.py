"""Accounts that the state has under several names: their rows become one account's, and still prevent duplicates."""

from collections.abc import Sequence

from avm_mcp.store.driver import Driver, Transaction


class Merging:
    """Merges accounts. Raises `StateUnavailable` where the state cannot be written."""

    _driver: Driver

    async def merge_accounts(self, names: Sequence[str], into: str) -> int:
        """Move the jobs and durations of the accounts `names` to the account `into`, and return how many jobs moved.

        Of two live rows of one request the newer stays live. A row of a task that was only seen is deleted in favour of
        the row that made the task.
        """
        marks = ", ".join("?" * len(names))
        if not await self._driver.rows(f"SELECT 1 AS one FROM jobs WHERE account IN ({marks}) LIMIT 1", *names):  # noqa: S608
            return 0
        async with self._driver.writing() as tx:
            return sum([await _merge(tx, name, into) for name in names])


async def _merge(tx: Transaction, name: str, into: str) -> int:
    pair = (name, into)
    for seen, maker in (pair, pair[::-1]):
        await tx.run(
            "DELETE FROM jobs WHERE account = ? AND idempotency_key = identity AND task_id IN"
            " (SELECT o.task_id FROM jobs o WHERE o.account = ? AND o.task_id IS NOT NULL)",
            *(seen, maker),
        )
    for older, newer in (pair, pair[::-1]):
        await tx.run(
            "UPDATE jobs SET live = 0 WHERE account = ? AND live = 1 AND EXISTS (SELECT 1 FROM jobs o WHERE"
            " o.account = ? AND o.live = 1 AND o.caller = jobs.caller AND o.identity = jobs.identity"
            " AND o.started >= jobs.started)",
            *(older, newer),
        )
    await tx.run(
        "UPDATE durations SET account = ? WHERE account = ? AND task_id NOT IN"
        " (SELECT o.task_id FROM durations o WHERE o.account = ?)",
        *(into, name, into),
    )
    return await tx.run(
        "UPDATE jobs SET account = ? WHERE account = ? AND (task_id IS NULL OR task_id NOT IN"
        " (SELECT o.task_id FROM jobs o WHERE o.account = ? AND o.task_id IS NOT NULL))",
        *(into, name, into),
    )
