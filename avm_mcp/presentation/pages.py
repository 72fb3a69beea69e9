"""A list of tasks, a price and an account: as results and as text."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from avm_mcp.domain import catalog
from avm_mcp.domain.errors import AuthFailed, AvmError, quoted
from avm_mcp.domain.job import Job, Price
from avm_mcp.domain.next_steps import Action, raise_cap
from avm_mcp.domain.request import VideoRequest
from avm_mcp.jobs.views import Funds, Listing
from avm_mcp.presentation.audience import WORDS, Audience, Place, clipped, money, stamp
from avm_mcp.presentation.next_steps import write_next_step
from avm_mcp.presentation.results import AccountResult, ListResult, QuoteResult, Today
from avm_mcp.presentation.task import build_row, name_download


def format_list(listing: Listing, audience: Audience, background_worker: str | None = None) -> str:
    """Return a page of tasks as text, one line each, with every id and path; and whether a background worker runs."""
    tail = [background_worker] if background_worker is not None else []
    if not listing.found:
        return "\n".join([*listing.notes, "No videos found.", *tail, "Next: nothing to do."])
    lines = list(listing.notes)
    for found in listing.found:
        job = found.job
        where = _where(job)
        word = WORDS.get(job.status, "being made")
        about_it = f"{job.model}, {job.seconds} s" if job.seconds else job.model
        what = f"{about_it}, {stamp(job.created_at)}, {quoted(clipped(job.prompt, 60))}.{where}"
        lines.append(f"{job.public_id}: {word} ({job.status}), {what}")
    example = audience.write_get_task(listing.found[0].job.public_id)
    cursor = audience.address(agent="cursor=", person="--cursor ")
    more = f" More: the same {audience.call} with {cursor}{listing.next_cursor}." if listing.next_cursor else ""
    return "\n".join([*lines, *tail, f"Next: look at one by its id, as in {example}.{more}"])


def _where(job: Job) -> str:
    """Return where a video is, or what became of it."""
    video = name_download(job)
    if video is None:
        return ""
    if video == "saved":
        return f" File: {job.file_path}"
    why = f" ({job.download_error.rstrip('.')})" if job.download_error else ""
    return f" Video {video}{why}." + (f" Link: {job.video_url}" if job.video_url else "")


def format_quote(
    quote: QuoteResult,
    audience: Audience,
    *,
    caps: Mapping[str, int],
    lacks: type[AvmError] | None = None,
    asks: bool = False,
) -> str:
    """Return a price as text; where no such video can be started, what it takes comes next.

    Args:
        quote: The price.
        audience: Who reads it.
        caps: The caps that are set, by what they count.
        lacks: What keeps this account from starting any video.
        asks: Whether the price needs approval.
    """
    certain = quote.basis == "quote"
    amount = money(quote.credits, certain=certain, dollars=certain)
    silent = "refused the API key" if lacks is AuthFailed else "gives no quote"
    source = "the service's quote" if certain else f"the highest price known; the service {silent}"
    balance = "" if quote.balance is None else f" The balance is {quote.balance}."
    parts = quote.seconds // catalog.SEGMENT_SECONDS if catalog.MODELS[quote.model].segmented else 0
    what = f"{quote.seconds} s {quote.model}" + (f" ({parts} prompt{'s' if parts > 1 else ''})" if parts else "")
    left = "" if quote.cap_left is None else f" The daily cap leaves {quote.cap_left} credits today."
    left += f" A video may cost {caps['per_call']} credits at most." if "per_call" in caps else ""
    step = _next_after_quote(quote, audience, caps=caps, lacks=lacks, asks=asks)
    return f"A {what} costs {amount} ({source}).{balance}{left} Nothing was started.\nNext: {step}"


def _next_after_quote(
    quote: QuoteResult, audience: Audience, *, caps: Mapping[str, int], lacks: type[AvmError] | None, asks: bool
) -> str:
    if lacks is not None:
        return write_next_step(lacks.default_next_step, audience)
    if caps.get("per_call", quote.credits) < quote.credits:
        return write_next_step(raise_cap("AVM_MAX_CREDITS_PER_CALL"), audience)
    if quote.cap_left is not None and quote.cap_left < quote.credits:
        tomorrow = quote.credits <= caps.get("per_day", 0)
        return write_next_step(raise_cap("AVM_MAX_CREDITS_PER_DAY", tomorrow=tomorrow), audience)
    if quote.balance is not None and quote.balance < quote.credits:
        tell = audience.address(agent="tell the user the price and the balance; ")
        return f"{tell}credits can be added at https://aivideomaker.ai."
    start = audience.address(
        agent="tell the user the price, and start the video if they agree", person="start it, if that is fine"
    )
    return f"{start}{f', with {audience.name_price(quote.credits)}' if asks else ''}."


def format_question(request: VideoRequest, price: Price) -> str:
    """Return what a person is asked before a video above the threshold."""
    certain = price.basis == "quote"
    amount = money(price.credits, certain=certain, dollars=certain)
    what = f"{request.seconds} s, {request.model}"
    return f'Start this video ({what}) for {amount}? "{clipped(request.prompt, 120)}"'


def format_account(account: AccountResult, audience: Audience) -> str:
    """Return an account as text."""
    today = account.today
    lines = [
        "Balance: " + (money(account.balance) if account.balance is not None else "not told by the service") + ".",
        f"Spent today (UTC) through this server: {today.spent} credits"
        + (f" for {today.videos} video{'' if today.videos == 1 else 's'}" if today.videos else "")
        + (f" (quoted {today.quoted}, charged {today.charged}, refunded {today.refunded})." if today.videos else "."),
        "Caps: " + (", ".join(f"{name} {value}" for name, value in account.caps.items()) or "none") + ".",
        f"Models: {', '.join(account.models)}.",
        f"Pictures are read from: {', '.join(account.input_folders) or 'https links only'}.",
        f"Videos are saved in: {account.output_folder or 'nowhere; links live 24 hours'}.",
        *(["This is the sandbox: no money is spent."] if account.sandbox else []),
        *(account.notes or ()),
    ]
    step = Action.GET_KEY if account.key_fingerprint is None else Action.NOTHING
    return "\n".join([*lines, f"Next: {write_next_step(step(), audience)}"])


def build_list(listing: Listing, audience: Audience, place: Place) -> ListResult:
    """Return a page of tasks as a result."""
    return ListResult(
        tasks=[build_row(found, audience, place) for found in listing.found],
        next_cursor=listing.next_cursor,
        notes=list(listing.notes) or None,
    )


def build_quote(model: str, seconds: int, price: Price, cap_left: int | None) -> QuoteResult:
    """Return a price as a result; `cap_left` is what the daily cap still allows, in credits."""
    return QuoteResult(
        model=model,
        seconds=seconds,
        credits=price.credits,
        usd=round(price.credits * price.usd_per_credit, 2) if price.usd_per_credit is not None else None,
        basis=price.basis,
        balance=price.balance,
        affordable=price.balance >= price.credits if price.balance is not None else None,
        cap_left=cap_left,
    )


def build_account(
    funds: Funds,
    place: Place,
    caps: Mapping[str, int],
    inputs: Sequence[Path],
    *,
    fingerprint: str | None,
    sandbox: bool,
) -> AccountResult:
    """Return an account as a result.

    Args:
        funds: What it has and has spent.
        place: Where videos go.
        caps: The caps that are set, by what they count.
        inputs: The folders that pictures may be read from.
        fingerprint: Of its key; None where there is no key.
        sandbox: Whether it is the embedded sandbox's.
    """
    return AccountResult(
        balance=funds.balance,
        spent_today=funds.today.spent,
        today=Today(**asdict(funds.today)),
        caps=dict(caps),
        models=list(funds.models),
        input_folders=[str(folder) for folder in inputs],
        output_folder=str(place.folder) if place.folder else None,
        key_fingerprint=fingerprint,
        sandbox=sandbox,
        notes=list(funds.notes) or None,
    )
