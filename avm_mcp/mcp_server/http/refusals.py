"""The answer to a request that does not reach MCP: a status, and an error that an MCP client can show."""

from collections.abc import Mapping

from starlette.responses import JSONResponse

INVALID_REQUEST = -32600
"""JSON-RPC's code for a request that is not accepted. Its id is unknown, since the body was not read."""


def refuse(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an answer with one or two sentences, in the form of a JSON-RPC error."""
    error = {"code": INVALID_REQUEST, "message": message}
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status_code=status, headers=headers)
