"""Functions that an automatic choice may move to another process, for the test of `pointsman._meaning`.

They are written as users write them, and they cover what is easily mistaken for a write to shared memory: caches,
logging, imports, local lists, closures over settings. `CASES` is the table: a callable, and whether it may travel.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import csv
import functools
import hashlib
import heapq
import io
import itertools
import json
import logging
import math
import operator
import os
import random
import re
import sqlite3
import string
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CASES: list[tuple[Any, bool]] = []


def travels(func):
    """Mark a function that must not be held back."""
    CASES.append((func, True))
    return func


log = logging.getLogger(__name__)
SETTINGS = {"depth": 3, "names": ["a", "b"]}
PATTERN = re.compile(r"(\w+)@(\w+)")
TABLE = [math.sin(angle) for angle in range(64)]


@travels
def collatz_steps(n):
    steps = 0
    while n != 1:
        if n % 2:
            n = 3 * n + 1
        else:
            n //= 2
        steps += 1
    return steps


@travels
def sieve(limit):
    flags = [True] * (limit + 1)
    flags[0:2] = [False, False]
    for number in range(2, math.isqrt(limit) + 1):
        if flags[number]:
            flags[number * number :: number] = [False] * len(flags[number * number :: number])
    return [number for number, prime in enumerate(flags) if prime]


@travels
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@travels
def word_counts(text):
    counts = {}
    for word in text.lower().split():
        counts[word] = counts.get(word, 0) + 1
    return counts


@travels
def word_counter(text):
    counts = collections.Counter()
    counts.update(text.split())
    return counts.most_common(10)


@travels
def grouped(rows):
    groups = collections.defaultdict(list)
    for row in rows:
        groups[row["kind"]].append(row["value"])
    return {kind: sum(values) / len(values) for kind, values in groups.items()}


@functools.lru_cache(maxsize=None)
def partitions(n, largest):
    if n == 0:
        return 1
    return sum(partitions(n - part, part) for part in range(1, min(n, largest) + 1))


CASES.append((partitions, True))


@travels
def uses_cached_helper(n):
    return partitions(n, n) % 1_000_007


@travels
def reads_settings(x):
    return x * SETTINGS["depth"] + len(SETTINGS["names"])


@travels
def reads_table(index):
    return TABLE[index % len(TABLE)]


@travels
def logs(path):
    log.info("reading %s", path)
    try:
        return len(Path(path).read_bytes())
    except OSError:
        log.exception("cannot read %s", path)
        return 0


@travels
def gets_own_logger(x):
    logger = logging.getLogger("worker")
    logger.warning("value %r", x)
    return x


@travels
def prints(x):
    print("working on", x)
    sys.stdout.write("done\n")
    return x


@travels
def imports_inside(text):
    import statistics
    from fractions import Fraction

    return statistics.mean(Fraction(part) for part in text.split())


@travels
def digest(data):
    state = hashlib.sha256()
    for start in range(0, len(data), 4096):
        state.update(data[start : start + 4096])
    return state.hexdigest()


@travels
def compress(data):
    packer = zlib.compressobj(9)
    return packer.compress(data) + packer.flush()


@travels
def numpy_norm(values):
    array = np.array(values, dtype=float)
    array -= array.mean()
    array[array < 0] *= -1
    return float(np.sqrt((array**2).sum()))


@travels
def numpy_reads(array):
    return float((array * 2 + np.sin(array)).sum())


@travels
def numpy_copies_first(array):
    work = array.copy()
    work[0] = 0
    work += 1
    return work


@travels
def numpy_random(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=1000).mean()


@travels
def sleeps(seconds):
    time.sleep(seconds)
    return seconds


@travels
def fetches(url):
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.status, len(response.read())


@travels
def runs_program(name):
    done = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


@travels
def parses_lines(text):
    rows = []
    for line in text.splitlines():
        parts = line.split(",")
        parts.append("end")
        rows.append(parts)
    rows.sort(key=lambda row: row[0])
    return rows


@travels
def parses_json(text):
    data = json.loads(text)
    data["seen"] = True
    for item in data["items"]:
        item["size"] = len(item["name"])
    return data


@travels
def copies_before_change(row):
    row = dict(row)
    row["total"] = row["price"] * row["count"]
    row.setdefault("currency", "EUR")
    return row


@travels
def copies_list_before_sort(values):
    ordered = list(values)
    ordered.sort()
    ordered.pop()
    return ordered


@travels
def rebinds_argument(values):
    values = [value for value in values if value]
    values.append(0)
    return values


@travels
def merges(left, right):
    merged = {**left, **right}
    merged["both"] = left.keys() & right.keys()
    return merged


@travels
def bubble_sort(items):
    result = items.copy()
    for end in range(len(result), 1, -1):
        for i in range(end - 1):
            if result[i] > result[i + 1]:
                result[i], result[i + 1] = result[i + 1], result[i]
    return result


@travels
def quick_sort(items):
    if len(items) < 2:
        return items
    pivot, *rest = items
    return [*quick_sort([x for x in rest if x < pivot]), pivot, *quick_sort([x for x in rest if x >= pivot])]


@travels
def matrix_product(a, b):
    result = [[0] * len(b[0]) for _ in a]
    for i, row in enumerate(a):
        for j in range(len(b[0])):
            for k, value in enumerate(row):
                result[i][j] += value * b[k][j]
    return result


@travels
def edit_distance(a, b):
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        current = [i]
        for j, y in enumerate(b, 1):
            current.append(min(previous[j] + 1, current[-1] + 1, previous[j - 1] + (x != y)))
        previous = current
    return previous[-1]


@travels
def shortest_paths(graph, start):
    distances = {start: 0}
    heap = [(0, start)]
    while heap:
        distance, node = heapq.heappop(heap)
        for neighbour, length in graph[node].items():
            candidate = distance + length
            if candidate < distances.get(neighbour, math.inf):
                distances[neighbour] = candidate
                heapq.heappush(heap, (candidate, neighbour))
    return distances


@travels
def breadth_first(graph, start):
    seen, waiting = {start}, collections.deque([start])
    while waiting:
        node = waiting.popleft()
        for neighbour in graph[node]:
            if neighbour not in seen:
                seen.add(neighbour)
                waiting.append(neighbour)
    return len(seen)


@travels
def n_queens(n):
    found = 0
    columns, rising, falling = set(), set(), set()

    def place(row):
        nonlocal found
        if row == n:
            found += 1
            return
        for column in range(n):
            if column in columns or row + column in rising or row - column in falling:
                continue
            columns.add(column)
            rising.add(row + column)
            falling.add(row - column)
            place(row + 1)
            columns.discard(column)
            rising.discard(row + column)
            falling.discard(row - column)

    place(0)
    return found


@travels
def mandelbrot(width, limit=50):
    rows = []
    for y in range(width):
        row = bytearray()
        for x in range(width):
            c, z, n = complex(x / width - 1.5, y / width - 1), 0j, 0
            while abs(z) <= 2 and n < limit:
                z = z * z + c
                n += 1
            row.append(n)
        rows.append(bytes(row))
    return rows


@travels
def monte_carlo(n):
    hits = 0
    for _ in range(n):
        x, y = random.random(), random.random()
        hits += x * x + y * y <= 1
    return 4 * hits / n


@travels
def shuffles_own(n):
    cards = list(range(n))
    random.shuffle(cards)
    return cards[:5]


@travels
def matches(text):
    return [found.group(1) for found in PATTERN.finditer(text)]


@travels
def builds_text(rows):
    out = io.StringIO()
    writer = csv.writer(out)
    for row in rows:
        writer.writerow(row)
    return out.getvalue()


@travels
def writes_own_file(path):
    with open(path, "w", encoding="utf-8") as file:
        file.write("text\n")
    return os.path.getsize(path)


@travels
def own_database(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("create table if not exists t (x)")
        connection.execute("insert into t values (1)")
        connection.commit()
        return connection.execute("select count(*) from t").fetchone()[0]


@travels
def fills_a_database_from_a_generator(n):
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (x)")
    connection.executemany("insert into t values (?)", ((i,) for i in range(n)))
    (total,) = connection.execute("select sum(x) from t").fetchone()
    connection.close()
    return total


@travels
def writes_lines_of_a_generator(path):
    with open(path, "w+", encoding="utf-8") as file:
        file.writelines(f"{i}\n" for i in range(3))
        file.seek(0)
        return file.read()


@travels
def reads_environment(name):
    return os.environ.get(name, "") or os.getenv("HOME")


@travels
def own_thread(values):
    found = []
    thread = threading.Thread(target=found.extend, args=(values,))
    thread.start()
    thread.join()
    return found


@travels
def own_lock(n):
    lock = threading.Lock()
    total = 0
    for i in range(n):
        with lock:
            total += i
    return total
