"""The control plane over HTTP, for tests in another process: `/_control/...`, served only with `control=True`.

GET  ledger              balances and entries
GET  requests            everything seen
GET  tasks               id, model, status, key
POST faults              {"match": "generate", "kind": "drop", "after": true, "count": 1, "skip": 0, "lasts": null}
POST options             {"query_limit": null, "speed": 60}
POST tasks               {"id": "ck...", "action": "finish" | "fail" | "forget", "text": "..."}
POST keys                {"key": "...", "revoked": true} or {"key": "...", "top_up": -50}
DELETE faults            forget what is queued
"""

import dataclasses
import json
from collections.abc import Callable
from typing import Any, cast

from avm_mcp.sandbox.answers import Answer, answer, not_found
from avm_mcp.sandbox.faults import Fault
from avm_mcp.sandbox.ledger import fingerprint, iso
from avm_mcp.sandbox.options import SandboxOptions
from avm_mcp.sandbox.state import Sandbox

_OPTIONS = {field.name for field in dataclasses.fields(SandboxOptions)}


class Control:
    """The hands of a test that sits in another process."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._table: dict[tuple[str, str], Callable[[dict[str, Any]], object]] = {
            ("GET", "ledger"): self._ledger,
            ("GET", "requests"): self._requests,
            ("GET", "tasks"): self._tasks,
            ("POST", "faults"): self._fault,
            ("DELETE", "faults"): self._clear,
            ("POST", "options"): self._change,
            ("POST", "tasks"): self._act,
            ("POST", "keys"): self._key,
        }

    def serve(self, method: str, path: str, body: bytes) -> Answer:
        """Do it, and answer with JSON."""
        do = self._table.get((method, path.removeprefix("/_control/")))
        if do is None:
            return not_found()
        try:
            given: object = json.loads(body) if body else {}
            if not isinstance(given, dict):
                raise TypeError("the body must be a JSON object")
            return answer(do(cast("dict[str, Any]", given)))
        except (ValueError, TypeError, KeyError, AssertionError) as wrong:
            return answer({"error": f"{type(wrong).__name__}: {wrong}"}, 400)

    def _ledger(self, given: dict[str, Any]) -> object:  # noqa: ARG002
        self._sandbox.tick()
        ledger = self._sandbox.ledger
        balances = {fingerprint(key): account.balance for key, account in ledger.accounts.items()}
        return {"opening": ledger.opening, "balances": balances, "entries": ledger.rows()}

    def _requests(self, given: dict[str, Any]) -> object:  # noqa: ARG002
        rows = [dataclasses.asdict(seen) | {"at": iso(seen.at)} for seen in self._sandbox.requests]
        return {"posts": self._sandbox.posts, "counts": dict(self._sandbox.counts), "requests": rows}

    def _tasks(self, given: dict[str, Any]) -> object:  # noqa: ARG002
        at = self._sandbox.tick()
        return {
            "tasks": [
                {
                    "id": task.id,
                    "key": fingerprint(task.key),
                    "model": task.model,
                    "status": task.status(at),
                    "createdAt": iso(task.created_at),
                    "endsAt": iso(task.ends_at),
                    "webhookUrl": task.webhook_url,
                    "idempotencyKey": task.idempotency_key,
                }
                for task in self._sandbox.tasks()
            ]
        }

    def _fault(self, given: dict[str, Any]) -> object:
        queue = {name: given.pop(name) for name in ("count", "skip", "lasts") if name in given}
        self._sandbox.faults.next(given.pop("match"), Fault(**given), **queue)
        return {"queued": len(self._sandbox.faults)}

    def _clear(self, given: dict[str, Any]) -> object:  # noqa: ARG002
        self._sandbox.faults.clear()
        return {"queued": 0}

    def _change(self, given: dict[str, Any]) -> object:
        unknown = sorted(given.keys() - _OPTIONS)
        if unknown:
            raise ValueError(f"no option is called {', '.join(unknown)}")
        if given.get("keys") is not None:
            given["keys"] = frozenset(given["keys"])
        self._sandbox.change(**given)
        return {"changed": sorted(given)}

    def _act(self, given: dict[str, Any]) -> object:
        task_id, action = given["id"], given["action"]
        if action == "finish":
            self._sandbox.finish(task_id)
        elif action == "fail":
            self._sandbox.fail(task_id, given.get("text", "Generation failed"))
        elif action == "forget":
            self._sandbox.forget(task_id)
        else:
            raise ValueError("action is finish, fail or forget")
        return {"id": task_id, "action": action}

    def _key(self, given: dict[str, Any]) -> object:
        key: str = given["key"]
        if "revoked" in given:
            self._sandbox.revoke(key, revoked=given["revoked"])
        if "top_up" in given:
            self._sandbox.top_up(key, given["top_up"])
        return {"key": fingerprint(key), "balance": self._sandbox.balance(key)}
