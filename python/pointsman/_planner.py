"""Asks the native planner, and turns its decision into a plan.

Does not know that backends exist as code: it returns a name and figures.
"""

from __future__ import annotations

from pointsman import _edition, _machine, _native
from pointsman._plan import _CANDIDATE, _OBSERVED, Candidate, Observation, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pointsman.backends._cluster import Facts

_CONSTANTS = (
    "thread_start",
    "thread_dispatch",
    "process_first",
    "process_next",
    "process_dispatch",
    "process_dispatch_alone",
    "interpreter_start",
    "bytes_per_second",
)


# Seconds that a worker takes to import a module, with another that is not seen to come with it. Measured on the machine
# of FEASIBILITY.md, bytecode and files in memory: 0.4 (asyncio, json) to 0.8 ms (numpy) for each of the two.
_IMPORT = 1e-3
# Seconds until the first worker runs if its zygote is up already: a fork and what comes after it. The first result of a
# second pool takes 3.8 to 4.9 ms (`benches/dispatch.py`).
_FORK = 4e-3


def machine(cluster: Facts | None = None, *, imports: int = 0, zygote_age: float | None = None) -> _native.Machine:
    """Describe the machine as the planner sees it: its facts now, and the constants measured here or built in.

    `cluster` is what is known of a cluster that may be chosen; a first worker process has `imports` modules to import,
    and what it is forked from has been starting for `zygote_age` seconds.
    """
    facts = _machine.facts()
    given: dict[str, Any] = dict(measured_constants())
    if imports or zygote_age:
        usual = given.get("process_first", (_native.Machine(cores=1.0).constants["process_first"][0],))[0]
        given["process_first"] = max(_FORK, usual + imports * _IMPORT - (zygote_age or 0.0))
    return _native.Machine(
        cores=facts.cores,
        memory=float(facts.memory_available),
        gil=facts.gil,
        interpreters=_edition.INTERPRETERS,
        cluster=None if cluster is None else cluster.told(),
        **given,
    )


def measured_constants() -> dict[str, tuple[float, float]]:
    """The constants that were measured on this machine: value and the time of measuring (Unix seconds)."""
    constants = _machine.constants()
    return {name: (constants[name].value, constants[name].measured_at) for name in _CONSTANTS if name in constants}


def decide(
    observation: _native.Observation,
    *,
    calls: int | None,
    max_workers: int | None = None,
    chunksize: int | None = None,
    threads_running: int = 0,
    processes_running: int = 0,
    interpreters_running: int = 0,
    caller_shares: bool = True,
    struck: Mapping[str, str] | None = None,
    backends: list[str] | None = None,
    target_chunk_seconds: float = 0.2,
    function: str = "",
    all_calls: int | None = None,
    cluster: Facts | None = None,
    imports: int = 0,
    zygote_age: float | None = None,
    carried: tuple[float, float] = (0.0, 0.0),
) -> Plan:
    """Price every candidate for the `calls` that are left and take the cheapest.

    `carried` are the bytes that the function has with it, and the seconds to pickle them.
    """
    decision = _native.decide(
        observation,
        machine(cluster, imports=imports, zygote_age=zygote_age),
        calls=calls,
        max_workers=max_workers,
        chunksize=chunksize,
        threads_running=threads_running,
        processes_running=processes_running,
        interpreters_running=interpreters_running,
        caller_shares=caller_shares,
        struck=dict(struck or {}),
        backends=backends,
        target_chunk_seconds=target_chunk_seconds,
        carried=carried,
    )
    chosen = decision.candidates[decision.chosen]
    return Plan(
        backend=chosen.backend,
        max_workers=chosen.workers,
        processes=chosen.processes,
        threads_per_worker=chosen.threads_per_worker,
        chunksize=chosen.chunksize,
        workload=decision.workload,
        estimated_speedup=decision.speedup,
        # Without a length the candidates were compared by an assumed one, which predicts nothing.
        estimated_seconds=decision.seconds if calls is not None else None,
        observation=observed(observation),
        candidates=tuple(_record(Candidate, candidate, _CANDIDATE) for candidate in decision.candidates),
        reasons=tuple(decision.reasons),
        warnings=tuple(decision.warnings),
        turning_points=tuple(decision.turning_points),
        function=function,
        calls=all_calls if all_calls is not None else calls,
        calls_left=calls,
        caller_shares=caller_shares and chosen.backend not in ("inline", "dask", "ray"),
    )


def observed(observation: _native.Observation) -> Observation:
    """Return the figures as a plan shows them."""
    return _record(Observation, observation, _OBSERVED)  # type: ignore[no-any-return]


def _record(kind: Any, native: Any, names: tuple[str, ...]) -> Any:
    return kind(**{name: getattr(native, name) for name in names})
