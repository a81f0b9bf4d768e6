"""Runs the benches, keeps their figures, and writes the benchmark page, its charts, and the table of the README.

Run it alone on the machine; it takes about half an hour on two cores:

    python benches/report.py [--only BENCH ...] [--quick] [--draw]

`--quick` is for trying it out: a few short measurements, kept with copies of the pages in target/report. `--draw`
measures nothing and writes the pages again from the figures that are kept in docs/benchmarks.

What it does not know: what a bench measures, and what its figures look like (`_pages`).

Invariants:
    R1. A bench that fails, hangs or writes nothing stops no other; its section keeps the figures of its last good run.
    R2. Nothing between the markers of a page is written by hand, and nothing outside them by this program.
    R3. Every table says with which command, when, on what machine and beside how much other load it was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _pages
import _pictures
import _table

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
# Whose versions stand beside the figures.
_VERSIONS = (
    "pointsman", "joblib", "loky", "mpire", "numpy", "scikit-learn", "anyio", "asgiref", "starlette", "uvicorn",
)  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """A script of this folder, its arguments, the seconds that it may take, and what makes a section of its figures."""

    name: str
    arguments: tuple[str, ...]
    quick: tuple[str, ...]
    limit: float
    section: Callable[[dict[str, Any]], _pages.Section]

    def command(self, *, quick: bool) -> list[str]:
        """Give what somebody would type at the root of the repository."""
        return ["python", f"benches/{self.name}.py", *(self.quick if quick else self.arguments)]


_ONE = ("--rounds", "1")
BENCHES = [
    Bench("decision", ("--rounds", "3", "--peers"), (*_ONE, "--peers", "--only", "sleep"), 3600, _pages.decision),
    Bench(
        "dispatch", ("--rounds", "3", "--quick"), (*_ONE, "--quick", "--only", "threads: one"), 3600, _pages.dispatch
    ),
    Bench("bridge", ("--rounds", "15"), _ONE, 900, _pages.bridge),
    Bench("joblib_peers", ("5",), ("1",), 900, _pages.joblib_peers),
    Bench("web_app", ("--seconds", "5"), ("--seconds", "1"), 300, _pages.web_app),
    Bench("stealing", ("--rounds", "7"), _ONE, 300, _pages.stealing),
    Bench("pictures", ("--rounds", "5"), (*_ONE, "--short"), 600, _pictures.section),
]


# ----------------------------------------------------------------------------------- measuring


def other_load(seconds: float = 1.0) -> float | None:
    """Cores that other programs kept busy during `seconds`; None where the system does not say."""

    def busy() -> float:
        figures = [int(word) for word in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]]
        # user, nice, system, idle, iowait, irq, softirq, steal
        return (sum(figures[:8]) - figures[3] - figures[4]) / os.sysconf("SC_CLK_TCK")

    try:
        before = busy()
        time.sleep(seconds)
        return round((busy() - before) / seconds, 2)
    except (OSError, ValueError, IndexError):
        return None


def measure(bench: Bench, folder: Path, *, quick: bool) -> str | None:
    """Run one bench and keep its figures; what went wrong, if anything did."""
    command = bench.command(quick=quick)
    print(f"\n===== {' '.join(command)}\n", flush=True)
    load = other_load()
    facts = {**_table.machine(), "versions": {name: v for name in _VERSIONS if (v := _table.version(name))}}
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        found = Path(place, "figures.json")
        code = _run([sys.executable, *command[1:], "--json", str(found)], bench.limit)
        if not found.exists():
            how = f"took longer than {bench.limit:.0f} s" if code is None else f"ended with exit code {code}"
            return f"{bench.name} {how} and wrote no figures"
        figures = json.loads(found.read_text(encoding="utf-8"))
    kept = {
        "command": " ".join(command),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": facts,
        "other_load": load,
        "took": round(time.perf_counter() - begun),
        "exit_code": code,
        "figures": _slim(figures),
    }
    # A section that cannot be made of the figures must not take the place of one that can.
    bench.section(kept["figures"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{bench.name}.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if code:
        return f"{bench.name} ended with exit code {code}: a goal was missed or a measurement failed; see above"
    return None


def _run(command: list[str], limit: float) -> int | None:
    """Run a bench in a process group of its own; its exit code, or None if it had to be ended."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(command, cwd=ROOT, env=environ, start_new_session=True) as child:  # noqa: S603 - our own
        try:
            return child.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)


def _slim(figures: Any) -> Any:
    """Leave out what no page shows and what takes nine tenths of the file: the candidates of every plan."""
    if isinstance(figures, dict):
        return {name: _slim(value) for name, value in figures.items() if name != "candidates"}
    return [_slim(value) for value in figures] if isinstance(figures, list) else figures


# ----------------------------------------------------------------------------------- writing


def measured(kept: dict[str, Any]) -> str:
    """Say how figures came to be."""
    machine = kept["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    load = "unknown" if kept["other_load"] is None else f"{kept['other_load']:.2f} cores"
    return (
        f"*Measured {kept['date']} by `{kept['command']}` in {_minutes(kept['took'])}, on {machine['cores']} cores "
        f"({machine['processor']}, {machine['system']}), CPython {machine['python']}; {versions}. Other programs kept "
        f"{load} busy in the second before.*"
    )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


def replace(text: str, name: str, new: str) -> str:
    """Put `new` between the markers of that name; text without such markers is left as it is."""
    begin, end = f"<!-- figures: {name} -->", f"<!-- end of figures: {name} -->"
    pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    return pattern.sub(lambda _match: f"{begin}\n\n{new}\n\n{end}", text)


def write(folder: Path, pages: list[Path]) -> list[str]:
    """Write charts and pages from the figures that are kept; what went wrong."""
    problems = []
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    for bench in BENCHES:
        path = folder / f"{bench.name}.json"
        if not path.exists():
            continue
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            section = bench.section(kept["figures"])
            for name, drawing in section.drawings.items():
                drawing.write(folder / f"{name}.svg")
            note = measured(kept)
        except Exception:  # noqa: BLE001 - the other sections are written all the same
            problems.append(f"{bench.name}: its figures could not be drawn\n{traceback.format_exc()}")
            continue
        for page in pages:
            texts[page] = replace(texts[page], bench.name, f"{section.text}\n\n{note}")
            texts[page] = replace(texts[page], f"{bench.name}, short", f"{section.short}\n\n{note}")
            for name, part in section.parts.items():
                texts[page] = replace(texts[page], f"{bench.name}, {name}", part)
    for page, text in texts.items():
        if text != page.read_text(encoding="utf-8"):
            page.write_text(text, encoding="utf-8")
            print(f"wrote {page.relative_to(ROOT) if page.is_relative_to(ROOT) else page}")
    return problems


def main() -> int:
    """Run what was asked for; 1 if something failed, else 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    names = [bench.name for bench in BENCHES]
    parser.add_argument("--only", action="append", default=[], choices=names, help="this bench (may be repeated)")
    parser.add_argument("--quick", action="store_true", help="a few short measurements, to try it out")
    parser.add_argument("--draw", action="store_true", help="measure nothing: write the pages from the kept figures")
    parser.add_argument("--folder", type=Path, help="keep the figures there, beside copies of the pages")
    options = parser.parse_args()
    own = ROOT / "docs" / "benchmarks"
    folder: Path = options.folder or (ROOT / "target" / "report" / "benchmarks" if options.quick else own)
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    problems = []
    _table.print_machine()
    for bench in BENCHES:
        if options.draw or (options.only and bench.name not in options.only):
            continue
        try:
            problem = measure(bench, folder, quick=options.quick)
        except Exception:  # noqa: BLE001 - the other benches run all the same
            problem = f"{bench.name} failed\n{traceback.format_exc()}"
        if problem:
            problems.append(problem)
            print(f"! {problem}", flush=True)
    if folder != own:
        folder.mkdir(parents=True, exist_ok=True)
        pages = [Path(shutil.copy(page, folder.parent)) for page in pages]
    problems += write(folder, pages)
    done = "the pages are written" if options.draw else "every bench ran; what missed its goal is marked above"
    print("\n" + ("\n".join(f"! {problem}" for problem in problems) or done))
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
