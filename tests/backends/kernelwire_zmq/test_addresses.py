"""Ports, paths and what becomes of them."""

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from kernelwire.connection import PORT_FIELDS, ConnectionInfo
from kernelwire.errors import AddressInUse, InvalidField
from kernelwire_zmq import addresses

SET_PORTS = {field: number for number, field in enumerate(PORT_FIELDS, 50001)}


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a path short enough for ipc, which pytest's are not everywhere."""
    with tempfile.TemporaryDirectory(prefix="kw") as directory:
        yield Path(directory)


def listening(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    return server


class TestAddress:
    def test_tcp(self) -> None:
        info = ConnectionInfo(ip="10.0.0.1", shell_port=5)
        assert addresses.address(info, "shell_port") == "tcp://10.0.0.1:5"

    def test_tcp_without_ip_is_loopback(self) -> None:
        assert addresses.address(ConnectionInfo(shell_port=5), "shell_port") == "tcp://127.0.0.1:5"

    def test_ipv6_is_bracketed(self) -> None:
        assert addresses.address(ConnectionInfo(ip="::1", shell_port=5), "shell_port") == "tcp://[::1]:5"

    def test_ipc(self) -> None:
        info = ConnectionInfo(transport="ipc", ip="/run/k", shell_port=5)
        assert addresses.address(info, "shell_port") == "ipc:///run/k-5"

    @pytest.mark.parametrize("field", PORT_FIELDS)
    def test_missing_port_is_named(self, field: str) -> None:
        with pytest.raises(InvalidField) as caught:
            addresses.address(ConnectionInfo(ip="127.0.0.1"), field)
        assert caught.value.field == field

    def test_ipc_without_path(self) -> None:
        with pytest.raises(InvalidField) as caught:
            addresses.address(ConnectionInfo(transport="ipc", shell_port=1), "shell_port")
        assert caught.value.field == "ip"

    def test_ipc_path_length(self) -> None:
        longest = "/" + "x" * (zmq.IPC_PATH_MAX_LEN - len("/-1"))
        addresses.address(ConnectionInfo(transport="ipc", ip=longest, shell_port=1), "shell_port")
        with pytest.raises(InvalidField, match="shorter directory") as caught:
            addresses.address(ConnectionInfo(transport="ipc", ip=longest, shell_port=10), "shell_port")
        assert caught.value.field == "ip"

    def test_ipc_path_length_counts_bytes(self) -> None:
        path = "/" + "ü" * (zmq.IPC_PATH_MAX_LEN // 2)
        with pytest.raises(InvalidField):
            addresses.address(ConnectionInfo(transport="ipc", ip=path, shell_port=1), "shell_port")


class TestToConnect:
    @pytest.mark.parametrize(("ip", "to"), [("*", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "::1")])
    def test_everywhere_is_here(self, ip: str, to: str) -> None:
        assert addresses.to_connect(ConnectionInfo(ip=ip)).ip == to

    def test_an_address_stays(self) -> None:
        assert addresses.to_connect(ConnectionInfo(ip="10.1.2.3")).ip == "10.1.2.3"

    def test_ipc_stays(self) -> None:
        assert addresses.to_connect(ConnectionInfo(transport="ipc", ip="*")).ip == "*"


class TestPrepareTcp:
    def test_five_distinct_ports(self) -> None:
        info = addresses.prepare_tcp(ConnectionInfo())
        assert info.ip == "127.0.0.1"
        assert len({info.port(field) for field in PORT_FIELDS}) == 5

    def test_what_is_set_stays(self) -> None:
        info = addresses.prepare_tcp(ConnectionInfo(ip="*", shell_port=50001, hb_port=50002, key=b"k"))
        assert (info.ip, info.shell_port, info.hb_port, info.key) == ("*", 50001, 50002, b"k")
        assert len({info.port(field) for field in PORT_FIELDS}) == 5

    def test_a_port_that_is_set_is_not_given_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        offered = [7001, 7001, 7002, 7003, 7004, 7005]
        monkeypatch.setattr(socket.socket, "bind", lambda *_: None)
        monkeypatch.setattr(socket.socket, "getsockname", lambda _: ("127.0.0.1", offered.pop(0)))
        info = addresses.prepare_tcp(ConnectionInfo(stdin_port=7001))
        assert sorted(info.port(field) for field in PORT_FIELDS) == [7001, 7002, 7003, 7004, 7005]

    def test_complete_stays(self) -> None:
        info = ConnectionInfo(ip="127.0.0.1").replace(**SET_PORTS)
        assert addresses.prepare_tcp(info) == info

    @pytest.mark.parametrize("ip", ["192.0.2.1", "2001:db8::1", "no such host"])
    def test_not_of_this_machine(self, ip: str) -> None:
        with pytest.raises(InvalidField) as caught:
            addresses.prepare_tcp(ConnectionInfo(ip=ip))
        assert caught.value.field == "ip"
        assert isinstance(caught.value.__cause__, OSError)


class TestPrepareIpc:
    def test_private_directory(self) -> None:
        info = addresses.prepare_ipc(ConnectionInfo(transport="ipc"))
        assert info.ip is not None
        directory = Path(info.ip).parent
        try:
            assert directory.is_absolute()
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
            assert [info.port(field) for field in PORT_FIELDS] == [1, 2, 3, 4, 5]
        finally:
            addresses.release_ipc(info)
        assert not directory.exists()

    def test_an_address_fits_into_what_xeus_has_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix: f"/tmp/{prefix}abcdefgh")
        info = addresses.prepare_ipc(ConnectionInfo(transport="ipc"))
        assert all(len(addresses.address(info, field)) < 32 for field in PORT_FIELDS)

    def test_numbers_that_are_taken_are_passed_over(self, short: Path) -> None:
        (short / "k-2").touch()
        info = addresses.prepare_ipc(ConnectionInfo(transport="ipc", ip=str(short / "k"), shell_port=3))
        assert [info.port(field) for field in PORT_FIELDS] == [3, 1, 4, 5, 6]

    def test_two_kernels_do_not_meet(self) -> None:
        infos = [addresses.prepare_ipc(ConnectionInfo(transport="ipc")) for _ in range(2)]
        try:
            assert infos[0].ip != infos[1].ip
        finally:
            for info in infos:
                addresses.release_ipc(info)

    def test_path_too_long(self) -> None:
        with pytest.raises(InvalidField) as caught:
            addresses.prepare_ipc(ConnectionInfo(transport="ipc", ip="/" + "x" * 200))
        assert caught.value.field == "ip"

    def test_a_path_from_here(self, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(short)
        assert addresses.prepare_ipc(ConnectionInfo(transport="ipc", ip="k")).ip == str(short / "k")

    def test_a_directory_that_is_not_there(self, short: Path) -> None:
        with pytest.raises(InvalidField, match=r"'ip': no sockets can be made in .*/missing: it is no directory"):
            addresses.prepare_ipc(ConnectionInfo(transport="ipc", ip=str(short / "missing" / "k")))

    def test_temporary_directory_too_deep_leaves_nothing(self, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        deep = short / ("x" * 100)
        deep.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(deep))
        with pytest.raises(InvalidField):
            addresses.prepare_ipc(ConnectionInfo(transport="ipc"))
        assert not list(deep.iterdir())


class TestReleaseIpc:
    def test_sockets_go_and_all_else_stays(self, short: Path) -> None:
        info = ConnectionInfo(transport="ipc", ip=str(short / "k"), shell_port=1, iopub_port=2, hb_port=3)
        listening(short / "k-1").close()
        (short / "k-2").write_text("somebody's")
        listening(short / "k-9").close()
        addresses.release_ipc(info)
        addresses.release_ipc(info)
        assert sorted(path.name for path in short.iterdir()) == ["k-2", "k-9"]

    def test_directory_with_other_files_stays(self) -> None:
        info = addresses.prepare_ipc(ConnectionInfo(transport="ipc"))
        assert info.ip is not None
        other = Path(info.ip).parent / "notes"
        other.touch()
        addresses.release_ipc(info)
        assert other.exists()
        other.unlink()
        addresses.release_ipc(info)
        assert not other.parent.exists()

    def test_never_fails(self, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        listening(short / "k-1").close()

        def refuse(*_: object) -> None:
            raise PermissionError

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", refuse)
            addresses.release_ipc(ConnectionInfo(transport="ipc", ip=str(short / "k"), shell_port=1))
        for ip in (None, "/nowhere/at/all", "/" + "x" * 5000, "relative"):
            addresses.release_ipc(ConnectionInfo(transport="ipc", ip=ip, shell_port=1))


class TestClaimIpc:
    def test_nothing_there(self, short: Path) -> None:
        addresses.claim_ipc(f"ipc://{short}/k-1", "shell_port")

    def test_left_behind(self, short: Path) -> None:
        listening(short / "k-1").close()
        addresses.claim_ipc(f"ipc://{short}/k-1", "shell_port")

    def test_alive(self, short: Path) -> None:
        with listening(short / "k-1"), pytest.raises(AddressInUse, match="shell_port"):
            addresses.claim_ipc(f"ipc://{short}/k-1", "shell_port")

    def test_no_socket(self, short: Path) -> None:
        (short / "k-1").write_text("precious")
        with pytest.raises(AddressInUse, match="no socket"):
            addresses.claim_ipc(f"ipc://{short}/k-1", "shell_port")
        assert (short / "k-1").read_text() == "precious"

    def test_broken_link_is_no_socket(self, short: Path) -> None:
        (short / "k-1").symlink_to(short / "gone")
        with pytest.raises(AddressInUse):
            addresses.claim_ipc(f"ipc://{short}/k-1", "shell_port")


class TestUntilFree:
    async def test_free_at_once(self, short: Path) -> None:
        await addresses.until_free([f"ipc://{short}/k-1", "tcp://127.0.0.1:1"])

    async def test_not_for_ever(self, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(addresses, "_FREE_TRIES", 3)
        with socket.create_server(("127.0.0.1", 0)) as server, listening(short / "k-1"):
            await addresses.until_free([f"tcp://127.0.0.1:{server.getsockname()[1]}"])
            await addresses.until_free([f"ipc://{short}/k-1"])

    async def test_bound_or_not(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            endpoint = f"tcp://127.0.0.1:{server.getsockname()[1]}"
            assert addresses._is_bound(endpoint)
        assert not addresses._is_bound(endpoint)
        assert not addresses._is_bound(endpoint.replace("127.0.0.1", "[::1]"))


def test_umask_does_not_open_the_directory() -> None:
    before = os.umask(0)
    try:
        info = addresses.prepare_ipc(ConnectionInfo(transport="ipc"))
    finally:
        os.umask(before)
    assert info.ip is not None
    assert stat.S_IMODE(Path(info.ip).parent.stat().st_mode) == 0o700
    addresses.release_ipc(info)
