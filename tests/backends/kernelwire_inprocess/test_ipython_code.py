"""What IPython does for a request, in any thread."""

import contextvars
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import IPython

from kernelwire_inprocess.ipython_code import Code
from kernelwire_inprocess.routing import current, installation


def run(**fields: Any) -> Any:
    usual = {"execution_count": 1, "store_history": True, "silent": False, "user_expressions": {}}
    return SimpleNamespace(**usual | fields)


class Route:
    """Puts what is published into a list."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.shell: Any = None
        self.display: Callable[[object], None] = lambda value: self.shell.displayhook(value)

    def put(self, msg_type: str, *_: Any, **__: Any) -> None:
        self.kinds.append(msg_type)

    def write(self, name: str, text: str) -> None: ...

    def ask(self, prompt: str, password: bool) -> str:
        return ""


async def test_outcomes() -> None:
    installation.hold()
    route = Route()
    token = current.set(route)
    try:
        code = await Code.make({})
        route.shell = code.shell
        assert IPython.get_ipython() is code.shell
        done = await code.execute("a = 1; a", run(user_expressions={"b": "a + 1"}))
        assert done["failure"] is None
        assert done["reply"]["user_expressions"]["b"]["status"] == "ok"
        assert code.execution_count == 2
        failed = await code.execute("nosuch", run(execution_count=2))
        assert failed["failure"]["ename"] == "NameError"
        assert route.kinds == ["execute_result", "error"]
        awaited = await code.execute("import asyncio; await asyncio.sleep(0)", run(execution_count=3))
        assert awaited["failure"] is None
        contextvars.copy_context().run(lambda: current.set(None))
        await code.close()
    finally:
        current.reset(token)
        installation.release()
    assert IPython.get_ipython() is None
