"""Code that runs in a kernel as if it ran here: ``python interactive.py CONNECTION_FILE``."""

import sys

from kernelwire import blocking

with blocking.connect(sys.argv[1]) as client:
    client.ready(timeout=60)
    result = client.execute_interactive("print('hello')\n6 * 7", timeout=60)
    print(result.status)
