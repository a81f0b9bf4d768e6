"""Makes tests of the Python examples in README.md and docs/: each page is one program."""

from typing import Any

from sybil import Sybil
from sybil.parsers.markdown import ClearNamespaceParser, PythonCodeBlockParser, SkipParser


def _as_a_script(namespace: dict[str, Any]) -> None:
    # A reader pastes an example into a script or a notebook, so its functions belong to `__main__`.
    namespace["__name__"] = "__main__"


pytest_collect_file = Sybil(
    parsers=[ClearNamespaceParser(), SkipParser(), PythonCodeBlockParser()],
    patterns=["README.md", "docs/*.md"],
    setup=_as_a_script,
).pytest()
