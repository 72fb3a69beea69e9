"""The model of the examples, without a model: a script that reads what a model reads, and does as it is told there.

It makes one video, looks at the task until its file is named, and answers with the file. A call that was cut it
repeats with the same arguments, as a model does that reads "please try again". What it sees it prints, one JSON object
a line, with the seconds that the call took.
"""

import json
import os
import re
import time
from typing import Any, NamedTuple

FILE = re.compile(r"""(?:File: |['"]file['"]: ?['"])([^\n'"]+?\.mp4)""")
TASK = re.compile(r"""task_id\\?["']?\s*[=:]\s*\\?["'](\w+)""")
MOST_CALLS = 60


class Call(NamedTuple):
    """One tool call that the script wants."""

    tool: str
    arguments: dict[str, Any]
    id: str


class Script:
    """What to do next. `MODEL_WAIT` is the wait_seconds it asks for; `MODEL_LETS_GO` ends it after one result."""

    def __init__(self) -> None:
        wait = os.environ.get("MODEL_WAIT")
        self._wait = {"wait_seconds": int(wait)} if wait else {}
        self._lets_go = bool(os.environ.get("MODEL_LETS_GO"))
        self._calls: list[Call] = []
        self._asked = 0.0

    def next(self, seen: str | None) -> Call | str:
        """Return the next call, or the answer; `seen` is the result of the last call as the model gets it."""
        if seen is None:
            return self._call("text_to_video", prompt="a red kite over the sea", **self._wait)
        self._show(saw=seen, seconds=round(time.monotonic() - self._asked, 2))
        if found := FILE.search(seen):
            return f"Your video is ready: {found[1]}"
        if len(self._calls) == MOST_CALLS:
            return "It is still being made."
        if not (task := TASK.search(seen)):
            last = self._calls[-1]
            return self._call(last.tool, **last.arguments)
        if self._lets_go:
            return f"It is being made: {task[1]}"
        return self._call("get_task", task_id=task[1], **self._wait)

    def _call(self, tool: str, **arguments: Any) -> Call:
        call = Call(tool, arguments, f"call_{len(self._calls) + 1}")
        self._calls.append(call)
        self._show(calls=tool, arguments=arguments)
        self._asked = time.monotonic()
        return call

    @staticmethod
    def _show(**what: Any) -> None:
        print(json.dumps(what), flush=True)
