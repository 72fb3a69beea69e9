"""The terminal face; the only module that prints."""
