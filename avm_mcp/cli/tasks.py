"""The commands that are tools: the same arguments and service, and a wait until the video is on the disk."""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import anyio

from avm_mcp.app import Runtime
from avm_mcp.cli import bars, exits, worker_status
from avm_mcp.cli.signals import Stopped, stopping, unless_stopped
from avm_mcp.cli.terminal import Terminal
from avm_mcp.domain import catalog
from avm_mcp.domain.errors import AvmError
from avm_mcp.domain.job import UNKNOWN, Job
from avm_mcp.domain.request import VideoRequest
from avm_mcp.jobs.views import Beat, Found, Progress
from avm_mcp.presentation.audience import cost
from avm_mcp.presentation.inputs import (
    Arguments,
    CancelTask,
    GetAccount,
    GetTask,
    ImageToVideo,
    ListTasks,
    LongVideo,
    PaidInput,
    QuoteVideo,
)
from avm_mcp.presentation.pages import (
    build_account,
    build_list,
    build_quote,
    format_account,
    format_list,
    format_question,
    format_quote,
)
from avm_mcp.presentation.parameters import MAX_WAIT
from avm_mcp.presentation.requests import add_notes, read_request_in_thread
from avm_mcp.presentation.task import build_task, format_task

T = TypeVar("T")

SLICE = 30.0
"""Seconds of one wait; between two waits `_until_done` decides whether to go on."""

SAVE_TIMEOUT = 60.0
"""Seconds to wait for a finished video to be saved."""

UNCLEAR_TIMEOUT = 60.0
"""Seconds to wait for a lost answer to be found, unless a wait was asked for."""

LAST_ANSWER = 4.0
"""Seconds that a paid request which is being sent gets after an interruption, so that its id can be printed."""

RECENT = 20
"""How many of the newest jobs are searched for a request that was cut off."""


async def run(given: Arguments[Any], runtime: Runtime, terminal: Terminal) -> int:
    """Run a command until it is done or a signal comes."""
    stop = anyio.Event()
    async with stopping(stop), runtime:
        return await Session(runtime, terminal, stop).run(given)


class Session:
    """One command on one runtime.

    Args:
        runtime: Entered.
        terminal: Where the result goes.
        stop: Set when the user asks for an end. A running task goes on, and its id is printed (P2).
    """

    def __init__(self, runtime: Runtime, terminal: Terminal, stop: anyio.Event) -> None:
        self._runtime = runtime
        self._terminal = terminal
        self._stop = stop
        self._latest: Found | None = None

    async def run(self, given: Arguments[Any]) -> int:
        """Run it and return the exit code; errors are printed here, since the runtime's task group would wrap them."""
        handlers: Mapping[str, Callable[[Arguments[Any]], Awaitable[int]]] = {
            "text_to_video": self._video,
            "image_to_video": self._video,
            "long_video": self._video,
            "get_task": self._get,
            "list_tasks": self._list,
            "cancel_task": self._cancel,
            "quote_video": self._quote,
            "get_account": self._account,
        }
        try:
            return await handlers[given.tool](given)
        except AvmError as error:
            self._terminal.refuse(error)
            return exits.of_error(error)
        except Stopped:
            if self._latest is None:
                self._terminal.interrupted()
                return exits.INTERRUPTED
            return self._print_task(self._latest, given)

    # --- the commands ---

    async def _video(self, given: Arguments[PaidInput]) -> int:
        folders: Sequence[Path] = self._runtime.input_folders
        if isinstance(given.input, ImageToVideo | LongVideo):
            image, folders = _resolve_image(given.input.image, folders)
            given = replace(given, input=replace(given.input, image=image))
        request, picture = await read_request_in_thread(
            given, folders=folders, paths_allowed=True, offload=self._runtime.offload
        )
        approval, cap = await self._ask_approval(request, given.input.max_credits)
        if approval is False:
            self._terminal.note("Not started, nothing charged.")
            return exits.MONEY
        self._latest = found = add_notes(await self._submit(request, cap, approval), picture, given)
        if given.input.wait_seconds == 0:
            code = self._print_task(found, given, fresh=True)
            return code if found.job.final or found.job.status == UNKNOWN else exits.OK
        self._print_id(found)
        return self._print_task(await self._wait(found, given.input.wait_seconds), given, fresh=True)

    async def _get(self, given: Arguments[GetTask]) -> int:
        service = self._runtime.service
        self._latest = found = await self._unless_stopped(lambda: service.find(given.input.task_id))
        return self._print_task(await self._wait(found, given.input.wait_seconds), given)

    async def _list(self, given: Arguments[ListTasks]) -> int:
        service, place, audience = self._runtime.service, self._runtime.place, self._terminal.audience
        listing = await self._unless_stopped(
            lambda: service.list(status=given.input.status, limit=given.input.limit, cursor=given.input.cursor)
        )
        worker = await worker_status.read_status(self._runtime)
        self._terminal.result(
            lambda: format_list(
                listing, audience, f"Background worker: {worker_status.describe(self._runtime, worker)}."
            ),
            lambda: build_list(listing, audience, place).dump() | {"worker": worker},
        )
        return exits.OK

    async def _cancel(self, given: Arguments[CancelTask]) -> int:
        found = await self._unless_stopped(lambda: self._runtime.service.cancel(given.input.task_id))
        self._print_task(found, given)
        return exits.OK

    async def _quote(self, given: Arguments[QuoteVideo]) -> int:
        model = given.input.model
        seconds = catalog.length(model, given.input.duration, given.input.segments)
        prices = self._runtime.service.prices
        price = await self._unless_stopped(lambda: prices.told(model, seconds))
        quote = build_quote(model, seconds, price, await prices.left_today())
        asks = prices.needs_approval(price.credits)
        self._terminal.result(
            lambda: format_quote(quote, self._terminal.audience, caps=prices.caps, lacks=prices.lacks, asks=asks),
            quote.dump,
        )
        return exits.OK

    async def _account(self, given: Arguments[GetAccount]) -> int:  # noqa: ARG002 - one signature
        runtime, service = self._runtime, self._runtime.service
        funds = await self._unless_stopped(service.funds)
        fingerprint = service.account if service.configured else None
        account = build_account(
            funds,
            runtime.place,
            service.prices.caps,
            runtime.input_folders,
            fingerprint=fingerprint,
            sandbox=service.sandboxed,
        )
        self._terminal.result(lambda: format_account(account, self._terminal.audience), account.dump)
        return exits.OK

    # --- steps ---

    def _print_task(self, found: Found, given: Arguments[object], *, fresh: bool = False) -> int:
        result = build_task(
            found, self._terminal.audience, self._runtime.place, normalized=given.normalized, fresh=fresh
        )
        self._terminal.result(lambda: format_task(result), result.dump)
        return exits.of_job(found.job)

    def _print_id(self, found: Found) -> None:
        """Print the id before the wait, so that the user has it however the wait ends."""
        if not found.job.final and not self._runtime.settings.sandboxed:  # the embedded sandbox ends with us
            again = self._terminal.audience.write_get_task(found.job.public_id)
            about = cost(found.job)
            price = f", {about}" if about else ""
            self._terminal.note(f"Task {found.job.public_id}{price}. Ctrl-C stops the waiting, not the task; {again}")

    async def _ask_approval(self, request: VideoRequest, max_credits: int | None) -> tuple[bool | None, int | None]:
        """Return whether the person at the terminal approves an expensive video, and the cap: with a yes, its price.

        The approval is None where nobody can be asked or no approval is needed.
        """
        if not self._terminal.can_ask:
            return None, max_credits
        service, terminal = self._runtime.service, self._terminal
        price = await self._unless_stopped(lambda: service.question(request, max_credits=max_credits))
        if price is None:
            return None, max_credits
        agreed = await self._unless_stopped(lambda: terminal.ask(format_question(request, price)))
        return agreed, price.credits if agreed else max_credits

    async def _submit(self, request: VideoRequest, max_credits: int | None, approval: bool | None) -> Found:
        """Submit. A signal meanwhile does not cut the request off before its id is known."""
        if self._stop.is_set():
            raise Stopped  # the signal came before anything was sent
        service, store = self._runtime.service, self._runtime.store
        known = {job.id for job in await store.newest(service.account, RECENT)}
        try:
            return await self._unless_stopped(
                lambda: service.submit(request, max_credits=max_credits, approval=approval), LAST_ANSWER
            )
        except Stopped:
            for job in await store.newest(service.account, RECENT):
                if job.id not in known and job.identity == request.identity():
                    self._latest = await service.find(job.id)
            raise

    async def _wait(self, found: Found, seconds: int | None) -> Found:
        with bars.show_progress(self._terminal) as beat:

            async def report(job: Job, progress: Progress) -> None:
                self._latest = Found(job, progress, found.deduplicated, found.notes)
                await beat(job, progress)

            return await self._unless_stopped(lambda: self._until_done(found, seconds, report))

    async def _until_done(self, found: Found, seconds: int | None, beat: Beat) -> Found:
        """Wait until the video is on the disk, or the time is up, or waiting longer would not help."""
        begun = anyio.current_time()
        end = begun + (MAX_WAIT if seconds is None else seconds)
        saving_since: float | None = None
        while (now := anyio.current_time()) < end:
            job = found.job
            if job.final:
                saving_since = saving_since or now
                if job.download != "wanted" or now - saving_since > SAVE_TIMEOUT:
                    break
                await anyio.sleep(min(1.0, end - now))
            elif job.status == UNKNOWN and seconds is None and now - begun > UNCLEAR_TIMEOUT:
                break
            self._latest = found = await self._runtime.service.wait(found, min(SLICE, end - now), beat)
        return found

    async def _unless_stopped(self, work: Callable[[], Awaitable[T]], timeout: float = 0.0) -> T:
        return await unless_stopped(self._stop, work, timeout)


def _resolve_image(image: str | None, folders: Sequence[Path]) -> tuple[str | None, Sequence[Path]]:
    """Return the picture as the shell meant it, and the folders that it may be in.

    A relative path is relative to where the user stands. The file's own folder is allowed besides those of the
    settings: a person at a terminal may name any file of theirs, while all other checks (hidden files, links
    that lead out, what is no picture) stay.
    """
    if image is None or "://" in image or image.startswith(("data:", "sandbox:", "attachment:", "file:")):
        return image, folders
    try:
        path = Path(image).expanduser()
        if not path.is_absolute() and ("\\" not in image or os.name == "nt" or path.exists()):
            path = Path.cwd() / path
    except (OSError, RuntimeError, ValueError):  # no home, no working folder: the checks say what is wrong
        return image, folders
    path = Path(os.path.normpath(path))
    return (str(path), list(dict.fromkeys([*folders, path.parent]))) if path.is_absolute() else (image, folders)
