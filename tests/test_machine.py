"""Cores and memory are what containers leave; measured constants survive, and damage to them does not spread.

What it does not know: the machine that it runs on. The kernel's files are made up in a folder.

Invariants:
    T1. No test writes to the cache of the user: each has its own folder.
"""

import json
import logging
import os
import subprocess
import sys
import time
from unittest import mock

import pytest

from pointsman import _machine
from pointsman._machine import facts

MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"
TOTAL, AVAILABLE = 16_000_000 * 1024, 8_000_000 * 1024


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(_machine, "_affinity", lambda: 8)


@pytest.fixture
def host(tmp_path):
    """Make up the files of a kernel; returns a function that reads the facts of them."""

    def make(groups, files, mounts=""):
        for name, text in {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": groups,
            "proc/self/mountinfo": mounts,
            **{f"cgroup/{name}": text for name, text in files.items()},
        }.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return facts(str(tmp_path / "proc"), str(tmp_path / "cgroup"))

    return make


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("POINTSMAN_CACHE_DIR", str(folder))
    monkeypatch.setattr(_machine, "_stores", {})
    return folder / f"machine-{_machine.fingerprint()}.json"


def forget(monkeypatch):
    """As in the next program."""
    monkeypatch.setattr(_machine, "_stores", {})


# Cores.


def test_without_a_quota_all_cores_of_the_affinity_are_usable(host):
    found = host("0::/\n", {})

    assert (found.cores, found.affinity, found.quota) == (8.0, 8, None)


def test_a_quota_of_the_own_group_limits_the_cores(host):
    found = host("0::/a/b\n", {"a/b/cpu.max": "150000 100000\n"})

    assert (found.cores, found.quota) == (1.5, 1.5)


@pytest.mark.parametrize("folder", ["", "a/", "a/b/"])
def test_the_smallest_quota_of_own_group_and_ancestors_wins(host, folder):
    files = {"cpu.max": "max 100000\n", "a/cpu.max": "700000 100000\n", "a/b/cpu.max": "600000 100000\n"}
    found = host("0::/a/b\n", {**files, f"{folder}cpu.max": "200000 100000\n"})

    assert found.cores == 2.0


def test_a_quota_of_a_neighbouring_group_does_not_count(host):
    assert host("0::/a\n", {"b/cpu.max": "100000 100000\n"}).cores == 8.0


def test_a_quota_above_the_affinity_does_not_add_cores(host):
    assert host("0::/\n", {"cpu.max": "6400000 100000"}).cores == 8.0


def test_a_quota_below_one_core_is_kept_as_a_fraction(host):
    assert host("0::/\n", {"cpu.max": "25000 100000"}).cores == 0.25


@pytest.mark.parametrize("text", ["", "\n", "max", "max 100000", "nonsense", "-5 100000", "100 0", "1e5 100000", "٣ 1"])
def test_an_empty_or_malformed_quota_is_no_quota(host, text):
    assert host("0::/a\n", {"a/cpu.max": text}).quota is None


def test_a_quota_without_a_period_uses_the_usual_period(host):
    assert host("0::/\n", {"cpu.max": "300000"}).cores == 3.0


def test_the_old_hierarchies_are_read(host):
    files = {"cpu/a/cpu.cfs_quota_us": "400000\n", "cpu/a/cpu.cfs_period_us": "200000\n", "cpu/cpu.cfs_quota_us": "-1"}
    found = host("4:memory:/m\n2:cpu,cpuacct:/a\n1:name=systemd:/x\n0::/x\n", files)

    assert found.cores == 2.0


def test_a_container_that_sees_its_own_group_at_the_top_is_read(host):
    # The list of mounts says that the top of what is mounted is the container's group, deep in the host's tree.
    mounts = "33 31 0:30 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "300000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}
    files |= {"cpu,cpuacct/in/cpu.cfs_quota_us": "200000", "cpu,cpuacct/in/cpu.cfs_period_us": "100000"}

    assert host("2:cpu,cpuacct:/docker/abc/in\n", files, mounts).cores == 2.0


def test_a_hybrid_host_is_read_through_both_hierarchies(host):
    mounts = "1 0 0:1 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    mounts += "2 0 0:2 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    files = {"unified/u/cpu.max": "300000 100000", "memory/m/memory.limit_in_bytes": str(1 << 30)}
    found = host("4:memory:/m\n0::/u\n", files, mounts)

    assert (found.cores, found.memory_limit) == (3.0, 1 << 30)


def test_a_group_outside_the_namespace_is_read_at_the_top(host):
    assert host("0::/../../other\n", {"cpu.max": "200000 100000"}).cores == 2.0


@pytest.mark.parametrize("groups", ["", "garbage", "0:", "::\n", "0::relative"])
def test_an_odd_list_of_groups_is_no_error(host, groups):
    assert host(groups, {}).cores == 8.0


# Memory.


def test_without_a_limit_memory_is_that_of_the_machine(host):
    found = host("0::/\n", {"memory.max": "max\n"})

    assert (found.memory_limit, found.memory_available) == (TOTAL, AVAILABLE)


def test_the_smallest_memory_limit_of_own_group_and_ancestors_wins(host):
    found = host("0::/a/b\n", {"a/memory.max": str(2 << 30), "a/b/memory.max": str(3 << 30)})

    assert found.memory_limit == 2 << 30


def test_available_memory_counts_the_files_that_can_be_given_back(host):
    files = {"memory.max": "1000000", "memory.current": "900000", "memory.stat": "anon 1\ninactive_file 400000\n"}

    assert host("0::/\n", files).memory_available == 500_000


def test_a_group_over_its_limit_has_nothing_available(host):
    assert host("0::/\n", {"memory.max": "1000", "memory.current": "2000"}).memory_available == 0


def test_the_largest_number_of_the_old_hierarchy_is_no_limit(host):
    found = host("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712"})

    assert found.memory_limit == TOTAL


def test_a_limit_above_the_memory_of_the_machine_is_cut_to_it(host):
    assert host("0::/\n", {"memory.max": str(TOTAL * 2)}).memory_limit == TOTAL


# Other facts.


def test_facts_are_repeated_within_a_second_and_read_again_after(monkeypatch):
    now = [time.monotonic() + 10]
    monkeypatch.setattr(_machine.time, "monotonic", lambda: now[0])
    first = facts()
    monkeypatch.setattr(_machine, "_affinity", lambda: 3)

    assert facts() is first
    now[0] += 1.5
    assert facts().affinity == 3


def test_the_fingerprint_is_a_file_name_and_does_not_change():
    assert _machine.fingerprint() == facts().fingerprint
    assert "/" not in _machine.fingerprint()
    assert sys.implementation.name in facts().python


def test_the_gil_is_what_the_interpreter_says():
    assert facts().gil is getattr(sys, "_is_gil_enabled", lambda: True)()


# Constants.


def test_a_recorded_constant_is_known_to_the_next_program(cache, monkeypatch):
    _machine.record("thread_start", 2e-5)
    _machine.flush()
    forget(monkeypatch)

    known = _machine.constants()["thread_start"]
    assert known.value == 2e-5
    assert known.provenance == "measured"
    assert abs(known.measured_at - time.time()) < 60


def test_a_measurement_moves_a_constant_by_a_fifth(cache):
    _machine.record("process_next", 1.0)
    _machine.record("process_next", 2.0)

    assert _machine.constants()["process_next"].value == pytest.approx(1.2)


def test_measurements_of_two_processes_are_merged(cache, monkeypatch):
    _machine.record("process_next", 1.0)
    _machine.flush()
    forget(monkeypatch)
    mine = _machine.constants()["process_next"].value
    # Meanwhile another process has written.
    data = json.loads(cache.read_text())
    data["constants"]["process_next"]["value"] = 10.0
    data["constants"]["thread_start"] = {"value": 3.0, "measured_at": 1.0, "provenance": "measured"}
    cache.write_text(json.dumps(data))

    _machine.record("process_next", 5.0)
    _machine.flush()

    assert mine == 1.0
    assert _machine.constants()["process_next"].value == pytest.approx(9.0)
    assert _machine.constants()["thread_start"].value == 3.0


def test_a_measurement_touches_no_file(cache):
    for _ in range(10):
        _machine.record("thread_dispatch", 1e-5)

    assert not cache.parent.exists()


def test_flushing_without_a_measurement_writes_nothing(cache):
    _machine.constants()
    _machine.flush()

    assert not cache.exists()


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e300])
def test_a_figure_that_cannot_be_right_is_dropped(cache, value):
    _machine.record("thread_start", value)

    assert dict(_machine.constants()) == {}


def test_an_unknown_name_is_an_error_that_lists_the_known_ones(cache):
    with pytest.raises(ValueError, match="thread_start"):
        _machine.record("tread_start", 1.0)


GOOD = {"value": 1.0, "measured_at": 1.0, "provenance": "measured"}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "null",
        "\x00\x01",
        '{"version": 1}',
        '{"version": 1, "constants": []}',
        '{"version": 1, "constants": {"thread_start": 3}}',
        '{"version": 1, "constants": {"thread_start": {"value": 1}}}',
        '{"version": 1, "constants": {"thread_start": {"value": "x", "measured_at": 1, "provenance": "measured"}}}',
        '{"version": 1, "constants": {"thread_start": {"value": NaN, "measured_at": 1, "provenance": "measured"}}}',
        "[" * 20_000,
    ],
)
def test_a_damaged_cache_is_ignored_with_a_warning_and_replaced(cache, text, caplog, monkeypatch):
    cache.parent.mkdir()
    cache.write_text(text)

    with caplog.at_level(logging.WARNING, "pointsman"):
        assert "thread_start" not in _machine.constants()
    assert "damaged" in caplog.text
    _machine.record("thread_start", 1.0)
    _machine.flush()
    forget(monkeypatch)
    assert _machine.constants()["thread_start"].value == 1.0


def test_one_damaged_constant_does_not_cost_the_others(cache):
    cache.parent.mkdir()
    bad = {**GOOD, "value": -1}
    cache.write_text(json.dumps({"version": 1, "constants": {"thread_start": bad, "process_first": GOOD}}))

    assert list(_machine.constants()) == ["process_first"]


def test_a_cache_of_another_version_is_left_out(cache):
    cache.parent.mkdir()
    cache.write_text(json.dumps({"version": 2, "constants": {"thread_start": GOOD}}))

    assert dict(_machine.constants()) == {}


def test_a_cache_folder_that_cannot_be_made_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("POINTSMAN_CACHE_DIR", str(tmp_path / "file" / "cache"))
    forget(monkeypatch)

    _machine.record("thread_start", 1.0)
    _machine.flush()

    assert _machine.constants()["thread_start"].value == 1.0


def test_the_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("POINTSMAN_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    forget(monkeypatch)
    _machine.record("thread_start", 1.0)
    _machine.flush()

    assert [entry.name for entry in (tmp_path / "pointsman").iterdir()] == [f"machine-{_machine.fingerprint()}.json"]


def test_many_processes_that_write_at_once_leave_one_whole_file(cache):
    script = "from pointsman import _machine\n"
    script += "for n in range(100):\n    _machine.record('process_first', 1.0 + n / 100)\n    _machine.flush()\n"
    script += "    assert 'process_first' in _machine.constants()\n"
    workers = [subprocess.Popen([sys.executable, "-W", "error", "-c", script], env=os.environ) for _ in range(4)]

    assert [worker.wait() for worker in workers] == [0, 0, 0, 0]
    assert [entry.name for entry in cache.parent.iterdir()] == [cache.name]
    assert 1.0 <= json.loads(cache.read_text())["constants"]["process_first"]["value"] <= 2.0


def test_measuring_loads_json_only_when_a_file_is_read_or_written(tmp_path):
    script = "import sys\nfrom pointsman import _machine\n_machine.facts()\n_machine.constants()\n"
    script += "_machine.record('thread_start', 1.0)\nprint('json' in sys.modules)"
    environment = {**os.environ, "POINTSMAN_CACHE_DIR": str(tmp_path)}

    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_what_a_program_puts_in_the_place_of_open_is_not_asked(host, monkeypatch):
    monkeypatch.setattr("builtins.open", mock.mock_open(read_data="nothing of this machine"))

    assert host("", {}).memory_limit == TOTAL
