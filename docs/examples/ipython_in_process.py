"""IPython as a kernel in this very process: ``python ipython_in_process.py``."""

import asyncio

import kernelwire
import kernelwire_inprocess


async def main() -> None:
    numbers = [1, 2, 3]
    async with kernelwire_inprocess.ipython({"numbers": numbers}) as info, kernelwire.connect(info) as client:
        result = await client.execute("numbers.append(4); print('appended'); sum(numbers)")
        print(result.text, end="")
        print(result.data)
    print(numbers)


asyncio.run(main())
