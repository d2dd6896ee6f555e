"""Who gets in: good keys only, with the scope that the route asks for; a revoked one for no second longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from werkzeug.test import TestResponse

from api.auth import Doorkeeper
from api.scopes import SCOPES, require_complete
from shared.errors import StoreUnavailable, Unauthorized
from shared.jobs import Success, TenantId
from shared.keys import Key, KeyId, NewKey, Scope, hash_of, new_key
from shared.store import JobStore
from tests.unit.api.conftest import Api
from tests.unit.api.problems import refused

ACME = TenantId("acme")
EMBED = {"task": "embed", "input": {"texts": ["a"]}}


@pytest.fixture
def keyed(make_api: Callable[..., Api]) -> Api:
    return make_api(require_keys=True)


def _key(api: Api, *scopes: Scope, lives: timedelta | None = None) -> NewKey:
    made = new_key()
    api.services.store.add_key(made, ACME, name="test", scopes=scopes or list(Scope), lives=lives)
    return made


def _get(api: Api, path: str, authorization: str | None) -> TestResponse:
    headers = {} if authorization is None else {"Authorization": authorization}
    return api.client.get(path, headers=headers)


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer ik_",
        "Basic aWs6aWs=",
        f"Bearer {new_key().token}",
        f"Bearer {'x' * 10_000}",
        "Bearer ik_0000000000000000_\u00e9" + "A" * 42,
    ],
)
def test_without_a_good_key_nobody_gets_in(keyed: Api, authorization: str | None) -> None:
    response = _get(keyed, "/v1/jobs", authorization)

    refused(response, 401, "unauthorized")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_key_gets_in(keyed: Api) -> None:
    assert _get(keyed, "/v1/jobs", f"Bearer {_key(keyed).token}").status_code == 200
    assert _get(keyed, "/v1/jobs", f"bearer  {_key(keyed).token} ").status_code == 200


def test_a_secret_of_another_key_does_not(keyed: Api) -> None:
    one, two = _key(keyed), _key(keyed)
    mixed = one.token[: len("ik_") + 16 + 1] + two.token[len("ik_") + 16 + 1 :]

    refused(_get(keyed, "/v1/jobs", f"Bearer {mixed}"), 401, "unauthorized")


def test_an_expired_key_does_not(keyed: Api) -> None:
    made = _key(keyed, lives=timedelta(milliseconds=-1))

    refused(_get(keyed, "/v1/jobs", f"Bearer {made.token}"), 401, "unauthorized")


def test_a_key_in_the_address_is_refused_whatever_else_is_right(keyed: Api) -> None:
    made = _key(keyed)

    problem = refused(
        _get(keyed, f"/v1/jobs?label.a={made.token}", f"Bearer {made.token}"), 400, "bad_request"
    )

    assert made.token not in str(problem)


@pytest.mark.parametrize("scope", list(Scope))
def test_a_scope_is_asked_for_by_every_route_that_is_somebodys(keyed: Api, scope: Scope) -> None:
    made = _key(keyed, *(set(Scope) - {scope}))
    rules = [rule for rule in keyed.app.url_map.iter_rules() if SCOPES[rule.endpoint] is scope]
    values = {"job_id": "job_" + "0" * 32, "file_id": "0" * 64, "webhook_id": "wh_" + "0" * 32}
    assert rules

    for rule in rules:
        arguments = {name: values.get(name, "msg_" + "0" * 32) for name in rule.arguments}
        with keyed.app.test_request_context():
            path = keyed.app.url_map.bind("localhost").build(rule.endpoint, arguments)
        method = next(iter((rule.methods or set()) - {"HEAD", "OPTIONS"}))
        response = keyed.client.open(path, method=method, headers={"Authorization": f"Bearer {made.token}"})
        problem = refused(response, 403, "forbidden")
        assert scope in problem["detail"]


def test_what_holds_nothing_of_anybody_asks_for_no_key(keyed: Api) -> None:
    for path in ("/livez", "/readyz", "/", "/docs", "/openapi.json", "/static/page.js"):
        response = _get(keyed, path, None)
        assert response.status_code == 200, path
        response.close()


def test_a_route_without_a_row_stops_the_start(keyed: Api) -> None:
    keyed.app.url_map.add(type(next(keyed.app.url_map.iter_rules()))("/new", endpoint="new.route"))

    with pytest.raises(LookupError, match=r"new\.route"):
        require_complete(keyed.app)


def test_jobs_belong_to_the_tenant_of_the_key(keyed: Api) -> None:
    made = _key(keyed)
    job = keyed.client.post("/v1/jobs", json=EMBED, headers={"Authorization": f"Bearer {made.token}"})

    assert keyed.services.store.get(ACME, job.get_json()["id"]).tenant == ACME


def test_this_machines_user_needs_none_and_may_have_one(api: Api) -> None:
    assert _get(api, "/v1/jobs", None).status_code == 200
    made = _key(api)
    api.client.post("/v1/jobs", json=EMBED)

    mine = _get(api, "/v1/jobs", f"Bearer {made.token}")

    assert mine.get_json()["jobs"] == []
    refused(_get(api, "/v1/jobs", "Bearer ik_wrong"), 401, "unauthorized")


def test_a_revoked_key_is_refused_within_a_second() -> None:
    made, now = new_key(), [100.0]
    asked: list[KeyId] = []
    is_good = True

    def find(key_id: KeyId) -> tuple[Key, str] | None:
        asked.append(key_id)
        known = _known(made, is_good=is_good)
        return known, made.hash

    doorkeeper = Doorkeeper(find, needs_keys=True, clock=lambda: now[0])
    for _ in range(1_000):
        assert doorkeeper.recognise(f"Bearer {made.token}").tenant == ACME
    assert len(asked) == 1

    is_good = False
    now[0] += 0.99

    with pytest.raises(Unauthorized):
        doorkeeper.recognise(f"Bearer {made.token}")


def _submitted(api: Api, bearer: dict[str, str]) -> str:
    return str(api.client.post("/v1/jobs", json=EMBED, headers=bearer).get_json()["id"])


def _revoke(api: Api, made: NewKey) -> None:
    """Revoke a key, and return once it is refused."""
    api.services.store.revoke_key(made.id)
    deadline = time.monotonic() + 1
    while _get(api, "/v1/tasks", f"Bearer {made.token}").status_code != 401:
        assert time.monotonic() < deadline


def test_a_stream_tells_nothing_more_once_its_key_is_revoked(keyed: Api) -> None:
    made = _key(keyed)
    bearer = {"Authorization": f"Bearer {made.token}"}
    job = _submitted(keyed, bearer)

    with keyed.client.get(f"/v1/jobs/{job}/events", headers=bearer, buffered=False) as response:
        told = iter(response.response)
        assert "retry" in str(next(told))
        assert "queued" in str(next(told))
        _revoke(keyed, made)
        keyed.services.store.succeed(keyed.claim(), Success(result={"dim": 3}))

        assert list(told) == []


@pytest.mark.parametrize("many", [False, True])
def test_a_long_poll_is_not_answered_once_its_key_is_revoked(keyed: Api, *, many: bool) -> None:
    made = _key(keyed)
    bearer = {"Authorization": f"Bearer {made.token}"}
    job = _submitted(keyed, bearer)
    answers: list[TestResponse] = []

    def poll() -> None:
        client = keyed.app.test_client()
        if many:
            asked = {"ids": [job], "wait_s": 30}
            answers.append(client.post("/v1/jobs:get", json=asked, headers=bearer))
        else:
            answers.append(client.get(f"/v1/jobs/{job}?wait=30", headers=bearer))

    waiting = threading.Thread(target=poll)
    waiting.start()
    deadline = time.monotonic() + 10
    while not keyed.services.watcher._seats.taken():
        assert time.monotonic() < deadline
    _revoke(keyed, made)
    keyed.services.store.succeed(keyed.claim(), Success(result={"dim": 3}))
    waiting.join(timeout=20)

    refused(answers[0], 401, "unauthorized")


def test_nobody_is_believed_while_nobody_can_be_asked(keyed: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = _key(keyed)

    def away(*_: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(JobStore, "quotas", away)
    monkeypatch.setattr(JobStore, "find_key", away)
    doorkeeper = Doorkeeper(keyed.services.store.find_key, needs_keys=True)

    with pytest.raises(StoreUnavailable):
        doorkeeper.recognise(f"Bearer {made.token}")


def test_keys_that_nobody_has_use_no_memory_up() -> None:
    doorkeeper = Doorkeeper(lambda _: None, needs_keys=True)

    for number in range(10_100):
        with pytest.raises(Unauthorized):
            doorkeeper.recognise(f"Bearer ik_{number:016x}_{'A' * 43}")

    assert len(doorkeeper._known) <= 10_000


def _known(made: NewKey, *, is_good: bool) -> Key:
    return Key(
        id=made.id,
        tenant=ACME,
        name="test",
        scopes=[Scope.READ],
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        expires_at=None,
        revoked_at=None,
        is_good=is_good,
    )


def test_a_hash_is_what_sha256_makes_of_the_whole_key() -> None:
    # From another program: printf ik_x | sha256sum
    assert hash_of("ik_x") == "a7fae57bd9b1a78e60f9d990225f37665fd8390c513b4a56c9f3446cce04ae22"
