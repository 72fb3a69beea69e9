"""Pictures in, films out."""

from avm_mcp.media.aside import Aside, Threads, inline
from avm_mcp.media.boxes import film_whole
from avm_mcp.media.defaults import default_input_folders
from avm_mcp.media.failures import FilmCut, FilmError, FilmGone, FilmRefused, FilmUnavailable, FilmUnwritable
from avm_mcp.media.films import MAX_FILM_BYTES, SavedFilm, save_film
from avm_mcp.media.hops import Resolver, look_up
from avm_mcp.media.names import film_name
from avm_mcp.media.partials import film_present
from avm_mcp.media.pictures import MAX_PICTURE_BYTES, Picture, Ratio, matches_shape, read_picture
from avm_mcp.media.spellings import Machine
from avm_mcp.media.targets import unwritable

__all__ = [
    "MAX_FILM_BYTES",
    "MAX_PICTURE_BYTES",
    "Aside",
    "FilmCut",
    "FilmError",
    "FilmGone",
    "FilmRefused",
    "FilmUnavailable",
    "FilmUnwritable",
    "Machine",
    "Picture",
    "Ratio",
    "Resolver",
    "SavedFilm",
    "Threads",
    "default_input_folders",
    "film_name",
    "film_present",
    "film_whole",
    "inline",
    "look_up",
    "matches_shape",
    "read_picture",
    "save_film",
    "unwritable",
]
