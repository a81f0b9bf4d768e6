"""How many coroutines may run at a time: a limit that climbs for as long as throughput rises.

The algorithm is the start-up phase of BBR (Cardwell, Cheng, Gunn, Yeganeh, Jacobson: "BBR: Congestion-Based Congestion
Control", ACM Queue 14(5), 2016), with calls for packets. Each call that is finished lets one more run, so that the
limit doubles in a round. When three rounds in a row bring less than a quarter more throughput, what answers the calls
is taken to be busy, and the limit goes back to the smallest that reached the best rate. Rounds in which too few calls
waited to reach the limit tell nothing, as there. Later it tries twice the limit for a round now and then, and climbs
again if that pays.

Does not read a clock or know what a call is.
"""

from __future__ import annotations

# Calls at a time in the first round: as many as aiohttp and httpx open connections unless they are told otherwise.
FIRST = 100
# What a doubling must bring to count as more, and the rounds without it after which the climb is over: BBR's own.
_MORE = 1.25
_PATIENCE = 3
# Rounds after which a limit that was found is tried at twice its height. BBR probes every eighth round trip.
_PROBE_EVERY = 8


class Climb:
    """The limit of one stream of calls. `fixed` is a limit that was asked for and stays."""

    def __init__(self, most: int, fixed: int | None = None) -> None:
        self.most: int = max(1, most)
        self.fixed: bool = fixed is not None
        self.limit: int = fixed if fixed is not None else min(FIRST, self.most)
        # The limit at the beginning of the round.
        self._base = self.limit
        self._best_rate = 0.0
        self._best_limit = self.limit
        self._idle_rounds = 0
        self._settled_rounds = -1
        self._began: float | None = None
        self._finished = 0
        self._starved = False

    def starved(self) -> None:
        """Fewer calls wait than may run: this round tells nothing."""
        self._starved = True

    def finished(self, now: float) -> None:
        """Count a call that is finished at `now` (seconds)."""
        if self.fixed:
            return
        if self._began is None:
            # The first call ends the first, shortest of rounds only to start the clock.
            self._began = now
            return
        self._finished += 1
        if self._settled_rounds < 0 and not self._starved and self.limit < min(2 * self._base, self.most):
            self.limit += 1
        if self._finished < self._base or now <= self._began:
            return
        rate = self._finished / (now - self._began)
        told = not self._starved
        self._began, self._finished, self._starved = now, 0, False
        if told:
            self._round(rate)

    def stalled(self) -> None:
        """Nothing finishes, and calls wait: those that run may wait for those that do not."""
        if not self.fixed:
            self._go_on_with(min(self.limit * 2, max(self.most, self.limit)))

    def _round(self, rate: float) -> None:
        if rate >= _MORE * self._best_rate:
            self._best_rate, self._best_limit, self._idle_rounds = rate, self._base, 0
            self._settled_rounds = -1
            self._go_on_with(2 * self._base)
        elif self._settled_rounds < 0:
            self._idle_rounds += 1
            if self._idle_rounds < _PATIENCE:
                self._go_on_with(2 * self._base)
            else:
                self._go_on_with(self._best_limit)
                self._settled_rounds = 0
        elif self._base > self._best_limit:
            # The probe brought nothing.
            self._go_on_with(self._best_limit)
            self._settled_rounds = 0
        else:
            # What was best may not be so for ever.
            self._best_rate = rate
            self._settled_rounds += 1
            if self._settled_rounds >= _PROBE_EVERY:
                self._go_on_with(2 * self._base)

    def _go_on_with(self, limit: int) -> None:
        self._base = self.limit = min(limit, max(self.most, self.limit))
