"""The calls that the demo runs: everyday work on input that every machine with CPython has.

What it does not know: how calls are run or timed, and pointsman itself. The functions are what a user would write.

Invariants:
    W1. No function writes to memory that others read, so every backend may run it.
    W2. No network but the loopback server of `pages`.
"""

import ast
import hashlib
import http.client
import random
import sysconfig
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEGABYTE = 1_000_000
ROT13 = bytes((b + 13) % 256 for b in range(256))


@dataclass(frozen=True, slots=True)
class Workload:
    """One job of the demo: what `--only` calls it, a title for people, the function and its inputs."""

    name: str
    title: str
    func: Callable[[Any], Any]
    data: Sequence[Any]


def compress(path: str) -> tuple[str, int]:
    """Hash a file and compress it: computes, almost all of it without the GIL."""
    content = Path(path).read_bytes()
    return hashlib.sha256(content).hexdigest(), len(zlib.compress(content, 9))


def parse(path: str) -> int:
    """Count the nodes of a file's syntax tree: computes, and holds the GIL."""
    return sum(1 for _ in ast.walk(ast.parse(Path(path).read_bytes())))


def fetch(address: tuple[str, int]) -> int:
    """Fetch a page: waits."""
    host, port = address
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request("GET", "/")
        return len(connection.getresponse().read())
    finally:
        connection.close()


def fetch_and_parse(task: tuple[tuple[str, int], str]) -> int:
    """Fetch a page, then parse a file: waits for half of the time, and holds the GIL for the other half."""
    address, path = task
    return fetch(address) + parse(path)


def square(number: int) -> int:
    """Square a number: so short that handing it to anyone costs more than doing it."""
    return number * number


def rotate(block: bytes) -> bytes:
    """Replace every byte of a large block: moving it elsewhere costs about as much as the work."""
    return block.translate(ROT13)


def standard_library() -> list[str]:
    """List the files of Python's own standard library, installed packages and its tests left out."""
    root = Path(sysconfig.get_path("stdlib"))
    aside = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "__pycache__"}
    return [str(path) for path in sorted(root.rglob("*.py")) if not aside.intersection(path.relative_to(root).parts)]


def workloads(port: int, scale: float = 1.0) -> list[Workload]:
    """Make the jobs of the demo.

    Parameters
    ----------
    port
        Where the page server listens, on the loopback interface.
    scale
        How many calls, as a share of the usual number.

    """
    files = standard_library()
    pages = ("127.0.0.1", port)
    blocks = [random.Random(seed).randbytes(4 * MEGABYTE) for seed in range(4)]  # noqa: S311 - any bytes will do

    def some(count: int, among: Sequence[Any]) -> list[Any]:
        wanted = max(1, round(count * scale))
        # Evenly from the whole list: neighbouring files are of similar size.
        return [among[index * len(among) // wanted] for index in range(wanted)]

    middling = sorted(files, key=lambda path: Path(path).stat().st_size)[-len(files) // 4 :]
    return [
        Workload("compress", "hash and compress files", compress, some(min(700, len(files)), files)),
        Workload("parse", "parse files with ast", parse, some(500, files)),
        Workload("fetch", "fetch pages that take 20 ms", fetch, [pages] * max(1, round(150 * scale))),
        Workload("both", "fetch a page, parse a file", fetch_and_parse, [(pages, path) for path in some(60, middling)]),
        Workload("tiny", "square a number", square, range(max(1, round(50_000 * scale)))),
        Workload("large", "rewrite 4 MB of bytes", rotate, some(40, blocks)),
    ]
