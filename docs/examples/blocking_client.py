"""Run code in a kernel that is running, without asyncio: ``python blocking_client.py CONNECTION_FILE``."""

import getpass
import sys

from kernelwire import InputRequest, blocking


def ask(question: InputRequest) -> str:
    return getpass.getpass(question.prompt) if question.password else input(question.prompt)


def main(connection_file: str) -> None:
    with blocking.connect(connection_file, input_hook=ask) as client:
        client.ready(timeout=60)
        execution = client.execute("for i in range(3): print('line', i, flush=True)\n6 * 7")
        for message in execution:  # output as it comes
            print(message.msg_type, message.content)
        result = execution.result()  # how it ended
        print(result.status, result.data)


main(sys.argv[1])
