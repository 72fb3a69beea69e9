"""Every switch of the sandbox, in one frozen dataclass.

A default is what is documented or measured; where nobody knows, it is the guess that is named beside it, and
the switch offers the other answers, so that a client can be tried against all of them.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Profile = Literal["live", "seed"]
OutputShape = Literal["url", "error_null", "videoUrl", "bare"]
CancelRefusal = Literal["400", "409", "200"]
Duration = float | Callable[[random.Random], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxOptions:
    """How one sandbox behaves; it can be changed while it runs with `Sandbox.change`.

    Args:
        profile: `live` is the API as measured in September 2026, `seed` the page of March 2026: five models,
            five endpoints, no error codes, no credits in a task, other prices.
        lv: Serve long video in the profile `live` too. It was missing from the measured list of models.
        speed: Generation and queue seconds are divided by it.
        seed: Where all chance comes from: ids, durations, failures. Two sandboxes with one seed are twins, so a
            sandbox that restarts beside a journal that does not should be given a fresh one.
        balance: Credits of a key when it is first seen.
        keys: The keys that are accepted; None accepts every key that is not empty.
        query_limit: Reads per rolling 60 s and IP (documented: 60 a minute; the window's type is a guess).
        generate_per_minute: Generations per rolling 60 s and key; None is no limit.
        honours_idempotency: False ignores the header, and rows carry `idempotencyKey: null`.
        ignores_max_credits: True ignores `X-Max-Credits`, as one team reported.
        unknown_fields: `ignore` strips them and does not echo them, `reject` answers 400.
        list_cap: The list shows only the newest so many.
        list_delay_seconds: The list shows the state of so long ago; newer tasks are absent.
        clock_skew_seconds: Added to every date the sandbox writes, the `Date` header included.
        stores_other_bytes: The echoed `input` is not what was sent: white space is normalised, a field is added.
        fills_defaults: The echoed `input` carries the defaults of fields that were left out (unknown; a guess).
        data_uris: `accept` echoes another https address for them, `400` and `500` refuse them.
        answer_delay_seconds: Every answer is late by so much, after the work was done.
        durations: Seconds from submit to the end, by model: a number, or a function of a `random.Random`.
        queue_seconds: Seconds a task stays SUBMITTED, at most half of its whole time.
        fail_rate: The share of tasks that end FAILED and are refunded.
        output_shape: The shape of `output` when COMPLETED; `url` is measured, the others were seen in code.
        cancel_refusal: How a cancel that comes too late is refused; nobody has recorded it.
        account_limits: Where the account shows its limits; nobody has recorded it.
        user_agent_required: Refuse requests without a `Mozilla/5.0` in their user agent, as one page says.
        file_hours: Hours a finished video can be fetched (measured message: 24).
        scale_expiry: Divide those hours by `speed` too.
        link_seconds: A video's link is signed and lives so long; each answer carries a fresh one. Afterwards the
            file host answers 403. None leaves links unsigned (measured).
        file_base: Origin of the links to videos, such as `https://videos.example.com`; empty is the API's own.
        file_validators: Whether the file host sends `ETag` and `Last-Modified`.
        file_ranges: Whether the file host continues where `Range` asks it to; without, it sends all again.
        file_rate: Bytes a second that the file host sends; None is all at once.
        file_first_byte_seconds: Seconds that the file host takes to its first byte.
        render: Draw real videos where PyAV and Pillow are installed; False serves the bundled clips. Drawing
            uses a worker thread, which virtual time does not know: tests say False.
        video_scale: Share of the measured width and height that is drawn.
        video_bytes: A video is at least so large: a shorter one is filled up with an empty box.
        says_speed: Name `speed` in the header `X-AVM-Sandbox-Speed` of every answer; the API has no such header.
        control: Serve `/_control/...`.
    """

    profile: Profile = "live"
    lv: bool = True
    speed: float = 1.0
    seed: int = 0
    balance: int = 1000
    keys: frozenset[str] | None = None
    query_limit: int | None = 60
    generate_per_minute: int | None = None
    honours_idempotency: bool = True
    ignores_max_credits: bool = False
    unknown_fields: Literal["ignore", "reject"] = "ignore"
    list_cap: int | None = None
    list_delay_seconds: float = 0
    clock_skew_seconds: float = 0
    stores_other_bytes: bool = False
    fills_defaults: bool = False
    data_uris: Literal["accept", "400", "500"] = "accept"
    answer_delay_seconds: float = 0
    durations: Mapping[str, Duration] = field(default_factory=dict[str, Duration])
    queue_seconds: float = 5
    fail_rate: float = 0.0
    output_shape: OutputShape = "url"
    cancel_refusal: CancelRefusal = "400"
    account_limits: Literal["top", "nested"] = "top"
    user_agent_required: bool = False
    file_hours: float = 24
    scale_expiry: bool = False
    link_seconds: float | None = None
    file_base: str = ""
    file_validators: bool = True
    file_ranges: bool = True
    file_rate: float | None = None
    file_first_byte_seconds: float = 0
    render: bool = True
    video_scale: float = 0.5
    video_bytes: int = 0
    says_speed: bool = True
    control: bool = False

    @property
    def file_seconds(self) -> float:
        """Seconds from `completedAt` to the death of the link."""
        return self.file_hours * 3600 / (self.speed if self.scale_expiry else 1)
