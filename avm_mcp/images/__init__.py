"""Pictures in: the folders they may be read from, their formats, and the errors for those that are refused."""

from avm_mcp.images.input_folders import default_input_folders
from avm_mcp.images.offload import Offload, ThreadOffload, inline
from avm_mcp.images.path_parsing import PathRules
from avm_mcp.images.pictures import MAX_PICTURE_BYTES, Picture, Ratio, matches_shape, read_picture

__all__ = [
    "MAX_PICTURE_BYTES",
    "Offload",
    "PathRules",
    "Picture",
    "Ratio",
    "ThreadOffload",
    "default_input_folders",
    "inline",
    "matches_shape",
    "read_picture",
]
