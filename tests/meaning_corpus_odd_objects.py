"""Dispatch, decorators, generators, objects within objects, and arguments of which a sample is known. See `meaning_corpus`.

`T` marks what may travel, `S` what must stay; further arguments are samples of the arguments of a call.
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import copy
import dataclasses
import datetime
import decimal
import enum
import functools
import heapq
import json
import operator
import os
import random
import re
import string
import threading
import time

import numpy as np

from meaning_corpus_marks import marks

CASES, T, S = marks()


R = []
D = {}


@functools.singledispatch
def area(x):
    return 0


@area.register
def _(x: int):
    R.append(x)
    return x


S(area)


@functools.singledispatch
def area2(x):
    return 0


@area2.register
def _(x: int):
    return x * 2


T(area2)


class Sg:
    cache = {}

    @functools.cached_property
    def big(self):
        return [1]

    def use(self):
        return self.big[0]

    def get(self, k):
        if k not in self.cache:
            self.cache[k] = k
        return self.cache[k]

    @functools.lru_cache
    def memo(self, k):
        return k * 2

    def callmemo(self, k):
        return self.memo(k)

    @functools.singledispatchmethod
    def sdm(self, x):
        return x


T(Sg().use)
S(Sg().get)
T(Sg().callmemo)
T(Sg().memo)


def compose(*fs):
    def run(x):
        for f in fs:
            x = f(x)
        return x

    return run


T(compose(str, len))
S(compose(R.append))
S(compose(lambda x: R.append(x)))


def apply(fn, x):
    return fn(x)


T(apply)
S(functools.partial(apply, R.append))
S(functools.partial(apply, lambda x: R.append(x)))
T(functools.partial(apply, len))


def inc(x):
    x += 1
    return x


T(inc, 5)
S(inc, [1])
T(inc, "a")


def tot(xs):
    acc = xs[0]
    for x in xs[1:]:
        acc += x
    return acc


T(tot, [1, 2, 3])
S(tot, [[1], [2]])


class Obj:
    def __init__(s):
        s.n = 0

    def step(s):
        s.n += 1
        return s.n

    def peek(s):
        return s.n


def callstep(o):
    return o.step()


def callpeek(o):
    return o.peek()


S(callstep, Obj())
T(callpeek, Obj())


def ann(o: Obj):
    return o.step()


S(ann)


class Pipeline:
    def __init__(self, steps):
        self.steps = steps

    def run(self, x):
        for s in self.steps:
            x = s(x)
        return x


T(Pipeline([str, len]).run)
S(Pipeline([R.append]).run)
S(Pipeline([lambda x: D.update(a=x)]).run)


class Base:
    def go(self, x):
        return self.hook(x)

    def hook(self, x):
        raise NotImplementedError


class Child(Base):
    def hook(self, x):
        self.last = x
        return x


class Pure(Base):
    def hook(self, x):
        return x + 1


S(Child().go)
T(Pure().go)


@contextlib.contextmanager
def timer(name):
    t = time.perf_counter()
    try:
        yield t
    finally:
        print(name, time.perf_counter() - t)


@T
def usetimer(x):
    with timer("a") as t:
        return x + 1


def gen(xs):
    for x in xs:
        yield x * 2


@T
def usegen(xs):
    return list(gen(xs))


@S
def usegen2(rows):
    for r in passthru(rows):
        r["x"] = 1


def passthru(rows):
    for r in rows:
        yield r


def ident(x):
    return x


@S
def d1(row):
    ident(row)["x"] = 1


@S
def d2(row):
    a = b = c = row
    c["x"] = 1


@S
def d3(row, flag):
    (row if flag else {})["x"] = 1


@S
def d4(rows):
    rows[-1], rows[0] = rows[0], rows[-1]


@S
def d5(rows):
    rows[0] += 1


@S
def d6(o):
    o.count += 1


@S
def d7(o):
    o.a.b.c += 1


@S
def d8(*a):
    a[0].x = 1


@S
def d9(**k):
    k["row"]["x"] = 1


@T
def d10(**k):
    k["x"] = 1
    k.update(a=2)
    return k


@S
def d11(x):
    for D["k"] in range(3):
        pass


@S
def d12(x):
    with open(x) as D["f"]:
        pass


@S
def d13(x):
    [D.__setitem__(i, i) for i in x]


@S
def d14(x):
    def f(acc=R):
        acc.append(x)

    f()


@S
def d15(x):
    exec("R.append(1)", globals())


@T
def d16(x):
    return eval("a+1", {"a": x})


@S
def d17(x):
    return eval("R.append(1)")


@T
def d18(x):
    return sorted(x, key=lambda p: (p[1], p[0]))


@T
def d19(x):
    return functools.reduce(lambda a, b: a * b, x, 1)


@S
def d20(x):
    return functools.reduce(lambda a, b: (a.append(b), a)[1], x, R)


@T
def d21(x):
    return functools.reduce(lambda a, b: {**a, b: 1}, x, {})


@T
def d22(x):
    d = collections.OrderedDict()
    for i in x:
        d[i] = 1
        d.move_to_end(i)
    return d


@T
def d23(x):
    class V:
        def __init__(s):
            s.o = []

        def visit(s, n):
            s.o.append(n)
            return s

    return V().visit(x).visit(x).o


@T
def d24(text):
    m = re.search(r"\d", text)
    return m.group(0) if m else None


@T
def d25(n):
    a, b = 0, 1
    while a < n:
        a, b = b, a + b
    return a


@T
def d26(n):
    s = 0
    for i in range(n):
        s ^= i
        s <<= 1
        s &= 0xFFFF
    return s


@T
def d27(xs):
    xs = sorted(xs)
    lo, hi = 0, len(xs)
    while lo < hi:
        mid = (lo + hi) // 2
        if xs[mid] < 3:
            lo = mid + 1
        else:
            hi = mid
    return lo


@T
def d28(grid):
    rows = len(grid)
    seen = [[False] * len(grid[0]) for _ in grid]
    c = 0

    def dfs(i, j):
        if i < 0 or j < 0 or i >= rows or seen[i][j]:
            return
        seen[i][j] = True
        dfs(i + 1, j)
        dfs(i, j + 1)

    for i in range(rows):
        dfs(i, 0)
        c += 1
    return c


@S
def d29(grid):
    def dfs(i, j):
        if grid[i][j] == 0:
            return
        grid[i][j] = 0
        dfs(i + 1, j)

    dfs(0, 0)


@T
def d30(x):
    try:
        import foo_missing
    except ImportError:
        foo_missing = None
    return foo_missing


E = threading.Event()
CV = threading.Condition()
SEM = threading.Semaphore()
S(lambda x: E.is_set())
S(lambda x: E.wait(1))


@S
def d31(x):
    with CV:
        CV.notify_all()


@S
def d32(x):
    while True:
        item = R.pop()
        if not item:
            break


@T
def d33(df):
    return df.groupby("a").agg({"b": "sum"}).reset_index()


@T
def d34(s):
    return s.strip().lower().replace("a", "b").split(",")


@T
def d35(p):
    import json

    with open(p) as f:
        d = json.load(f)
    d["n"] = len(d)
    d.pop("x", None)
    with open(p, "w") as f:
        json.dump(d, f)
    return d


@T
def d36(resp):
    out = []
    for x in resp["items"]:
        out.append({"id": x["id"], "n": len(x.get("tags", []))})
    out.sort(key=lambda o: o["n"], reverse=True)
    return out[:10]


@T
def d37(v, lo=0.0, hi=1.0):
    if v < lo:
        v = lo
    v -= lo
    v /= hi - lo
    return v
