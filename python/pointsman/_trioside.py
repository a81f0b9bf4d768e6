"""Waits for one of our futures in a task of trio. Imported only where trio runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import concurrent.futures

T = TypeVar("T")


async def wait(future: concurrent.futures.Future[T]) -> T:
    """Wait for the outcome; cancelling the wait cancels the call, if that has not begun."""
    import trio

    if not future.done():
        task = trio.lowlevel.current_task()
        token = trio.lowlevel.current_trio_token()
        waiting = True

        def wake() -> None:
            nonlocal waiting
            if waiting:
                waiting = False
                trio.lowlevel.reschedule(task)

        def tell(_future: Any) -> None:
            from contextlib import suppress

            # After the end of its run nobody waits there.
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(wake)

        def give_up(_raise_cancel: Any) -> trio.lowlevel.Abort:
            nonlocal waiting
            waiting = False
            future.cancel()
            return trio.lowlevel.Abort.SUCCEEDED

        future.add_done_callback(tell)
        await trio.lowlevel.wait_task_rescheduled(give_up)
    else:
        await trio.lowlevel.checkpoint()
    return future.result()
