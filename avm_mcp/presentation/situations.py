"""A task in words: what happened and what to do next, in each situation."""

from collections.abc import Mapping
from datetime import UTC, datetime

from avm_mcp.domain import catalog
from avm_mcp.domain.errors import AuthFailed, AvmError, ContentRejected, InsufficientCredits, quoted
from avm_mcp.domain.job import CANCEL, COMPLETED, FAILED, NOT_CREATED, SUBMITTING, UNKNOWN, Job
from avm_mcp.jobs.views import Found
from avm_mcp.presentation.audience import WORDS, Audience, Place, about, cost, money, spoken
from avm_mcp.presentation.next_steps import write_next_step

STAYS_UNCLEAR = 1200.0
"""Seconds after which a lost answer that could not be settled is likely to stay so: the lists of ten minutes, which
decide most, have been read by then."""

LEAVES: Mapping[str, type[AvmError]] = {leaf.code: leaf for leaf in (AuthFailed, InsufficientCredits, ContentRejected)}
"""Refusals after which the same call would only be refused again."""


def shown_file(job: Job) -> str | None:
    """Return the path of the saved video, if it is there."""
    return job.file_path if job.download == "saved" and job.download_error is None else None


def shown_link(job: Job) -> str | None:
    """Return the link to the finished video."""
    return job.video_url if job.status == COMPLETED else None


class Situation:
    """Describes one task to one audience.

    Args:
        found: The job and where it stands.
        audience: Who reads it.
        place: Where videos go.
        slow_down: The same unfinished task was asked for too often.
        fresh: This answers the paid call that started the task.
    """

    def __init__(self, found: Found, audience: Audience, place: Place, *, slow_down: bool, fresh: bool) -> None:
        self._found = found
        self._job = found.job
        self._audience = audience
        self._place = place
        self._slow_down = slow_down
        self._fresh = fresh
        self._file = shown_file(found.job)
        self._link = shown_link(found.job)

    def describe(self) -> tuple[list[str], str]:
        """Return what happened, as lines, and the next step."""
        situations = {
            SUBMITTING: self._being_sent,
            UNKNOWN: self._unclear,
            COMPLETED: self._ready,
            FAILED: self._failed,
            CANCEL: self._cancelled,
            NOT_CREATED: self._never,
        }
        lines, step = situations.get(self._job.status, self._running)()
        if not self._found.deduplicated:
            return lines, f"{step} {self._offer('another')}".lstrip() if self._job.status == COMPLETED else step
        ago = about(self._found.progress.age)
        if self._job.status in (SUBMITTING, UNKNOWN):  # what the first call cost is not known yet
            return [f"This call sent nothing: the same request was made {ago} ago.", *lines], step
        same = f"No new video was started and nothing was charged: this is task {self._job.public_id} from {ago} ago."
        return [same, *lines], f"{step} {self._offer('a different')}".lstrip()

    def _offer(self, which: str) -> str:
        return self._audience.offer.format(which=which, take=self._job.take + 1)

    def _get_task(self) -> str:
        return self._audience.write_get_task(self._job.public_id)

    def _never_again(self) -> str:
        model, picture = self._job.model, self._job.image is not None
        tool = catalog.tool_of(model, picture=picture) if model in catalog.MODELS else "the tool"
        return f"{self._audience.again.format(tool=self._audience.name_tool(tool))}."

    def _saving(self) -> str:
        place, audience = self._place, self._audience
        if place.folder is None:
            return "Its link lives 24 hours; nothing is saved here."
        if place.trouble is not None:
            mend = audience.address(agent="Tell the user to mend", person="Mend")
            return (
                f"It cannot be saved in {place.folder} as things are: {place.trouble}."
                f" {mend} that, and the next try saves it; its link lives 24 hours."
            )
        return f"It will be saved in {place.folder}{audience.stays if place.goes_on else audience.stops}."

    def _being_sent(self) -> tuple[list[str], str]:
        audience, price = self._audience, cost(self._job)
        would = f" If it is accepted, it costs {price}." if price else ""
        return [
            f"The request was sent and the service has not answered yet.{would} Id {self._job.id}.",
            f"It goes on without this {audience.call}.",
        ], f"{audience.do} {self._get_task()}. {self._never_again()}"

    def _unclear(self) -> tuple[list[str], str]:
        audience, price = self._audience, cost(self._job)
        paid = f" It may have cost {price}." if price else ""
        lines = [
            "Unclear whether the video was started: the service's answer was lost."
            f"{paid} {self._describe_search()} Id {self._job.id}."
        ]
        if self._found.progress.elapsed < STAYS_UNCLEAR:
            return lines, f"{audience.do} {self._get_task()}. {self._never_again()}"
        risk = audience.address(
            agent="tell the user that it is still unclear. Only if they would rather risk that it is paid twice than"
            " wait,",
            person="wait, or at the risk that it is paid twice",
        )
        return lines, f"{risk} {audience.next_take.format(take=self._job.take + 1)}."

    def _describe_search(self) -> str:
        """Say who looks for the lost answer: a server and a background worker go on, a command ends."""
        if self._audience.hosted:
            return "This server keeps looking and does not pay twice."
        if self._place.goes_on:
            return f"It is looked for{self._audience.stays}, and not paid twice."
        return f"{self._get_task()} looks for it; nothing is paid twice."

    def _started(self) -> tuple[list[str], str]:
        job, audience = self._job, self._audience
        price = cost(job)
        what = ", ".join(part for part in (job.model, f"{job.seconds} s" if job.seconds else "", price or "") if part)
        tell = audience.address(agent="tell the user the cost and the time, then ")
        return [
            f"Video started, NOT ready yet. Task {job.public_id}: {what}.",
            f"Usually takes about {about(self._found.progress.typical)}. {self._saving()}",
        ], f"{tell}{audience.do} {self._get_task()}. {self._never_again()}"

    def _running(self) -> tuple[list[str], str]:
        if self._fresh and not self._found.deduplicated:
            return self._started()
        audience, progress = self._audience, self._found.progress
        elapsed, typical = spoken(progress.elapsed), spoken(progress.typical)
        if progress.overdue:
            state = f"Taking longer than usual: {elapsed}, usually {typical}. Not failed. NOT ready yet."
        else:
            state = f"Still {self._word()}, NOT ready yet: {elapsed} of usually {typical}."
        lines = [f"{state} Nothing more is charged. Task {self._job.public_id}."]
        if self._slow_down:
            later = ": tell the user that it is still being made and that you can look again later"
            return lines, f"stop looking for now{audience.address(agent=later)}."
        left = max(30.0, progress.typical - progress.elapsed)
        wait = "it takes longer than usual" if progress.overdue else f"about {about(left)} are left"
        or_stop = audience.address(agent=f", or tell the user {wait} and stop", person=f"; {wait}")
        return lines, f"{audience.do} {self._get_task()} again{or_stop}. {self._saving()}"

    def _word(self) -> str:
        if self._job.status in WORDS:
            return WORDS[self._job.status]
        return f"being made (the service calls it {quoted(self._job.status, 40)})"

    def _ready(self) -> tuple[list[str], str]:
        price = cost(self._job)
        lines = [f"The video is ready. {price + '. ' if price else ''}Task {self._job.public_id}."]
        if self._file:
            lines.append(f"File: {self._file}")
        elif self._job.download == "wanted":
            why = (self._job.download_error or "").rstrip(".")
            lines.append(f"The file is still being saved{f' ({why}; it is tried again)' if why else ''}.")
        elif self._job.download == "lost":
            lines.append(f"The file could not be saved: {(self._job.download_error or 'unknown').rstrip('.')}.")
        if self._link:
            until = datetime.fromtimestamp(self._job.expires_at or 0, UTC).strftime("%Y-%m-%d %H:%M UTC")
            lines.append(f"Link (public, anyone with it can watch, until {until}): {self._link}")
        if not self._file and not self._link:
            lines.append("There is no link to it.")
        return lines, self._hand_over()

    def _hand_over(self) -> str:
        """Return what to do with a video that is ready."""
        audience, job, task_id = self._audience, self._job, self._job.public_id
        waits = job.download == "wanted"
        if job.download == "lost":
            return audience.address(agent="tell the user what happened to the file.")
        if not self._file and not self._link:
            if waits:
                return f"{audience.do} {self._get_task()} in a minute."
            return f"{audience.address(agent='tell the user that ')}it is gone."
        if waits and not self._place.fleeting:
            why = "say why the file is not saved yet, and " if job.download_error else ""
            save = (
                f"{audience.do} {self._get_task()} to save it."
                if self._place.trouble is None
                else f"run avm save {task_id} --to FOLDER with one that can be written."
            )
            return audience.address(agent=f"{why}give the user the link exactly as written.", person=save)
        parts = [part for part, shown in (("the file path", self._file), ("the link", self._link)) if shown]
        show = f"avm open {task_id} shows it." if self._file else ""
        if job.download == "off":
            show = f"run avm save {task_id} to have it on this disk."
        if self._place.fleeting:  # the next command does not know this task
            show = ""
        return audience.address(agent=f"give the user {' and '.join(parts)} exactly as written.", person=show)

    def _failed(self) -> tuple[list[str], str]:
        job = self._job
        if job.credits_charged is not None and job.credits_refunded == job.credits_charged:
            back = f"all {money(job.credits_charged, dollars=False)} came back"
        elif job.credits_charged is None:
            back = "the service refunds failed videos, without showing it"
        else:
            back = "the service refunds failed videos; not seen yet"
        said = f" The service said: {quoted(job.error_text)}." if job.error_text else ""
        repeat = self._audience.address(
            agent="tell the user. Only if they want it, repeat the call (it starts a new task), better",
            person="repeat the command for another try, best",
        )
        lines = [f"The video failed at the service; {back}. Task {job.public_id}.{said}"]
        return lines, f"{repeat} with a simpler prompt."

    def _cancelled(self) -> tuple[list[str], str]:
        refunded = self._job.credits_refunded
        back = f"{money(refunded, dollars=False)} came back" if refunded else "its credits come back"
        lines = [f"The video was cancelled; {back}. Task {self._job.public_id}."]
        return lines, f"{self._audience.address(agent='tell the user. ')}Nothing else is needed."

    def _never(self) -> tuple[list[str], str]:
        why = f" {self._job.error_text}" if self._job.error_text else ""
        lines = [f"It was never created; nothing was charged. Id {self._job.id}.{why}"]
        refusal = LEAVES.get(self._job.error_code or "")
        if refusal is not None:
            return lines, write_next_step(refusal.default_next_step, self._audience)
        wanted = self._audience.address(agent=", if the user still wants the video")
        return lines, f"repeating the {self._audience.call} is safe{wanted}."
