"""What a caller is told: results, errors and pages, as data and as text, for each face."""

from avm_mcp.presentation.audience import (
    JSON_FACE,
    MODEL_FACE,
    SHELL_FACE,
    WORDS,
    Face,
    Place,
    about,
    clipped,
    cost,
    money,
    spoken,
    stamp,
    standing,
)
from avm_mcp.presentation.errors import error_fields, error_text
from avm_mcp.presentation.pages import (
    NOT_LISTED,
    funds_fields,
    funds_text,
    listing_fields,
    listing_text,
    price_fields,
    price_text,
    question_text,
)
from avm_mcp.presentation.task import Report

__all__ = [
    "JSON_FACE",
    "MODEL_FACE",
    "NOT_LISTED",
    "SHELL_FACE",
    "WORDS",
    "Face",
    "Place",
    "Report",
    "about",
    "clipped",
    "cost",
    "error_fields",
    "error_text",
    "funds_fields",
    "funds_text",
    "listing_fields",
    "listing_text",
    "money",
    "price_fields",
    "price_text",
    "question_text",
    "spoken",
    "stamp",
    "standing",
]
