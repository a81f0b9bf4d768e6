"""More functions that may travel: objects, decorators, helpers, dispatch, library functions. See `meaning_corpus`."""

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


@dataclass
class Point:
    """A value with methods that only read."""

    x: float
    y: float
    tags: list[str] = field(default_factory=list)

    def norm(self):
        return math.hypot(self.x, self.y)

    def moved(self, dx):
        return Point(self.x + dx, self.y, [*self.tags, "moved"])

    @property
    def double(self):
        return self.x * 2

    @classmethod
    def origin(cls):
        return cls(0.0, 0.0)

    @staticmethod
    def distance(a, b):
        return math.hypot(a.x - b.x, a.y - b.y)


class Pair(NamedTuple):
    """A tuple with names."""

    first: int
    second: int


CASES += [(Point(1, 2).norm, True), (Point(1, 2).moved, True), (Point.origin, True), (Point.distance, True)]
CASES += [(Point, True), (Pair, True)]


@travels
def makes_objects(n):
    points = [Point(i, i) for i in range(n)]
    for point in points:
        point.x += 1
        point.tags.append("made")
    return sum(point.norm() + point.double for point in points)


class Tokenizer:
    """An object that changes itself, made and used inside one call."""

    def __init__(self, text):
        self.text = text
        self.position = 0
        self.tokens = []

    def run(self):
        while self.position < len(self.text):
            self._step()
        return self.tokens

    def _step(self):
        self.tokens.append(self.text[self.position])
        self.position += 1


@travels
def tokenizes(text):
    return Tokenizer(text).run()


class Model:
    """An object with weights that it only reads."""

    def __init__(self):
        self.weights = [0.5, 0.25]
        self.name = "model"

    def predict(self, row):
        total = 0.0
        for weight, value in zip(self.weights, row, strict=False):
            total += weight * value
        return {"name": self.name, "score": total}

    def __call__(self, row):
        return self.predict(row)["score"]


CASES += [(Model().predict, True), (Model(), True)]


def make_scaler(factor, offsets):
    def scale(x):
        return x * factor + offsets[0]

    return scale


CASES.append((make_scaler(3, [1, 2]), True))
CASES.append((lambda x: x * x + SETTINGS["depth"], True))
CASES.append((functools.partial(pow, 2), True))
CASES.append(
    (
        functools.partial(
            make_scaler(2, [0]),
        ),
        True,
    )
)


def timed(func):
    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        start = time.perf_counter()
        try:
            return func(*args, **kwargs)
        finally:
            log.debug("%s took %.3f s", func.__name__, time.perf_counter() - start)

    return wrapper


def retried(times):
    def decorate(func):
        @functools.wraps(func)
        def wrapper(*args, **kwargs):
            for attempt in range(times):
                try:
                    return func(*args, **kwargs)
                except OSError:
                    if attempt == times - 1:
                        raise
                    time.sleep(0.1 * 2**attempt)
            return None

        return wrapper

    return decorate


@travels
@timed
@retried(3)
def decorated(path, *, encoding="utf-8"):
    return Path(path).read_text(encoding=encoding).count("\n")


@travels
def takes_many(*numbers, **options):
    options.setdefault("base", 10)
    options["count"] = len(numbers)
    base = options.pop("base")
    return sum(numbers) * base


def clean(row):
    return {key.strip(): value.strip() for key, value in row.items()}


def fill(row, default):
    filled = dict(row)
    for key in ("a", "b"):
        filled.setdefault(key, default)
    return filled


@travels
def calls_helpers(row):
    cleaned = clean(row)
    cleaned["extra"] = "1"
    return fill(cleaned, "-")


def append_all(target, values):
    for value in values:
        target.append(value * 2)


@travels
def helper_fills_local_list(values):
    out = []
    append_all(out, values)
    out.reverse()
    return out


@travels
def recursive_walk(tree):
    total = tree.get("value", 0)
    for child in tree.get("children", ()):
        total += recursive_walk(child)
    return total


@travels
def power_mod(base, exponent, modulus):
    result = 1
    while exponent > 0:
        if exponent & 1:
            result = result * base % modulus
        base = base * base % modulus
        exponent >>= 1
    return result


@travels
def running_sum(values):
    total, sums = 0, []
    for value in values:
        total += value
        sums.append(total)
    return sums


@travels
def swallows_errors(values):
    good, bad = [], []
    for value in values:
        try:
            good.append(float(value))
        except (TypeError, ValueError) as error:
            bad.append(str(error))
        finally:
            time.perf_counter()
    return good, bad


@travels
def matches_shape(shape):
    match shape:
        case {"kind": "circle", "radius": radius}:
            return math.pi * radius**2
        case [width, height]:
            return width * height
        case Point(x=x, y=y):
            return x + y
        case _:
            return 0


@travels
async def awaits(seconds):
    await asyncio.sleep(seconds)
    return seconds


@travels
def runs_loop(n):
    async def one(i):
        await asyncio.sleep(0)
        return i

    async def every():
        return await asyncio.gather(*(one(i) for i in range(n)))

    return asyncio.run(every())


@travels
def local_class(text):
    class Upper:
        def __init__(self, value):
            self.value = value

        def run(self):
            self.value = self.value.upper()
            return self.value

    return Upper(text).run()


@travels
def string_work(text):
    table = str.maketrans("", "", string.punctuation)
    words = text.translate(table).split()
    words.sort(key=str.lower)
    return " ".join(words).title()


@travels
def combinations_of(items):
    best = max(itertools.combinations(items, 3), key=sum)
    return tuple(sorted(best))


@travels
def slices(text):
    head, _, tail = text.partition(":")
    parts = tail.split(";")
    parts.insert(0, head)
    del parts[-1]
    return parts


@travels
def annotated(n: int, factor: float = 2.0) -> float:
    n *= 3
    factor /= 2
    return n * factor


OPERATIONS = {"add": operator.add, "mul": operator.mul, "clean": clean}


@travels
def dispatches(name, a, b):
    return OPERATIONS[name](a, b)


CASES += [
    (function, True)
    for function in (
        math.sqrt, len, sorted, sum, str.upper, "-".join, int, json.dumps, json.loads, hashlib.sha256, zlib.compress,
        re.escape, PATTERN.findall, np.add, np.linalg.norm, np.random.default_rng, time.sleep, subprocess.run,
        random.random, os.path.getsize, operator.itemgetter(1), bytes.hex, Path, collections.Counter, print,
    )
]  # fmt: skip
