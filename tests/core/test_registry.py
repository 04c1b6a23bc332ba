"""The registry, on distributions made of real metadata: unknown, ambiguous, broken, and one at a time."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kernelwire import registry
from kernelwire.backend import Backend
from kernelwire.errors import AmbiguousTransport, TransportError, TransportUnavailable, UnknownTransport
from kernelwire.registry import GROUP

GOOD = """
from kernelwire.backend import Backend, Capabilities
from kernelwire.ends import ClientEnd

class Good(Backend):
    capabilities = Capabilities(serve=False)

    async def connect(self, info, *, identity, channels=()):
        return ClientEnd()
"""


def install(
    site: Path,
    distribution: str,
    transports: dict[str, str],
    *,
    modules: dict[str, str] | None = None,
    extras: Sequence[str] = (),
    version: str = "1.0",
) -> Path:
    """A distribution as an installer would leave it; returns its entry_points.txt."""
    metadata = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    provided = "".join(f"Provides-Extra: {extra}\n" for extra in extras)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{provided}", "utf-8"
    )
    entry_points = metadata / "entry_points.txt"
    entry_points.write_text(entries(transports), "utf-8")
    for module, source in (modules or {}).items():
        (site / f"{module}.py").write_text(source, "utf-8")
    importlib.invalidate_caches()
    return entry_points


def entries(transports: dict[str, str]) -> str:
    return f"[{GROUP}]\n" + "".join(f"{name} = {value}\n" for name, value in transports.items())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of installed distributions."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield site
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(site)):
            del sys.modules[name]


# What is installed


def test_lists_the_built_in_transports() -> None:
    ours = {entry.name: entry for entry in registry.installed() if entry.distribution == "kernelwire"}
    assert {"tcp", "ipc", "inprocess"} <= ours.keys()
    assert ours["tcp"].value == "kernelwire_zmq:TcpBackend"
    assert all(entry.version for entry in ours.values())


@pytest.mark.parametrize("name", ["tcp", "ipc", "inprocess"])
def test_loads_the_built_in_transports(name: str) -> None:
    assert isinstance(registry.load(name), Backend)


def test_lists_by_name_and_twice_what_two_claim(site: Path) -> None:
    install(site, "zeta", {"aaa-wire": "zeta_module:Zeta"}, version="2.1")
    install(site, "alpha", {"aaa-wire": "alpha_module:Alpha", "zzz-wire": "alpha_module:Alpha"})
    listed = registry.installed()
    assert listed == sorted(listed)
    assert [(entry.name, entry.value, entry.distribution, entry.version) for entry in (*listed[:2], listed[-1])] == [
        ("aaa-wire", "alpha_module:Alpha", "alpha", "1.0"),
        ("aaa-wire", "zeta_module:Zeta", "zeta", "2.1"),
        ("zzz-wire", "alpha_module:Alpha", "alpha", "1.0"),
    ]
    assert not {"alpha_module", "zeta_module"} & sys.modules.keys()


def test_a_foreign_backend_is_loaded_like_our_own(site: Path) -> None:
    install(site, "foreign", {"foreign-wire": "foreign_module:Good"}, modules={"foreign_module": GOOD})
    first, second = registry.load("foreign-wire"), registry.load("foreign-wire")
    assert type(first).__name__ == "Good"
    assert type(first) is type(second)
    assert first is not second


def test_loading_one_imports_no_other(site: Path) -> None:
    install(
        site,
        "several",
        {"one-wire": "wire_one:Good", "two-wire": "wire_two:Good"},
        modules={"wire_one": GOOD, "wire_two": "raise SystemExit('imported for nothing')"},
    )
    install(site, "else", {"three-wire": "wire_three:Good"}, modules={"wire_three": "raise SystemExit"})
    registry.load("one-wire")
    assert "wire_one" in sys.modules
    assert not {"wire_two", "wire_three"} & sys.modules.keys()


def test_an_entry_point_edited_just_now_is_seen(site: Path) -> None:
    entry_points = install(
        site, "edited", {"old-wire": "wire_edited:Old"}, modules={"wire_edited": GOOD + "\nclass Old(Good): ..."}
    )
    assert type(registry.load("old-wire")).__name__ == "Old"
    entry_points.write_text(entries({"new-wire": "wire_edited:Good"}), "utf-8")
    assert type(registry.load("new-wire")).__name__ == "Good"
    with pytest.raises(UnknownTransport):
        registry.load("old-wire")
    entry_points.write_text(entries({"new-wire": "wire_edited:Old"}), "utf-8")
    assert type(registry.load("new-wire")).__name__ == "Old"


def test_a_distribution_that_comes_and_goes_is_seen(site: Path) -> None:
    with pytest.raises(UnknownTransport):
        registry.load("late-wire")
    entry_points = install(site, "late", {"late-wire": "wire_late:Good"}, modules={"wire_late": GOOD})
    registry.load("late-wire")
    entry_points.unlink()
    with pytest.raises(UnknownTransport):
        registry.load("late-wire")


# What cannot be chosen


def test_an_unknown_name_gets_the_nearest_and_all_that_is_installed(site: Path) -> None:
    install(site, "foreign", {"carrier-pigeon": "no_such_module:Pigeon"})
    with pytest.raises(UnknownTransport) as caught:
        registry.load("carier-pigeon")
    text = str(caught.value)
    assert "did you mean 'carrier-pigeon'?" in text
    assert caught.value.name == "carier-pigeon"
    assert {"carrier-pigeon", "inprocess", "ipc", "tcp"} <= set(caught.value.available)
    assert all(name in text for name in caught.value.available)


@pytest.mark.parametrize("name", ["quantum-entanglement", ""])
def test_an_unknown_name_near_none_says_how_to_install_it(name: str) -> None:
    with pytest.raises(UnknownTransport, match=rf"install .*{GROUP}") as caught:
        registry.load(name)
    assert "did you mean" not in str(caught.value)


def test_a_name_that_two_distributions_claim_imports_neither(site: Path) -> None:
    for number in ("one", "two"):
        install(site, f"dist-{number}", {"same-wire": f"same_{number}:Good"}, modules={f"same_{number}": GOOD})
    with pytest.raises(AmbiguousTransport) as caught:
        registry.load("same-wire")
    for part in ("'same-wire'", "dist-one (same_one:Good)", "dist-two (same_two:Good)", "uninstall all but one"):
        assert part in str(caught.value)
    assert not {"same_one", "same_two"} & sys.modules.keys()


def test_a_built_in_transport_that_another_claims_too_is_not_loaded(site: Path) -> None:
    install(site, "impostor", {"tcp": "wire_impostor:Good"}, modules={"wire_impostor": GOOD})
    with pytest.raises(AmbiguousTransport, match=r"by kernelwire \(.*\) and impostor \(wire_impostor:Good\)"):
        registry.load("tcp")
    assert "wire_impostor" not in sys.modules


def test_two_distributions_with_one_value_are_two_all_the_same(site: Path) -> None:
    for distribution in ("dist-one", "dist-two"):
        install(site, distribution, {"same-wire": "same_module:Good"}, modules={"same_module": GOOD})
    with pytest.raises(AmbiguousTransport, match=r"dist-one .* and dist-two "):
        registry.load("same-wire")


def test_one_distribution_found_twice_on_the_path_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An editable install shadows an older copy; Python imports the first, and so do we.
    for folder, version in (("behind", "1.0"), ("before", "2.0")):
        (tmp_path / folder).mkdir()
        install(tmp_path / folder, "twice", {"twice-wire": "wire_twice:Good"}, version=version)
        monkeypatch.syspath_prepend(tmp_path / folder)
    assert [entry.version for entry in registry.installed() if entry.name == "twice-wire"] == ["2.0"]


# What cannot be loaded


def unavailable(name: str) -> tuple[str, BaseException | None]:
    with pytest.raises(TransportUnavailable) as caught:
        registry.load(name)
    assert isinstance(caught.value, TransportError)
    assert repr(name) in str(caught.value)
    return str(caught.value), caught.value.__cause__


def test_an_import_that_fails_names_the_extra_to_install(site: Path) -> None:
    install(
        site,
        "my-wires",
        {"semaphore": "wire_semaphore:Good"},
        extras=["docs", "semaphore"],
        modules={"wire_semaphore": "import flags_that_nobody_has\n"},
    )
    text, cause = unavailable("semaphore")
    assert "pip install 'my-wires[semaphore]'" in text
    assert isinstance(cause, ModuleNotFoundError)
    assert cause.name == "flags_that_nobody_has"


def test_an_import_that_fails_without_an_extra_names_the_module(site: Path) -> None:
    install(
        site,
        "my-wires",
        {"semaphore": "wire_semaphore:Good"},
        extras=["docs"],
        modules={"wire_semaphore": "import flags_that_nobody_has\n"},
    )
    text, cause = unavailable("semaphore")
    assert "my-wires" in text
    assert "install what provides the module 'flags_that_nobody_has'" in text
    assert "pip install" not in text
    assert isinstance(cause, ModuleNotFoundError)


def test_a_module_that_is_missing_itself(site: Path) -> None:
    install(site, "my-wires", {"lost-wire": "wire_that_was_removed:Good"})
    text, cause = unavailable("lost-wire")
    assert "'wire_that_was_removed'" in text
    assert isinstance(cause, ModuleNotFoundError)


ABSTRACT = """
from kernelwire.backend import Backend, Capabilities

class Abstract(Backend):
    capabilities = Capabilities()
"""

CLUMSY = (
    GOOD
    + """
class Clumsy(Good):
    def __init__(self):
        raise OSError("no such device")

class Demanding(Good):
    def __init__(self, address):
        pass
"""
)


@pytest.mark.parametrize(
    ("source", "attribute", "cause", "says"),
    [
        pytest.param("raise OSError('no such device')", "Good", OSError, "no such device", id="import raises"),
        pytest.param("assert False, 'a claim'", "Good", AssertionError, "a claim", id="import asserts"),
        pytest.param("def (", "Good", SyntaxError, "SyntaxError", id="syntax"),
        pytest.param("from os import nothing_like_this", "Good", ImportError, "nothing_like_this", id="no such name"),
        pytest.param(GOOD, "Better", AttributeError, "Better", id="attribute missing"),
        pytest.param("Good = 3", "Good", None, "no subclass", id="no class"),
        pytest.param("class Good: pass", "Good", None, "no subclass", id="no backend"),
        pytest.param(ABSTRACT, "Abstract", TypeError, "connect", id="abstract"),
        pytest.param(CLUMSY, "Clumsy", OSError, "no such device", id="constructor fails"),
        pytest.param(CLUMSY, "Demanding", TypeError, "address", id="constructor wants more"),
    ],
)
def test_what_is_broken_says_how(
    site: Path, source: str, attribute: str, cause: type[Exception] | None, says: str
) -> None:
    install(site, "broken-wires", {"broken": f"wire_broken:{attribute}"}, modules={"wire_broken": source})
    text, found = unavailable("broken")
    assert says in text
    assert type(found) is (cause or type(None))
    if cause is None:
        assert "broken-wires" in text


def test_a_built_in_transport_without_its_extra_says_so(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "kernelwire_socketio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "socketio", None)
    text, cause = unavailable("socketio")
    assert "pip install 'kernelwire[socketio]'" in text
    assert isinstance(cause, ImportError)


def test_a_built_in_transport_takes_the_short_way() -> None:
    script = """
import sys
from kernelwire import registry
registry.load("tcp")
print([name for name in ("importlib.metadata", "stevedore") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


# stevedore's cache on disk, in a process of its own because stevedore asks for its place when imported


def run(script: str, site: Path, cache: Path) -> str:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LOAD = "from kernelwire import registry; print(type(registry.load('quick-wire')).__name__)"


@pytest.fixture
def quick(site: Path) -> Path:
    install(site, "quick", {"quick-wire": "wire_quick:Good"}, modules={"wire_quick": GOOD})
    return site


def test_the_cache_on_disk_is_not_needed(quick: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a directory would have to be")
    assert run(LOAD, quick, tmp_path / "cache") == "Good"


def test_the_cache_on_disk_is_not_written(quick: Path, tmp_path: Path) -> None:
    assert run(LOAD, quick, tmp_path / "cache") == "Good"
    assert not (tmp_path / "cache").exists()


def test_the_cache_on_disk_is_not_trusted(quick: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    look = f"from stevedore import ExtensionManager; print(ExtensionManager({GROUP!r}).entry_points_names())"
    assert "quick-wire" in run(look, quick, cache)
    if not cache.exists():
        pytest.skip("stevedore keeps no cache for interpreters below /tmp")
    written = list((cache / "python-entrypoints").iterdir())
    assert written
    for file in written:
        data = json.loads(file.read_text("utf-8"))
        data["groups"][GROUP] = [["stale-wire", "gone:Gone", GROUP]]
        file.write_text(json.dumps(data), "utf-8")
    assert run(look, quick, cache) == "['stale-wire']"  # so it is this file that stevedore itself would believe
    assert run(LOAD, quick, cache) == "Good"


def test_nothing_is_imported_before_it_is_asked_for(tmp_path: Path, quick: Path) -> None:
    script = """
import sys
from kernelwire import registry
registry.installed()
registry.load("inprocess")
print(sorted({"zmq", "kernelwire_zmq", "kernelwire_inprocess", "wire_quick"} & sys.modules.keys()))
"""
    assert run(script, quick, tmp_path / "cache") == "['kernelwire_inprocess']"


def test_a_listing_needs_no_stevedore(tmp_path: Path, quick: Path) -> None:
    script = "import sys; from kernelwire import registry; registry.installed(); print('stevedore' in sys.modules)"
    assert run(script, quick, tmp_path / "cache") == "False"
