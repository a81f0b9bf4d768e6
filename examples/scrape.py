"""Fetch pages from a server (here one on the loopback, which takes its time) and read their titles."""

import re
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from _timing import compare, size


class Pages(BaseHTTPRequestHandler):
    """Answers every path with a page, after 20 ms."""

    def do_GET(self) -> None:
        """Answer."""
        time.sleep(0.02)
        page = f"<html><title>Page {self.path}</title></html>".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def title(url: str) -> str:
    """The title of a page."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own server
        found = re.search(rb"<title>(.*?)</title>", answer.read())
    return found.group(1).decode() if found else ""


server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
threading.Thread(target=server.serve_forever, daemon=True).start()
titles = compare(title, [f"http://127.0.0.1:{server.server_port}/{number}" for number in range(size(100))])
server.shutdown()
server.server_close()
print(f"{len(titles)} titles, the last is {titles[-1]!r}")
