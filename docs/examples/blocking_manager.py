"""Start a kernel, use it and end it, without asyncio."""

from kernelwire import BlockingKernelManager


def main() -> None:
    with BlockingKernelManager() as manager:
        manager.start("python3", timeout=60)
        with manager.client() as client:
            print(client.execute("print(6 * 7)").result().text, end="")


if __name__ == "__main__":
    main()
