"""`python -m avm_mcp` is `avm-mcp`."""

import sys

from avm_mcp.cli import server_main

if __name__ == "__main__":
    sys.exit(server_main())
