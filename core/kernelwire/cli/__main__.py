"""``python -m kernelwire.cli``."""

import sys

from kernelwire.cli import main

sys.exit(main())
