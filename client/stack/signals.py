"""Signals as something to wait for."""

from __future__ import annotations

import os
import select
import signal
from types import FrameType, TracebackType
from typing import Self

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """While entered, in the main thread: nothing interrupts, `wait` tells."""

    def __init__(self) -> None:
        #: How often somebody asked us to stop.
        self.stops = 0

    def __enter__(self) -> Self:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        self._wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._handlers = {
            number: signal.signal(number, _nothing)
            for number in (*_STOPS, signal.SIGCHLD)
            # `nohup` has it ignored, and means it.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._reading)
        os.close(self._writing)

    def wait(self, seconds: float) -> None:
        """Return at the next signal, at `wake`, or when the time is over."""
        if select.select([self._reading], [], [], seconds)[0]:
            self.stops += sum(number in _STOPS for number in os.read(self._reading, 1024))

    def wake(self) -> None:
        """End the present or the next `wait`; from any thread."""
        os.write(self._writing, b"\0")


def _nothing(number: int, frame: FrameType | None) -> None:
    """Be a handler: without one, SIGTERM would end us and SIGCHLD would wake nobody."""
