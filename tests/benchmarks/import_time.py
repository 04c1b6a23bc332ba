"""What `import kernelwire` costs over a bare interpreter: `python tests/benchmarks/import_time.py`."""

import argparse
import json
import statistics
import subprocess
import sys
import time

STATEMENTS = {
    "bare Python": "pass",
    "import kernelwire": "import kernelwire",
    "kernelwire.connect": "import kernelwire; kernelwire.connect",
    "kernelwire.connect and the tcp backend": "import kernelwire; kernelwire.connect; import kernelwire_zmq",
    "import jupyter_client": "import jupyter_client",
}


def measure(rounds: int) -> dict[str, float]:
    """Median milliseconds of a process for each statement, measured in turn so that noise hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(rounds):
        for name, statement in STATEMENTS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) * 1000 for name, values in seconds.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="processes for each statement (15)")
    parser.add_argument("--json", action="store_true", help="print a JSON object of medians in milliseconds")
    arguments = parser.parse_args()
    medians = measure(arguments.rounds)
    if arguments.json:
        print(json.dumps(medians))
        return
    bare = medians["bare Python"]
    print(f"{'':40} {'median':>9} {'over bare':>10}")
    for name, milliseconds in medians.items():
        print(f"{name:40} {milliseconds:6.1f} ms {milliseconds - bare:7.1f} ms")


if __name__ == "__main__":
    main()
