"""What `pointsman` is inside a worker interpreter, which cannot load the package's native half: plain loops.

A function that runs there may use `execute`, `map`, `run` and `submit` as anywhere; its calls run one after the other
on its own thread, as a worker has no cores to spare. What needs more is refused with the reason.

Does not know pools or workers.
"""

from __future__ import annotations

import concurrent.futures

from pointsman._errors import InvalidArgumentError
from pointsman._naming import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, NoReturn

# Options that only say how fast the results come, or how many at a time.
_HINTS = frozenset(
    {
        "max_workers", "chunksize", "buffersize", "sample_size", "target_chunk_duration", "verbose", "profile",
        "prefer_threads_for_io", "auto_adjust_for_nested_parallelism", "progress",
    }
)  # fmt: skip
_PLAIN = ("auto", "inline", "interpreters")
_OFFERED = ("execute", "map", "run", "submit")

# Set in worker interpreters.
installed = False
_runner: Any = None


def install() -> None:
    """Make the package's public calls those of this module, in this interpreter."""
    global installed  # noqa: PLW0603 - once per interpreter
    import pointsman

    installed = True
    errors = {name: home for name, home in pointsman._HOME.items() if home == "_errors"}  # noqa: SLF001 - ours
    pointsman._HOME.update({name: "_within" for name in pointsman.__all__ if name not in errors})  # noqa: SLF001 - ours


def __getattr__(name: str) -> Any:
    import pointsman

    if name in pointsman.__all__:
        _refuse(f"pointsman.{name}")
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def _refuse(what: str) -> NoReturn:
    message = (
        f"{what} cannot be used in a worker interpreter, where only {', '.join(_OFFERED)} can, as plain loops; "
        f"use backend='processes' for functions that need it"
    )
    raise InvalidArgumentError(message)


def _check(backend: str, on_error: str, options: dict[str, Any]) -> bool:
    if backend not in _PLAIN:
        _refuse(f"backend={backend!r}")
    for name, value in options.items():
        if name not in _HINTS and value not in (None, 0, False, ()):
            _refuse(f"{name}=")
    if on_error not in ("raise", "return"):
        message = f"on_error must be 'raise' or 'return', not {on_error!r}"
        raise InvalidArgumentError(message)
    return on_error == "return"


def run(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call `fn` and return its value; a coroutine is run to its end."""
    value = fn(*args, **kwargs)
    if type(value).__name__ == "coroutine":
        return to_its_end(value)
    return value


def to_its_end(coroutine: Any) -> Any:
    """Run a coroutine on the loop of this interpreter, which lasts from call to call."""
    global _runner  # noqa: PLW0603 - one loop for the one thread that makes calls
    import asyncio

    if _runner is None:
        import atexit

        _runner = asyncio.Runner()
        atexit.register(_runner.close)
    return _runner.run(coroutine)


def submit(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
    """Make the call and return its future, which is done."""
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    try:
        future.set_result(run(fn, *args, **kwargs))
    except Exception as error:  # noqa: BLE001 - it belongs to the caller
        future.set_exception(error)
    return future


def map(  # noqa: A001 - the standard name
    fn: Callable[..., Any],
    /,
    *iterables: Iterable[Any],
    backend: str = "auto",
    on_error: str = "raise",
    **options: Any,
) -> Iterator[Any]:
    """Yield the results of `fn` over the inputs, in order, lazily."""
    return _each(fn, zip(*iterables, strict=False), keep_going=_check(backend, on_error, options))


def execute(
    func: Callable[[Any], Any], data: Iterable[Any], *, backend: str = "auto", on_error: str = "raise", **options: Any
) -> list[Any]:
    """Return the list of `func(item)` for every item of `data`."""
    return list(_each(func, zip(data, strict=False), keep_going=_check(backend, on_error, options)))


def _each(fn: Callable[..., Any], inputs: Iterable[tuple[Any, ...]], *, keep_going: bool) -> Iterator[Any]:
    for args in inputs:
        try:
            value = run(fn, *args)
        except StopIteration as error:
            message = f"{name_of(fn)} raised StopIteration"
            raise RuntimeError(message) from error
        except Exception as error:
            if not keep_going:
                raise
            value = error
        yield value
