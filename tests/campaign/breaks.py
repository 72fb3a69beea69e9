"""Rules broken on purpose, to show that the campaign notices. Each is one plausible mistake.

resend      a lost request is sent again wherever the list does not show its task, kept keys or not
no-intent   the row is written when the answer has come, not before the request
no-shield   the paid request belongs to the call, and is cancelled with it
no-allowance  every process asks as often as it likes
half-videos  a video is taken for whole when as many bytes came as were announced
blame       a page with status 401, 403 or 404 is read as the API's own word (I)
unbounded   an exchange has a time-out for each phase, and none for the whole (K)
gone        a file host that refuses a link for a quarter of an hour is believed (C, L)
old-row     a request leaves by what its row was when the process began to send it (M)
old-file    a process goes on with the journal it has opened, wherever that file is now (M)
spelled     an account is a key at an address as it is spelled (Q)
wall-clock  each process measures what all share by its own wall clock (R)
"""

import contextvars
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import anyio

import avm_mcp.domain.accounts
import avm_mcp.jobs.sending
import avm_mcp.provider.client
import avm_mcp.provider.exchange
from avm_mcp.domain import rate_limit
from avm_mcp.domain.errors import AuthFailed, TaskNotFound
from avm_mcp.domain.timings import Timings
from avm_mcp.downloads import partials
from avm_mcp.downloads.fresh_links import FreshLinks
from avm_mcp.jobs.reconcile import Reconciler, match
from avm_mcp.jobs.sending import Sender
from avm_mcp.jobs.submit import Submitter
from avm_mcp.mcp_server import Tools
from avm_mcp.store import Store
from avm_mcp.store.jobs import Jobs
from avm_mcp.store.reading import Reading
from avm_mcp.store.sends import Sends
from avm_mcp.store.sqlite import SqliteDriver
from tests.campaign import world

Patch = tuple[Any, str, Any]


def _resend() -> Iterator[Patch]:
    settle = Reconciler._settle

    async def _settle(self: Reconciler, job: Any, rows: Any, others: Any) -> bool:
        sent = await self.claims.describe_sent(job, rows)
        claimed = await self._store.find_claimed(self._account, [row.id for row in rows])
        found = match(sent, rows, claimed, lost=(), waiting=())
        if found is None and await self._resend(job):
            return True
        return await settle(self, job, rows, others)

    yield Reconciler, "_settle", _settle


def _no_intent() -> Iterator[Patch]:
    pending: dict[str, tuple[Any, dict[str, Any]]] = {}
    insert, accepted, without, fields = Jobs._insert, Jobs.record_accepted, Jobs._without_task, Reading.sent_fields

    async def _insert(self: Any, tx: Any, job: Any, **how: Any) -> None:
        if how["live"]:
            pending[job.id] = (job, how)
        else:
            await insert(self, tx, job, **how)

    async def _late(self: Any, job_id: str) -> None:
        if job_id in pending:
            job, how = pending.pop(job_id)
            async with self._driver.writing() as tx:
                await insert(self, tx, job, **how)

    async def _accepted(self: Any, job_id: str, answer: Any) -> Any:
        await _late(self, job_id)
        return await accepted(self, job_id, answer)

    async def _without(self: Any, job_id: str, *how: Any) -> Any:
        await _late(self, job_id)
        return await without(self, job_id, *how)

    async def _fields(self: Any, job_id: str) -> str:
        return pending[job_id][1]["input_json"] if job_id in pending else await fields(self, job_id)

    yield Jobs, "_insert", _insert
    yield Jobs, "record_accepted", _accepted
    yield Jobs, "_without_task", _without
    yield Reading, "sent_fields", _fields


def _no_shield() -> Iterator[Patch]:
    begun: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("begun", default=None)
    scopes: dict[str, anyio.CancelScope] = {}
    send, start, answer = Sender._send, Submitter.start, Tools._answer

    async def _send(self: Any, prepared: Any, *rest: Any) -> None:
        with anyio.CancelScope() as scopes[prepared.draft.id]:
            await send(self, prepared, *rest)

    async def _start(self: Any, *given: Any, **how: Any) -> Any:
        reservation = await start(self, *given, **how)
        if not reservation.duplicate and (mine := begun.get()) is not None:
            mine.append(reservation.job.id)
        return reservation

    async def _answer(self: Any, *given: Any) -> Any:
        begun.set(mine := [])
        try:
            return await answer(self, *given)
        except anyio.get_cancelled_exc_class():
            for job_id in mine:
                if job_id in scopes:
                    scopes[job_id].cancel()
            raise

    class Bare:
        def CancelScope(self, **_: bool) -> anyio.CancelScope:
            return anyio.CancelScope()

        def __getattr__(self, name: str) -> Any:
            return getattr(anyio, name)

    yield Sender, "_send", _send
    yield Submitter, "start", _start
    yield Tools, "_answer", _answer
    yield avm_mcp.jobs.sending, "anyio", Bare()


def _no_allowance() -> Iterator[Patch]:
    take_token = rate_limit.take_token

    def _take_token(*given: Any, timings: Timings) -> Any:
        return take_token(*given, timings=replace(timings, bucket_capacity=1e6, bucket_refill=1e6))

    yield rate_limit, "take_token", _take_token


def _half_videos() -> Iterator[Patch]:
    yield partials, "find_missing", lambda _file, _size: None


def _blame() -> Iterator[Patch]:
    classify = avm_mcp.provider.client.classify_refusal

    def _by_status(endpoint: Any, answer: Any, *rest: Any, **how: Any) -> Any:
        leaf = {401: AuthFailed, 403: AuthFailed, 404: TaskNotFound}.get(answer.status)
        return classify(endpoint, answer, *rest, **how) if leaf is None else leaf("by its status")

    yield avm_mcp.provider.client, "classify_refusal", _by_status


def _unbounded() -> Iterator[Patch]:
    yield avm_mcp.provider.exchange, "total_seconds", lambda _timeout: 1e9


def _gone() -> Iterator[Patch]:
    refused: dict[tuple[int, str], float] = {}

    async def _has_ended(self: Any, job: Any) -> bool:
        since = refused.setdefault((id(self), job.id), anyio.current_time())
        return anyio.current_time() - since > 900

    yield FreshLinks, "has_ended", _has_ended


def _old_row() -> Iterator[Patch]:
    async def allowed(self: Any, *_: Any) -> bool:
        return True

    yield Sends, "begin_send", allowed
    yield Sends, "may_leave", allowed


def _old_file() -> Iterator[Patch]:
    yield SqliteDriver, "moved", False


def _spelled() -> Iterator[Patch]:
    yield avm_mcp.domain.accounts, "canonical", lambda base_url: base_url.rstrip("/")


def _wall_clock() -> Iterator[Patch]:
    def clock(self: Any) -> float:
        process = world._process.get()
        return self.machine.seconds() + self._ahead + (process.wall.skew if process else 0.0)

    yield Store, "clock", clock


_RULES = {
    "resend": _resend,
    "no-intent": _no_intent,
    "no-shield": _no_shield,
    "no-allowance": _no_allowance,
    "half-videos": _half_videos,
    "blame": _blame,
    "unbounded": _unbounded,
    "gone": _gone,
    "old-row": _old_row,
    "old-file": _old_file,
    "spelled": _spelled,
    "wall-clock": _wall_clock,
}
BREAKS = tuple(_RULES)


@contextmanager
def broken(rule: str | None) -> Generator[None]:
    """Break a rule for a while; None breaks nothing."""
    patches = list(_RULES[rule]()) if rule else []
    gone = [name for owner, name, _ in patches if not hasattr(owner, name)]
    assert not gone, f"{rule} replaces {gone}, which nobody would use"
    before = [(owner, name, owner.__dict__.get(name)) for owner, name, _ in patches]
    try:
        for owner, name, value in patches:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            if value is None:
                delattr(owner, name)
            else:
                setattr(owner, name, value)
