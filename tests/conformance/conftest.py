"""The pipes as if they were installed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

ENTRIES = """[kernelwire.backends]
memory-pipe = conformance.pipes:MemoryPipeBackend
tcp-pipe = tcp_pipe_backend:TcpPipeBackend
"""


@pytest.fixture(scope="module", autouse=True)
def pipes_installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What ``pip install`` does for a distribution that has both: modules that can be imported, and metadata."""
    site = tmp_path_factory.mktemp("site")
    metadata = site / "kernelwire_pipes-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: kernelwire-pipes\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRIES)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        patch.syspath_prepend(str(site))
        yield
