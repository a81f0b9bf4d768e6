"""One job: a function, its inputs, and what the caller asked for. Checked here, at the call that made it.

Does not know plans or backends as code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pointsman import _terms
from pointsman._errors import InvalidArgumentError, InvalidTypeError
from pointsman._source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BACKENDS = ("auto", "inline", "threads", "processes")
# Engines that an optional package brings.
CLUSTERS = ("dask",)

# Seconds of work in one chunk at most, unless the caller says otherwise: long enough that handing it out costs nothing,
# short enough that a busy worker does not hold the end up. The seed's default.
TARGET_CHUNK_SECONDS = 0.2


class Job:
    """What is to be done, checked.

    Raises
    ------
    InvalidTypeError, InvalidArgumentError
        At once, naming the argument, for anything that cannot work.

    """

    __slots__ = (
        "address",
        "asked",
        "backend",
        "buffersize",
        "chunksize",
        "function",
        "kept",
        "lazy",
        "max_workers",
        "name",
        "on_error",
        "sample_size",
        "source",
        "target",
        "terms",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        iterables: tuple[Iterable[Any], ...],
        *,
        backend: str = "auto",
        max_workers: int | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        on_error: str = "raise",
        sample_size: int | None = None,
        target_chunk_duration: float | None = None,
        lazy: bool = False,
        terms: _terms.Terms = _terms.NONE,
        address: str | None = None,
    ) -> None:
        # What the user gave, and what is called in its place.
        self.asked = check_callable(function)
        self.function = terms.wrap(function)
        self.name = name_of(function)
        self.backend = check_backend(backend)
        self.address = check_address(self.backend, address)
        self.terms = terms
        terms.check(self.backend)
        self.max_workers = check_count("max_workers", max_workers)
        self.chunksize = check_count("chunksize", chunksize)
        self.buffersize = check_count("buffersize", buffersize)
        self.sample_size = check_count("sample_size", sample_size)
        if on_error not in ("raise", "return"):
            message = f"on_error must be 'raise' or 'return', not {on_error!r}"
            raise InvalidArgumentError(message)
        self.on_error = on_error
        if target_chunk_duration is not None and not isinstance(target_chunk_duration, int | float):
            message = f"target_chunk_duration must be a number of seconds, not {target_chunk_duration!r}"
            raise InvalidTypeError(message)
        if target_chunk_duration is not None and not target_chunk_duration > 0:
            message = f"target_chunk_duration must be a positive number of seconds, not {target_chunk_duration!r}"
            raise InvalidArgumentError(message)
        self.target = target_chunk_duration or TARGET_CHUNK_SECONDS
        self.lazy = lazy
        if not iterables:
            message = "at least one iterable of inputs is needed"
            raise InvalidTypeError(message)
        for position, data in enumerate(iterables):
            check_iterable(data, position if len(iterables) > 1 else None)
        self.source = Source(iterables)

    @property
    def keep_going(self) -> bool:
        """Whether an exception of a call is a result like any other."""
        return self.on_error == "return"


def name_of(function: object) -> str:
    """The name that messages use for a function."""
    name = getattr(function, "__qualname__", None)
    if isinstance(name, str):
        return name
    inner = getattr(function, "func", None)
    return f"partial({name_of(inner)})" if inner is not None else type(function).__qualname__


def check_callable(function: Any) -> Any:
    """Return the function, if it is one that can be run here."""
    if not callable(function):
        message = (
            f"the function must be callable, but {function!r} is a {type(function).__qualname__}; "
            f"pass the function itself, without calling it"
        )
        raise InvalidTypeError(message)
    code = getattr(function, "__code__", None)
    # CO_COROUTINE | CO_ASYNC_GENERATOR | CO_ITERABLE_COROUTINE; inspect is dear to import.
    if code is not None and code.co_flags & 0x380:
        message = (
            f"{name_of(function)} is an async function, which no backend here can await; "
            f"wrap it in a plain one: lambda *args: asyncio.run({name_of(function)}(*args))"
        )
        raise InvalidTypeError(message)
    return function


def check_iterable(data: Any, position: int | None) -> None:
    """Raise if the inputs cannot be iterated."""
    if hasattr(data, "__iter__") or hasattr(data, "__getitem__"):
        return
    which = "data" if position is None else f"iterable {position}"
    message = (
        f"{which} must be an iterable of inputs, but {data!r} is a {type(data).__qualname__}; "
        f"for a single call use run() or submit()"
    )
    raise InvalidTypeError(message)


def check_count(name: str, value: Any) -> int | None:
    """Return a positive whole number, or None."""
    if value is None:
        return None
    try:
        count = value.__index__()
    except AttributeError:
        message = f"{name} must be a whole number, not {value!r}"
        raise InvalidTypeError(message) from None
    if count < 1:
        message = f"{name} must be at least 1, not {value!r}"
        raise InvalidArgumentError(message)
    return int(count)


def check_backend(backend: Any) -> str:
    """Return the name of a known backend."""
    if backend in BACKENDS or backend in CLUSTERS:
        return str(backend)
    message = f"backend must be one of {', '.join(map(repr, (*BACKENDS, *CLUSTERS)))}, not {backend!r}"
    raise InvalidArgumentError(message)


def check_address(backend: str, address: Any) -> str | None:
    """Return the address of a cluster, if the backend is one."""
    if address is None:
        return None
    if backend not in CLUSTERS:
        message = f"address= is of a cluster: add backend='dask', or leave it out for {backend!r}"
        raise InvalidArgumentError(message)
    if not isinstance(address, str):
        message = f"address must be a string like 'tcp://host:8786', not {address!r}"
        raise InvalidTypeError(message)
    return address
