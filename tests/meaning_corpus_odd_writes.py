"""Many ways to write to a shared thing, and a few that only look like one. See `meaning_corpus`.

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
import types

import numpy as np

from meaning_corpus_marks import marks

CASES, T, S = marks()


R = []
C = {}
L = threading.Lock()


@S
def b1(x):
    vars(x).update(a=1)


@S
def b2(x):
    x.__dict__["a"] = 1


class K:
    n = 0
    __slots__ = ("v",)

    def tick(self):
        type(self).n += 1

    def tock(self):
        self.__class__.n += 1

    def setv(self):
        self.v = 1

    def delv(self):
        del self.v

    @property
    def p(self):
        return 1

    @p.setter
    def p(self, v):
        R.append(v)


for m in (K().tick, K().tock, K().setv, K().delv):
    S(m)


@S
def b3(a, i):
    np.add.at(a, i, 1)


@S
def b4(a):
    a.T[0] = 1


@S
def b5(b):
    memoryview(b)[0] = 1


@S
def b6(x):
    for r in R:
        r.append(x)


@S
def b7(x):
    R[0].x = x


@S
def b8(k, v):
    C.setdefault(k, []).append(v)


@S
def b9(k, v):
    C.get(k).append(v)


@S
def b10(rows):
    max(rows, key=len).update(a=1)


@S
def b11(x):
    copy.copy(x).items.append(1)


@T
def b12(x):
    y = copy.deepcopy(x)
    y.items.append(1)
    return y


@S
def b13(x):
    x.copy()["rows"].append(1)


@S
def b14(rows):
    list(rows)[0]["x"] = 1


@S
def b15(rows):
    rows[1:][0]["x"] = 1


@S
def b16(rows):
    [r for r in rows][0].clear()


@S
def b17(row):
    dict(a=row)["a"].clear()


@S
def b18(row):
    (r := row).clear()


S(lambda x, seen=R: seen.append(x))


@contextlib.contextmanager
def cm():
    C["x"] = 1
    yield


@S
def b19(x):
    with cm():
        return x


class Ctx:
    def __enter__(self):
        R.append(1)
        return self

    def __exit__(self, *a):
        pass


class Ctx2:
    def __enter__(self):
        return self

    def __exit__(self, *a):
        R.append(1)


@S
def b20(x):
    with Ctx():
        return x


@S
def b21(x):
    with Ctx2() as c:
        return x


class Acc:
    def __init__(self):
        self.t = 0

    def add_to(self, x):
        self.t += x
        return self.t

    def twice(self, x):
        return x * 2


A = Acc()


@S
def b22(x):
    return Acc.add_to(A, x)


@S
def b23(row):
    operator.setitem(row, "x", 1)


@S
def b24(row):
    row |= {"a": 1}


@S
def b25(items):
    items += [1]
    return items


@T
def b26(items):
    items = items + [1]
    return items


@T
def b27(s):
    s += "x"
    return s


@S
def b28(*rows):
    for r in rows:
        r.clear()


@T
def b29(*rows):
    rows = list(rows)
    rows.append(1)
    return rows


@S
def b30(**kw):
    kw["a"].append(1)


@S
def b31(xs):
    it = iter(R)
    for r in it:
        r.pop()


@S
def b32(x):
    def inner():
        nonlocal_list.append(x)

    nonlocal_list = R
    inner()


def mk():
    total = [0]

    def add(x):
        total[0] += x
        return total[0]

    return add


S(mk())


def mk2():
    d = {}

    @functools.lru_cache
    def f(x):
        return x

    def g(x):
        return f(x)

    return g


T(mk2())


@S
def b33(x):
    C[x] = C.get(x, 0) + 1


@S
def b34(x):
    f = R.append if x else print
    f(x)


@S
def b35(xs):
    collections.deque(map(R.append, xs), maxlen=0)


@S
def b36(xs):
    [*map(lambda x: R.append(x), xs)]


@S
def b37(xs):
    any(R.append(x) for x in xs)


@T
def b38(xs):
    return any(x > 1 for x in xs)


@S
def b39(x):
    try:
        pass
    finally:
        R.append(x)


@S
async def b40(xs):
    async for x in xs:
        R.append(x)


@S
async def b41(c):
    async with c:
        C["a"] = 1


async def co(r):
    r.append(1)


@S
async def b42():
    await co(R)


async def givesarg(r):
    return r


@S
async def b43(r):
    (await givesarg(r)).append(1)


@S
def b44(d):
    d["a"]["b"]["c"] = 1


@S
def b45(n):
    n.next.next.next.value = 1


@S
def b46(node):
    while node:
        node.seen = True
        node = node.next


@T
def b47(node):
    n = 0
    while node is not None:
        n += 1
        node = node.next
    return n


@S
def b48(buf):
    buf.write("x")


@S
def b49(x):
    os.environ.pop("A", None)


@S
def b50(x):
    os.environ.setdefault("A", x)


@S
def b51(x):
    L.acquire()
    L.release()


@S
def b52(x):
    setattr(A, "t", x)


@S
def b53(x):
    A.__dict__.update(t=x)


@S
def b54(x):
    object.__setattr__(x, "a", 1)


@S
def b55(x):
    dict.__setitem__(x, "a", 1)


@S
def b56(x):
    list.append(R, x)


@S
def b57(x):
    dict.update(C, x)


@S
def b58(a):
    a.sort(axis=0)


@S
def b59(a):
    a.flat[0] = 1


@S
def b60(a):
    a[a > 0] *= 2


@S
def b61(a):
    np.multiply(a, 2, a[0]) if 0 else np.sin(a, out=a)


@S
def b62(e):
    e.set("k", "v")


@S
def b63(tree):
    for el in tree.iter("x"):
        el.attrib["a"] = 1


@S
def b64(x):
    globals().update(a=x)


@S
def b65(x):
    import sys

    sys.modules["a"] = x


@S
def b66(x):
    import os as o

    o.environ["z"] = x


@S
def b67(x):
    from os import chdir

    chdir(x)


@S
def b68(x):
    import logging

    logging.root.handlers.clear()


class Noted(Exception):
    made = []

    def __init__(self):
        super().__init__()
        self.made.append(1)


class Quiet(Exception):
    def __init__(self):
        super().__init__("quiet")
        self.notes = []


@S
def b69(x):
    raise Noted


@S
def b70(x):
    try:
        return 1 / x
    except ZeroDivisionError as why:
        raise Noted from why


@T
def b71(x):
    raise Quiet


_fallback = {}


@S
def b72(x):
    {"a": 1}.get("b", _fallback)[x] = 1


@T
def b73(x):
    return {"a": 1}.get("b", _fallback), {}.get(x, [])


@S
def b74(x):
    types.SimpleNamespace(held=R).held.append(x)


@S
def b75(x):
    collections.UserDict(held=R)["held"].append(x)


@S
def b76(x):
    types.MappingProxyType({"held": R})["held"].append(x)


@T
def b77(x):
    found = types.SimpleNamespace(own=[], given=R)
    found.own.append(x)
    return found
