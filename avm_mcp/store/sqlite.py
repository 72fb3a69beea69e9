"""The embedded driver: one SQLite file, shared safely by every process of a user.

Statements run on the event loop: they take microseconds, a paid job writes a handful in its life, and without a
thread there is no await inside a transaction, so that no cancellation can fall into one. A lock that another
process holds is not waited for inside SQLite, which would block the loop, but outside, with a jittered sleep.

The file is not read at start. `check` reads it; damage that any statement meets later makes the driver go over to what
its `successor` puts in the file's place.
"""

import os
import random
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import anyio

from avm_mcp.domain.errors import StateUnavailable
from avm_mcp.domain.next_steps import Action
from avm_mcp.store.driver import Row

T = TypeVar("T")

TIMEOUT = 2.5
"""Seconds to wait for other processes' locks before saying that the state is unavailable: a submit has to answer within
three."""

START_TIMEOUT = 10.0
"""The same while a state is opened, when nobody waits for an answer: without it there would be no durable state."""

DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
DAMAGED = "damage"
"""The `field` of a `StateUnavailable` that is about the file itself; the opener sets such a file aside."""


class SqliteDriver:
    """A SQLite database at `path`, or in memory where that is None."""

    def __init__(self, path: Path | None, *, durable: bool = True) -> None:
        self.path = path
        self.durable = durable and path is not None
        self.journal_mode = "memory"
        self.timeout = TIMEOUT
        self._writer = anyio.Lock()
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
        self.log_left = path is not None and _holds_log(path)
        """Whether a write-ahead log was there already: others have the file open, or the last of them did not end."""
        self._connection = _connect(path)
        self._file = _file_at(path)
        self._damage: StateUnavailable | None = None
        """What a statement has met; the file must be replaced before the next one."""
        self.successor: Callable[[StateUnavailable | None], Awaitable[SqliteDriver]] | None = None
        """Opens what takes the file's place, once it was moved, deleted or replaced, or is damaged."""

    async def start(self) -> None:
        """Set up the connection.

        Raises:
            StateUnavailable: The file is not a database or is damaged, or it cannot be opened or written.
        """
        self.journal_mode = str((await self._retry_while_busy("PRAGMA journal_mode = WAL"))[0]["journal_mode"])
        await self._retry_while_busy("PRAGMA synchronous = FULL")
        before, self._file = self._file, _file_at(self.path)
        if before not in (None, self._file):
            raise StateUnavailable(f"The state file {self.path} was replaced while it was opened.")
        await self._retry_while_busy("PRAGMA foreign_keys = ON")

    async def check(self) -> None:
        """Read the whole file: some 30 ms for each megabyte, in which nothing else runs.

        Raises:
            StateUnavailable: It is damaged, and nothing has taken its place.
        """
        await self._on_whole_file(self._check)

    async def _check(self) -> None:
        (found,) = (await self._retry_while_busy("PRAGMA quick_check(1)"))[0].values()
        if found != "ok":
            raise _damage_error(found)

    @property
    def moved(self) -> bool:
        """Return whether what this connection writes is no longer the file at its path: nobody would read it again.

        The connection keeps the old file's inode in use, so that no new file can have it.
        """
        return self.path is not None and _file_at(self.path) != self._file

    async def _follow(self) -> None:
        """Go over to the file that is at the path now, or that replaces a damaged one. The lock of writers is held."""
        if self.successor is None or (self._damage is None and not self.moved):
            return
        if self._damage is not None:
            self._connection.close()  # Windows renames no file that is open
        fresh = await self.successor(self._damage)
        old = self._connection
        self._connection, self._file = fresh.handed_on()
        self._damage = None
        old.close()  # SQLite checks that its file was not moved before it deletes a log by its name

    async def _on_whole_file(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do work that only reads, and do it again on what replaces a damaged file."""
        if self._damage is not None or self.moved:
            async with self._writer:
                await self._follow()
        try:
            return await work()
        except StateUnavailable as error:
            if error.field != DAMAGED or self.successor is None:
                raise
            self._damage = error
        async with self._writer:
            await self._follow()
        return await work()

    def handed_on(self) -> tuple[sqlite3.Connection, tuple[int, int] | None]:
        """Return what another driver goes on with in place of this one."""
        return self._connection, self._file

    async def rows(self, sql: str, *values: object) -> list[Row]:
        return await self._on_whole_file(lambda: self._retry_while_busy(sql, *values))

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator["SqliteTransaction"]:
        # Counted from here: in a crowd behind others' lock, each would otherwise begin its wait after all before it.
        give_up = anyio.current_time() + self.timeout
        async with self._writer:
            await self._follow()
            try:
                await self._retry_while_busy("BEGIN IMMEDIATE", give_up=give_up)
                # From here on nothing waits, unless COMMIT must: a cancellation cannot fall between two statements.
                yield SqliteTransaction(self._connection)
                await self._retry_while_busy("COMMIT")
            except BaseException as error:
                self._roll_back()
                if isinstance(error, StateUnavailable) and error.field == DAMAGED:
                    self._damage = error
                raise
            if self.successor is not None and self.moved:
                raise StateUnavailable(f"The state file {self.path} was replaced while it was written.")

    async def version(self) -> int:
        return int((await self._retry_while_busy("PRAGMA user_version"))[0]["user_version"])

    async def script(self, number: int, sql: str, now: float) -> None:  # noqa: ARG002 - other drivers keep the time
        async with self.writing() as tx:
            if await self.version() < number:
                for statement in _statements(sql):
                    await tx.run(statement)
                await tx.run(f"PRAGMA user_version = {number:d}")

    def close(self) -> None:
        self._connection.close()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    async def _retry_while_busy(self, sql: str, *values: object, give_up: float | None = None) -> list[Row]:
        give_up = give_up or anyio.current_time() + self.timeout
        while True:
            try:
                return self._translate(lambda: _fetch(self._connection, sql, values))
            except _Busy:
                if anyio.current_time() > give_up:
                    raise _locked_error(self.path) from None
                await anyio.sleep(0.002 + 0.02 * self._rng.random())

    def _translate(self, work: Callable[[], T]) -> T:
        """Run `work`, turning what SQLite says into our words."""
        try:
            return work()
        except sqlite3.DatabaseError as error:
            code = _code(error)
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise _Busy from None
            if code in DAMAGE:
                raise _damage_error(error) from error
            if self._damage is not None:  # its connection was closed while this waited for a lock
                raise self._damage from error
            if not isinstance(error, sqlite3.OperationalError):
                raise
            raise StateUnavailable(f"The state {self.path or 'in memory'} cannot be used: {error}.") from error


class SqliteTransaction:
    """The statements between BEGIN and COMMIT."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def rows(self, sql: str, *values: object) -> list[Row]:
        return _translate_in_transaction(lambda: _fetch(self._connection, sql, values))

    async def run(self, sql: str, *values: object) -> int:
        return _translate_in_transaction(lambda: self._connection.execute(sql, values).rowcount)


class _Busy(Exception):
    pass


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _locked_error(path: Path | None) -> StateUnavailable:
    return StateUnavailable(
        f"Other programs have held the state file {path} too long.",
        next_step=Action.UNLOCK_STATE(),
    )


def _damage_error(what: object) -> StateUnavailable:
    return StateUnavailable(
        f"The state is damaged: {' '.join(str(what).split())}.",
        field=DAMAGED,
        next_step=Action.REPEAT_ON_NEW_STATE(),
    )


def _translate_in_transaction(work: Callable[[], T]) -> T:
    try:
        return work()
    except sqlite3.DatabaseError as error:  # a full or broken disk; the transaction is rolled back
        if _code(error) in DAMAGE:
            raise _damage_error(error) from error
        if not isinstance(error, sqlite3.OperationalError):
            raise
        raise StateUnavailable(f"The state cannot be written: {error}.") from error


def _fetch(connection: sqlite3.Connection, sql: str, values: tuple[object, ...]) -> list[Row]:
    return [dict(row) for row in connection.execute(sql, values).fetchall()]


def _statements(sql: str) -> list[str]:
    """Split a migration into statements; `executescript` would commit between them."""
    found: list[str] = []
    pending = ""
    for line in sql.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending)
            pending = ""
    return found


def _file_at(path: Path | None) -> tuple[int, int] | None:
    """Return which file is at a path; None where there is none."""
    try:
        found = os.stat(path) if path is not None else None  # noqa: PTH116 - each statement asks
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found is not None else None


def _holds_log(path: Path) -> bool:
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except OSError:
        return False


def _make_private(path: Path) -> None:
    """Let only its owner read a state file that was restored, or made by another program."""
    for part in (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))):
        with suppress(OSError):  # not there, or somebody else's
            if part.stat().st_mode & 0o077:
                part.chmod(0o600)


def _connect(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Created by us first: prompts are private, and what SQLite puts beside it is read by whoever may read this.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            _make_private(path)
        except OSError as error:
            raise StateUnavailable(f"The state folder {path.parent} cannot be written: {error.strerror}.") from error
    try:
        connection = sqlite3.connect(path or ":memory:", timeout=0, isolation_level=None, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise StateUnavailable(f"The state file {path} cannot be opened: {error}.") from error
    connection.row_factory = sqlite3.Row
    return connection
