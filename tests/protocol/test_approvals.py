"""P8: a dear video needs a person's yes; the question is a nudge, the caps are the lock."""

import anyio
import pytest
from mcp import Client
from mcp.types import ElicitResult, ErrorData

from avm_mcp.mcp_server.server import build_server
from avm_mcp.sandbox import faults
from tests.clock import Skewed
from tests.protocol.test_waiting import SLACK
from tests.stack import LEGACY, MODERN, error, fields, piped, text

DEAR = {"image": "https://example.com/a.png", "prompts": ["dawn", "noon", "dusk"], "wait_seconds": 0}


async def test_a_host_that_cannot_ask_must_name_the_price_after_a_refusal(stack):
    """A habitual max_credits does not pass by itself; the same request with the price does, within 15 minutes."""
    async with stack.client() as client:
        habitual = error(await client.call_tool("long_video", DEAR | {"max_credits": 1000}))
        assert habitual["code"] == "APPROVAL_REQUIRED"
        assert "max_credits=225" in habitual["next_step"]
        other = error(await client.call_tool("long_video", DEAR | {"max_credits": 225, "prompts": ["a", "b", "c"]}))
        assert other["code"] == "APPROVAL_REQUIRED"
        assert stack.sandbox.posts == 0
        early = error(await client.call_tool("long_video", DEAR | {"max_credits": 225}))
        assert early["code"] == "APPROVAL_REQUIRED", "nobody was asked within no time at all"
        assert "nobody answers that fast" in early["message"]
        assert "that fast" not in habitual["message"] + other["message"]
        await anyio.sleep(1)
        reply = fields(await client.call_tool("long_video", DEAR | {"max_credits": 225}))
        assert reply["status"] == "SUBMITTED"
        again = fields(await client.call_tool("long_video", DEAR))
        assert again["deduplicated"], "a video that runs needs no second yes"
    assert stack.sandbox.posts == 1


@pytest.mark.parametrize("cap", [None, 50])
async def test_the_default_limit_is_no_approval_of_a_higher_price(stack, cap):
    """P8: a client that fills in every default sends max_credits=50; that is not a word about a video for 225."""
    given = DEAR if cap is None else DEAR | {"max_credits": cap}
    async with stack.client() as client:
        for _ in range(3):
            reply = error(await client.call_tool("long_video", given))
            assert reply["code"] == "APPROVAL_REQUIRED"
            assert "this costs 225 credits ($2.25); above 50 it needs approval" in reply["message"]
            assert "ask the user. If they agree, repeat the same call with max_credits=225." in reply["next_step"]
            await anyio.sleep(2)
    assert stack.sandbox.posts == 0


@pytest.mark.parametrize("above", ["20", "50", "100"])
async def test_up_to_the_threshold_nobody_is_asked_and_above_it_somebody_is(stack, above):
    """P8, DESIGN 6: i2v_v3 makes 20 s for 80 credits, 5 s for 20."""
    picture = {"image": "https://example.com/a.png", "model": "i2v_v3"}
    async with stack.client(AVM_APPROVE_ABOVE=above) as client:
        dear = await client.call_tool("image_to_video", picture | {"duration": 20})
        cheap = await client.call_tool("image_to_video", picture | {"duration": 5})
    assert fields(cheap)["status"] == "SUBMITTED"
    if above == "100":
        assert fields(dear)["status"] == "SUBMITTED"
    else:
        assert error(dear)["code"] == "APPROVAL_REQUIRED"


QUOTED = {"model": "lv", "segments": 3}


async def test_a_quote_then_the_agreed_price_starts_the_video_at_the_first_try(stack):
    """P8, DESIGN 6: quote, ask the user, call with the price they agreed to. Other prompts are the same price."""
    async with stack.client() as client:
        quoted = await client.call_tool("quote_video", QUOTED)
        assert fields(quoted)["credits"] == 225
        assert text(quoted).endswith("start the video if they agree, with max_credits=225.")
        assert "max_credits" not in text(await client.call_tool("quote_video", {"model": "t2v"}))
        at_once = error(await client.call_tool("long_video", DEAR | {"max_credits": 225}))
        assert at_once["code"] == "APPROVAL_REQUIRED", "nobody was asked within no time at all"
        await anyio.sleep(20)
        made = fields(await client.call_tool("long_video", DEAR | {"max_credits": 225, "prompts": ["a", "b", "c"]}))
        assert made["status"] == "SUBMITTED"
    assert stack.sandbox.posts == 1


@pytest.mark.parametrize(
    ("quoted", "wait", "cap"),
    [
        (QUOTED, 901, 225),  # told too long ago
        (QUOTED, 20, 50),  # the default, filled in
        (QUOTED | {"segments": 2}, 20, 225),  # the price of another video
        (QUOTED | {"segments": 4}, 20, 300),
        ({"model": "i2v_v3", "duration": 20}, 20, 225),
    ],
)
async def test_a_quote_is_no_approval_of_what_was_not_quoted(stack, quoted, wait, cap):
    """P8."""
    async with stack.client() as client:
        await client.call_tool("quote_video", quoted)
        await anyio.sleep(wait)
        reply = error(await client.call_tool("long_video", DEAR | {"max_credits": cap}))
    assert reply["code"] == "APPROVAL_REQUIRED"
    assert stack.sandbox.posts == 0


async def test_a_quote_that_was_lower_is_no_approval_of_the_price(stack):
    """P8: the price may rise between the quote and the call."""
    async with stack.client() as client:
        await client.call_tool("quote_video", QUOTED)
        await anyio.sleep(700)  # longer than a quote is used again
        stack.sandbox.faults.next("quote", faults.http_error(200, body='{"credits": 900}'))
        reply = error(await client.call_tool("long_video", DEAR | {"max_credits": 1000}))
        assert reply["code"] == "APPROVAL_REQUIRED"
        assert "max_credits=900" in reply["next_step"]
    assert stack.sandbox.posts == 0


async def test_a_quote_in_one_process_counts_in_another_and_without_a_state_it_can_still_be_told(stack):
    """DESIGN 6: what was told is in the journal. Where that cannot be written, a price is told all the same."""
    async with stack.client() as one, stack.client() as two:
        await one.call_tool("quote_video", QUOTED)
        await anyio.sleep(5)
        assert fields(await two.call_tool("long_video", DEAR | {"max_credits": 225}))["status"] == "SUBMITTED"
    stack.state = stack.folder / "nowhere"
    stack.state.write_text("a file")
    async with stack.client() as client:
        assert fields(await client.call_tool("quote_video", QUOTED))["credits"] == 225


@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_quote_counts_whatever_the_wall_clocks_say(stack, hours):
    """P8: what is only compared is told by the clock that the processes of a machine share."""
    async with (
        stack.client() as one,
        stack.client(runtime=stack.runtime(now=Skewed(stack.wall, 3600 * hours))) as two,
    ):
        for first, then, prompts in ((one, two, ["a", "b", "c"]), (two, one, ["d", "e", "f"])):
            await first.call_tool("quote_video", QUOTED)
            await anyio.sleep(5)
            made = await then.call_tool("long_video", DEAR | {"max_credits": 225, "prompts": prompts})
            assert fields(made)["status"] == "SUBMITTED"
            await anyio.sleep(1000)


@pytest.mark.parametrize(
    ("cap", "fits"),
    [
        (60, "Within 60 credits: 15 s for 60."),
        (45, "Within 45 credits: 10 s for 40."),
        (25, "Within 25 credits: 5 s for 20."),
    ],
)
async def test_a_price_above_the_callers_limit_is_refused_with_what_fits_and_counts_as_told(stack, cap, fits):
    """P8, DESIGN 6: an own limit is no question; repeated with the price that the user agreed to, it starts."""
    dear = {"image": "https://example.com/a.png", "model": "i2v_v3", "duration": 20, "wait_seconds": 0}
    async with stack.client() as client:
        reply = error(await client.call_tool("image_to_video", dear | {"max_credits": cap}))
        assert (reply["code"], reply["field"]) == ("BUDGET_EXCEEDED", "max_credits")
        assert reply["next_step"] == f"ask the user; if they agree, repeat the call with max_credits=80. {fits}"
        await anyio.sleep(2)
        assert fields(await client.call_tool("image_to_video", dear | {"max_credits": 80}))["status"] == "SUBMITTED"
    assert stack.sandbox.posts == 1


@pytest.mark.parametrize(
    ("given", "fits"),
    [
        ({"duration": 10, "model": "t2v_v3", "max_credits": 30}, "Within 30 credits: 5 s for 20."),
        ({"duration": 5, "model": "t2v_v3", "max_credits": 16}, "Within 16 credits: 5 s with t2v for up to 15."),
        ({"duration": 8, "model": "t2v", "max_credits": 20}, "Within 20 credits: 5 s for 15."),
        ({"duration": 5, "model": "t2v", "max_credits": 14}, ""),
    ],
)
async def test_what_fits_is_of_the_same_tool_and_at_its_real_price(stack, given, fits):
    """TEXTS 9."""
    async with stack.client() as client:
        reply = error(await client.call_tool("text_to_video", {"prompt": "a leaf"} | given))
    assert reply["code"] == "BUDGET_EXCEEDED"
    assert reply["next_step"].partition(".")[2].strip() == fits
    assert stack.sandbox.posts == 0


async def test_a_host_that_can_ask_is_not_asked_about_a_price_above_the_callers_own_limit(stack):
    """P8: the caller has said how much it may be; the question would be about more."""

    async def answer(_context, _params):
        raise AssertionError("asked")

    async with Client(piped(build_server(stack.runtime())), mode=LEGACY, elicitation_callback=answer) as client:
        reply = error(await client.call_tool("long_video", DEAR | {"max_credits": 100}))
    assert reply["code"] == "BUDGET_EXCEEDED"
    assert "Within 100 credits: 5 s for 75." in reply["next_step"]


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
@pytest.mark.parametrize("cap", [None, 50, 225, 9999])
async def test_whatever_limit_was_filled_in_a_host_that_can_ask_is_asked(stack, mode, cap):
    """P8: neither the default nor a habitual limit is a person's word."""
    asked = []

    async def answer(_context, params):
        asked.append(params.message)
        return ElicitResult(action="accept", content={"start": True})

    given = DEAR if cap is None else DEAR | {"max_credits": cap}
    async with Client(piped(build_server(stack.runtime())), mode=mode, elicitation_callback=answer) as client:
        assert fields(await client.call_tool("long_video", given))["status"] == "SUBMITTED"
    assert len(asked) == 1
    (post,) = [seen for seen in stack.sandbox.requests if seen.endpoint == "generate"]
    assert post.max_credits == "225", "a yes is to the price that was named"


async def test_the_yes_of_a_refusal_runs_out_after_fifteen_minutes(stack):
    async with stack.client() as client:
        assert error(await client.call_tool("long_video", DEAR))["code"] == "APPROVAL_REQUIRED"
        stack.wall.skew += 901
        late = error(await client.call_tool("long_video", DEAR | {"max_credits": 225}))
        assert late["code"] == "APPROVAL_REQUIRED"
    assert stack.sandbox.posts == 0


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
@pytest.mark.parametrize(
    ("action", "content", "posts"),
    [("accept", {"start": True}, 1), ("accept", {"start": False}, 0), ("decline", None, 0), ("cancel", None, 0)],
)
async def test_a_host_that_can_ask_is_asked_once_at_both_eras(stack, mode, action, content, posts):
    """A client that always declines gets a clear answer, not a lock-out."""
    asked = []

    async def answer(_context, params):
        asked.append(params.message)
        return ElicitResult(action=action, content=content)

    async with Client(piped(build_server(stack.runtime())), mode=mode, elicitation_callback=answer) as client:
        result = await client.call_tool("long_video", DEAR)
        assert len(asked) == 1
        assert "225 credits" in asked[0]
        if posts:
            assert fields(result)["status"] == "SUBMITTED"
        else:
            refused = error(result)
            assert refused["code"] == "APPROVAL_REQUIRED"
            assert "did not agree" in refused["message"]
            await anyio.sleep(1)
            reply = fields(await client.call_tool("long_video", DEAR | {"max_credits": 225}))
            assert reply["status"] == "SUBMITTED"
    assert stack.sandbox.posts == 1


@pytest.mark.parametrize("stack", [{"environ": {"AVM_MAX_CREDITS_PER_DAY": "230"}}], indirect=True)
async def test_a_cap_does_not_deny_what_an_equal_call_has_started_while_the_price_was_asked(stack):
    """P1, P8: "nothing charged" would be false, also of a host that can ask a person."""
    reply = []

    async def answer(_context, _params):
        return ElicitResult(action="accept", content={"start": True})

    def host():
        return Client(piped(build_server(stack.runtime())), mode=LEGACY, elicitation_callback=answer)

    async def ask(client):
        reply.append(fields(await client.call_tool("long_video", DEAR)))

    async with host() as one, host() as two, anyio.create_task_group() as group:
        stack.sandbox.faults.next("quote", faults.hang(0.2))
        stack.sandbox.faults.next("quote", faults.hang(1))
        group.start_soon(ask, one)
        await anyio.sleep(0.1)
        group.start_soon(ask, two)
    first, second = reply
    assert second.get("deduplicated"), second
    assert second["task_id"] == first["task_id"]
    assert stack.sandbox.posts == 1


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
@pytest.mark.parametrize("word", ["false", "no", "off", "0"])
async def test_a_no_that_a_host_writes_as_a_word_is_a_no(stack, mode, word):
    """P8: some hosts fill a form with text, and a text that is not empty is not yet a yes."""

    async def answer(_context, _params):
        return ElicitResult(action="accept", content={"start": word})

    async with Client(piped(build_server(stack.runtime())), mode=mode, elicitation_callback=answer) as client:
        refused = error(await client.call_tool("long_video", DEAR))
    assert refused["code"] == "APPROVAL_REQUIRED"
    assert stack.sandbox.posts == 0


async def test_where_the_question_cannot_be_put_after_all_naming_the_price_is_the_way(stack):
    """P8: a host that answers the question with an error is one that cannot ask; the video must not be out of reach."""

    async def answer(_context, _params):
        return ErrorData(code=-32601, message="no window is open")

    async with Client(piped(build_server(stack.runtime())), mode=LEGACY, elicitation_callback=answer) as client:
        refused = error(await client.call_tool("long_video", DEAR))
        assert refused["code"] == "APPROVAL_REQUIRED"
        assert "did not agree" not in refused["message"]
        assert stack.sandbox.posts == 0
        await anyio.sleep(1)
        reply = fields(await client.call_tool("long_video", DEAR | {"max_credits": 225}))
    assert reply["status"] == "SUBMITTED"
    assert stack.sandbox.posts == 1


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
@pytest.mark.parametrize("content", [None, {}, {"start": "perhaps"}, {"start": ["yes"]}])
async def test_an_accepted_form_without_the_word_is_no_yes_and_no_bug(stack, mode, content):
    async def answer(_context, _params):
        return ElicitResult(action="accept", content=content)

    async with Client(piped(build_server(stack.runtime())), mode=mode, elicitation_callback=answer) as client:
        refused = error(await client.call_tool("long_video", DEAR))
    assert refused["code"] == "APPROVAL_REQUIRED"
    assert "did not agree" in refused["message"]
    assert stack.sandbox.posts == 0


@pytest.mark.parametrize("stack", [{"environ": {"AVM_MAX_CREDITS_PER_DAY": "224"}}], indirect=True)
@pytest.mark.parametrize("mode", [LEGACY, MODERN])
async def test_nobody_is_asked_about_a_video_that_the_cap_of_the_day_refuses(stack, mode):
    """P8: neither a person, nor a model that would have to ask one."""
    asked = []

    async def answer(_context, params):
        asked.append(params.message)
        return ElicitResult(action="accept", content={"start": True})

    async with Client(piped(build_server(stack.runtime())), mode=mode, elicitation_callback=answer) as client:
        reply = error(await client.call_tool("long_video", DEAR))
        assert (reply["code"], reply["field"]) == ("BUDGET_EXCEEDED", "AVM_MAX_CREDITS_PER_DAY")
    async with stack.client(mode=mode) as client:
        reply = error(await client.call_tool("long_video", DEAR))
        assert (reply["code"], reply["field"]) == ("BUDGET_EXCEEDED", "AVM_MAX_CREDITS_PER_DAY")
    assert asked == []
    assert stack.sandbox.posts == 0


async def test_nobody_is_asked_about_a_video_that_has_failed_three_times(stack):
    stack.sandbox.faults.next("generate", faults.fail_task(), count=3)
    async with stack.client() as client:
        for _ in range(3):
            assert error(await client.call_tool("long_video", DEAR))["code"] == "APPROVAL_REQUIRED"
            await anyio.sleep(1)
            made = fields(await client.call_tool("long_video", DEAR | {"max_credits": 225}))
            for _ in range(9):
                seen = await client.call_tool("get_task", {"task_id": made["task_id"], "wait_seconds": 300})
                if seen.is_error or fields(seen)["status"] == "FAILED":
                    break
        reply = error(await client.call_tool("long_video", DEAR))
    assert reply["code"] == "CONTENT_REJECTED"
    assert stack.sandbox.posts == 3


async def test_a_cheap_video_asks_nobody(stack):
    async def answer(_context, _params):
        raise AssertionError("asked")

    async with Client(piped(build_server(stack.runtime())), mode=LEGACY, elicitation_callback=answer) as client:
        reply = fields(await client.call_tool("text_to_video", {"prompt": "a leaf", "wait_seconds": 0}))
    assert reply["status"] == "SUBMITTED"


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
async def test_a_yes_is_to_the_price_that_was_named(stack, mode):
    """P8: the price may rise while a person thinks; nothing is started at a price that nobody agreed to."""
    asked = []

    async def answer(_context, params):
        asked.append(params.message)
        await anyio.sleep(700)  # longer than a quote is used again
        stack.sandbox.faults.next("quote", faults.http_error(200, body='{"credits": 900}'))
        return ElicitResult(action="accept", content={"start": True})

    server = build_server(stack.runtime())
    async with Client(piped(server), mode=mode, elicitation_callback=answer, read_timeout_seconds=5000) as client:
        result = await client.call_tool("long_video", DEAR)
    assert "225 credits" in asked[0]
    if "900 credits" in asked[-1]:
        assert mode == MODERN, "asked again, and agreed to"
    else:
        assert error(result)["code"] == "BUDGET_EXCEEDED"
        assert "max_credits=900" in error(result)["next_step"]
        assert stack.sandbox.posts == 0


async def test_a_price_that_does_not_come_is_waited_for_once(stack):
    """P4: three seconds in all, where a question to a person needs the price before the submit does."""
    stack.sandbox.faults.next("quote", faults.hang(60), count=9)
    stack.sandbox.faults.next("generate", faults.hang(20, after=True))

    async def answer(_context, _params):
        raise AssertionError("asked")

    async with Client(piped(build_server(stack.runtime())), mode=LEGACY, elicitation_callback=answer) as client:
        began = anyio.current_time()
        leaf = {"prompt": "a leaf", "wait_seconds": 0, "max_credits": 50}
        reply = fields(await client.call_tool("text_to_video", leaf))
        assert anyio.current_time() - began <= 3 + SLACK
    assert reply["status"] == "SUBMITTING"
