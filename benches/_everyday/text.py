"""Work on text: in C, with the GIL held."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

_RECORDS = [{"id": i, "name": f"name {i}", "tags": ["a", "b", "c"], "value": i / 7} for i in range(1500)]
_WORDS = "one two three four five six seven eight nine ten " * 500
_PATTERN = re.compile(r"(\w+) (\w+)e\b")


def as_json(x: int) -> int:
    """Write, read and write again."""
    return len(json.dumps([*json.loads(json.dumps(_RECORDS)), x]))


def find(x: int) -> int:
    """Search with a regular expression."""
    return len(_PATTERN.findall(_WORDS)) + x


def parse(path: str) -> int:
    """Count the nodes of a source file."""
    return sum(1 for _ in ast.walk(ast.parse(Path(path).read_bytes())))
