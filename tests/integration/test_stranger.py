"""The stranger's path, as a new user would try it: an empty directory, an environment of one's own, a real kernel."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

PATIENCE = 200


class Stranger:
    """Somebody with an environment in which this distribution is installed, and nothing else is to come."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        venv.create(directory / "venv", with_pip=False, symlinks=True)
        self.python = directory / "venv/bin/python"
        (site,) = (directory / "venv/lib").glob("*/site-packages")
        # What is installed for these tests, as if it had been installed here: there is no index to ask.
        (site / "base.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))},
            "JUPYTER_RUNTIME_DIR": str(directory / "runtime"),
            "JUPYTER_PLATFORM_DIRS": "1",
            "IPYTHONDIR": str(directory / "ipython"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "NO_COLOR": "1",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        }

    def run(self, *words: str, code: int = 0, cwd: str = ".") -> str:
        done = subprocess.run(
            [self.python, "-m", *words],
            cwd=self.directory / cwd,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def kernelwire(self, *words: str, code: int = 0) -> str:
        return self.run("kernelwire.cli", *words, code=code)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("pipe", [False, True], ids=["native", "pipe"])
def test_the_whole_path(tmp_path: Path, pipe: bool) -> None:
    stranger = Stranger(tmp_path)
    stranger.kernelwire("new-backend", "mywire", *(["--pipe"] if pipe else []))
    offline = ["--no-index", "--no-build-isolation", "--no-deps", "--disable-pip-version-check"]
    stranger.run("pip", "install", "--quiet", *offline, "--editable", "./kernelwire-mywire")
    assert "mywire     kernelwire-mywire 0.1.0" in stranger.kernelwire("backends")
    assert stranger.kernelwire("new-backend", "mywire", "--directory", "again", code=2) == ""
    assert not (tmp_path / "again").exists()

    # The levels above core take a pipe half a minute; the conformance tests try them over one that is nearly the same.
    first, *rest = stranger.kernelwire("check", "mywire", *(["--level", "core"] if pipe else [])).splitlines()
    core, of = first.split()[1].split("/")
    assert core == of
    assert first.endswith("not claimed") is not pipe
    assert len(rest) == 1

    tests = stranger.run("pytest", "-q", "-p", "no:cacheprovider", "-k", "round_trip", cwd="kernelwire-mywire")
    assert " passed" in tests

    file = stranger.kernelwire("start", "--transport", "mywire", "--kernel", "python3").strip()
    try:
        assert stranger.kernelwire("exec", "--connect", file, "1+1") == "2\n"
        lines = "for i in range(500): print(i)"
        assert stranger.kernelwire("exec", "--connect", file, lines).split() == [str(i) for i in range(500)]
        stranger.kernelwire("exec", "--connect", file, "1/0", code=1)
        stranger.kernelwire("restart", file)
        assert stranger.kernelwire("exec", "--connect", file, "2+2") == "4\n"
    finally:
        assert stranger.kernelwire("stop", file).endswith("stopped\n")
    assert list((tmp_path / "runtime").iterdir()) == []
