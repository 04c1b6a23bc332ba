"""``kernelwire kernels``: what can be started, what runs, and what is wrong with the rest."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

from kernelwire.connection import ConnectionInfo
from kernelwire.connection_file import ConnectionFile


async def listed(station: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    code, out, err = await station.run("kernels", "--json")
    assert (code, err) == (0, "")
    both = json.loads(out)
    assert both.keys() == {"kernelspecs", "kernels"}
    return (
        {row["name"]: row for row in both["kernelspecs"]},
        {Path(row["connection_file"]).name: row for row in both["kernels"]},
    )


async def test_kernelspecs(station: Any) -> None:
    specs, kernels = await listed(station)
    assert kernels == {}
    assert specs["good"] == {
        "name": "good",
        "language": "fake",
        "display_name": "The good one",
        "directory": str(station.directory / "jupyter" / "kernels" / "good"),
        "error": None,
    }
    assert specs["python3"]["language"] == "python"
    code, out, _ = await station.run("kernels")
    assert code == 0
    heading, *lines = out.splitlines()
    assert heading.split() == ["KERNELSPEC", "LANGUAGE", "NAME", "DIRECTORY"]
    assert any(line.split() == ["good", "fake", "The", "good", "one", specs["good"]["directory"]] for line in lines)
    assert lines[-1] == f"No connection files in {station.runtime}."


async def test_a_kernelspec_that_is_broken(station: Any) -> None:
    station.install("broken", [])
    specs, _ = await listed(station)
    assert specs["broken"]["directory"] is None
    assert "field 'argv'" in specs["broken"]["error"]
    assert "field 'argv'" in (await station.run("kernels")).out


async def test_kernels(station: Any) -> None:
    names = ("kernel-lives.json", "kernel-killed.json", "kernel-kept.json", "other.json")
    wires = ("tcp", "ipc", "wire", "ipc")
    reports = await asyncio.gather(
        *(
            station.start_kernel("good", "--transport", wire, "--connection-file", f"runtime/{name}")
            for name, wire in zip(names, wires, strict=True)
        )
    )
    os.kill(reports[1]["pid"], signal.SIGKILL)
    os.kill(reports[3]["pid"], signal.SIGSTOP)
    try:
        _, kernels = await listed(station)
        code, out, _ = await station.run("kernels")
    finally:
        os.kill(reports[3]["pid"], signal.SIGCONT)
    assert kernels.keys() == set(names)
    states = [kernels[name]["state"] for name in names]
    assert states == ["beats", "dead", "beats", "does not answer"]
    for name, wire, report in zip(names, wires, reports, strict=True):
        assert kernels[name] == {
            "connection_file": str(station.runtime / name),
            "transport": wire,
            "kernel_name": "good",
            "pid": report["pid"],
            "state": kernels[name]["state"],
            "error": None,
        }
    assert code == 0
    assert f"\nConnection files in {station.runtime}:\n" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["FILE", "TRANSPORT", "KERNELSPEC", "PID", "STATE"] in rows
    assert ["kernel-killed.json", "ipc", "good", str(reports[1]["pid"]), "dead"] in rows
    await station.stop(*(report["connection_file"] for report in reports))


async def test_files_of_others(station: Any) -> None:
    station.runtime.mkdir(0o700)
    files = {
        "kernel-odd.json": "{",
        "kernel-newer.json": '{"transport": "unheard-of"}',
        "kernel-elsewhere.json": '{"transport": "inprocess", "name": "x", "pid": 1}',
        "jpserver-1.json": '{"port": 8888, "token": "a secret"}',
        "bridged-1.json": '{"transport": "ipc", "ip": "/x", "control_port": 1}',
        "notes.json": "{",
    }
    for name, text in files.items():
        (station.runtime / name).touch(0o600)
        (station.runtime / name).write_text(text)
    info = ConnectionInfo(transport="ipc", ip=str(station.sockets / "k"), control_port=1, hb_port=2)
    old = ConnectionFile.write(info, station.runtime / "mine.json")
    _, kernels = await listed(station)
    assert kernels.keys() == {"kernel-odd.json", "kernel-newer.json", "kernel-elsewhere.json", "mine.json"}
    assert [kernels[name]["state"] for name in sorted(kernels)] == ["unknown", "unknown", "unknown", "dead"]
    assert "not JSON" in kernels["kernel-odd.json"]["error"]
    assert "no transport 'unheard-of'" in kernels["kernel-newer.json"]["error"]
    assert "process 1" in kernels["kernel-elsewhere.json"]["error"]
    code, out, _ = await station.run("kernels")
    assert code == 0
    assert "unknown: no transport 'unheard-of'" in out
    assert "secret" not in out
    for path in [*(station.runtime / name for name in files), old.path]:
        path.unlink()


async def test_a_reader_that_has_enough(station: Any) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = await station.start("kernels", stdout=writing)
    os.close(writing)
    assert await station.end(process) == (1, "", "")


async def test_no_more_than_is_needed(station: Any) -> None:
    code, out, err = await station.run("kernels", "all")
    assert (code, out) == (2, "")
    assert "unrecognized arguments: all" in err
