"""What every backend must do. Importing this fills :data:`kernelwire.testing.kit.BEHAVIOURS`."""

from kernelwire.testing.behaviours import (
    claims,
    concurrency,
    delivery,
    heartbeat,
    lifecycle,
    payload,
    reliable,
    remote,
    signing,
)

__all__ = ["claims", "concurrency", "delivery", "heartbeat", "lifecycle", "payload", "reliable", "remote", "signing"]
