"""Whether videos can be saved in a folder, checked before one is paid for."""

import os
from pathlib import Path


def find_write_problem(folder: Path) -> str | None:
    """Return why no video can be saved in `folder`, which need not exist yet; None if no reason is found.

    Nothing is written, so a full disk, or a system that decides at the moment of writing, is not noticed.
    """
    try:
        existing = next((path for path in (folder, *folder.parents) if path.exists()), None)
        if existing is None:
            return "there is no such drive"
        if not existing.is_dir():
            return f"{existing} is not a folder" if existing != folder else "it is not a folder"
        return None if os.access(existing, os.W_OK | os.X_OK) else f"{existing} may not be written to"
    except OSError as error:
        return error.strerror or str(error)
