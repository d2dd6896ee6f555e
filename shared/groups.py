"""Work that threads do together: whoever finds nobody at it does it for all that wait."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from enum import Enum, auto
from typing import Generic, TypeVar, cast

from shared.errors import StoreUnavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")

#: Whoever waits to be served gives up after `patience_s`; whoever is being served, after so many times that.
_SERVED_PATIENCES = 6


class _Stage(Enum):
    WAITING = auto()
    LEADING = auto()
    TAKEN = auto()


class Place(Generic[Item, Answer]):
    """One thread's item, and what became of it."""

    __slots__ = ("_answer", "_error", "_is_settled", "_turn", "item", "stage")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.stage = _Stage.WAITING
        self._answer: Answer | None = None
        self._error: Exception | None = None
        self._is_settled = False
        # A bare lock, held until there is news: cheaper than an Event, which is made of three objects.
        self._turn = threading.Lock()
        self._turn.acquire()

    def settle(self, answer: Answer) -> None:
        """Let the thread return this."""
        self._end(answer, None)

    def refuse(self, error: Exception) -> None:
        """Let the thread raise this; nobody else may raise the same object."""
        self._end(None, error)

    def wake(self) -> None:
        self._turn.release()

    def wait(self, seconds: float) -> bool:
        """Return whether there was news within the time."""
        return self._turn.acquire(timeout=seconds)

    def outcome(self) -> Answer:
        """Return the answer, or raise the error."""
        if self._error is not None:
            raise self._error
        return cast(Answer, self._answer)

    @property
    def is_settled(self) -> bool:
        return self._is_settled

    def _end(self, answer: Answer | None, error: Exception | None) -> None:
        if not self._is_settled:
            self._answer, self._error, self._is_settled = answer, error, True


#: Takes the places that wait, in the order they came; the leader calls it once, as late as it can.
Take = Callable[[], Sequence[Place[Item, Answer]]]


class Group(Generic[Item, Answer]):
    """Serves the items of all threads that wait, one group at a time, in the thread of one of them.

    The first thread that finds nobody leading leads. Having served its group, it hands the lead to the
    oldest of those that came meanwhile: no thread serves others for longer than its own item takes.
    """

    def __init__(
        self, serve: Callable[[Take[Item, Answer]], None], *, patience_s: Callable[[], float], largest: int
    ) -> None:
        """Take the function that serves a group.

        Args:
            serve: settles or refuses every place it took; what it raises, all of them raise.
            patience_s: how long a thread waits before it raises `StoreUnavailable`.
            largest: items in a group.
        """
        self._serve = serve
        self._patience_s = patience_s
        self._largest = largest
        self._lock = threading.Lock()
        self._waiting: deque[Place[Item, Answer]] = deque()
        self._is_led = False

    def do(self, item: Item) -> Answer:
        """Return what became of the item, once its group was served.

        Raises:
            StoreUnavailable: it took too long; whether the item was served is then unknown.
        """
        place: Place[Item, Answer] = Place(item)
        with self._lock:
            self._waiting.append(place)
            if not self._is_led:
                self._is_led = True
                place.stage = _Stage.LEADING
        if place.stage is _Stage.WAITING:
            try:
                self._wait(place)
            except BaseException:
                self._leave(place)
                raise
        if place.stage is _Stage.LEADING:
            self._lead()
        return place.outcome()

    def _wait(self, place: Place[Item, Answer]) -> None:
        patience_s = self._patience_s()
        if place.wait(patience_s):
            return
        with self._lock:
            if place.stage is _Stage.WAITING:
                self._waiting.remove(place)
                raise StoreUnavailable(f"the database was busy writing for {patience_s} s")
        if not place.wait(patience_s * _SERVED_PATIENCES):
            raise StoreUnavailable("the database does not answer: the outcome is unknown")

    def _leave(self, place: Place[Item, Answer]) -> None:
        """Forget a thread that waits no more, and hand the lead on if it came to it just now."""
        with self._lock:
            if place in self._waiting:
                self._waiting.remove(place)
            leads = place.stage is _Stage.LEADING
        if leads:
            self._finish([])

    def _lead(self) -> None:
        taken: list[Place[Item, Answer]] = []

        def take() -> Sequence[Place[Item, Answer]]:
            with self._lock:
                while self._waiting and len(taken) < self._largest:
                    place = self._waiting.popleft()
                    # The leader's own stays as it is: it waits for nobody.
                    place.stage = place.stage if place.stage is _Stage.LEADING else _Stage.TAKEN
                    taken.append(place)
            return taken

        try:
            self._serve(take)
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to every thread of the group
            for place in taken or take():
                place.refuse(copy(error))
        finally:
            self._finish(taken or take())

    def _finish(self, taken: Sequence[Place[Item, Answer]]) -> None:
        """Hand the lead on, and let the group go; the leader's own place, the first, needs no waking."""
        with self._lock:
            heir = self._waiting[0] if self._waiting else None
            self._is_led = heir is not None
            if heir is not None:
                heir.stage = _Stage.LEADING
        if heir is not None:
            heir.wake()
        for place in taken[1:]:
            if not place.is_settled:
                # Their leader was interrupted, by a KeyboardInterrupt say.
                place.refuse(StoreUnavailable("the database's writer was stopped: the outcome is unknown"))
            place.wake()
