"""The subcommands, and command lines that cannot be used."""

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from kernelwire.cli import dispatch


def install_command(site: Path, name: str, module: str, source: str) -> None:
    """A subcommand of another distribution, as an installer would leave it."""
    info = site / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{dispatch.GROUP}]\n{name} = {module}\n")
    (site / f"{module}.py").write_text(source)


WAVE = '''
"""Wave."""

HELP = "wave to 100% of all"


def add_arguments(parser):
    parser.add_argument("--raise", dest="error")


def run(arguments):
    import builtins
    from kernelwire import errors

    if arguments.error:
        raise vars(errors).get(arguments.error, getattr(builtins, arguments.error, None))("a reason")
    print("waves")
    return 7
'''


async def test_help(command: Any) -> None:
    code, out, err = await command.run("--help")
    assert (code, err) == (0, "")
    for name in ("backends", "exec"):
        assert f"\n    {name} " in out
    code, out, err = await command.run("exec", "--help")
    assert (code, err) == (0, "")
    assert "--connect FILE" in out
    assert "Exit code 1 if the code raised" in out


async def test_version(command: Any) -> None:
    assert await command.run("--version") == (0, f"kernelwire {metadata.version('kernelwire')}\n", "")


@pytest.mark.parametrize("arguments", [(), ("exce",), ("--nonsense",), ("",)])
async def test_no_such_command(command: Any, arguments: tuple[str, ...]) -> None:
    code, out, err = await command.run(*arguments)
    assert (code, out) == (2, "")
    if not arguments:
        assert err == (await command.run("--help")).out
        return
    assert err.startswith("kernelwire: ")
    assert err.endswith("; see kernelwire --help\n")
    assert err.count("\n") == 1
    if arguments == ("exce",):
        assert "no command 'exce'; there are: exec" in err
    if arguments == ("",):
        assert "check" in err


async def test_arguments_that_cannot_be_used(command: Any) -> None:
    problem = "kernelwire: argument --wait: 0: a number of seconds above 0 is needed; see kernelwire exec --help\n"
    assert await command.run("exec", "--wait", "0", "1") == (2, "", problem)
    nested = "kernelwire: the following arguments are required: FILE; see kernelwire token show --help\n"
    assert await command.run("token", "show") == (2, "", nested)


async def test_commands_of_others(command: Any, tmp_path: Path) -> None:
    install_command(tmp_path / "site", "wave", "wave_module", WAVE)
    path = {"PYTHONPATH": str(tmp_path / "site"), "PYTHONDONTWRITEBYTECODE": "1"}
    assert await command.run("wave", **path) == (7, "waves\n", "")
    assert "wave to 100% of all" in (await command.run("--help", **path)).out
    for error, code in (
        ("ConfigurationError", 2),
        ("OSError", None),
        ("ConnectionLost", 3),
        ("KernelDied", 3),
        ("ChannelClosed", 3),
    ):
        done = await command.run("wave", "--raise", error, **path)
        if code is None:
            assert "Traceback" in done.err  # a mistake of the program, which is not hidden
        else:
            assert done == (code, "", "kernelwire: a reason\n")
    assert await command.run("wave", "--raise", "KeyboardInterrupt", **path) == (130, "", "")


async def test_a_broken_command_of_others_hides_nothing(command: Any, tmp_path: Path) -> None:
    install_command(tmp_path / "site", "broken", "broken_module", "import nothing_of_that_name\n")
    path = {"PYTHONPATH": str(tmp_path / "site"), "PYTHONDONTWRITEBYTECODE": "1"}
    code, out, err = await command.run("--help", **path)
    assert (code, err) == (0, "")
    assert "not available" in out
    assert "backends" in out
    assert (await command.run("backends", **path)).code == 0
    code, out, err = await command.run("broken", **path)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "nothing_of_that_name" in err


async def test_only_the_command_that_is_asked_for_is_imported(command: Any, tmp_path: Path) -> None:
    install_command(tmp_path / "site", "loud", "loud_module", "print('imported')\n" + WAVE)
    path = {"PYTHONPATH": str(tmp_path / "site"), "PYTHONDONTWRITEBYTECODE": "1"}
    assert "imported" not in (await command.run("backends", **path)).out
    assert "imported" in (await command.run("loud", **path)).out


def test_commands_have_what_a_command_needs() -> None:
    for entry in metadata.entry_points(group=dispatch.GROUP):
        module = entry.load()
        assert module.HELP
        assert module.__doc__
        assert callable(module.add_arguments)
        assert callable(module.run)
