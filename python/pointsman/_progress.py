"""The progress bar of `execute` and `map`: how many calls are done, how fast, until when, and where they run.

Does not know how calls run: it counts the results that pass.

Invariants:
    B1. What is shown is the number of results that have passed, never an estimate of it.
    B2. Nothing is written, and nothing imported, where nobody would see it: without a terminal or a notebook.
    B3. The bar is taken down however the job ends, and says so if it ended early.
"""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds between two updates: more often than an eye can follow costs only time.
_PAUSE = 0.05


def counted(batches: Iterator[list[Any]], running: Any, total: int | None) -> Iterator[list[Any]]:
    """Pass on `batches`, the stream of `running`, and show how far they are of `total` calls.

    Raises
    ------
    ModuleNotFoundError
        On a terminal without rich.

    """
    screen = _screen(running.job.name, total)
    return batches if screen is None else _counted(batches, running, screen)


def _counted(batches: Iterator[list[Any]], running: Any, screen: Any) -> Iterator[list[Any]]:
    done, shown, state = 0, 0.0, "stopped"
    screen.show(done, "measuring")
    try:
        for values in batches:
            done += len(values)
            now = perf_counter()
            if now - shown >= _PAUSE:
                shown = now
                screen.show(done, _place(running.plan))
            yield values
        state = _place(running.plan)
    except Exception:
        state = "failed"
        raise
    finally:
        screen.end(done, state, whole=state not in ("failed", "stopped"))


def _place(plan: Any) -> str:
    """Where the calls run, in a word or three."""
    if plan is None:
        return "measuring"
    if plan.backend == "inline":
        return "inline"
    return f"{plan.max_workers} {plan.backend}"


def _screen(name: str, total: int | None) -> Any:
    """What shows the bar, if anybody would see it."""
    shell = _notebook()
    if shell is not None:
        return _Notebook(name, total)
    # A program without a console has none.
    is_terminal = getattr(sys.stderr, "isatty", None)
    if is_terminal is None or not is_terminal():
        return None
    return _Terminal(name, total)


def _notebook() -> Any:
    """The shell of a notebook, if this is one: an IPython with a kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if getattr(shell, "kernel", None) is not None else None


class _Terminal:
    """A line of a terminal, drawn by rich on standard error."""

    def __init__(self, name: str, total: int | None) -> None:
        try:
            from rich import console, progress
        except ModuleNotFoundError as error:
            message = "progress=True needs rich on a terminal; install it with: pip install 'pointsman[progress]'"
            raise ModuleNotFoundError(message, name=error.name) from error
        self._began = perf_counter()
        self._total = total
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.TextColumn("{task.fields[figures]}", markup=False),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[place]}", markup=False),
            console=console.Console(stderr=True),
            # What calls print must not go to another place than without the bar.
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        )
        self._task = self._bar.add_task(name, total=total, figures="", place="")
        self._bar.start()

    def show(self, done: int, place: str) -> None:
        self._bar.update(
            self._task, completed=done, figures=_figures(done, self._total, perf_counter() - self._began), place=place
        )

    def end(self, done: int, place: str, *, whole: bool) -> None:
        if whole:
            # Without a length the end is known only now.
            self._bar.update(self._task, total=done)
            self._total = done
        self.show(done, place)
        self._bar.stop()


class _Notebook:
    """A cell's output, updated in place."""

    def __init__(self, name: str, total: int | None) -> None:
        from html import escape

        self._name, self._total = escape(name), total
        self._began = perf_counter()
        self._handle = sys.modules["IPython"].display.display(_Page(""), display_id=True)

    def show(self, done: int, place: str) -> None:
        seconds = perf_counter() - self._began
        share = f' value="{done}" max="{self._total}"' if self._total else ""
        left = ""
        if self._total and 0 < done < self._total:
            left = f", {seconds / done * (self._total - done):.0f} s left"
        figures = _figures(done, self._total, seconds)
        self._handle.update(_Page(f"{self._name} <progress{share}></progress> {figures}{left}, {place}"))

    def end(self, done: int, place: str, *, whole: bool) -> None:
        if whole:
            self._total = done
        self.show(done, place)


class _Page:
    """What a notebook shows as HTML."""

    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_html_(self) -> str:
        return self._text


def _figures(done: int, total: int | None, seconds: float) -> str:
    """The count and the rate: `120/1,000, 350/s`."""
    of = "" if total is None else f"/{total:,}"
    rate = done / seconds if seconds > 0 else 0.0
    return f"{done:,}{of}, {rate:,.0f}/s" if rate >= 10 or not done else f"{done:,}{of}, {rate:.2g}/s"  # noqa: PLR2004 - two digits
