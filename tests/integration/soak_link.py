"""A link over real sockets: a thousand disconnects, or more, over a hundred thousand messages."""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # from wherever it is run

from integration._link_load import disconnect


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, unless a promise was broken, which is raised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000, help="at the least (default: 100,000)")
    parser.add_argument("--disconnects", type=int, default=1_000, help="at the least (default: 1,000)")
    parser.add_argument("--seed", type=int, help="of what happens to the connections (default: any)")
    arguments = parser.parse_args(argv)
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    print(f"{arguments.disconnects:,} disconnects over {arguments.messages:,} messages, seed {seed}", flush=True)
    started = time.monotonic()
    seen = asyncio.run(disconnect(arguments.messages, arguments.disconnects, seed))
    print(f"{time.monotonic() - started:.0f} s: all arrived, each once and in order, within all bounds")
    for name, value in seen.items():
        print(f"  {name:12} {value:>12,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
