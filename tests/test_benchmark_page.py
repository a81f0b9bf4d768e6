"""The program that writes the benchmark page: what it replaces, and what a bench that fails does to the others.

What it does not know: the figures, which are for the benches alone to measure.
"""

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

BENCHES = Path(__file__).parents[1] / "benches"


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHES))
    import report

    yield report
    for name in ("report", "_pages", "_pictures", "_svg", "_table"):
        sys.modules.pop(name, None)


KEPT = {
    "command": "python benches/stealing.py",
    "date": "2026-01-01 00:00 UTC",
    "machine": {"cores": 2, "python": "3.11", "system": "Linux", "processor": "a | b", "versions": {"pointsman": "1"}},
    "other_load": 0.25,
    "took": 120,
    "figures": {"works": {"flat": {"one queue": 0.1, "stealing": 0.05}}},
}


def keep(folder, name="stealing", **changes):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({**KEPT, **changes}))


def page(path, name="stealing"):
    path.write_text(f"before\n<!-- figures: {name} -->\nold\n<!-- end of figures: {name} -->\nafter\n")
    return path


def test_a_page_gets_the_table_between_its_markers_and_how_it_was_measured(report, tmp_path):
    keep(tmp_path / "benchmarks")
    written = page(tmp_path / "page.md")

    assert report.write(tmp_path / "benchmarks", [written]) == []

    text = written.read_text()
    assert text.startswith("before\n<!-- figures")
    assert text.endswith("<!-- end of figures: stealing -->\nafter\n")
    assert "old" not in text
    assert "| flat | 100 ms | 50.0 ms | - |" in text
    assert "python benches/stealing.py" in text
    assert "2026-01-01" in text
    assert "0.25 cores busy" in text


def test_writing_twice_changes_nothing(report, tmp_path):
    keep(tmp_path / "benchmarks")
    written = page(tmp_path / "page.md")
    report.write(tmp_path / "benchmarks", [written])
    once = written.read_text()

    report.write(tmp_path / "benchmarks", [written])

    assert written.read_text() == once


def test_figures_that_cannot_be_drawn_leave_their_section_and_stop_no_other(report, tmp_path):
    keep(tmp_path / "benchmarks")
    keep(tmp_path / "benchmarks", "web_app", figures={"unknown": 1})
    good, bad = page(tmp_path / "good.md"), page(tmp_path / "bad.md", "web_app")

    (problem,) = report.write(tmp_path / "benchmarks", [good, bad])

    assert problem.startswith("web_app")
    assert "old" in bad.read_text()
    assert "| flat |" in good.read_text()


def test_a_bench_that_writes_no_figures_is_a_problem_and_keeps_those_before(report, tmp_path):
    keep(tmp_path, "stealing")
    before = (tmp_path / "stealing.json").read_text()
    missing = report.Bench("stealing", ("--no-such-option",), (), 60.0, report.BENCHES[0].section)

    problem = report.measure(missing, tmp_path, quick=False)

    assert "exit code 2" in problem
    assert (tmp_path / "stealing.json").read_text() == before


def test_every_marker_of_the_pages_is_one_that_is_written(report):
    import re

    known = {bench.name for bench in report.BENCHES} | {"decision, short"}
    known |= {f"pictures, {part}" for part in ("together", "time-lines", "memory", "future", "patterns")}
    root = BENCHES.parent
    found = set()
    for path in (root / "README.md", *(root / "docs").glob("*.md")):
        found |= set(re.findall(r"<!-- figures: (.*?) -->", path.read_text()))

    assert found <= known


def test_charts_are_well_formed_and_have_words_for_those_who_cannot_see_them(report):
    from _svg import bars, ratios

    charts = [
        bars("<Bars> & more", "under", {"work": {"ours": 1e-6, "theirs": 2e-3}}, ["ours"]),
        ratios("Ratios", "under", {"row": {"ours": 0.9, "theirs": 40.0, "loop": 1.0}}, ["ours", "theirs"], ["loop"]),
    ]
    for chart in charts:
        root = ET.fromstring(str(chart))  # noqa: S314 - our own

        names = [child.tag.rpartition("}")[2] for child in root]
        assert names[:3] == ["title", "desc", "style"]
