"""What Prometheus reads."""

from prometheus_client.parser import text_string_to_metric_families

from kernelwire_socketio.relay.metrics import Counts, Metrics


def test_it_can_be_read() -> None:
    counts = Counts()
    metrics = Metrics(counts, {"rooms": ("Rooms.", lambda: 3)})
    counts.bytes_in = 7
    counts.refused["token"] += 2
    families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    assert {f"kernelwire_relay_{name}" for name in NAMES} == set(families)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert samples["kernelwire_relay_rooms",] == 3
    assert samples["kernelwire_relay_received_bytes_total",] == 7
    assert samples["kernelwire_relay_refused_total", "token"] == 2


NAMES = (
    *("rooms", "received_bytes", "received_frames", "passed_bytes", "passed_frames"),
    *("joined", "refused", "dropped"),
)
