"""What the state needs of a database; the SQL is the same for each that offers it."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

Row = Mapping[str, Any]


class Transaction(Protocol):
    """A write transaction: all of it or nothing; nobody else writes meanwhile."""

    async def rows(self, sql: str, *values: object) -> list[Row]: ...
    async def run(self, sql: str, *values: object) -> int:
        """Execute one statement and return how many rows it changed."""
        ...


class Driver(Protocol):
    """A database. Statements use `?` for values.

    Every method raises `StateUnavailable` when the database cannot do its work; a lock that others hold is waited
    for within a bound.
    """

    durable: bool
    """False where the state is lost with the process."""

    journal_mode: str
    """How writes are made safe, in the database's own word; for people who look for trouble."""

    def writing(self) -> AbstractAsyncContextManager[Transaction]: ...
    async def rows(self, sql: str, *values: object) -> list[Row]: ...
    async def script(self, number: int, sql: str, now: float) -> None:
        """Apply migration `number` in one transaction, unless another process has just done it."""
        ...

    async def version(self) -> int:
        """Return the number of the newest migration that was applied; 0 for a new database."""
        ...

    async def check(self) -> None:
        """Read everything that is stored, which takes time, and replace it where it is damaged."""
        ...

    def close(self) -> None: ...
