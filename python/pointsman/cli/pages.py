"""Serves pages on the loopback interface, each after a delay: the part of the demo that makes calls wait.

Run as a script with a delay in seconds, it prints its port, and ends when its standard input closes.

What it does not know: HTTP beyond one request per connection, and who asks.

Invariants:
    S1. It listens on 127.0.0.1 only, on a port that the kernel chose.
    S2. It ends when its parent does, however that ended: the pipe to its standard input closes then.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator

BODY = b"<html><body>" + b"<p>A pointsman sets the points.</p>" * 20 + b"</body></html>"
ANSWER = b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
# Enough for more threads at once than any plan has.
BACKLOG = 1024


@contextlib.contextmanager
def serving(delay: float) -> Iterator[int]:
    """Run the server in a process of its own; yield its port. `delay` is in seconds."""
    with subprocess.Popen(  # noqa: S603 - our own module under our own interpreter
        # As a file: as a module it would load the whole command line first.
        [sys.executable, "-I", __file__, str(delay)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        try:
            assert server.stdout is not None  # noqa: S101 - for the type checker: it was asked for above
            line = server.stdout.readline()
            if not line:
                message = "the page server of the demo did not start; its error is above"
                raise RuntimeError(message)
            yield int(line)
        finally:
            server.terminate()


async def _serve(delay: float) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(delay)
            writer.write(ANSWER)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=BACKLOG)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(float(sys.argv[1])))
