"""What every backend must do. Importing this fills :data:`kernelwire.testing.kit.BEHAVIOURS`."""

from kernelwire.testing.behaviours import (
    concurrency,
    delivery,
    heartbeat,
    lifecycle,
    payload,
    reliable,
    remote,
    signing,
)

__all__ = ["concurrency", "delivery", "heartbeat", "lifecycle", "payload", "reliable", "remote", "signing"]
