"""Values that are handed on before they are written to, and small algorithms that write to their own. See `meaning_corpus`.

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
C = {}


class Node:
    def __init__(self, v):
        self.v = v
        self.kids = []

    def add(self, k):
        self.kids.append(k)
        return self

    def walk(self):
        yield self
        for k in self.kids:
            yield from k.walk()


@T
def b69(n):
    root = Node(0)
    for i in range(n):
        root.add(Node(i))
    for k in root.walk():
        k.v += 1
    return sum(k.v for k in root.walk())


@S
def b70(root):
    for k in root.kids:
        k.v += 1


TREE = Node(0)


@S
def b71(x):
    for k in TREE.walk():
        k.v += 1


@S
def b72(x):
    TREE.add(x)


@T
def b73(x):
    return [k.v for k in TREE.walk()]


class Color(enum.Enum):
    A = 1
    B = 2


@T
def b74(x):
    return Color.A if x else Color(2)


@dataclasses.dataclass(frozen=True)
class P:
    x: int = 0
    y: int = 0


@T
def b75(p):
    return dataclasses.replace(p, x=1)


@T
def b76(a, b):
    while b:
        a, b = b, a % b
    return a


@T
def b77(xs):
    best = None
    for x in xs:
        if best is None or x > best:
            best = x
    return best


@T
def b78(rows):
    out = {}
    for r in rows:
        k = r["k"]
        if k not in out:
            out[k] = {"n": 0, "xs": []}
        out[k]["n"] += 1
        out[k]["xs"].append(r["x"])
    return out


@T
def b79(text):
    stack = []
    for ch in text:
        if ch == "(":
            stack.append(ch)
        elif not stack or stack.pop() != "(":
            return False
    return not stack


@T
def b80(grid):
    new = [row[:] for row in grid]
    for i, row in enumerate(grid):
        for j, v in enumerate(row):
            new[i][j] = 1 - v
    return new


@T
def b81(n):
    a = np.zeros((n, n))
    v = a[0]
    v += 1
    a[1:, 0] = 3
    return a.sum()


@T
def b82(path):
    total = 0
    for root, dirs, files in os.walk(path):
        dirs.sort()
        total += len(files)
    return total


@T
def b83(xs):
    q = list(xs)
    heapq.heapify(q)
    out = []
    while q:
        out.append(heapq.heappop(q))
    return out


@T
def b84(n):
    memo = {}

    def f(k):
        if k in memo:
            return memo[k]
        memo[k] = k if k < 2 else f(k - 1) + f(k - 2)
        return memo[k]

    return f(n)


@T
def b85(data):
    d = json.loads(data)
    d.setdefault("a", []).append(1)
    d["b"]["c"] = 2
    return json.dumps(d)


@T
def b86(s):
    with concurrent.futures.ThreadPoolExecutor() as ex:
        return list(ex.map(len, s))


@T
def b87(url, params=None, headers=None):
    headers = dict(headers or {})
    headers["A"] = "b"
    params = params or {}
    return url, headers


@T
def b88(x):
    r = random.Random(x)
    r.seed(1)
    return r.random()


@T
def b89(x):
    return decimal.Decimal(x).quantize(decimal.Decimal("0.1"))


@T
def b90(d):
    return {**d, "now": datetime.datetime.now().isoformat()}


@T
def b91(m):
    for i in range(3):
        m = [[sum(a * b for a, b in zip(r, c)) for c in zip(*m)] for r in m]
    return m


@T
def b92(words):
    idx = collections.defaultdict(set)
    for i, w in enumerate(words):
        for c in w:
            idx[c].add(i)
    return {k: sorted(v) for k, v in idx.items()}


@T
def b93(x):
    result = x.get("n", 0)
    result += 1
    return result


@T
def b94(img):
    h, w = img.shape
    out = np.empty_like(img)
    for i in range(h):
        for j in range(w):
            out[i, j] = img[i, j] // 2
    return out


@T
def b95(p):
    lines = open(p).read().splitlines()
    lines.pop(0)
    random.shuffle(lines)
    return lines


@T
def b96(cfg):
    opts = {"a": 1}
    opts.update(cfg)
    opts["b"] = 2
    return opts


@T
def b97(n, acc=0):
    if n == 0:
        return acc
    return b97(n - 1, acc + n)


@T
def b98(s):
    m = re.match("a", s)
    g = m.groupdict()
    g["z"] = 1
    return g


@T
def b99(rows):
    rows = [dict(r) for r in rows]
    for r in rows:
        r["x"] = 1
    return rows


@T
def b100(rows):
    rows = sorted(rows)
    rows.reverse()
    rows[0] = 1
    return rows


@T
def b101(x):
    C.get(x)
    len(R)
    x in C
    return [y for y in R]


class Stat:
    def __init__(self, v):
        self.v = list(v)
        self.norm()

    def norm(self):
        m = max(self.v)
        self.v = [x / m for x in self.v]

    def result(self):
        return self.v


@T
def b102(v):
    return Stat(v).result()


@T
def b103(t):
    p = string.Template("$a")
    return p.substitute(a=t)


@T
def b104(ids):
    res = []
    for i in ids:
        rec = {"id": i}
        rec.update(n=1)
        res.append(rec)
    for rec in res:
        rec["m"] = 2
    res.sort(key=lambda r: r["id"])
    return res
