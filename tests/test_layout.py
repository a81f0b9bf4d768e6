"""The table of modules that CONTRIBUTING.md has names each, and each once."""

import collections
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "pointsman"


@pytest.mark.skipif(not PACKAGE.is_dir(), reason="the tests run beside the sources only")
def test_every_module_has_its_place_in_the_table_of_contributing():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("### The Python package", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")][1:]
    named = collections.Counter(name for row in rows for name in re.findall(r"`(\w+)`", row))
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}

    assert named == collections.Counter(there - {"__init__"})
