"""Which models are in memory, with the memory told by the test."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from shared.errors import ModelOutOfMemory, ModelUnavailable
from worker.engine import Residency, Ticket
from worker.engine import residency as residencies

DEADLINE_S = 20.0


class Canceled(Exception):
    """The reason that these tests stop a ticket with."""


class Loaded:
    """A model in memory."""

    def __init__(self, name: str, below: Mapping[str, Any]) -> None:
        self.name = name
        self.below = dict(below)


@dataclass
class Loader:
    """Takes `size` bytes of the memory of its test."""

    memory: Memory
    name: str
    size: int
    over: tuple[str, ...] = ()
    keep: bool = False
    #: Raised by the next load.
    failures: list[BaseException] = field(default_factory=list)
    #: Closed, a load blocks.
    gate: threading.Event = field(default_factory=threading.Event)

    def load(self, below: Mapping[str, Any]) -> Any:
        self.memory.loading.append((self.name, threading.current_thread().name))
        assert self.gate.wait(DEADLINE_S)
        if self.failures:
            raise self.failures.pop()
        model = Loaded(self.name, below)
        self.memory.models[weakref.ref(model)] = self.size
        return model


class Memory:
    """Of a device that counts what is alive."""

    def __init__(self) -> None:
        self.models: dict[weakref.ref[Loaded], int] = {}
        self.loading: list[tuple[str, str]] = []
        self.loaders: dict[str, Loader] = {}

    def used(self) -> int:
        return sum(size for model, size in self.models.items() if model() is not None)

    def loader(self, name: str, size: int, *over: str, keep: bool = False) -> Loader:
        self.loaders[name] = Loader(self, name, size, over, keep)
        self.loaders[name].gate.set()
        return self.loaders[name]

    def residency(self, budget_bytes: int | None = None) -> Residency:
        return Residency(self.loaders, budget_bytes=budget_bytes, resident_bytes=self.used)


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture(autouse=True)
def released(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each time that memory was given back; a full collection takes 0.2 s."""
    released: list[None] = []
    monkeypatch.setattr(residencies, "release_memory", lambda: released.append(None))
    return released


def use(residency: Residency, *names: str) -> None:
    for name in names:
        with residency.use(name, Ticket()):
            pass


def of(residency: Residency, name: str) -> Any:
    return next(one for one in residency.stats() if one["capability"] == name)


def resident(residency: Residency) -> list[str]:
    return [one["capability"] for one in residency.stats() if one["resident"]]


def loader_threads() -> list[str]:
    return sorted(one.name for one in threading.enumerate() if one.name.startswith("loader-"))


def eventually(condition: Callable[[], object]) -> None:
    waited = threading.Event()
    for _ in range(int(DEADLINE_S / 0.001)):
        if condition():
            return
        waited.wait(0.001)
    pytest.fail("the condition never came true")


def test_a_model_is_loaded_at_its_first_use_and_stays(memory: Memory) -> None:
    memory.loader("A", 10)
    residency = memory.residency()
    assert resident(residency) == []
    with residency.use("A", Ticket()) as first, residency.use("A", Ticket()) as second:
        assert first is second
    use(residency, "A")
    assert of(residency, "A") == {
        "capability": "A",
        "id": "A",
        "bytes": 10,
        "keep": False,
        "resident": True,
        "loads": 1,
        "evictions": 0,
    }


def test_models_load_in_a_thread_of_their_own(memory: Memory) -> None:
    memory.loader("A", 10)
    use(memory.residency(), "A")
    assert memory.loading == [("A", "loader-A")]


def test_a_capability_that_the_profile_lacks_is_named(memory: Memory) -> None:
    memory.loader("A", 10)
    with pytest.raises(ModelUnavailable, match="this worker's profile has no B; it has A"):
        use(memory.residency(), "B")


def test_preloading_loads_what_is_kept_and_what_that_is_over(memory: Memory) -> None:
    for name in ("Lazy", "Below"):
        memory.loader(name, 10)
    memory.loader("Kept", 10, "Below", keep=True)
    residency = memory.residency()
    residency.preload()
    assert resident(residency) == ["Below", "Kept"]


def test_a_kept_model_that_is_broken_is_missing_with_what_is_over_it(memory: Memory) -> None:
    memory.loader("Broken", 10, keep=True).failures = [ModelUnavailable("another sha256")]
    memory.loader("Above", 1, "Broken")
    memory.loader("Well", 10, keep=True)
    residency = memory.residency()

    missing = residency.preload()

    assert missing == {"Broken": "another sha256", "Above": "it is built over Broken, which is missing"}
    assert resident(residency) == ["Well"]
    assert not residency.knows("Broken")
    with pytest.raises(ModelUnavailable, match="this worker has no Broken: another sha256"):
        use(residency, "Broken")


def test_a_kept_model_that_fails_in_another_way_stops_the_start(memory: Memory) -> None:
    memory.loader("Broken", 10, keep=True).failures = [ZeroDivisionError()]

    with pytest.raises(ZeroDivisionError):
        memory.residency().preload()


def test_why_a_model_was_missing_from_the_beginning_is_said_whenever_it_is_asked_for(memory: Memory) -> None:
    memory.loader("A", 1)
    residency = Residency(
        memory.loaders, budget_bytes=None, resident_bytes=memory.used, missing={"B": "no such folder"}
    )

    assert residency.preload() == {"B": "no such folder"}
    with pytest.raises(ModelUnavailable, match="this worker has no B: no such folder"):
        use(residency, "B")


def test_room_is_made_for_what_a_first_load_is_expected_to_take(memory: Memory) -> None:
    for name in "AB":
        memory.loader(name, 10)
    residency = Residency(
        memory.loaders, budget_bytes=15, resident_bytes=memory.used, expected_bytes={"B": 10}
    )
    use(residency, "A")
    memory.loaders["B"].gate.clear()
    with ThreadPoolExecutor(1) as threads:
        loading = threads.submit(use, residency, "B")
        eventually(lambda: len(memory.loading) == 2)
        while_it_loads = resident(residency)
        memory.loaders["B"].gate.set()
        loading.result(DEADLINE_S)

    assert while_it_loads == []


def test_a_model_gets_those_that_it_is_over(memory: Memory) -> None:
    memory.loader("Below", 10)
    memory.loader("Above", 1, "Below")
    residency = memory.residency()
    with residency.use("Above", Ticket()) as above, residency.use("Below", Ticket()) as below:
        assert above.below == {"Below": below}  # type: ignore[attr-defined]  # our double


def test_what_was_unused_the_longest_goes_first(memory: Memory) -> None:
    for name in "ABC":
        memory.loader(name, 10)
    residency = memory.residency(budget_bytes=20)
    use(residency, "A", "B", "A", "C")
    assert resident(residency) == ["A", "C"]
    assert of(residency, "B")["evictions"] == 1
    assert memory.used() == 20


def test_a_model_whose_size_is_known_gets_its_room_before_it_loads(memory: Memory) -> None:
    for name in "AB":
        memory.loader(name, 10)
    residency = memory.residency(budget_bytes=10)
    use(residency, "A", "B")
    memory.loaders["A"].failures = [OSError("no disk")]
    with pytest.raises(OSError, match="no disk"):
        use(residency, "A")
    assert resident(residency) == []


def test_others_go_as_soon_as_a_model_turns_out_to_need_their_room(memory: Memory) -> None:
    for name in "AB":
        memory.loader(name, 10)
    residency = memory.residency(budget_bytes=10)
    use(residency, "A")
    with residency.use("B", Ticket()):
        assert resident(residency) == ["B"]


def test_a_kept_model_is_never_evicted(memory: Memory) -> None:
    memory.loader("Kept", 10, keep=True)
    memory.loader("Lazy", 10)
    residency = memory.residency(budget_bytes=10)
    residency.preload()
    with residency.use("Lazy", Ticket()):
        assert resident(residency) == ["Kept", "Lazy"]
    assert resident(residency) == ["Kept"]


def test_a_model_in_use_is_not_evicted_and_nobody_starves_for_the_budget(memory: Memory) -> None:
    for name in "AB":
        memory.loader(name, 10)
    residency = memory.residency(budget_bytes=10)
    with residency.use("A", Ticket()), residency.use("B", Ticket()):
        assert resident(residency) == ["A", "B"]


def test_a_passed_budget_is_kept_again_as_soon_as_a_model_is_idle(memory: Memory) -> None:
    for name in "AB":
        memory.loader(name, 10)
    residency = memory.residency(budget_bytes=10)
    with residency.use("A", Ticket()):
        use(residency, "B")
        assert resident(residency) == ["A"]


@pytest.mark.parametrize(("budget", "stay"), [(21, ["Below", "Above", "Other"]), (20, ["Below", "Other"])])
def test_a_model_goes_before_what_it_is_over(memory: Memory, budget: int, stay: list[str]) -> None:
    memory.loader("Below", 10)
    memory.loader("Above", 1, "Below")
    memory.loader("Other", 10)
    residency = memory.residency(budget_bytes=budget)
    use(residency, "Above", "Other")
    assert resident(residency) == stay


def test_an_evicted_model_is_gone_from_memory(memory: Memory, released: list[None]) -> None:
    for name in "AB":
        memory.loader(name, 10)
    residency = memory.residency(budget_bytes=10)
    use(residency, "A")
    assert released == []
    use(residency, "B")
    assert len(released) == 1
    gc.collect()
    assert memory.used() == 10


def test_memory_that_shrinks_during_a_load_measures_as_nothing(memory: Memory) -> None:
    memory.loader("A", -5)
    residency = memory.residency()
    use(residency, "A")
    assert of(residency, "A")["bytes"] == 0


def test_of_several_loads_the_largest_size_is_remembered(memory: Memory) -> None:
    loader = memory.loader("A", 10)
    memory.loader("B", 100)
    residency = memory.residency(budget_bytes=100)
    use(residency, "A", "B")
    loader.size = 4
    use(residency, "A")
    assert of(residency, "A")["bytes"] == 10
    assert of(residency, "A")["loads"] == 2


def test_a_failed_load_is_told_and_tried_again_by_the_next(memory: Memory) -> None:
    memory.loader("A", 10).failures = [ModelUnavailable("no weights")]
    residency = memory.residency()
    with pytest.raises(ModelUnavailable, match="no weights"):
        use(residency, "A")
    use(residency, "A")
    assert of(residency, "A")["loads"] == 1


@pytest.mark.parametrize("error", [MemoryError("10 GB"), RuntimeError("CUDA error: out of memory")])
def test_a_model_that_does_not_fit_is_loaded_once_more_without_the_idle_ones(
    memory: Memory, error: Exception
) -> None:
    for name in "AB":
        memory.loader(name, 10)
    residency = memory.residency()
    use(residency, "A")
    memory.loaders["B"].failures = [error]
    use(residency, "B")
    assert resident(residency) == ["B"]
    memory.loaders["A"].failures = [error, error]
    with pytest.raises(ModelOutOfMemory, match="A does not fit into memory"):
        use(residency, "A")


def test_a_load_that_tries_to_exit_fails_in_words(memory: Memory) -> None:
    memory.loader("A", 10).failures = [SystemExit(3)]
    with pytest.raises(ModelUnavailable, match="A cannot be loaded: SystemExit: 3"):
        use(memory.residency(), "A")


def test_a_stopped_job_does_not_wait_for_a_load_and_leaves_no_pin(memory: Memory) -> None:
    loader = memory.loader("A", 10)
    memory.loader("B", 10)
    loader.gate.clear()
    residency, ticket = memory.residency(budget_bytes=10), Ticket()
    with ThreadPoolExecutor(1) as threads:
        waiter = threads.submit(residency.acquire, "A", ticket)
        eventually(lambda: memory.loading)
        ticket.stop(Canceled())
        with pytest.raises(Canceled):
            waiter.result(timeout=DEADLINE_S)
    loader.gate.set()
    use(residency, "A", "B")
    assert resident(residency) == ["B"]


def test_a_load_under_way_does_not_keep_others_from_what_is_resident(memory: Memory) -> None:
    loader = memory.loader("A", 10)
    memory.loader("B", 10)
    residency = memory.residency()
    use(residency, "B")
    loader.gate.clear()
    with ThreadPoolExecutor(1) as threads:
        waiter = threads.submit(use, residency, "A")
        eventually(lambda: len(memory.loading) == 2)
        use(residency, "B")
        assert not waiter.done()
        loader.gate.set()


def test_all_who_wait_share_one_load_and_loads_take_turns(memory: Memory) -> None:
    for name in "AB":
        memory.loader(name, 10).gate.clear()
    residency = memory.residency()
    with ThreadPoolExecutor(8) as threads:
        waiters = [threads.submit(use, residency, name) for name in "AABB" * 2]
        eventually(lambda: memory.loading)
        first, second = sorted("AB", key=memory.loading[0][0].__ne__)
        eventually(lambda: loader_threads() == ["loader-A", "loader-B"])
        assert [name for name, _ in memory.loading] == [first]
        memory.loaders[first].gate.set()
        eventually(lambda: len(memory.loading) == 2)
        memory.loaders[second].gate.set()
        for waiter in waiters:
            waiter.result(timeout=DEADLINE_S)
    assert sorted(name for name, _ in memory.loading) == ["A", "B"]


def test_closing_fails_those_who_wait_for_a_load(memory: Memory) -> None:
    loader = memory.loader("A", 10)
    loader.gate.clear()
    residency = memory.residency()
    with ThreadPoolExecutor(1) as threads:
        waiter = threads.submit(use, residency, "A")
        eventually(lambda: memory.loading)
        residency.close()
        with pytest.raises(ModelUnavailable, match="closed"):
            waiter.result(timeout=DEADLINE_S)
    loader.gate.set()
    with pytest.raises(ModelUnavailable, match="closed"):
        use(residency, "A")


def test_pins_of_several_users_are_counted(memory: Memory) -> None:
    for name in "AB":
        memory.loader(name, 10)
    residency = memory.residency(budget_bytes=10)
    with ExitStack() as outer:
        outer.enter_context(residency.use("A", Ticket()))
        use(residency, "A")
        assert residency.pin("A") is residency.pin("A")
        outer.close()
        use(residency, "B")
        assert resident(residency) == ["A"]
        residency.release("A")
        use(residency, "B")
        assert resident(residency) == ["A"]
        residency.release("A")
        use(residency, "B")
        assert resident(residency) == ["B"]
