"""What models and people read, held: see `tests/texts.py`."""

from tests.texts import FILE, written


def test_every_text_is_the_held_one():
    assert written() == FILE.read_text(encoding="utf-8"), "if it is meant: python -m tests.texts"
