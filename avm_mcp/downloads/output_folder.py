"""The folder that videos go to: whether one could be saved there, before there is one."""

import os
from pathlib import Path


def unwritable(folder: Path) -> str | None:
    """Return why no video can be saved in `folder`, which may still have to be made; None where nothing speaks against.

    Nothing is written to find out, so a full disk, or a system that decides only at the moment of writing, goes unseen.
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
