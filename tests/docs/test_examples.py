"""Every example runs; every code block of a page is a piece of a file that runs; what the pages show is what comes."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kernelwire.connection_file import ConnectionFile, read

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

ALONE = {
    "scripted_kernel.py": "ok HELLO\n",
    "ipython_in_process.py": "appended\n{'text/plain': '10'}\n[1, 2, 3, 4]\n",
    "own_kernel.py": "hearing hello\n{'text/plain': 'HELLO, says Ada!'}\n['hello', 'help']\n",
    "blocking_manager.py": "42\n",
    "manage_kernel.py": (
        "{'text/plain': '42'}\n"
        "KeyboardInterrupt\n"
        "started again\n"
        "the kernel's process ended by signal 9\n"
        "back\n"
        "2\n"
        "guest: back\n"
        "restarted as quiet\n"
    ),
}
"""Examples that need no kernel that runs already, and what they print."""

WITH_A_KERNEL = {
    "hello.py": "ok {'text/plain': '42'}\n",
    "blocking_client.py": "ok {'text/plain': '42'}\n",
    "first_kernel.py": "hello Ada\n",
    "bridge.py": "hello over the bridge\n",
    "raw_channels.py": "kernel_info_reply ok\n",
    "filtered_channels.py": "line 2\nran: for i in range(3): print('line', i, flush=True)\nexecute_reply ok\n",
    "observables.py": "line 2\nok\n",
    "interactive.py": "hello\n42\nok\n",
}
"""Examples that take a connection file, and how what they print ends."""

ELSEWHERE = {
    "queue_backend.py",  # no program; test_queue_backend.py runs the kit over it
    "tcp_pipe_backend.py",  # no program; tests/conformance runs the kit over it
    "demo.py",  # make demo
    "remote_kernel.py",  # tests/core/cli/test_remote.py, with a host
}

PATIENCE = 100.0
"""Seconds for a child process, which should take a few."""

COUNT = re.compile(r'"execution_count": \d+')


def python(*arguments: str | Path, environment: dict[str, str]) -> str:
    """What a Python program prints. Warnings are errors there too."""
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=PATIENCE,
    ).stdout


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [str(block) for block in found]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """What a link may name behind ``#``: each heading in lower case, with hyphens, without punctuation."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} <= {*ALONE, *WITH_A_KERNEL, *ELSEWHERE}


@pytest.mark.parametrize("example", ALONE)
def test_an_example_alone(example: str, environment: dict[str, str]) -> None:
    assert python(EXAMPLES / example, environment=environment) == ALONE[example]


@pytest.mark.parametrize("example", WITH_A_KERNEL)
def test_an_example_with_a_kernel(example: str, kernel: Path, environment: dict[str, str]) -> None:
    assert python(EXAMPLES / example, kernel, environment=environment).endswith(WITH_A_KERNEL[example])


def test_the_bridge_leaves_no_connection_file(kernel: Path, environment: dict[str, str]) -> None:
    before = set(kernel.parent.iterdir())
    python(EXAMPLES / "bridge.py", kernel, environment=environment)
    assert set(kernel.parent.iterdir()) == before


def test_hello_stays_as_it_is_on_another_transport(kernel: Path, environment: dict[str, str], tmp_path: Path) -> None:
    # Only the connection file differs: a field that the kernel does not know, and another name.
    with ConnectionFile.write(read(kernel).replace(note="a copy"), tmp_path / "other.json") as file:
        assert "line 2" in python(EXAMPLES / "hello.py", file.path, environment=environment)


def test_the_tutorial_shows_what_its_program_prints(kernel: Path, environment: dict[str, str]) -> None:
    shown = blocks(DOCS / "tutorial" / "first-kernel.md", "text")
    assert "".join(shown) == python(EXAMPLES / "first_kernel.py", kernel, environment=environment)


@pytest.mark.parametrize("page", ["tutorial/first-kernel.md", "reference/command-line.md"])
def test_commands_print_what_the_page_shows(page: str, kernel: Path, environment: dict[str, str]) -> None:
    python(EXAMPLES / "first_kernel.py", kernel, environment=environment)  # what the pages have done before
    sessions = blocks(DOCS / page, "console")
    assert sessions
    for session in sessions:
        commands = re.findall(r"^\$ (.*)$", session, re.MULTILINE)
        expected = "".join(line for line in session.splitlines(keepends=True) if not line.startswith("$ "))
        printed = subprocess.run(
            ["/bin/sh", "-c", "\n".join(commands)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE,
        ).stdout
        assert COUNT.sub("", printed) == COUNT.sub("", expected)


def test_the_page_shows_what_backends_prints(environment: dict[str, str]) -> None:
    page = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    printed = python("-m", "kernelwire.cli", "backends", environment=environment)
    shown = {" ".join(line.split()) for line in page.splitlines()}
    listed = {" ".join(line.split()) for line in printed.splitlines()}
    assert {line for line in listed if "kernelwire-" not in line} <= shown  # without the plugins


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_code_blocks_are_pieces_of_files_that_run(page: Path) -> None:
    files = [*EXAMPLES.glob("*.py"), *Path(__file__).parent.glob("test_*.py"), *ROOT.glob("plugins/*/tests/test_*.py")]
    sources = [path.read_text(encoding="utf-8") for path in files]
    for block in blocks(page, "python"):
        assert any(
            textwrap.dedent(block) in textwrap.dedent(piece) for source in sources for piece in (source, _flat(source))
        ), f"in no file of docs/examples, tests/docs or a plug-in's tests:\n{block}"


def _flat(source: str) -> str:
    """A source with the bodies of its classes one level further out, since pages show methods by themselves."""
    return re.sub(r"^ {4}", "", source, flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), link
