"""What a caller should do next, as data: an action with arguments. `presentation.next_steps` writes it in words.

The words differ by reader: a model reads tool calls and what to tell its user, a person at a terminal reads commands.
The id of the task is not an argument: it is the error's own `task_id`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto


class Action(Enum):
    """The actions; a comment names the arguments of one that takes some."""

    NOTHING = auto()

    # the call
    CORRECT_FIELD = auto()
    USE_TOOL = auto()  # tool
    JOIN_PROMPTS = auto()
    REPEAT = auto()
    WAIT_AND_REPEAT = auto()
    TRY_AGAIN = auto()
    TRY_AGAIN_UNPAID = auto()
    SEE_HELP = auto()  # program

    # the task
    GET_TASK_NOT_REPEAT = auto()
    WAIT_FOR_END = auto()
    SEE_TASK = auto()
    CHECK_CANCELLED = auto()
    LIST_TASKS = auto()
    LIST_TO_SEE_STATE = auto()
    LIST_BEFORE_REPEATING = auto()
    SAVE_ELSEWHERE = auto()
    VIDEO_GONE = auto()

    # money
    APPROVE = auto()
    APPROVE_PRICE = auto()  # credits, cheaper
    RECONSIDER_PRICE = auto()  # credits, cheaper
    PAY_MORE = auto()  # credits, cheaper
    QUOTE_ANEW = auto()
    RAISE_THE_CAP = auto()
    RAISE_CAP = auto()  # setting
    WAIT_FOR_NEW_DAY = auto()  # setting
    ADD_CREDITS = auto()

    # key, settings, network, service
    GET_KEY = auto()
    CHECK_KEY = auto()
    CORRECT_SETTING = auto()
    SEE_ACCOUNT = auto()
    CHANGE_NETWORK = auto()
    SIGN_IN = auto()
    CHECK_PROXY = auto()
    REPORT_ODD_ANSWER = auto()
    REPORT_BUG = auto()

    # the prompt and the picture
    CHANGE_PROMPT_OR_PICTURE = auto()
    CHANGE_FAILING_REQUEST = auto()
    ACCEPT_SHAPE = auto()  # shape
    GIVE_ANOTHER_PICTURE = auto()
    GIVE_LINK = auto()
    GIVE_LINK_OR_PATH = auto()
    GIVE_SMALLER_PICTURE = auto()
    GIVE_SMALLER_VERSION = auto()
    GIVE_USUAL_SIZE = auto()
    GIVE_FORMAT = auto()  # formats
    COPY_PICTURE = auto()
    SAVE_PICTURE = auto()  # folder
    SAVE_PICTURE_OR_ALLOW_FOLDER = auto()  # folder
    NAME_PICTURE_FOLDER = auto()
    ALLOW_READING = auto()
    USE_FOUND_PATH = auto()

    # the state
    REPAIR_STATE = auto()
    REPAIR_THEN_GET_TASK = auto()
    SET_STATE_DIR = auto()
    SET_STATE_DIR_OR_MEMORY = auto()
    FREE_DISK = auto()
    UNLOCK_STATE = auto()
    REPEAT_ON_NEW_STATE = auto()
    UPDATE_PROGRAM = auto()

    def __call__(self, **arguments: object) -> "NextStep":
        """Return this action with its arguments."""
        return NextStep(self, arguments)


@dataclass(frozen=True, slots=True)
class Cheaper:
    """A video of the same tool that costs no more than `limit` credits.

    Attributes:
        limit: In credits.
        seconds: Its length.
        credits: Its price.
        certain: Whether the price is the service's quote; else it is the highest that is known.
        model: Its model, where that is another one than was asked for.
    """

    limit: int
    seconds: int
    credits: int
    certain: bool
    model: str | None = None


@dataclass(frozen=True, slots=True)
class NextStep:
    """The one thing to do next."""

    action: Action
    arguments: Mapping[str, object]


def raise_cap(setting: str, *, tomorrow: bool = False) -> NextStep:
    """Return the next step where the cap in `setting` is in the way; on another day it may leave enough."""
    return Action.WAIT_FOR_NEW_DAY(setting=setting) if tomorrow else Action.RAISE_CAP(setting=setting)
