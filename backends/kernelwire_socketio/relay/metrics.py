"""What a relay counts, and how Prometheus reads it. Numbers only: no room, no address."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Counts:
    """Since the start.

    Attributes:
        bytes_in, frames_in: what came, of all kinds.
        bytes_out, frames_out: what was passed on.
        joined: by role.
        refused: by code.
        dropped: by reason.
    """

    def __init__(self) -> None:
        self.bytes_in = self.frames_in = self.bytes_out = self.frames_out = 0
        self.joined: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()


class Metrics:
    """For a scrape.

    Arguments:
        counts: see there.
        gauges: what there is now: a name, and how to ask.
    """

    def __init__(self, counts: Counts, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        self._counts = counts
        self._gauges = gauges
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def render(self) -> bytes:
        """The text of a scrape."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing, beforehand."""
        return []

    def collect(self) -> Iterable[Metric]:
        """For prometheus_client."""
        counts = self._counts
        for name, (text, ask) in self._gauges.items():
            yield GaugeMetricFamily(f"kernelwire_relay_{name}", text, ask())
        for name, text, number in (
            ("received_bytes", "Bytes of messages that came.", counts.bytes_in),
            ("received_frames", "Messages that came.", counts.frames_in),
            ("passed_bytes", "Bytes of events that were passed on.", counts.bytes_out),
            ("passed_frames", "Events that were passed on.", counts.frames_out),
        ):
            yield CounterMetricFamily(f"kernelwire_relay_{name}", text, number)
        for name, text, label, numbers in (
            ("joined", "Connections that joined a room.", "role", counts.joined),
            ("refused", "Connections that were let into no room.", "code", counts.refused),
            ("dropped", "Connections that the relay broke off.", "reason", counts.dropped),
        ):
            family = CounterMetricFamily(f"kernelwire_relay_{name}", text, labels=[label])
            for value, count in numbers.items():
                family.add_metric([value], count)
            yield family
