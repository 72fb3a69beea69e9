"""Pictures in: where they may be read from, what they are, and why one is refused."""

from avm_mcp.images.input_folders import default_input_folders
from avm_mcp.images.path_parsing import PathRules
from avm_mcp.images.pictures import MAX_PICTURE_BYTES, Picture, Ratio, matches_shape, read_picture
from avm_mcp.images.threads import Offload, Threads, inline

__all__ = [
    "MAX_PICTURE_BYTES",
    "Offload",
    "PathRules",
    "Picture",
    "Ratio",
    "Threads",
    "default_input_folders",
    "inline",
    "matches_shape",
    "read_picture",
]
