"""The texts of results in every situation, for each audience: `python -m tests.texts` writes them to `texts.jsonl`.

`tests/unit/test_texts.py` compares. A changed text shows up there, in the diff of `texts.jsonl`, for review.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from avm_mcp.domain.errors import AuthFailed, InsufficientCredits, NotConfigured
from avm_mcp.domain.job import Job, Price, Spending
from avm_mcp.jobs.views import Found, Funds, Listing, Progress
from avm_mcp.presentation.audience import JSON_AUDIENCE, MODEL_AUDIENCE, SHELL_AUDIENCE, Audience, Place
from avm_mcp.presentation.pages import build_account, build_list, build_quote, format_account, format_list, format_quote
from avm_mcp.presentation.task import build_task, format_task

FILE = Path(__file__).parent / "unit" / "texts.jsonl"
AUDIENCES: Mapping[str, Audience] = {"model": MODEL_AUDIENCE, "json": JSON_AUDIENCE, "person": SHELL_AUDIENCE}

NOON = 1_790_000_000.0
FOLDER = Place(Path("/videos"), goes_on=True)
PLACES = {
    "folder": FOLDER,
    "no background": Place(Path("/videos")),
    "none": Place(None),
    "sandbox": Place(Path("/videos"), fleeting=True),
    "full disk": Place(Path("/videos"), goes_on=True, trouble="the disk is full"),
}
JOB = Job(
    "sub_1", "acct", "", "same", "key", "i2v", 8, "a red kite", "PROGRESS", NOON, 5.0,
    task_id="ck1", credits_quoted=24, credits_basis="quote",
)  # fmt: skip
LOST = replace(JOB, task_id=None, status="UNKNOWN")
DONE = replace(
    JOB,
    status="COMPLETED",
    completed_at=NOON + 300,
    credits_charged=24,
    video_url="https://cdn.example.org/v.mp4",
    expires_at=NOON + 86_400,
    download="saved",
    file_path="/videos/kite.mp4",
    file_size=1000,
)
JOBS = {
    "being sent": replace(JOB, task_id=None, status="SUBMITTING"),
    "being sent, price unknown": replace(JOB, task_id=None, status="SUBMITTING", credits_quoted=None),
    "answer lost": LOST,
    "waiting": replace(JOB, status="SUBMITTED", credits_basis="estimate"),
    "being made": JOB,
    "in a new status": replace(JOB, status="RENDERING"),
    "of a new model": replace(JOB, model="new", seconds=0, credits_quoted=None),
    "saved": DONE,
    "saved, no link": replace(DONE, video_url=None, expires_at=None),
    "missing": replace(DONE, download_error="it was deleted"),
    "not saved yet": replace(DONE, download="wanted", file_path=None),
    "not saved yet, tried": replace(DONE, download="wanted", file_path=None, download_error="The server is busy."),
    "not saved yet, no link": replace(DONE, download="wanted", file_path=None, video_url=None),
    "lost": replace(DONE, download="lost", file_path=None, download_error="No space."),
    "lost, no link": replace(DONE, download="lost", file_path=None, video_url=None),
    "never saved": replace(DONE, download="off", file_path=None),
    "never saved, no link": replace(DONE, download="off", file_path=None, video_url=None),
    "failed, refunded": replace(JOB, status="FAILED", credits_charged=24, credits_refunded=24, error_text="Too dark"),
    "failed, charged": replace(JOB, status="FAILED", credits_charged=24),
    "failed": replace(JOB, status="FAILED"),
    "cancelled": replace(JOB, status="CANCEL"),
    "cancelled, refunded": replace(JOB, status="CANCEL", credits_charged=24, credits_refunded=24),
    "never created": replace(LOST, status="NOT_CREATED", credits_quoted=None),
    "refused": replace(
        LOST, status="NOT_CREATED", error_code="INSUFFICIENT_CREDITS", error_text="The balance is 9.", take=2
    ),
}
SOON, LATE = Progress(40.0, 100.0, 330.0, False, 100.0), Progress(97.0, 1300.0, 330.0, True, 1300.0)
NOTE = "This is ONE video."
WAYS: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "": ({}, {}),
    "fresh": ({}, {"fresh": True}),
    "late": ({"progress": LATE}, {}),
    "again": ({"deduplicated": True, "notes": (NOTE,)}, {"normalized": {"duration": 8}, "fresh": True}),
    "too often": ({}, {"slow_down": True}),
}

IN_EVERY_WAY = ("being sent", "answer lost", "being made", "saved", "never created")
IN_EVERY_PLACE = ("answer lost", "being made", "saved", "not saved yet, tried", "never saved")


def results(audience: Audience) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every text and structured result, with its situation."""
    for state, job in JOBS.items():
        for way, (found, how) in WAYS.items():
            for where, place in PLACES.items():
                everywhere = state in IN_EVERY_PLACE and (not way or (way == "fresh" and state == "being made"))
                if everywhere or (where == "folder" and (not way or state in IN_EVERY_WAY)):
                    result = build_task(Found(job, **{"progress": SOON, **found}), audience, place, **how)
                    yield ", ".join(filter(None, (state, way, where))), format_task(result), result.dump()
    found = tuple(Found(job, SOON) for job in JOBS.values())
    for name, listing in {
        "list": Listing(found, None),
        "list, more": Listing(found[:2], "c1", (NOTE,)),
        "empty list": Listing((), None, (NOTE,)),
    }.items():
        worker = None if audience is MODEL_AUDIENCE else "Background worker: off."
        yield name, format_list(listing, audience, worker), build_list(listing, audience, FOLDER).dump()
    quote, guess = Price(24, "quote", 0.01, 90), Price(450, "estimate")
    for name, (model, seconds, price, left, how) in {
        "quote": ("i2v", 8, quote, None, {"caps": {}}),
        "quote above the threshold": ("lv", 30, guess, 1000, {"caps": {}, "asks": True}),
        "quote above the balance": ("lv", 5, Price(24, "quote", 0.01, 9), None, {"caps": {}}),
        "quote above the cap of a call": ("i2v", 8, quote, 50, {"caps": {"per_call": 10}}),
        "quote above what is left today": ("i2v", 8, quote, 10, {"caps": {"per_day": 30}}),
        "quote above the cap of a day": ("i2v", 8, quote, 10, {"caps": {"per_day": 20}}),
        "quote without a key": ("t2v", 5, guess, None, {"caps": {}, "lacks": NotConfigured}),
        "quote with a refused key": ("t2v", 5, guess, None, {"caps": {}, "lacks": AuthFailed}),
        "quote without credits": ("t2v", 5, guess, None, {"caps": {}, "lacks": InsufficientCredits}),
    }.items():
        result = build_quote(model, seconds, price, left)
        yield name, format_quote(result, audience, **how), result.dump()
    today = Spending(1, 24, 24, 0, 24)
    for name, (funds, account, sandbox) in {
        "account": (Funds(90, today, ("t2v", "i2v")), "a1b2", False),
        "account of the sandbox": (Funds(90, Spending(0, 0, 0, 0, 0), ("t2v",), (NOTE,)), "a1b2", True),
        "no account": (Funds(None, Spending(0, 0, 0, 0, 0), ("t2v",), keyless=True), None, False),
    }.items():
        caps, inputs = {"per_call": 50}, [Path("/pictures")]
        result = build_account(funds, FOLDER, caps, inputs, fingerprint=account, sandbox=sandbox)
        yield name, format_account(result, audience), result.dump()


def written() -> str:
    """The content of `texts.jsonl`: the texts of each audience, and the structured results of a model's."""
    lines: list[tuple[str, str, Any]] = []
    for name, audience in AUDIENCES.items():
        lines += [(name, situation, text) for situation, text, _ in results(audience)]
    for situation, _, fields in results(MODEL_AUDIENCE):
        shown = {key: value for key, value in fields.items() if key not in ("message", "next_step")}  # in the texts
        lines.append(("fields", situation, shown))
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
