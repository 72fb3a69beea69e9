"""Durable state: what was paid for, what became of it, and what processes share. The only SQL of the project."""

from avm_mcp.store.jobs import FILE_LIFE, Limits, Reservation
from avm_mcp.store.opening import FILE_NAME, migrations, open_store
from avm_mcp.store.rows import RowMissing
from avm_mcp.store.sends import Send, Superseded
from avm_mcp.store.state import Store

__all__ = [
    "FILE_LIFE",
    "FILE_NAME",
    "Limits",
    "Reservation",
    "RowMissing",
    "Send",
    "Store",
    "Superseded",
    "migrations",
    "open_store",
]
