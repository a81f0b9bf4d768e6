"""Count the statuses in the log files of a web server."""

import collections
import re
import tempfile
from pathlib import Path

from _timing import compare, size

LINE = re.compile(r'^(\S+) \S+ \S+ \[([^\]]+)\] "(\w+) (\S+)[^"]*" (\d{3}) (\d+)')


def statuses(path: Path) -> dict[str, int]:
    """How often each status stands in a file."""
    counts: collections.Counter[str] = collections.Counter()
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            found = LINE.match(line)
            if found is not None:
                counts[found.group(5)] += 1
    return dict(counts)


with tempfile.TemporaryDirectory() as folder:
    paths = [Path(folder, f"access-{number}.log") for number in range(size(40))]
    for number, path in enumerate(paths):
        line = '10.0.0.{0} - - [21/Nov/2026:10:00:00 +0000] "GET /page/{0} HTTP/1.1" {1} 512\n'
        path.write_text("".join(line.format(i % 250, (200, 200, 404, 500)[(i + number) % 4]) for i in range(5000)))
    total = sum((collections.Counter(one) for one in compare(statuses, paths)), collections.Counter())
print(dict(sorted(total.items())))
