"""More functions that must not leave: objects, closures, bound methods of what is shared. See `meaning_corpus`."""

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


def append_all(target, values):
    for value in values:
        target.append(value * 2)


class Account:
    """An object that its methods change."""

    opened = 0

    def __init__(self):
        self.balance = 0
        self.entries = []
        self.lock = threading.RLock()

    def deposit(self, amount):
        self.balance += amount

    def record(self, amount):
        self._note(amount)

    def _note(self, amount):
        self.entries.append(amount)

    def guarded(self, amount):
        with self.lock:
            return amount

    @classmethod
    def open(cls, name):
        cls.opened += 1
        return name

    @property
    def bump(self):
        self.balance += 1
        return self.balance

    def reads_bump(self, x):
        return self.bump + x


class Savings(Account):
    """A subclass that goes through its base class."""

    def deposit(self, amount):
        super().deposit(amount * 1.01)


class Registry:
    """Counts its objects."""

    made = []

    def __init__(self, name):
        self.name = name
        Registry.made.append(name)


class Running:
    """A callable with a running total."""

    def __init__(self):
        self.total = 0

    def __call__(self, x):
        self.total += x
        return self.total


ACCOUNT = Account()
RUNNING = Running()
CASES += [
    (ACCOUNT.deposit, False), (ACCOUNT.record, False), (ACCOUNT.guarded, False), (Account.open, False),
    (ACCOUNT.reads_bump, False), (Savings().deposit, False), (Registry, False), (RUNNING, False),
]  # fmt: skip


@stays
def pays(amount):
    ACCOUNT.deposit(amount)


@stays
def registers(name):
    return Registry(name).name


@stays
def calls_running(x):
    return RUNNING(x)


def make_collector():
    seen = []

    def collect(x):
        seen.append(x)
        return x

    return collect


def make_counter():
    count = 0

    def count_up(x):
        nonlocal count
        count += 1
        return x

    return count_up


def make_locked(lock):
    return lambda x: lock and x


def make_reader(file):
    def read(n):
        return file.read(n)

    return read


def make_session(connection):
    def ask(x):
        return connection.execute("select ?", (x,)).fetchone()

    return ask


def counted(func):
    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        wrapper.calls += 1
        return func(*args, **kwargs)

    wrapper.calls = 0
    return wrapper


@stays
@counted
def counted_function(x):
    return x


@stays
@timed
def hidden_by_decorator(x):
    RESULTS.append(x)


def store_in(target, key, value):
    target[key] = value


def numbers_from(n):
    yield from range(n)


def consumes(source):
    def take(_x):
        return next(source)

    return take


CASES += [
    (make_collector(), False), (make_counter(), False), (make_locked(threading.Lock()), False),
    (make_reader(JOURNAL), False), (make_session(DATABASE), False), (consumes(numbers_from(3)), False),
    (consumes(iter([1, 2])), False), (functools.partial(store_in, {}), False),
    (functools.partial(append_all, RESULTS), False), (functools.partial(pow, LOCK), False),
    (lambda x: RESULTS.append(x), False), (lambda x: CACHE.setdefault(x, x), False),
    (RESULTS.append, False), (CACHE.update, False), (set().add, False), (collections.deque().append, False),
    (QUEUE.put, False), (LOCK.acquire, False), (JOURNAL.write, False), (list.append, False), (setattr, False),
    (heapq.heappush, False), (random.shuffle, False), (os.chdir, False), (numbers_from(1).__next__, False),
    (collections.Counter().update, False), (threading.Event().set, False), (operator.methodcaller("append", 1), False),
]  # fmt: skip
