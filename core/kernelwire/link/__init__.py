"""The link: any pipe that may break becomes reliable, sealed channels. Sans-I/O machines, and one asyncio shell."""
