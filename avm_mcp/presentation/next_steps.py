"""Next steps in words: one sentence for each action and reader.

A sentence is a format string over the reader's words for calls (`Audience.words`) and the action's arguments.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from avm_mcp.domain.next_steps import Action, Cheaper, NextStep
from avm_mcp.presentation.audience import Audience


@dataclass(frozen=True, slots=True)
class Sentences:
    """One action in words.

    Attributes:
        agent: For a model, which has a user to ask and to tell.
        person: For a person, who is the user; the same as for a model when left out.
        hosted: Follows the sentence where a host started the server.
    """

    agent: str
    person: str | None = None
    hosted: str = ""


def _user_does(what: str, *, ask: bool = False, hosted: str = "") -> Sentences:
    """What only the user can do: a model tells them, or asks them, to."""
    return Sentences(f"{'ask' if ask else 'tell'} the user to {what}", what, hosted)


def _user_gives(what: str) -> Sentences:
    """What only the user has: a model asks for it."""
    return Sentences(f"ask the user for {what}", f"give {what}")


_RESTART_HOST = ", then restart the host"

SENTENCES: Mapping[Action, Sentences] = {
    Action.NOTHING: Sentences("nothing to do"),
    # the call
    Action.CORRECT_FIELD: Sentences("correct the field that is named and repeat the {call}; nothing was started"),
    Action.USE_TOOL: Sentences("{do} {tool}; nothing was started"),
    Action.JOIN_PROMPTS: Sentences("join prompts until six are left, or make two videos"),
    Action.REPEAT: Sentences("repeat the {call}; nothing was started"),
    Action.WAIT_AND_REPEAT: Sentences("wait, then repeat the {call}; nothing was started"),
    Action.TRY_AGAIN: Sentences("try again in a minute"),
    Action.TRY_AGAIN_UNPAID: Sentences("try again in a minute; nothing was started"),
    Action.SEE_HELP: Sentences("{program} --help shows how"),
    # the task
    Action.GET_TASK_NOT_REPEAT: Sentences("{do} {get_task}. Do not repeat the paid {call} for this video"),
    Action.WAIT_FOR_END: Sentences("{do} {get_task} and wait for the end"),
    Action.SEE_TASK: Sentences("{do} {get_task} to see it"),
    Action.CHECK_CANCELLED: Sentences("{do} {get_task} to see whether it was cancelled; if not, cancel it again"),
    Action.LIST_TASKS: Sentences("{do} {list_tasks} to see the ids of this account"),
    Action.LIST_TO_SEE_STATE: Sentences("{do} {list_tasks} to see the state of that task"),
    Action.LIST_BEFORE_REPEATING: Sentences(
        "{do} {list_tasks} to see whether the video was started; do not repeat a paid {call} before that"
    ),
    Action.SAVE_ELSEWHERE: Sentences("run avm save {task_id} --to FOLDER with one that can be written"),
    Action.VIDEO_GONE: Sentences("tell the user: the video is gone", "the video is gone"),
    # money
    Action.APPROVE: Sentences(
        "ask the user; if they agree, repeat the same {call} with {max_credits} at the price",
        "if you agree, repeat the same {call} with {max_credits} at the price",
    ),
    Action.APPROVE_PRICE: Sentences(
        "ask the user. If they agree, repeat the same {call} with {price}{cheaper}",
        "if you agree, repeat the same {call} with {price}{cheaper}",
    ),
    Action.RECONSIDER_PRICE: Sentences(
        "accept the answer. Only if the user changes their mind, repeat the same {call} with {price}{cheaper}",
        "if you change your mind, repeat the same {call} with {price}{cheaper}",
    ),
    Action.PAY_MORE: Sentences(
        "ask the user; if they agree, repeat the {call} with {price}{cheaper}",
        "if you agree, repeat the {call} with {price}{cheaper}",
    ),
    Action.QUOTE_ANEW: Sentences(
        "{do} {quote} for the price; ask the user, and if they agree repeat the {call} with {max_credits} at that"
        " price",
        "{do} {quote} for the price; if you agree, repeat the {call} with {max_credits} at that price",
    ),
    Action.RAISE_THE_CAP: Sentences(
        "tell the user the price and the cap; only the user can raise it", "make it cheaper, or raise the cap"
    ),
    Action.RAISE_CAP: Sentences(
        "tell the user the price and the cap; only the user can raise {setting}", "make it cheaper, or raise {setting}"
    ),
    Action.WAIT_FOR_NEW_DAY: Sentences(
        "tell the user; a new day starts at 00:00 UTC, and only the user can raise {setting}",
        "wait for the new day at 00:00 UTC, or raise {setting}",
    ),
    Action.ADD_CREDITS: Sentences(
        "tell the user to add credits at https://aivideomaker.ai. Do not retry before that",
        "add credits at https://aivideomaker.ai",
    ),
    # key, settings, network, service
    Action.GET_KEY: Sentences(
        "tell the user to get a key at https://aivideomaker.ai and set AVM_API_KEY",
        "get a key at https://aivideomaker.ai and set AVM_API_KEY; AVM_API_KEY=sandbox tries everything for free",
        " (Claude Desktop: Settings, Extensions, AI Video Maker), then restart the host",
    ),
    Action.CHECK_KEY: _user_does("check AVM_API_KEY at https://aivideomaker.ai", hosted=_RESTART_HOST),
    Action.CORRECT_SETTING: _user_does("correct the setting that is named", hosted=_RESTART_HOST),
    Action.SEE_ACCOUNT: Sentences(
        "tell the user what the service said; {get_account} lists what this account can use",
        "{get_account} lists what this account can use",
    ),
    Action.CHANGE_NETWORK: _user_does(
        "try another network, or without a VPN or proxy (HTTPS_PROXY), and then again;"
        " AVM_USER_AGENT sets what a firewall is told that this program is"
    ),
    Action.SIGN_IN: _user_does(
        "open a web page in a browser and sign in to the network if it asks for that, or check HTTPS_PROXY and"
        " AVM_BASE_URL; then try again"
    ),
    Action.CHECK_PROXY: _user_does(
        "check HTTPS_PROXY, with the user name and password of the proxy in it if it wants them", hosted=_RESTART_HOST
    ),
    Action.REPORT_ODD_ANSWER: Sentences(
        "tell the user that the service answered in an unknown way; do not retry at once",
        "wait a while before another try; if it stays so, report it",
    ),
    Action.REPORT_BUG: Sentences(
        "tell the user that avm-mcp has a bug and where its log is",
        "please report it; AVM_LOG_LEVEL=DEBUG shows more",
    ),
    # the prompt and the picture
    Action.CHANGE_PROMPT_OR_PICTURE: Sentences(
        "tell the user, and change the prompt or the picture before another try",
        "change the prompt or the picture before another try",
    ),
    Action.CHANGE_FAILING_REQUEST: Sentences(
        "tell the user, and change the prompt or the picture; it would only fail again",
        "change the prompt or the picture; it would only fail again",
    ),
    Action.ACCEPT_SHAPE: Sentences(
        "ask the user whether the picture's shape is fine (leave aspect_ratio out), or for a picture of shape {shape}."
        " Nothing was started",
        "leave --aspect-ratio out if the picture's shape is fine, or give a picture of shape {shape}."
        " Nothing was started",
    ),
    Action.GIVE_ANOTHER_PICTURE: _user_gives("another path or a public https link; nothing was started"),
    Action.GIVE_LINK: _user_gives("a public https link to the picture"),
    Action.GIVE_LINK_OR_PATH: _user_gives("a public https link, or a file path"),
    Action.GIVE_SMALLER_PICTURE: _user_gives("a smaller picture, or a public https link to it; nothing was started"),
    Action.GIVE_SMALLER_VERSION: _user_gives("a smaller version; saved as JPEG it is usually far below"),
    Action.GIVE_USUAL_SIZE: _user_gives("the picture itself, in its usual size; nothing was started"),
    Action.GIVE_FORMAT: _user_gives("the picture as {formats}; nothing was started"),
    Action.COPY_PICTURE: Sentences(
        "repeat the {call} in a minute, or ask the user to copy the picture to a folder on this machine's own disk"
        " first; nothing was started",
        "repeat the {call} in a minute, or copy the picture to a folder on this machine's own disk first;"
        " nothing was started",
    ),
    Action.SAVE_PICTURE: _user_does("save the picture in {folder} and give its path, or an https link", ask=True),
    Action.SAVE_PICTURE_OR_ALLOW_FOLDER: Sentences(
        "ask the user to save the picture in {folder} and give its path, or an https link, or to add its folder to"
        " AVM_INPUT_DIRS",
        "save the picture in {folder} and give its path, or an https link, or add its folder to AVM_INPUT_DIRS",
    ),
    Action.NAME_PICTURE_FOLDER: Sentences(
        "ask the user to name the folder of their pictures in AVM_INPUT_DIRS, or for a public https link",
        "name the folder of your pictures in AVM_INPUT_DIRS, or give a public https link",
    ),
    Action.ALLOW_READING: Sentences(
        "ask the user to allow it (on macOS: System Settings, Privacy & Security, Files and Folders), or to save the"
        " picture in another allowed folder",
        "allow it (on macOS: System Settings, Privacy & Security, Files and Folders), or save the picture in another"
        " allowed folder",
    ),
    Action.USE_FOUND_PATH: Sentences(
        "if that is the picture the user means, repeat the {call} with that path; else ask the user",
        "if that is the picture you mean, repeat the {call} with that path",
    ),
    # the state
    Action.REPAIR_STATE: Sentences(
        "tell the user what is wrong with the state folder; nothing was started",
        "repair the state folder; nothing was started",
    ),
    Action.REPAIR_THEN_GET_TASK: Sentences(
        "tell the user what is wrong, then {do} {get_task} again", "{do} {get_task} again"
    ),
    Action.SET_STATE_DIR: _user_does("set AVM_STATE_DIR to a folder that can be written"),
    Action.SET_STATE_DIR_OR_MEMORY: _user_does(
        "set AVM_STATE_DIR to a folder that can be written, or AVM_ALLOW_MEMORY_STATE=on; nothing was started"
    ),
    Action.FREE_DISK: Sentences(
        "tell the user to make space and to restart avm-mcp; nothing was started",
        "make space and restart avm-mcp; nothing was started",
    ),
    Action.UNLOCK_STATE: Sentences(
        "repeat the {call} in a minute; nothing was started. If it stays so, tell the user that a backup, a file"
        " scanner or another program keeps that file locked",
        "repeat the {call} in a minute; nothing was started. If it stays so, a backup, a file scanner or another"
        " program keeps that file locked",
    ),
    Action.REPEAT_ON_NEW_STATE: Sentences(
        "repeat the {call}: the damaged state is set aside, nothing of it is deleted, and a new one is started"
    ),
    Action.UPDATE_PROGRAM: Sentences(
        "tell the user to update avm-mcp, or to set another AVM_STATE_DIR",
        "update avm-mcp, or set another AVM_STATE_DIR",
    ),
}
"""Every action in words, without the full stop at the end."""


def write_next_step(step: NextStep, audience: Audience, task_id: str | None = None) -> str:
    """Return a next step in the words of its reader.

    Args:
        step: What to do.
        audience: Who reads it.
        task_id: The task it is about.
    """
    sentences = SENTENCES[step.action]
    sentence = sentences.agent if audience.reader == "model" or sentences.person is None else sentences.person
    hosted = sentences.hosted if audience.hosted else ""
    return sentence.format(**audience.words(task_id), **_spell_arguments(step, audience)) + f"{hosted}."


def _spell_arguments(step: NextStep, audience: Audience) -> Mapping[str, object]:
    """Return the arguments of an action as they are written, by their names in the sentences."""
    given = dict(step.arguments)
    if isinstance(tool := given.get("tool"), str):
        given["tool"] = audience.name_tool(tool)
    if isinstance(price := given.get("credits"), int):
        given["price"] = audience.name_price(price)
        cheaper = given.get("cheaper")
        given["cheaper"] = _write_cheaper(cheaper) if isinstance(cheaper, Cheaper) else ""
    return given


def _write_cheaper(cheaper: Cheaper) -> str:
    """Return a cheaper video as one more sentence."""
    what = f"{cheaper.seconds} s" + (f" with {cheaper.model}" if cheaper.model else "")
    amount = f"{'' if cheaper.certain else 'up to '}{cheaper.credits}"
    return f". Within {cheaper.limit} credits: {what} for {amount}"
