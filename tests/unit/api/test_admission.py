"""What waits has a mark, and so has a disk: above it, callers are refused and learn when to come back."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from werkzeug.test import TestResponse

from api.admission import Admission
from api.reserve import Reserve
from api.settings import ApiSettings
from shared.errors import BlobsFull, DatabaseFull, Overloaded, StoreUnavailable, TooManyJobs
from shared.jobs import LOCAL, JobId, Json, NewJob, TenantId, WorkerId, new_job_id
from shared.store import Load
from tests.unit.api.conftest import Api
from tests.unit.api.pictures import png
from tests.unit.api.problems import refused

EMBED = {"task": "embed", "input": {"texts": ["a"]}}
OTHER = TenantId("other")


@dataclass
class Scene:
    """A store that is asked, a clock, and workers that announce themselves."""

    load: dict[TenantId, Load] = field(default_factory=dict)
    workers: list[tuple[WorkerId, Json]] = field(default_factory=list)
    now: float = 0.0
    #: What a look takes, in seconds.
    cost_s: float = 0.0
    looks: int = 0
    is_away: bool = False
    #: Run in the midst of a look.
    meanwhile: Callable[[], None] = lambda: None

    def look(self) -> Mapping[TenantId, Load]:
        self.looks += 1
        self.now += self.cost_s
        if self.is_away:
            raise StoreUnavailable("away")
        found = dict(self.load)
        self.meanwhile()
        return found

    def admission(self, *, spread: float = 1.0, **marks: int) -> Admission:
        return Admission(
            ApiSettings.model_validate(marks),
            load=self.look,
            workers=lambda: list(self.workers),
            clock=lambda: self.now,
            spread=lambda low, high: min(max(spread, low), high),
        )

    def settle(self, at_s: float, count: int) -> None:
        self.workers = [(WorkerId("w"), {"clock_s": at_s, "outcomes": {"settled": {"default": count}}})]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def take(admission: Admission, owner: TenantId = LOCAL, *, jobs: int = 1, size: int = 0) -> None:
    with admission.room(owner, jobs=jobs, size=size):
        pass


# --- the marks


def test_a_tenant_at_its_mark_is_refused_and_the_others_are_not(scene: Scene) -> None:
    scene.load = {LOCAL: Load(jobs=10)}
    admission = scene.admission(max_queued_jobs=10)

    with pytest.raises(TooManyJobs, match="10 jobs with 0 bytes of yours wait"):
        admission.check(LOCAL)

    admission.check(OTHER)


def test_at_the_mark_of_all_everybody_is_refused(scene: Scene) -> None:
    scene.load = {LOCAL: Load(jobs=6), OTHER: Load(jobs=4)}
    admission = scene.admission(max_queued_jobs_of_all=10)

    for owner in (LOCAL, OTHER, TenantId("third")):
        with pytest.raises(Overloaded, match="10 jobs with 0 bytes wait in all"):
            admission.check(owner)


def test_below_the_mark_there_is_room_for_exactly_the_rest(scene: Scene) -> None:
    scene.load = {LOCAL: Load(jobs=7)}
    admission = scene.admission(max_queued_jobs=10)

    with pytest.raises(TooManyJobs):
        take(admission, jobs=4)
    take(admission, jobs=3)
    with pytest.raises(TooManyJobs):
        admission.check(LOCAL)


def test_bytes_have_marks_of_their_own(scene: Scene) -> None:
    scene.load = {LOCAL: Load(jobs=1, bytes=600)}
    admission = scene.admission(max_queued_bytes=1000, max_queued_bytes_of_all=1200)

    with pytest.raises(TooManyJobs):
        take(admission, size=401)
    take(admission, size=400)
    with pytest.raises(TooManyJobs):
        admission.check(LOCAL)
    with pytest.raises(Overloaded):
        take(admission, OTHER, size=201)


def test_a_film_larger_than_the_mark_is_taken_when_nothing_else_waits(scene: Scene) -> None:
    admission = scene.admission(max_queued_bytes=1000, max_queued_bytes_of_all=1000)

    take(admission, size=5000)
    with pytest.raises(TooManyJobs):
        take(admission, size=1)


def test_a_batch_that_can_never_fit_is_told_to_be_smaller(scene: Scene) -> None:
    with pytest.raises(TooManyJobs, match="11 jobs at a time, where 10 may wait; send fewer"):
        take(scene.admission(max_queued_jobs=10), jobs=11)


def test_nothing_new_needs_no_room(scene: Scene) -> None:
    scene.load = {LOCAL: Load(jobs=11)}

    take(scene.admission(max_queued_jobs=10), jobs=0)


# --- how it knows what waits


def test_a_burst_between_two_looks_does_not_overshoot(scene: Scene) -> None:
    admission = scene.admission(max_queued_jobs=10)

    accepted = 0
    for _ in range(100):
        try:
            take(admission)
            accepted += 1
        except TooManyJobs:
            pass

    assert (accepted, scene.looks) == (10, 1)


def test_many_threads_at_once_do_not_overshoot(scene: Scene) -> None:
    admission = scene.admission(max_queued_jobs=10)
    admission.check(LOCAL)
    full, leave = threading.Barrier(41), threading.Event()

    def submit() -> bool:
        try:
            with admission.room(LOCAL, jobs=1, size=0):
                full.wait(10)
                leave.wait(10)
                return True
        except TooManyJobs:
            full.wait(10)
            return False

    with ThreadPoolExecutor(40) as pool:
        outcomes = [pool.submit(submit) for _ in range(40)]
        # All 40 have been told by now, and nothing is stored yet.
        full.wait(10)
        leave.set()
        assert [one.result() for one in outcomes].count(True) == 10


def test_room_that_was_kept_for_nothing_is_given_back(scene: Scene) -> None:
    admission = scene.admission(max_queued_jobs=1)

    with pytest.raises(ZeroDivisionError), admission.room(LOCAL, jobs=1, size=0):
        raise ZeroDivisionError

    take(admission)


def test_what_was_started_since_makes_room_with_the_next_look(scene: Scene) -> None:
    scene.load = {LOCAL: Load(jobs=10)}
    admission = scene.admission(max_queued_jobs=10)
    with pytest.raises(TooManyJobs):
        admission.check(LOCAL)

    scene.load = {}
    scene.now += 0.6

    take(admission, jobs=10)


def test_what_is_stored_while_somebody_looks_counts_afterwards(scene: Scene) -> None:
    admission = scene.admission(max_queued_jobs=10)
    # Its snapshot is older than these five.
    scene.meanwhile = lambda: take(admission, jobs=5)

    admission.check(LOCAL)

    with pytest.raises(TooManyJobs):
        take(admission, jobs=6)
    take(admission, jobs=5)


def test_what_is_being_stored_while_somebody_looks_counts_afterwards(scene: Scene) -> None:
    admission = scene.admission(max_queued_jobs=10)

    with admission.room(LOCAL, jobs=5, size=0):
        scene.now += 0.6
        with pytest.raises(TooManyJobs):
            take(admission, jobs=6)
        assert scene.looks == 2


def test_looks_are_rare_and_rarer_when_they_take_long(scene: Scene) -> None:
    scene.cost_s = 0.1
    admission = scene.admission()

    for _ in range(10_000):
        admission.check(LOCAL)
        scene.now += 0.01

    # 0.1 s each, and at least 5 s between two: at most 2 % of 100 s.
    assert scene.looks <= 20


def test_only_one_looks_while_the_others_go_on(scene: Scene) -> None:
    admission = scene.admission()
    asked: list[str] = []
    scene.meanwhile = lambda: (admission.check(LOCAL), asked.append("meanwhile"))[0]

    admission.check(LOCAL)

    assert (asked, scene.looks) == (["meanwhile"], 1)


def test_a_store_that_is_away_stops_nobody_here_and_what_was_known_still_holds(scene: Scene) -> None:
    scene.load = {LOCAL: Load(jobs=8)}
    admission = scene.admission(max_queued_jobs=10)
    admission.check(LOCAL)
    scene.is_away = True
    scene.now += 0.6

    take(admission, jobs=2)
    scene.now += 0.6

    with pytest.raises(TooManyJobs):
        admission.check(LOCAL)
    assert scene.looks == 3
    admission.check(OTHER)


# --- when to come back


def after_s(admission: Admission, owner: TenantId = LOCAL, *, jobs: int = 1, size: int = 0) -> int:
    with pytest.raises((TooManyJobs, Overloaded)) as refusal:
        take(admission, owner, jobs=jobs, size=size)
    return int(refusal.value.retry_after_s)


def measured(scene: Scene, admission: Admission, per_second: int) -> None:
    """Let a worker be seen twice."""
    for at_s in (0, 10):
        scene.settle(at_s, at_s * per_second)
        scene.now += 0.6
        admission.waiting()


def test_while_no_speed_is_known_one_comes_back_after_ten_seconds(scene: Scene) -> None:
    scene.load = {LOCAL: Load(jobs=1000)}

    assert after_s(scene.admission(max_queued_jobs=1000)) == 10


def test_one_comes_back_when_there_will_be_a_tenth_below_the_mark(scene: Scene) -> None:
    scene.load = {LOCAL: Load(jobs=1000)}
    admission = scene.admission(max_queued_jobs=1000)
    measured(scene, admission, per_second=5)

    # 101 jobs at 5 a second.
    assert after_s(admission) == 20


def test_a_tenant_waits_for_its_share_of_the_workers(scene: Scene) -> None:
    scene.load = {LOCAL: Load(jobs=1000), OTHER: Load(jobs=1)}
    admission = scene.admission(max_queued_jobs=1000)
    measured(scene, admission, per_second=5)

    assert after_s(admission) == 40


def test_bytes_leave_with_their_jobs(scene: Scene) -> None:
    scene.load = {LOCAL: Load(jobs=100, bytes=100_000)}
    admission = scene.admission(max_queued_bytes=100_000)
    measured(scene, admission, per_second=1)

    # Of 1,000 bytes a job, 10,000 must go, and room for the 5,000 that come.
    assert after_s(admission, size=5_000) == 15


@pytest.mark.parametrize(("per_second", "expected"), [(1_000_000, 1), (1, 250)])
def test_nobody_waits_less_than_a_second_or_more_than_five_minutes(
    scene: Scene, per_second: int, expected: int
) -> None:
    scene.load = {LOCAL: Load(jobs=100_000)}
    admission = scene.admission()
    measured(scene, admission, per_second=per_second)

    assert after_s(admission) == expected


@pytest.mark.parametrize(("spread", "expected"), [(0.0, 200), (2.0, 300)])
def test_callers_that_are_refused_together_come_back_apart(
    scene: Scene, spread: float, expected: int
) -> None:
    scene.load = {LOCAL: Load(jobs=100_000)}
    admission = scene.admission(spread=spread)
    measured(scene, admission, per_second=1)

    assert after_s(admission) == expected


def test_the_workers_are_not_asked_while_there_is_plenty_of_room(scene: Scene) -> None:
    scene.load = {LOCAL: Load(jobs=499)}
    admission = scene.admission(max_queued_jobs=1000)
    measured(scene, admission, per_second=5)
    scene.load = {LOCAL: Load(jobs=1000)}
    scene.now += 0.6

    assert after_s(admission) == 10


# --- at the routes


def submit(api: Api, **fields: Any) -> TestResponse:
    return api.client.post("/v1/jobs", json={**EMBED, **fields})


def test_a_submit_above_the_mark_is_refused_and_nothing_is_written(make_api: Callable[..., Api]) -> None:
    api = make_api(max_queued_jobs=2)
    assert [submit(api).status_code for _ in range(2)] == [202, 202]

    response = submit(api)

    refused(response, 429, "too_many_jobs")
    assert 1 <= int(response.headers["Retry-After"]) <= 300
    assert api.written() == (2, 0, 0, 2)


def test_the_mark_of_all_is_503(make_api: Callable[..., Api]) -> None:
    api = make_api(max_queued_jobs_of_all=1)
    submit(api)

    response = submit(api)

    refused(response, 503, "overloaded")
    assert int(response.headers["Retry-After"]) >= 1


def test_a_batch_that_does_not_fit_whole_is_refused_whole(make_api: Callable[..., Api]) -> None:
    api = make_api(max_queued_jobs=10)
    assert api.client.post("/v1/jobs:batch", json=[EMBED] * 7).status_code == 207

    refused(api.client.post("/v1/jobs:batch", json=[EMBED] * 4), 429, "too_many_jobs")

    assert api.written()[0] == 7
    # Those with a fault take no room.
    assert api.client.post("/v1/jobs:batch", json=[EMBED] * 3 + [{}] * 3).status_code == 207


def test_pictures_of_a_refused_submit_are_not_stored(make_api: Callable[..., Api]) -> None:
    one, other = png(1, 1), png(2, 2)
    api = make_api(max_queued_bytes=len(one) + len(other) - 1)
    body = {"task": "match", "input": {"images": [{"part": "a"}], "texts": ["a"]}}

    def send(content: bytes) -> TestResponse:
        parts = {"request": json.dumps(body), "a": (io.BytesIO(content), "a.png")}
        return api.client.post("/v1/jobs", data=parts)

    assert send(one).status_code == 202

    refused(send(other), 429, "too_many_jobs")
    assert api.written() == (1, 1, 1, 1)


def test_a_job_weighs_its_input_and_its_files_each_once(api: Api) -> None:
    content = png()
    file = api.client.post("/v1/files", data=content, content_type="image/png").get_json()["id"]
    images = [{"file": file}, {"file": file}, {"part": "a"}]
    body = {"task": "match", "input": {"images": images, "texts": ["a"]}}
    other = png(7, 7)
    parts = {"request": json.dumps(body), "a": (io.BytesIO(other), "a.png")}
    job = api.client.post("/v1/jobs", data=parts).get_json()

    stored = api.services.store.get(LOCAL, JobId(job["id"])).input
    weight = len(json.dumps(stored, separators=(",", ":"))) + len(content) + len(other)
    assert api.services.store.queued_load() == {LOCAL: Load(jobs=1, bytes=weight)}


def test_a_refused_body_is_not_read(make_api: Callable[..., Api]) -> None:
    api = make_api(max_queued_jobs=1)
    submit(api)

    for path in ("/v1/jobs", "/v1/jobs:batch"):
        # Read, it would be malformed.
        refused(api.client.post(path, data=b"{", content_type="application/json"), 429, "too_many_jobs")


def test_polls_cancels_and_lists_go_on_above_the_mark(make_api: Callable[..., Api]) -> None:
    api = make_api(max_queued_jobs=1)
    job = submit(api).get_json()

    assert api.client.get(job["links"]["self"]).status_code == 200
    assert api.client.get("/v1/jobs").status_code == 200
    assert api.client.post(job["links"]["cancel"]).get_json()["status"] == "canceled"


def test_a_started_job_makes_room_for_another(make_api: Callable[..., Api], monkeypatch: Any) -> None:
    monkeypatch.setattr("api.admission._FRESH_S", 0.0)
    monkeypatch.setattr("api.admission._PAUSE_PER_LOOK", 0)
    api = make_api(max_queued_jobs=1)
    submit(api)
    refused(submit(api), 429, "too_many_jobs")

    api.claim()

    assert submit(api).status_code == 202


def test_with_the_database_away_the_submit_says_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable("away")

    for name in ("queued_load", "create"):
        monkeypatch.setattr(type(api.services.store), name, fail)

    refused(submit(api), 503, "store_unavailable")


# --- the disks


def test_a_request_that_would_use_up_the_reserve_is_refused() -> None:
    reserve = Reserve(bytes=1000, blobs=lambda: 1500, database=lambda: None)

    reserve.require(500)
    reserve.require(None)
    with pytest.raises(BlobsFull, match="1,500 bytes are free on the disk of files; this request brings 501"):
        reserve.require(501)
    assert not reserve.is_used_up()


def test_the_databases_disk_has_a_reserve_too() -> None:
    reserve = Reserve(bytes=1000, blobs=lambda: None, database=lambda: 999)

    with pytest.raises(DatabaseFull):
        reserve.require(None)
    assert reserve.is_used_up()


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:batch", "/v1/files"])
def test_on_a_full_disk_nothing_is_taken_or_read(make_api: Callable[..., Api], path: str) -> None:
    api = make_api(disk_reserve_bytes=2**60)

    response = api.client.post(path, data=b"{", content_type="application/json")

    refused(response, 507, "blobs_full")
    assert int(response.headers["Retry-After"]) > 2
    assert api.written() == (0, 0, 0, 0)


def test_on_a_full_disk_all_else_goes_on(make_api: Callable[..., Api]) -> None:
    api = make_api(disk_reserve_bytes=2**60)
    job = NewJob(id=new_job_id(), task="embed", input={"texts": ["a"]})
    api.services.store.create([job])

    assert api.client.get(f"/v1/jobs/{job.id}").status_code == 200
    assert api.client.post(f"/v1/jobs/{job.id}/cancel").get_json()["status"] == "canceled"
