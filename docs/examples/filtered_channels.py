"""Raw channels and some of their messages: ``python filtered_channels.py CONNECTION_FILE``."""

import asyncio
import sys

from kernelwire import open_channels


async def main(path: str) -> None:
    async with open_channels(path) as kernel, asyncio.timeout(60):
        await kernel.ready()  # from now on nothing is missed
        request = kernel.session.message("execute_request", {"code": "for i in range(3): print('line', i, flush=True)"})
        async with (
            kernel.iopub.subscribe(parent=request) as answers,  # of every type
            kernel.iopub.subscribe(msg_type="execute_input") as inputs,  # whoever sent them
        ):
            await kernel.shell.send(request)
            async for message in answers:
                if message.msg_type == "stream":
                    print(message.content["text"], end="")
                elif message.content.get("execution_state") == "idle":
                    break
            print("ran:", (await inputs.receive()).content["code"])
        reply = await anext(kernel.shell.messages(parent=request))
        print(reply.msg_type, reply.content["status"])


asyncio.run(main(sys.argv[1]))
