"""The sandbox's money adds up, whatever is done to it."""

import random
from typing import Any

import httpx2
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avm_mcp.sandbox import SandboxApp, SandboxOptions, build_sandbox
from avm_mcp.sandbox.ledger import FINAL
from tests.clock import VirtualWall

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.sampled_from(["t2v", "t2v_v3"]), st.integers(0, 5)),
        st.tuples(st.just("cancel"), st.integers(0, 20), st.just(0)),
        st.tuples(st.just("wait"), st.floats(0, 400), st.just(0)),
        st.tuples(st.just("end"), st.integers(0, 20), st.booleans()),
        st.tuples(st.just("top_up"), st.integers(0, 50), st.just(0)),
    ),
    max_size=30,
)


async def play(app: SandboxApp, steps: list[tuple[Any, ...]]) -> None:
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://box", headers={"key": "ak"}
    ) as client:
        for word, what, more in steps:
            tasks = app.sandbox.tasks()
            if word == "submit":
                headers = {"Idempotency-Key": f"same-key-{more}"} if more else {}
                body = {"prompt": f"p{more}", "aspectRatio": "1:1", "duration": "5"}
                answer = await client.post(f"/api/v1/generate/{what}", json=body, headers=headers)
                assert answer.status_code in (200, 402, 409)
            elif word == "cancel" and tasks:
                await client.put(f"/api/v1/tasks/{tasks[what % len(tasks)].id}/cancel")
            elif word == "wait":
                await trio.sleep(what)
            elif word == "end" and app.sandbox.unfinished():
                task = app.sandbox.unfinished()[what % len(app.sandbox.unfinished())]
                (app.sandbox.finish if more else app.sandbox.fail)(task.id)
            elif word == "top_up":
                app.sandbox.top_up("ak", what)
            check(app, client)


def check(app: SandboxApp, client: httpx2.AsyncClient) -> None:
    sandbox = app.sandbox
    moved = {kind: sum(entry.credits for entry in sandbox.entries(kind)) for kind in ("charge", "refund", "top-up")}
    assert sandbox.balance("ak") == 100 + sum(moved.values())
    assert sandbox.balance("ak") >= 0
    times = [entry.at for entry in sandbox.entries()]
    assert times == sorted(times)
    charged = [entry.task_id for entry in sandbox.entries("charge")]
    refunded = [entry.task_id for entry in sandbox.entries("refund")]
    assert sorted(charged) == sorted(task.id for task in sandbox.tasks())
    at = sandbox.tick()
    undone = [task.id for task in sandbox.tasks() if task.status(at) in FINAL and task.status(at) != "COMPLETED"]
    assert sorted(refunded) == sorted(undone)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, seed=st.integers(0, 9))
def test_balance_is_opening_minus_charges_plus_refunds(steps: list[tuple[Any, ...]], seed: int) -> None:
    options = SandboxOptions(balance=100, seed=seed, fail_rate=0.4, render=False)
    app = build_sandbox(options, now=VirtualWall())
    trio.run(play, app, steps, clock=trio.testing.MockClock(autojump_threshold=0))


def test_two_hundred_random_tasks_end_with_the_same_money() -> None:
    app = build_sandbox(SandboxOptions(balance=100, fail_rate=0.5, render=False), now=VirtualWall())
    chance = random.Random(3)
    steps = [
        chance.choice([("submit", "t2v", 0), ("cancel", chance.randrange(99), 0), ("wait", chance.uniform(0, 90), 0)])
        for _ in range(200)
    ]
    trio.run(play, app, steps, clock=trio.testing.MockClock(autojump_threshold=0))
    assert app.sandbox.entries("charge")
