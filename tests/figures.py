"""Cap, confirmation and refunds in figures: one run of parallel calls from two processes of one state.

pytest -s tests/protocol/test_figures.py    in virtual time, with the quarter of an hour that a yes lives
pytest -s tests/e2e/test_figures.py         two `avm-mcp` and an `avm sandbox`, each a process
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

PROCESSES = 2
AT_ONCE = 20
PRICE, CAP = 15, 59
"""Credits of a video of t2v, five seconds; and of a day that admits three."""

DEAR, ABOVE = 225, 200
"""Credits of a long video of three parts, and the amount above which a yes is needed."""

SETTINGS: Mapping[str, str] = {"AVM_MAX_CREDITS_PER_DAY": str(CAP), "AVM_APPROVE_ABOVE": str(ABOVE)}
UNCAPPED: Mapping[str, str] = {"AVM_APPROVE_ABOVE": str(ABOVE)}

Asked = tuple[int, str, dict[str, Any]]
"""Which process, which tool, with what."""


class Stage(Protocol):
    """Two processes, the service, and its ledger."""

    async def crowd(self, calls: Sequence[Asked]) -> list[dict[str, Any]]:
        """Make all calls at once; return their structured results."""
        ...

    async def account_command(self) -> dict[str, Any]:
        """Return what `avm account --json` says."""
        ...

    def fail(self, task_id: str) -> None:
        """Let a task fail at the service."""
        ...

    def sums(self) -> tuple[int, int, int]:
        """Return from the service's ledger: tasks, credits charged, credits refunded."""
        ...


def outcomes(reply: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Count what calls came to."""
    return dict(
        Counter(
            one["error"]["code"] if "error" in one else "deduplicated" if one.get("deduplicated") else "started"
            for one in reply
        )
    )


def many(count: int, tool: str, *given: dict[str, Any]) -> list[Asked]:
    """Return so many calls, dealt to the processes in turn; with several `given`, each call gets the next."""
    return [(number % PROCESSES, tool, given[number % len(given)]) for number in range(count)]


def videos(name: str) -> list[dict[str, Any]]:
    return [{"prompt": f"{name} {number}", "wait_seconds": 0} for number in range(AT_ONCE)]


def dear(name: str, **more: Any) -> dict[str, Any]:
    prompts = [f"{name} at {hour}" for hour in ("dawn", "noon", "dusk")]
    return {"image": "https://example.com/a.png", "prompts": prompts, "wait_seconds": 0, **more}


def shown(what: str, reply: Sequence[dict[str, Any]], stage: Stage) -> dict[str, int]:
    """Print one line of figures and return the outcomes."""
    came_to = outcomes(reply)
    tasks, charged, refunded = stage.sums()
    counted = ", ".join(f"{count} {word}" for word, count in sorted(came_to.items(), key=lambda item: item[1]))
    print(f"  {what}: {counted}. Ledger: {tasks} tasks, {charged} charged, {refunded} refunded")
    return came_to


async def cap_and_refunds(stage: Stage) -> None:
    """A day's cap, what comes back of it, and the sums that are told; with `SETTINGS`."""
    print(f"\ncap {CAP} a day, price {PRICE}, {AT_ONCE} calls at once from {PROCESSES} processes")
    reply = await stage.crowd(many(AT_ONCE, "text_to_video", *videos("kite")))
    assert shown("first", reply, stage) == {"started": 3, "BUDGET_EXCEEDED": 17}
    assert stage.sums() == (3, 3 * PRICE, 0)
    ids = [one["task_id"] for one in reply if "error" not in one]
    ids = [one["task_id"] for one in await stage.crowd([(0, "get_task", {"task_id": each}) for each in ids])]

    (cancelled,) = await stage.crowd([(1, "cancel_task", {"task_id": ids[0]})])
    assert cancelled["status"] == "CANCEL"
    stage.fail(ids[1])
    (failed,) = await stage.crowd([(0, "get_task", {"task_id": ids[1], "wait_seconds": 90})])
    assert (failed["status"], failed["credits"]["refunded"]) == ("FAILED", PRICE)
    assert stage.sums() == (3, 3 * PRICE, 2 * PRICE)

    today = {"videos": 3, "quoted": 45, "charged": 45, "refunded": 30, "spent": 15}
    accounts = [*await stage.crowd(many(2, "get_account", {})), await stage.account_command()]
    assert [account["today"] for account in accounts] == [today] * 3
    print(f"  one cancelled, one failed; get_account in both, and avm account: {accounts[0]['today']}")

    reply = await stage.crowd(many(AT_ONCE, "text_to_video", *videos("another kite")))
    assert shown("again", reply, stage) == {"started": 2, "BUDGET_EXCEEDED": 18}
    _, charged, refunded = stage.sums()
    assert charged - refunded == 3 * PRICE <= CAP < 4 * PRICE
    assert (await stage.account_command())["spent_today"] == charged - refunded


async def confirmation(stage: Stage) -> None:
    """A price that needs a yes; with `UNCAPPED`."""
    print(f"\n{DEAR} credits where more than {ABOVE} need a yes, {AT_ONCE} calls at once from {PROCESSES} processes")
    reply = await stage.crowd(many(AT_ONCE, "long_video", dear("a lake")))
    assert shown("nobody can be asked", reply, stage) == {"APPROVAL_REQUIRED": AT_ONCE}
    reply = await stage.crowd(many(AT_ONCE, "long_video", dear("a hill", max_credits=1000)))
    assert shown("another request, with a habitual max_credits", reply, stage) == {"APPROVAL_REQUIRED": AT_ONCE}
    assert stage.sums() == (0, 0, 0)
    reply = await stage.crowd(many(AT_ONCE, "long_video", dear("a lake", max_credits=DEAR - 1)))
    assert shown("the first request, with too little", reply, stage) == {"BUDGET_EXCEEDED": AT_ONCE}
    reply = await stage.crowd(many(AT_ONCE, "long_video", dear("a lake", max_credits=DEAR)))
    assert shown("the first request, with its price", reply, stage) == {"started": 1, "deduplicated": AT_ONCE - 1}
    assert stage.sums() == (1, DEAR, 0)
