"""Functions that must not leave the process, for the test of `pointsman._meaning`.

Each writes to memory that others read, or needs something that cannot travel. `CASES` is the table: a callable, and
whether it may travel.
"""

from __future__ import annotations

import asyncio
import atexit
import bisect
import collections
import contextvars
import functools
import heapq
import itertools
import logging
import operator
import os
import queue
import random
import signal
import sqlite3
import sys
import tempfile
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

CASES: list[tuple[Any, bool]] = []


def stays(func):
    """Mark a function that must not leave the process."""
    CASES.append((func, False))
    return func


def timed(func):
    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        logging.getLogger(__name__).debug("calling %s", func.__name__)
        return func(*args, **kwargs)

    return wrapper


class Point:
    """Something to write to."""

    scale = 1


RESULTS: list[Any] = []
CACHE: dict[Any, Any] = {}
TOTALS: collections.Counter[str] = collections.Counter()
QUEUE: queue.Queue[Any] = queue.Queue()
LOCK = threading.Lock()
LOCAL = threading.local()
REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="")
NUMBERS = itertools.count()
DATABASE = sqlite3.connect(":memory:", check_same_thread=False)
JOURNAL = tempfile.TemporaryFile("w+")
atexit.register(DATABASE.close)
atexit.register(JOURNAL.close)
MATRIX = np.zeros((4, 4))
POOL = ThreadPoolExecutor(1)
counter = 0


@stays
def counts_globally(x):
    global counter
    counter += 1
    return x


@stays
def appends_to_global(x):
    RESULTS.append(x)


@stays
def caches_by_hand(x):
    if x not in CACHE:
        CACHE[x] = x**2
    return CACHE[x]


@stays
def counts_words(text):
    TOTALS.update(text.split())


@stays
def counts_item(word):
    TOTALS[word] += 1


@stays
def forgets(key):
    del CACHE[key]


@stays
def puts(x):
    QUEUE.put(x)


@stays
def locked(x):
    with LOCK:
        return x + 1


@stays
def next_number(x):
    return next(NUMBERS), x


@stays
def asks_database(x):
    return DATABASE.execute("select ?", (x,)).fetchone()


@stays
def writes_journal(x):
    JOURNAL.write(f"{x}\n")


@stays
def sets_local(x):
    LOCAL.value = x
    return x


@stays
def sets_context(x):
    REQUEST.set(x)
    return x


@stays
def changes_matrix(i):
    MATRIX[i, i] = 1.0


@stays
def adds_to_matrix(i):
    view = MATRIX[i]
    view += 1


@stays
def writes_into_out(a):
    np.multiply(a, 2, out=MATRIX[0])


@stays
def submits(x):
    return POOL.submit(len, x).result()


@stays
def changes_environment(value):
    os.environ["MODE"] = value


@stays
def changes_directory(path):
    os.chdir(path)


@stays
def changes_path(path):
    sys.path.insert(0, path)


@stays
def handles_signal(number):
    signal.signal(number, signal.SIG_IGN)


@stays
def silences(text):
    warnings.simplefilter("ignore")
    return text


@stays
def configures_logging(name):
    logging.getLogger(name).setLevel("DEBUG")


@stays
def marks_row(row):
    row["seen"] = True
    return row


@stays
def appends_to_argument(items):
    items.append(1)


@stays
def sorts_argument(items):
    items.sort()
    return items[0]


@stays
def sets_attribute(point):
    point.x = 0


@stays
def deep_change(order):
    order.customer.address["city"] = "Bern"


@stays
def changes_every_row(rows):
    for row in rows:
        row["total"] = row["price"] * row["count"]


@stays
def changes_numbered_rows(rows):
    for number, row in enumerate(rows):
        row.number = number


@stays
def changes_zipped(rows, values):
    for row, value in zip(rows, values, strict=True):
        row.append(value)


@stays
def changes_sorted(rows):
    for row in sorted(rows, key=len):
        row.clear()


@stays
def changes_first(rows):
    first, *_rest = rows
    first.update(best=True)


@stays
def changes_alias(row):
    other = row if row else {}
    other["x"] = 1
    return other


@stays
def changes_shallow_copy(table):
    table = dict(table)
    table["rows"].append(1)
    return table


@stays
def changes_through_list(row):
    rows = [row]
    rows[0]["x"] = 1


@stays
def scales_in_place(array):
    array *= 2
    return array


@stays
def fills_array(array):
    array[:] = 0


@stays
def reshaped_view(array):
    flat = array.reshape(-1)
    flat[0] = 1


@stays
def pushes(heap, item):
    heapq.heappush(heap, item)


@stays
def inserts_sorted(values, value):
    bisect.insort(values, value)


@stays
def shuffles(cards):
    random.shuffle(cards)
    return cards


@stays
def sets_by_name(thing, name):
    setattr(thing, name, 1)


@stays
def extends_through_map(rows):
    list(map(RESULTS.append, rows))


@stays
def bound_alias(rows):
    add = RESULTS.append
    for row in rows:
        add(row)


@stays
def through_helper(values):
    append_all(RESULTS, values)


@stays
def argument_through_helper(target):
    append_all(target, [1, 2])


def append_all(target, values):
    for value in values:
        target.append(value * 2)


def remember(value):
    def store():
        CACHE["last"] = value

    store()


@stays
def two_steps_away(x):
    remember(x)
    return x


def first_of(rows):
    return rows[0]


@stays
def through_result(rows):
    first_of(rows)["x"] = 1


@stays
def default_list(x, seen=[]):
    seen.append(x)
    return len(seen)


@stays
def generates(n):
    for i in range(n):
        yield i * i


@stays
def writes_globals(name):
    globals()[name] = 1


@stays
def asks_user(question):
    return input(question)


@stays
def executes(source):
    exec(source)


@stays
def drops_in_place(frame):
    frame.drop(columns=["a"], inplace=True)


@stays
def changes_in_handler(row):
    try:
        return row["x"] / row["y"]
    except ZeroDivisionError:
        row["error"] = True
        return 0


@stays
def changes_with_match(shape):
    match shape:
        case {"points": points}:
            points.append(0)


@stays
def lambda_inside(rows):
    return list(map(lambda row: row.update(x=1), rows))


@stays
async def async_append(x):
    await asyncio.sleep(0)
    RESULTS.append(x)


@stays
def comprehension_effect(values):
    return [RESULTS.append(value) for value in values]


@stays
def changes_slice_of_argument(values):
    del values[1:3]


@stays
def changes_class(point):
    Point.scale = point


@stays
def starts_thread_on_global(x):
    threading.Thread(target=RESULTS.append, args=(x,)).start()
