"""Work on an sqlite database, opened anew by each call."""

from __future__ import annotations

import sqlite3
from contextlib import closing


def scan(path: str, number: int) -> int:
    """Let sqlite search a table, without the GIL."""
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("select count(*) from t where b like ?", (f"%{number}%",)).fetchone()
    return int(count)


def fetch_rows(path: str, number: int) -> int:
    """Take many rows: the GIL is passed to and fro for each."""
    with closing(sqlite3.connect(path)) as connection:
        return sum(a for a, _ in connection.execute("select a, b from t where a % 3 = ?", (number % 3,)))


def statements(number: int) -> int:
    """Run many small statements on a database in memory: the GIL is passed to and fro for each."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table t (a integer primary key, b text)")
        for row in range(100):
            connection.execute("insert into t values (?, ?)", (row, f"{number} {row}"))
        return sum(len(connection.execute("select b from t where a = ?", (row,)).fetchone()[0]) for row in range(100))


def fill(path: str) -> None:
    """Write the table."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table t (a integer, b text)")
        rows = ((i, f"row {i * 7919 % 100_003}") for i in range(100_000))
        connection.executemany("insert into t values (?, ?)", rows)
