"""The service keeps what its OpenAPI document promises: schemathesis, all phases and checks, in short.

`make hostile` runs it at length.
"""

from __future__ import annotations

import pytest

from shared.schemas import catalogue
from tests.hostile.campaign import UNREACHABLE, Tally, attack, target

# A thousand requests take half a minute, and much longer beside others.
pytestmark = pytest.mark.timeout(400)

_SEED = 6
_EXAMPLES = 10


@pytest.fixture(scope="module")
def tally(tmp_path_factory: pytest.TempPathFactory) -> Tally:
    """Return what came of one run; the service must have survived it."""
    found = Tally()
    with target(tmp_path_factory.mktemp("schema")) as aim:
        attack(aim, found, seed=_SEED, examples=_EXAMPLES, every_edge=False)
    return found


def test_no_answer_breaks_the_document(tally: Tally) -> None:
    assert tally.findings == {}, f"seed {_SEED}"


def test_every_phase_ran_undisturbed(tally: Tally) -> None:
    assert tally.errors == []
    assert set(tally.phases) == {"examples", "coverage", "fuzzing", "stateful"}


def test_every_operation_accepted_something(tally: Tally) -> None:
    assert tally.refused <= UNREACHABLE


def test_jobs_of_every_task_were_accepted(tally: Tally) -> None:
    assert set(tally.tasks) == set(catalogue())
