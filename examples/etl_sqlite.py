"""Read orders from one sqlite database after another, total them, and load the totals into a third table."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from _timing import compare, size


def totals(path: Path) -> list[tuple[str, float]]:
    """Total of each customer in one database."""
    # A connection of its own: one that is captured could not travel, and must not be shared by threads.
    with closing(sqlite3.connect(path)) as source:
        return source.execute(
            "SELECT customer, sum(price * pieces) FROM orders GROUP BY customer ORDER BY customer"
        ).fetchall()


with tempfile.TemporaryDirectory() as folder:
    paths = [Path(folder, f"shop-{number}.db") for number in range(size(20))]
    for number, path in enumerate(paths):
        with closing(sqlite3.connect(path)) as shop:
            shop.execute("CREATE TABLE orders (customer TEXT, price REAL, pieces INTEGER)")
            rows = ((f"customer-{i % 97}", 0.5 + i % 13, 1 + (i + number) % 5) for i in range(10_000))
            shop.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
            shop.commit()
    extracted = compare(totals, paths)

with closing(sqlite3.connect(":memory:")) as warehouse:
    warehouse.execute("CREATE TABLE totals (customer TEXT, total REAL)")
    warehouse.executemany("INSERT INTO totals VALUES (?, ?)", [row for rows in extracted for row in rows])
    customers, total = warehouse.execute("SELECT count(DISTINCT customer), sum(total) FROM totals").fetchone()
print(f"{customers} customers, {total:,.2f} in all")
