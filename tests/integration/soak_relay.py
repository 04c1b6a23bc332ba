"""Attacks on a relay, and what it costs, in full size: a table of what was measured."""

import argparse
import asyncio
import resource
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # from wherever it is run

from integration import _relay_attacks as attacks
from integration import _relay_lines as lines
from integration._relay_load import kills
from integration._relays import RelayProcess

Measure = Callable[[RelayProcess], Coroutine[Any, Any, tuple[float, str]]]


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0 if everything stays within the bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="NAME", help="one row alone")
    only = parser.parse_args(argv).only
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 20_000)), hard))
    code = 0
    for name, (measure, bound) in ROWS.items():
        if only in (name, None):
            value, text = asyncio.run(_measured(measure))
            good = value <= bound
            code |= not good
            print(f"{'good' if good else 'BAD ':4}  {name:24} {text}  (at most {bound:g})", flush=True)
    return code


async def _measured(measure: Measure) -> tuple[float, str]:
    with tempfile.TemporaryDirectory() as directory, RelayProcess(Path(directory), "--rooms", "1000") as relay:
        await attacks.large_outputs(relay, 2, 4 * attacks.MEGABYTE)
        return await measure(relay)


async def _half_handshakes(relay: RelayProcess) -> tuple[float, str]:
    took = await attacks.half_handshakes(relay, 500)
    return took, f"500 of them: a good client needs {took:.3f} s"


async def _malformed(relay: RelayProcess) -> tuple[float, str]:
    passed = await attacks.malformed_frames(relay, 10_000)
    return passed, f"10,000 of them: {passed} events passed"


async def _stalled(relay: RelayProcess) -> tuple[float, str]:
    growth = await attacks.stalled_readers(relay, 8)
    return growth.megabytes, f"8 of them: {growth.megabytes:.1f} MiB more"


async def _flood(relay: RelayProcess) -> tuple[float, str]:
    growth = await attacks.flooding_senders(relay, 8)
    return growth.megabytes, f"8 of them: {growth.megabytes:.1f} MiB more"


async def _bomb(relay: RelayProcess) -> tuple[float, str]:
    growth = await attacks.attachment_bomb(relay, 500)
    return growth.megabytes, f"500 of them: {growth.megabytes:.1f} MiB more"


async def _large(relay: RelayProcess) -> tuple[float, str]:
    growth, rate = await attacks.large_outputs(relay, 8, 100 * attacks.MEGABYTE)
    return growth.megabytes, f"100 MiB to 8 clients: {growth.megabytes:.1f} MiB more, {rate:.0f} MiB/s to each"


async def _idle(relay: RelayProcess) -> tuple[float, str]:
    each = await attacks.idle_connections(relay, 2_000)
    return each, f"2,000 of them: {each:.1f} KiB each"


async def _kills(relay: RelayProcess) -> tuple[float, str]:
    seen = await kills(relay, clients=20, count=20, buffer=100 * attacks.MEGABYTE)
    assert (seen.lost, seen.repeated) == (0, 0), str(seen)
    return seen.p95, f"20 in a row, 20 clients, 100 MB on the way: {seen}"


async def _lines(relay: RelayProcess) -> tuple[float, str]:
    bad, texts = 0, []
    with tempfile.TemporaryDirectory() as directory:
        async with lines.impatient(), lines.hosted(relay, Path(directory)) as info:
            for cut in lines.CUTS:
                seen = await lines.numbered(info, relay, cut, 300, Path(directory))
                bad += seen.lost + seen.repeated + (not seen.finished)
                texts.append(f"{cut} {seen.lost}/{seen.repeated}{'' if seen.finished else ' without an end'}")
    return bad, f"300 of a real kernel, lost/repeated: {', '.join(texts)}"


ROWS: dict[str, tuple[Measure, float]] = {
    "half handshakes": (_half_handshakes, 1.0),
    "malformed frames": (_malformed, 0),
    "stalled readers": (_stalled, 16),
    "floods": (_flood, 16),
    "attachment bombs": (_bomb, 16),
    "large outputs": (_large, 16),
    "idle connections": (_idle, 40),
    "kills of the relay": (_kills, 1.0),
    "lines and cuts": (_lines, 0),
}


if __name__ == "__main__":
    sys.exit(main())
