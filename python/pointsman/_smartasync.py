"""`@smartasync`: one function for plain code and for code in an event loop.

Where a call comes from is looked up at each call and kept nowhere. Does not know how loops turn (`_bridge`) or how
outcomes come back from threads (`_loopside`).
"""

from __future__ import annotations

import functools
import inspect
from types import FunctionType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from pointsman import _native
from pointsman._errors import InvalidTypeError
from pointsman._job import name_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine

    from pointsman._stream import Stream

P = ParamSpec("P")
T = TypeVar("T")


@overload
def smartasync(fn: Callable[P, AsyncGenerator[T, Any]], /) -> Callable[P, Stream[T]]: ...
@overload
def smartasync(fn: Callable[P, AsyncIterator[T]], /) -> Callable[P, Stream[T]]: ...
@overload
def smartasync(fn: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, T | Coroutine[Any, Any, T]]: ...
@overload
def smartasync(fn: Callable[P, T], /) -> Callable[P, T | Awaitable[T]]: ...
def smartasync(fn: Any, /) -> Any:
    """Make a function that plain code calls and code in a running event loop awaits.

    A function or method, plain or static or of the class, above or below those decorators.

    An `async def` runs to its end in plain code, on a loop that this thread keeps from call to call; in a running loop
    it returns its coroutine. A plain `def` is called directly in plain code; in a running loop it returns an awaitable
    and runs on a thread of pointsman, or in a worker process once its calls are known to hold the GIL for long and
    their meaning allows it. An asynchronous generator is an iterator in plain code.

    Raises
    ------
    InvalidTypeError
        If `fn` is no function, or a plain generator function, which has no form that can be awaited.

    """
    if isinstance(fn, staticmethod | classmethod):
        return type(fn)(smartasync(fn.__func__))
    if isinstance(fn, type) or not callable(fn):
        message = f"smartasync takes a function or a method, not {fn!r}; for a class, decorate its methods"
        raise InvalidTypeError(message)
    if inspect.isasyncgenfunction(fn):
        return _marked(_stream(fn), inspect.CO_ASYNC_GENERATOR)
    if inspect.iscoroutinefunction(fn) or _is_async_callable(fn):
        return _marked(_awaited(fn), inspect.CO_COROUTINE)
    if inspect.isgeneratorfunction(fn):
        message = (
            f"{name_of(fn)} is a plain generator function: plain code can iterate over it, but there is nothing to "
            f"await in an event loop; make it an asynchronous generator (async def with yield)"
        )
        raise InvalidTypeError(message)
    return _offloaded(fn)


def _is_async_callable(fn: Any) -> bool:
    method = getattr(type(fn), "__call__", None)  # noqa: B004 - the method itself is wanted
    return not inspect.isroutine(fn) and inspect.iscoroutinefunction(method)


def _marked(wrapper: Any, flag: int) -> Any:
    """Say by the wrapper's code what `inspect` says of the function: it looks at nothing else before 3.12."""
    # A code object whose first instruction makes no coroutine runs as ever, whatever its flags say.
    code = wrapper.__code__.replace(co_flags=wrapper.__code__.co_flags | flag)
    marked = FunctionType(code, wrapper.__globals__, wrapper.__name__, None, wrapper.__closure__)
    return functools.update_wrapper(marked, wrapper.__wrapped__)


def _awaited(fn: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    call_async = _native.call_async

    @functools.wraps(fn)
    def smart(*args: Any, **kwargs: Any) -> Any:
        return call_async(fn, args, kwargs)

    return smart


def _offloaded(fn: Callable[..., Any]) -> Callable[..., Any]:
    offload: Any = None

    def slow(loop: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        nonlocal offload
        if offload is None:
            from pointsman._offload import Offload

            offload = Offload(fn, smart, way.settle)
        return offload.submit(loop, args, kwargs)

    way = _native.WayOut(fn, slow)
    call = way.call

    @functools.wraps(fn)
    def smart(*args: Any, **kwargs: Any) -> Any:
        return call(args, kwargs)

    return smart


def _stream(fn: Callable[..., AsyncGenerator[Any, Any]]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def smart(*args: Any, **kwargs: Any) -> Any:
        from pointsman._stream import Stream

        return Stream(fn(*args, **kwargs), fn)

    return smart
