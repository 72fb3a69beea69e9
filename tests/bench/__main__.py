"""`python -m tests.bench` runs every bench, one after the other, and prints one JSON line for each figure.

They take about ten minutes and want the machine for themselves. `python -m tests.bench b3 b4` runs some of them.
"""

import subprocess
import sys

ALL = ("b1", "b3", "b4", "b5", "b6", "b8", "b9")


def main() -> int:
    failed = 0
    for name in sys.argv[1:] or ALL:
        failed |= subprocess.run([sys.executable, "-m", f"tests.bench.{name}"], check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
