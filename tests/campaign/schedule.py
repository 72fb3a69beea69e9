"""A schedule: everything that will happen in one run, drawn from its seed before the run begins.

Nothing here looks at the product. What is drawn is bounded where the design itself sets a bound; each of these
bounds is named at its constant, and again in README.md.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from avm_mcp.sandbox import faults
from avm_mcp.sandbox.faults import Fault

LONGEST_HANG = 600.0
"""Seconds that a paid request may lie with the service before it acts, after which our 90 s are long over: the ten
minutes of lists after which it is said that no task was made begin when those are."""

STALEST = 540.0
"""Seconds that a list may lag. NOT_CREATED asks for ten minutes of lists: a service that shows nothing newer than
that for longer is lying, and nobody could tell."""

PICTURES = ("dog.png", "cat.png")

ORIGINS = ("http://127.0.0.1:9", "http://localhost:9", "http://127.0.0.1:9/", "http://LOCALHOST:9/.")
"""One service under several names."""


@dataclass(frozen=True, slots=True)
class Intent:
    """One video that an agent means: one request, with all its retries.

    Intents of one group differ in a way that a service without keys does not show in its list: the take, or the
    bytes of a picture. Their prompts differ in blanks only, which identity and recovery ignore and the judge reads.
    """

    number: int
    group: int
    tool: str
    arguments: dict[str, Any]

    @property
    def prompt(self) -> str:
        return self.arguments["prompts"][0] if self.tool == "long_video" else self.arguments["prompt"]


@dataclass(frozen=True, slots=True)
class Step:
    """One act of an agent.

    Attributes:
        after: Seconds since its last act.
        kind: "ask" (the paid call), "look", "cancel", "list", "free" (quote and account) or "obey" (do what the last
            answer's `next_step` says, again and again, as a model does that follows it to the letter).
        slot: Which of the host's servers it speaks to.
        wait: `wait_seconds`.
        timeout: The host's own time-out, after which it cancels the call; None is endless.
        token: Whether progress is asked for.
        parallel: The next act does not wait for this one.
    """

    after: float
    kind: str
    slot: int = 0
    wait: int | None = 0
    timeout: float | None = None
    token: bool = False
    cap: int | None = None
    parallel: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One accident.

    Attributes:
        at: When.
        kind: "fault" (queued at the sandbox), "wire" (queued at a link), "outage", "exit" (of a server, in order),
            "death" (of a server), "power" (all servers die at once), "storm" (many
            lists are asked for at once), "death_at" (a server dies after its so-manieth
            request to an endpoint), "stop" and "stop_at" (the same instants, but the server goes on after `seconds`),
            "dns" (names of the file host lead to `what` for `seconds`), "step" (a server's wall clock is set forward
            by `seconds`), "moved" (`what` befalls the state folder).
        seconds: How long it lasts; a fault with `seconds` is not counted but lasts that long.
        steps: For deaths and stops: after so many steps of the scheduler, so that any await can be the last.
    """

    at: float
    kind: str
    slot: int = 0
    endpoint: str = ""
    fault: Fault | None = None
    error: str = ""
    when: str = ""
    count: int = 1
    skip: int = 0
    seconds: float = 0
    steps: int = 0
    what: str = ""


@dataclass(frozen=True, slots=True)
class Schedule:
    """One run."""

    seed: int
    theme: str
    options: dict[str, Any]
    environ: dict[str, str]
    aged: bool
    intents: tuple[Intent, ...]
    agents: tuple[tuple[int, float, tuple[Step, ...]], ...]
    events: tuple[Event, ...]
    ending: str
    clocks: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Seconds by which the wall clock of a slot's server is ahead."""
    forms: tuple[str, ...] = (ORIGINS[0],) * 3
    """How a slot's server has the API's address written."""

    def lines(self) -> list[str]:
        """Return it as text."""
        reply = [
            f"seed {self.seed}, theme {self.theme}, {'old' if self.aged else 'new'} journal, ends by {self.ending}"
        ]
        reply += [f"  options {self.options}", f"  environ {self.environ}"]
        reply += [f"  clocks {self.clocks}, addresses {self.forms}"]
        reply += [f"  intent {i.number} (group {i.group}): {i.tool} {i.arguments}" for i in self.intents]
        for intent, start, steps in self.agents:
            reply += [f"  agent of intent {intent}, from {start:g} s:", *(f"    {step}" for step in steps)]
        return reply + [f"  {event}" for event in self.events]


# --- drawing ---

RATES: dict[str, dict[str, float]] = {
    # events of a kind that a schedule of this theme has on average
    "answers": {"generate": 1.6, "list": 0.6, "poll": 0.3, "file": 0.1, "wire": 0.3, "death": 0.2, "outage": 0.1},
    "deaths": {"generate": 0.5, "list": 0.3, "poll": 0.2, "file": 0.2, "wire": 0.1, "death": 1.6, "outage": 0.1},
    "polls": {"generate": 0.3, "list": 1.2, "poll": 2.0, "file": 0.2, "wire": 0.4, "death": 0.2, "outage": 0.4},
    "videos": {"generate": 0.1, "list": 0.2, "poll": 0.3, "file": 2.2, "wire": 0.2, "death": 0.6, "outage": 0.3},
    "agents": {"generate": 0.8, "list": 0.3, "poll": 0.2, "file": 0.1, "wire": 0.2, "death": 0.3, "outage": 0.1},
    "mixed": {"generate": 1.2, "list": 0.9, "poll": 1.0, "file": 0.8, "wire": 0.6, "death": 0.8, "outage": 0.4},
}
WEIGHTS = {"answers": 24, "deaths": 24, "polls": 12, "videos": 12, "agents": 16, "mixed": 12}

HTML_400 = "<html>bad request</html>"


def draw(seed: int) -> Schedule:
    """Return the schedule of a seed."""
    rng = random.Random(f"campaign/{seed}")
    theme = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    options = _options(rng, seed)
    intents = _intents(rng)
    slots = rng.choices((1, 2, 3), (55, 35, 10))[0]
    agents = _agents(rng, theme, intents, slots)
    environ = {"AVM_MAX_CREDITS_PER_DAY": str(rng.choice((15, 30, 45, 100)))} if rng.random() < 0.15 else {}
    if random.Random(f"save/{seed}").random() < 0.1:
        environ["AVM_SAVE"] = "all"
    machine = random.Random(f"machine/{seed}")
    events = [*_events(rng, RATES[theme], slots, agents), *_storm(seed, slots)]
    ending = rng.choice(("exit", "death", "power", "stay", "stay"))
    events += _stops(machine, slots, agents)
    events = _moved(machine, options, _passing(machine, events, options), agents)
    clocks, steps = _clocks(machine)
    return Schedule(
        seed=seed,
        theme=theme,
        options=options,
        environ=environ,
        aged=rng.random() < 0.6,
        intents=tuple(intents),
        agents=tuple(agents),
        events=tuple(sorted([*events, *steps], key=lambda e: e.at)),
        ending=ending,
        clocks=clocks,
        forms=tuple(machine.choices(ORIGINS, k=3)) if machine.random() < 0.1 else (ORIGINS[0],) * 3,
    )


def _options(rng: random.Random, seed: int) -> dict[str, Any]:
    """Draw what kind of a service it is."""
    skew = rng.choices((0.0, 300.0, -300.0, rng.uniform(-20, 20)), (60, 12, 12, 16))[0]
    return {
        "seed": seed,
        "profile": rng.choices(("live", "seed"), (75, 25))[0],
        "honours_idempotency": rng.random() < 0.6,
        "ignores_max_credits": rng.random() < 0.2,
        "list_cap": rng.choice((1, 2, 3)) if rng.random() < 0.15 else None,
        "list_delay_seconds": round(rng.uniform(1, 90), 1) if rng.random() < 0.2 else 0.0,
        "clock_skew_seconds": skew,
        "stores_other_bytes": rng.random() < 0.2,
        "fills_defaults": rng.random() < 0.2,
        "output_shape": rng.choices(("url", "error_null", "videoUrl", "bare"), (70, 10, 10, 10))[0],
        "cancel_refusal": rng.choice(("400", "409", "200")),
        "data_uris": rng.choices(("accept", "400", "500"), (94, 3, 3))[0],
        "fail_rate": 0.4 if rng.random() < 0.15 else 0.0,
        "balance": 20 if rng.random() < 0.06 else 1000,
        "answer_delay_seconds": rng.choices((0.0, 0.2, 1.5, 8.0), (60, 20, 10, 10))[0],
        "durations": {
            name: round(rng.choice((20, 45, 90, 150, 400)) * rng.uniform(0.8, 1.2), 1)
            for name in ("t2v", "i2v", "t2v_v3", "lv")
        },
        "queue_seconds": rng.choice((2, 10, 40)),
        "says_speed": rng.random() < 0.5,
        "render": False,
    }


def _intents(rng: random.Random) -> list[Intent]:
    """Draw what is wanted. No two intents are one request; some look alike to a service without keys."""
    found: list[Intent] = []
    groups = rng.choices((1, 2, 3), (55, 33, 12))[0]
    for group in range(groups):
        kind = rng.choices(("text", "link", "bytes", "long"), (62, 14, 14, 10))[0]
        alike = rng.choices((1, 2, 3), (80, 16, 4))[0]
        for place in range(alike):
            prompt = f"video {group}" + " " * (place + 1) + "of a fox in the snow"
            given: dict[str, Any] = {"prompt": prompt}
            tool = "text_to_video"
            if kind == "text":
                given |= {"duration": 8} if group == 1 else {}
            elif kind == "long":
                tool, given = "long_video", {"prompts": [prompt], "image": "https://example.com/start.png"}
            else:
                tool = "image_to_video"
                given["image"] = f"https://example.com/{group}.png" if kind == "link" else PICTURES[0]
            if kind == "bytes" and place == 1 and rng.random() < 0.5:
                given["image"] = PICTURES[1]  # an edited picture is another request
            elif place:
                given["take"] = place + 1
            found.append(Intent(len(found), group, tool, given))
    return found


def _agents(
    rng: random.Random, theme: str, intents: list[Intent], slots: int
) -> list[tuple[int, float, tuple[Step, ...]]]:
    """Draw who asks for what, when, and what they do about it."""
    agents: list[tuple[int, float, tuple[Step, ...]]] = []
    together = rng.random() < 0.3
    for intent in intents:
        start = 0.0 if together else round(rng.choice((0, 0.5, 3, 20, 60, 200)) * rng.random(), 2)
        steps = [_ask(rng, slots, 0.0)]
        restless = rng.random() < (0.9 if theme == "agents" else 0.5)
        for _ in range(rng.randint(1, 4) if restless else rng.randint(0, 1)):
            steps.append(_step(rng, slots, steps[-1]))
        if rng.random() < 0.5:
            steps.append(
                Step(round(rng.uniform(0, 30), 1), "obey", rng.randrange(slots), rng.choice((0, 10, 40, None)))
            )
        if rng.random() < 0.05:  # hours later
            steps.append(_ask(rng, slots, rng.uniform(3000, 8000)))
        agents.append((intent.number, start, tuple(steps)))
    return agents


def _ask(rng: random.Random, slots: int, after: float, *, parallel: bool = False) -> Step:
    return Step(
        round(after, 2),
        "ask",
        rng.randrange(slots),
        rng.choices((0, None, 5, 20, 45, 120), (35, 20, 10, 15, 15, 5))[0],
        rng.choices((None, 1, 4, 10, 60), (50, 12, 13, 13, 12))[0],
        rng.random() < 0.2,
        rng.choice((5, 30, 100)) if rng.random() < 0.12 else None,
        parallel,
    )


def _step(rng: random.Random, slots: int, before: Step) -> Step:
    after = rng.choice((0, 0, 0.01, 1, 6, 30, 150)) * rng.random()
    kind = rng.choices(("ask", "look", "cancel", "list", "free"), (55, 25, 10, 5, 5))[0]
    if kind == "ask":
        return _ask(rng, slots, after, parallel=rng.random() < 0.4)
    wait = rng.choice((0, None, 3, 15, 60))
    timeout = rng.choices((None, 2, 20), (70, 15, 15))[0]
    return Step(round(after, 2), kind, rng.randrange(slots), wait, timeout, rng.random() < 0.2)


def _events(rng: random.Random, rates: dict[str, float], slots: int, agents: list[Any]) -> list[Event]:
    starts = [start for _, start, _ in agents]
    events: list[Event] = []
    for kind, rate in rates.items():
        for _ in range(_poisson(rng, rate)):
            events.append(_EVENTS[kind](rng, slots, starts))
    if rng.random() < 0.12:
        events.append(Event(round(rng.uniform(1, 300), 2), "exit", rng.randrange(slots)))
    return events


def _storm(seed: int, slots: int) -> list[Event]:
    """Seldom, a crowd asks so often that only the allowance stands before the service's own limit."""
    rng = random.Random(f"storm/{seed}")
    if rng.random() > 0.04:
        return []
    at = round(rng.uniform(0, 60), 1)
    return [Event(at, "storm", slot, count=rng.randint(30, 80)) for slot in range(slots)]


def _stops(rng: random.Random, slots: int, agents: list[tuple[int, float, tuple[Step, ...]]]) -> list[Event]:
    """Draw servers that are stopped between two steps and go on later, mostly near what costs money."""
    if rng.random() > 0.2:
        return []
    starts = [start for _, start, _ in agents]
    found: list[Event] = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        seconds = round(rng.choice((3, 20, 60, 300, 660, 1200)) * rng.uniform(0.8, 1.0), 1)
        steps, slot = int(2 ** rng.uniform(0, 8)) - 1, rng.randrange(slots)
        if rng.random() < 0.7:
            endpoint = rng.choices(("generate", "list", "task", "status", "file"), (60, 16, 8, 8, 8))[0]
            found.append(
                Event(0.0, "stop_at", slot, endpoint, skip=rng.choice((0, 0, 1)), steps=steps, seconds=seconds)
            )
        else:
            at = rng.choice(starts) + rng.random() * rng.choice((0.0, 0.01, 2, 10))
            found.append(Event(round(at, 4), "stop", slot, steps=steps, seconds=seconds))
    if rng.random() < 0.7:  # a stop costs most while a server waits before it sends again
        pause = rng.choice((1, 5, 40, 119))
        found.append(Event(0.0, "fault", 0, "generate", faults.rate_limited(pause), count=rng.choice((1, 2))))
    longest = max(event.seconds for event in found)
    if longest > 500:  # meanwhile another server is asked for the same
        place, other = rng.randrange(len(agents)), rng.randrange(3)
        intent, start, steps = agents[place]
        wakes = Step(0.0, "list", other, parallel=True)
        again = replace(_ask(rng, 3, longest * rng.uniform(0.8, 1.05)), slot=other)
        agents[place] = (intent, start, (*steps, wakes, again))
    return found


def _clocks(rng: random.Random) -> tuple[tuple[float, ...], list[Event]]:
    """Draw clocks that differ between servers, and are set while they run."""
    if rng.random() > 0.15:
        return (0.0, 0.0, 0.0), []
    ahead = (0.0, 12.0, -12.0, 40.0, 3600.0, -3600.0, 7300.0, -7300.0)
    found = [
        Event(
            round(rng.uniform(0, 300), 2), "step", rng.randrange(3), seconds=rng.choice((20.0, -20.0, 3700.0, -3700.0))
        )
        for _ in range(rng.choice((0, 1, 2)))
    ]
    return tuple(rng.choice(ahead) for _ in range(3)), found


def _passing(rng: random.Random, events: list[Event], options: dict[str, Any]) -> list[Event]:
    """Add what lies between the machine and the service for minutes or hours, and then is gone."""
    if rng.random() > 0.25:
        return events
    options["file_base"] = rng.choice(("", "https://cdn.example"))
    options["link_seconds"] = rng.choice((None, None, 60.0, 300.0))
    options["file_first_byte_seconds"] = rng.choice((0.0, 0.0, 6.0, 20.0))
    found: list[Event] = []
    lasts = round(rng.choice((30, 300, 1200, 5400, 14400)) * rng.uniform(0.7, 1.0), 1)
    kind = rng.choices(("file", "dns", "page", "date", "trickle"), (34, 22, 18, 10, 16))[0]
    if kind == "file":
        status = rng.choice((200, 302, 401, 403, 404, 410, 451, 511))
        page = faults.redirect("http://192.168.1.1/login") if status == 302 else faults.html(status)
        found.append(Event(0.0, "fault", 0, "file", page, seconds=lasts))
    elif kind == "dns":
        options["file_base"] = "https://cdn.example"
        where = rng.choice(("192.168.1.1", "198.18.0.7", "127.0.0.1", "nowhere"))
        found.append(Event(0.0, "dns", what=where, seconds=lasts))
    elif kind == "page":
        at, status = round(rng.uniform(0, 120), 1), rng.choice((200, 401, 403, 404, 407, 451, 503))
        for endpoint in ("list", "task", "status", "cancel", "account", "quote"):
            found.append(Event(at, "fault", 0, endpoint, faults.html(status), seconds=min(lasts, 1300)))
        if rng.random() < 0.5:
            found.append(Event(0.0, "fault", 0, "generate", faults.html(status), skip=rng.choice((0, 1))))
    elif kind == "date":
        found.append(
            Event(round(rng.uniform(0, 100), 1), "fault", 0, "list", faults.wrong_date(rng.choice((172800, -172800))))
        )
        found.append(Event(0.0, "fault", 0, "file", faults.http_error(503), count=rng.choice((1, 4))))
    else:
        slow = faults.trickle(rng.choice((4.0, 10.0, 25.0)), size=rng.choice((1, 3)))
        if rng.random() < 0.4:
            endpoint = rng.choice(("generate", "file"))
            found.append(Event(0.0, "fault", 0, endpoint, slow, count=_count(rng), skip=rng.choice((0, 1))))
        else:
            at = round(rng.uniform(0, 200), 1)
            found += [Event(at, "fault", 0, name, slow, seconds=min(lasts, 900)) for name in ("list", "task", "status")]
    return [*events, *found]


def _moved(rng: random.Random, options: dict[str, Any], events: list[Event], agents: list[Any]) -> list[Event]:
    """Seldom, take the state away from under the servers.

    Then the service's list is the only memory of what was paid for: it is honest in such a schedule, and no request
    hangs on its way to the service.
    """
    if rng.random() > 0.06:
        return events
    options |= {"list_cap": None, "list_delay_seconds": 0.0, "answer_delay_seconds": 0.0}
    starts = [start for _, start, _ in agents]
    kept = [e for e in events if e.endpoint not in ("generate", "list") and e.kind not in ("storm", "wire")]
    at = rng.choice(starts) + rng.random() * rng.choice((0.01, 5, 60, 400))
    return [*kept, Event(round(at, 3), "moved", what=rng.choice(("deleted", "damaged")))]


def _poisson(rng: random.Random, mean: float) -> int:
    count, left = 0, rng.expovariate(1.0)
    while left < mean and count < 6:
        count, left = count + 1, left + rng.expovariate(1.0)
    return count


def _when(rng: random.Random, starts: list[float]) -> float:
    """Just before somebody asks, mostly; else any time."""
    if rng.random() < 0.7:
        return max(0.0, round(rng.choice(starts) - 0.001, 3))
    return round(rng.uniform(0, 400), 2)


def _of_generate(rng: random.Random) -> Fault:
    """What can happen to a paid request. Nothing here refuses in words what was charged: that no client could see."""
    after = rng.random() < 0.6
    hang = round(rng.choice((1, 2.9, 5, 12, 60, 89.9, 95, LONGEST_HANG)) * rng.uniform(0.9, 1), 2)
    kinds: list[tuple[int, Callable[[], Fault]]] = [
        (24, lambda: faults.drop(after=after, seconds=rng.choice((0, 0, 1, 20, 80)), reset=rng.random() < 0.5)),
        (14, lambda: faults.http_error(rng.choice((500, 502, 503, 504, 520)), after=after)),
        (5, lambda: faults.html(rng.choice((500, 502, 200)), after=after)),
        (4, lambda: faults.empty(rng.choice((200, 204, 500)), after=after)),
        (3, lambda: faults.http_error(rng.choice((400, 408, 409, 422)), after=after, body=HTML_400)),
        (12, lambda: faults.hang(hang)),
        (14, lambda: faults.hang(hang, after=True)),
        (6, faults.cut),
        (6, faults.cut_json),
        (4, lambda: faults.stall(rng.choice((2, 30, 120)))),
        (5, lambda: faults.rate_limited(rng.choice((1, 5, 40, 119, 600, None, "Sun, 22 Nov 2026 12:03:00 GMT")))),
        (3, lambda: faults.envelope("Not now")),
        (3, lambda: faults.refuse(*rng.choice(((402, None), (422, None), (401, "AUTH_FAILED"), (403, None))))),
        (2, lambda: faults.redirect("https://elsewhere.example/generate", rng.choice((302, 307)))),
        (3, lambda: faults.html(rng.choice((403, 404)))),
        (5, faults.fail_task),
    ]
    return _one(rng, kinds)


def _of_question(rng: random.Random, endpoint: str) -> Fault:
    after = rng.random() < 0.5
    kinds: list[tuple[int, Callable[[], Fault]]] = [
        (16, lambda: faults.drop(after=after, reset=rng.random() < 0.5)),
        (16, lambda: faults.http_error(rng.choice((500, 502, 503)))),
        (5, lambda: faults.html(rng.choice((502, 200)))),
        (5, lambda: faults.empty(rng.choice((200, 503)))),
        (4, lambda: faults.http_error(200, body='["SUBMITTED"]')),
        (4, lambda: faults.http_error(200, body='{"tasks": {"a": 1}}')),
        (6, faults.cut),
        (6, faults.cut_json),
        (10, lambda: faults.hang(rng.choice((1, 4, 25, 31, 100)), after=after)),
        (8, lambda: faults.rate_limited(rng.choice((1, 5, 30, 200, None)))),
        (4, lambda: faults.envelope("Something went wrong")),
        (3, lambda: faults.refuse(401, "AUTH_FAILED", "Invalid API key")),
        (2, lambda: faults.redirect("https://elsewhere.example/tasks")),
    ]
    if endpoint == "list":
        kinds.append((18, lambda: faults.stale_list(round(rng.uniform(5, STALEST), 1))))
    if endpoint in ("task", "status"):
        kinds.append((4, lambda: faults.refuse(404, None, "Task not found")))
    if endpoint in ("list", "task"):
        kinds.append((10, faults.no_url))
    if endpoint in ("list", "task", "status"):
        kinds.append((10, lambda: faults.unknown_status(rng.choice(("QUEUED_AGAIN", "REVIEW", "processing")))))
    return _one(rng, kinds)


def _of_file(rng: random.Random) -> Fault:
    kinds: list[tuple[int, Callable[[], Fault]]] = [
        (14, lambda: faults.drop(after=rng.random() < 0.5)),
        (14, lambda: faults.http_error(rng.choice((500, 502, 503)))),
        (22, faults.truncated),
        (8, faults.half),
        (10, lambda: faults.stall(rng.choice((1, 40)))),
        (8, lambda: faults.hang(rng.choice((2, 40)))),
        (6, lambda: faults.html(rng.choice((200, 503)))),
        (5, lambda: faults.empty(rng.choice((200, 503)))),
        (6, lambda: faults.refuse(rng.choice((403, 404, 410)), None)),
        (5, lambda: faults.rate_limited(rng.choice((1, 60, 900, None)))),
        (4, lambda: faults.redirect("/files/elsewhere.mp4")),
        (3, lambda: faults.redirect("https://cdn.example/files/elsewhere.mp4")),
        (3, lambda: faults.redirect("http://169.254.169.254/latest/meta-data")),
    ]
    return _one(rng, kinds)


def _one(rng: random.Random, kinds: list[tuple[int, Callable[[], Fault]]]) -> Fault:
    return rng.choices([build for _, build in kinds], [weight for weight, _ in kinds])[0]()


def _count(rng: random.Random) -> int:
    return rng.choices((1, 2, 4, 7), (60, 20, 13, 7))[0]


def _generate_event(rng: random.Random, slots: int, starts: list[float]) -> Event:
    count, skip = rng.choices((1, 2, 4), (78, 16, 6))[0], rng.choices((0, 1, 2), (75, 18, 7))[0]
    return Event(_when(rng, starts), "fault", 0, "generate", _of_generate(rng), count=count, skip=skip)


def _list_event(rng: random.Random, slots: int, starts: list[float]) -> Event:
    fault = _of_question(rng, "list")
    return Event(
        _when(rng, starts), "fault", 0, "list", fault, count=_count(rng), skip=rng.choices((0, 1, 3), (70, 20, 10))[0]
    )


def _poll_event(rng: random.Random, slots: int, starts: list[float]) -> Event:
    endpoint = rng.choices(("status", "task", "account", "quote", "cancel"), (45, 30, 7, 8, 10))[0]
    fault = _of_question(rng, endpoint)
    skip = rng.choices((0, 1, 3), (60, 25, 15))[0]
    return Event(_when(rng, starts), "fault", 0, endpoint, fault, count=_count(rng), skip=skip)


def _file_event(rng: random.Random, slots: int, starts: list[float]) -> Event:
    return Event(0.0, "fault", 0, "file", _of_file(rng), count=_count(rng), skip=rng.choices((0, 1), (80, 20))[0])


def _wire_event(rng: random.Random, slots: int, starts: list[float]) -> Event:
    error, when = rng.choice(
        (
            ("ConnectError", "connect"),
            ("ConnectTimeout", "connect"),
            ("PoolTimeout", "connect"),
            ("WriteError", "before_send"),
            ("WriteTimeout", "before_send"),
            ("ReadError", "after_send"),
            ("ReadTimeout", "after_send"),
            ("RemoteProtocolError", "after_send"),
            ("LocalProtocolError", "before_send"),
        )
    )
    endpoint = rng.choices(("generate", "list", "status", "task", "file"), (45, 20, 15, 10, 10))[0]
    count = rng.choices((1, 3, 6), (70, 20, 10))[0]
    return Event(_when(rng, starts), "wire", rng.randrange(slots), endpoint, error=error, when=when, count=count)


def _outage_event(rng: random.Random, slots: int, starts: list[float]) -> Event:
    seconds = round(rng.choice((2, 15, 60, 200, 600)) * rng.uniform(0.7, 1.0), 1)
    at = _when(rng, starts) + (rng.random() if rng.random() < 0.5 else 0.0)
    return Event(round(at, 3), "outage", seconds=seconds)


def _death_event(rng: random.Random, slots: int, starts: list[float]) -> Event:
    """Mostly near what costs money, or near the video's way to the disk."""
    kind = rng.choices(("death_at", "death", "power"), (60, 28, 12))[0]
    steps = int(2 ** rng.uniform(0, 8)) - 1
    if kind == "death_at":
        endpoint = rng.choices(("generate", "file", "list", "task", "status", "cancel"), (55, 15, 12, 8, 7, 3))[0]
        skip = rng.choices((0, 1, 2), (70, 20, 10))[0]
        return Event(0.0, kind, rng.randrange(slots), endpoint, skip=skip, steps=steps)
    at = (
        rng.choice(starts) + rng.random() * rng.choice((0.0, 0.01, 2, 10))
        if rng.random() < 0.6
        else rng.uniform(0, 400)
    )
    return Event(round(at, 4), kind, rng.randrange(slots), steps=steps)


_EVENTS: dict[str, Callable[[random.Random, int, list[float]], Event]] = {
    "generate": _generate_event,
    "list": _list_event,
    "poll": _poll_event,
    "file": _file_event,
    "wire": _wire_event,
    "death": _death_event,
    "outage": _outage_event,
}
