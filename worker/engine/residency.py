"""Which models are in memory: loaded when first needed, evicted when others need the room."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count

import structlog

from shared.errors import ModelOutOfMemory, ModelUnavailable
from shared.jobs import Json
from worker.engine.failures import is_out_of_memory, release_memory
from worker.engine.places import Loader, Place, longest_unused, occupied
from worker.engine.ticket import Ticket
from worker.models.capabilities import Model

log = structlog.get_logger()


class Residency:
    """The models of one process by capability, within a budget of memory."""

    def __init__(
        self,
        loaders: Mapping[str, Loader],
        *,
        budget_bytes: int | None,
        resident_bytes: Callable[[], int],
        expected_bytes: Mapping[str, int] | None = None,
        missing: Mapping[str, str] | None = None,
    ) -> None:
        """Know how to load; nothing is loaded yet.

        Args:
            loaders: by capability; what a loader is `over` has a loader too.
            budget_bytes: of all resident models together; None: no limit. It is passed rather than that a job
                fails, when all that is resident is needed.
            resident_bytes: what this process takes on the device; its growth over a load is a model's size.
            expected_bytes: what models are expected to take, by capability, until a load has told.
            missing: why there is no loader for capabilities that the profile names.
        """
        expected = expected_bytes or {}
        self._places = {name: Place(name, loader, expected.get(name, 0)) for name, loader in loaders.items()}
        self._missing = dict(missing or {})
        self._budget_bytes = budget_bytes
        self._resident_bytes = resident_bytes
        self._uses = count(1)
        #: Held by the one loader thread whose turn it is.
        self._turn = threading.Lock()
        #: Guards everything below, and the places.
        self._lock = threading.Lock()
        self._waiters: list[Ticket] = []
        self._closed = False

    @classmethod
    def for_good(cls, models: Mapping[str, Model]) -> Residency:
        """Return a residency of models that are loaded already, and stay."""
        residency = cls(
            {name: _Loaded(model) for name, model in models.items()},
            budget_bytes=None,
            resident_bytes=lambda: 0,
        )
        for name, model in models.items():
            residency._places[name].model = model
        return residency

    def preload(self) -> Mapping[str, str]:
        """Load the models that are kept, in the order given, before anybody else asks for one.

        Those that turn out not to be what the profile wants are missing from then on, with what is built
        over them.

        Returns:
            Why models are missing, by capability, those that were when this began among them.

        Raises:
            Exception: what else a load raises.
        """
        for capability, place in list(self._places.items()):
            if gone := [name for name in place.loader.over if name in self._missing]:
                self._miss(capability, f"it is built over {', '.join(gone)}, which is missing")
            elif place.loader.keep:
                try:
                    with self.use(capability, Ticket()):
                        pass
                except ModelUnavailable as error:
                    self._miss(capability, error.message)
        return dict(self._missing)

    def _miss(self, capability: str, reason: str) -> None:
        del self._places[capability]
        self._missing[capability] = reason

    def knows(self, capability: str) -> bool:
        """Return whether there is a model to load for a capability."""
        return capability in self._places

    @contextmanager
    def use(self, capability: str, ticket: Ticket) -> Iterator[Model]:
        """Yield the model, loaded if it was absent; inside the block it stays.

        Raises:
            ModelUnavailable: the profile has no such model, it is missing here, or the residency is closed.
            Exception: what the load raised, while the next to ask tries again; or the reason the ticket was
                stopped with.
        """
        model = self.acquire(capability, ticket)
        try:
            yield model
        finally:
            self.release(capability)

    def acquire(self, capability: str, ticket: Ticket) -> Model:
        """Return the model as `use` does; it stays until the caller's `release`."""
        place = self._find(capability)
        with self._lock:
            if self._closed:
                raise ModelUnavailable("the engine is closed")
            place.pins += 1
            place.used = next(self._uses)
            if place.model is not None:
                return place.model
            load = place.load or self._begin(place)
        try:
            return self._await(load, ticket)
        except BaseException:
            self.release(capability)
            raise

    def pin(self, capability: str) -> Model:
        """Return a model that somebody else has acquired, and keep it until `release` also for the caller."""
        place = self._places[capability]
        with self._lock:
            if place.model is None:
                raise ModelUnavailable(f"{capability} was let go while in use")
            place.pins += 1
            return place.model

    def release(self, capability: str) -> None:
        """Let one `acquire` or `pin` end; what is idle goes now, if the budget was passed meanwhile."""
        with self._lock:
            self._places[capability].pins -= 1
            gone = self._evict(0)
        if gone:
            release_memory()

    def stats(self) -> list[Json]:
        """Return what is known of each capability; `bytes` is 0 before the first load."""
        with self._lock:
            return [place.as_json() for place in self._places.values()]

    def close(self) -> None:
        """Load nothing more, and fail those who wait for a load."""
        with self._lock:
            self._closed = True
            waiters = list(self._waiters)
        for ticket in waiters:
            ticket.wake()

    def _find(self, capability: str) -> Place:
        if reason := self._missing.get(capability):
            raise ModelUnavailable(f"this worker has no {capability}: {reason}")
        if capability not in self._places:
            known = ", ".join(sorted(self._places)) or "none"
            raise ModelUnavailable(f"this worker's profile has no {capability}; it has {known}")
        return self._places[capability]

    def _begin(self, place: Place) -> Future[Model]:
        load: Future[Model] = Future()
        place.load = load
        # A daemon: a load that never ends must not keep a stopping process alive.
        name = f"loader-{place.capability}"
        threading.Thread(target=self._load, args=(place, load), name=name, daemon=True).start()
        return load

    def _await(self, load: Future[Model], ticket: Ticket) -> Model:
        with self._lock:
            self._waiters.append(ticket)
        load.add_done_callback(lambda _: ticket.wake())
        try:
            ticket.wait_until(lambda: load.done() or self._closed)
        finally:
            with self._lock:
                self._waiters.remove(ticket)
        if not load.done():
            raise ModelUnavailable("the engine is closed")
        return load.result()

    def _load(self, place: Place, load: Future[Model]) -> None:
        """Be the loader thread of one capability."""
        outcome: Model | BaseException
        try:
            with self._turn:
                outcome = self._bring(place)
        except BaseException as error:  # noqa: BLE001  the thread's edge: those who wait must hear of it
            outcome = _load_failure(place.capability, error)
        with self._lock:
            place.load = None
        if isinstance(outcome, BaseException):
            load.set_exception(outcome)
        else:
            load.set_result(outcome)

    def _bring(self, place: Place) -> Model:
        """Return the model, loaded unless it is resident, over models that are brought first."""
        with ExitStack() as pins:
            self._hold(place, pins)
            if place.model is not None:
                return place.model
            below: dict[str, Model] = {}
            for name in place.loader.over:
                self._hold(self._find(name), pins)
                below[name] = self._bring(self._places[name])
            return self._measured_load(place, below)

    def _hold(self, place: Place, pins: ExitStack) -> None:
        with self._lock:
            place.pins += 1
        pins.callback(self.release, place.capability)

    def _measured_load(self, place: Place, below: Mapping[str, Model]) -> Model:
        self._make_room(place.bytes or place.expected_bytes)
        before = self._resident_bytes()
        model = self._load_patiently(place.loader, below)
        size = self._resident_bytes() - before
        with self._lock:
            place.fill(model, size)
        log.info("model loaded", capability=place.capability, model=place.loader.name, bytes=place.bytes)
        self._make_room(0)
        return model

    def _load_patiently(self, loader: Loader, below: Mapping[str, Model]) -> Model:
        """Load; when that does not fit, let every idle model go and try once more."""
        try:
            return loader.load(below)
        except BaseException as error:
            if not is_out_of_memory(error) or not self._shed():
                raise
        # Outside the `except`, whose traceback keeps tensors.
        release_memory()
        return loader.load(below)

    def _shed(self) -> bool:
        """Let every idle model go; return whether there was one."""
        with self._lock:
            return self._let_go_while(lambda: True)

    def _make_room(self, needed: int) -> None:
        with self._lock:
            gone = self._evict(needed)
            excess = self._excess(needed)
        if gone:
            release_memory()
        if excess > 0:
            log.warning("models pass their budget of memory, all are in use", excess_bytes=excess)

    def _excess(self, needed: int) -> int:
        """Return the bytes by which the resident models, and as many more, pass the budget."""
        if self._budget_bytes is None:
            return 0
        return occupied(self._places.values()) + needed - self._budget_bytes

    def _evict(self, needed: int) -> bool:
        """Let idle models go until the budget is kept; return whether one went."""
        return self._let_go_while(lambda: self._excess(needed) > 0)

    def _let_go_while(self, too_much: Callable[[], bool]) -> bool:
        gone = False
        while too_much() and (place := longest_unused(self._places.values())):
            place.empty()
            gone = True
            log.info("model evicted", capability=place.capability, model=place.loader.name, bytes=place.bytes)
        return gone


@dataclass(frozen=True)
class _Loaded:
    """The loader of a model that is there."""

    model: Model
    over: tuple[str, ...] = ()
    keep: bool = True

    @property
    def name(self) -> str:
        return self.model.card.id

    def load(self, _: Mapping[str, Model]) -> Model:
        return self.model


def _load_failure(capability: str, error: BaseException) -> Exception:
    """Return what those who wait for a load get to hear; it keeps no frame of the load, nor its tensors."""
    if is_out_of_memory(error):
        return ModelOutOfMemory(f"{capability} does not fit into memory: {error}")
    if isinstance(error, Exception):
        return error.with_traceback(None)
    return ModelUnavailable(f"{capability} cannot be loaded: {type(error).__name__}: {error}")
