"""Call an API from async code: blocking requests run in the background and are awaited."""

import asyncio
import json
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from _timing import size

import pointsman


class Api(BaseHTTPRequestHandler):
    """Answers `/users/N`, after 20 ms."""

    def do_GET(self) -> None:
        """Answer."""
        time.sleep(0.02)
        number = int(self.path.rpartition("/")[2])
        body = json.dumps({"id": number, "name": f"user {number}"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Api)


def user(number: int) -> str:
    """The name of a user."""
    url = f"http://127.0.0.1:{server.server_port}/users/{number}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(json.load(answer)["name"])


async def everybody(count: int) -> list[str]:
    """All names, asked for at the same time; the event loop stays free."""
    return list(await asyncio.gather(*(pointsman.submit(user, number) for number in range(count))))


threading.Thread(target=server.serve_forever, daemon=True).start()
users = size(100)
began = time.perf_counter()
names = asyncio.run(everybody(users))
ours = time.perf_counter() - began
began = time.perf_counter()
alone = [user(number) for number in range(users)]
loop = time.perf_counter() - began
server.shutdown()
server.server_close()
print(f"pointsman   {ours:8.3f} s  (awaited)")
print(f"plain loop  {loop:8.3f} s")
print(f"{len(names)} users, {'the same' if names == alone else 'NOT THE SAME'} as one by one")
