"""What is a hint, and what is anything else."""

from __future__ import annotations

import base64
import json
import ssl
from typing import Any

import pytest

from shared.jobs import JobId, new_job_id
from shared.queue import make_celery
from shared.settings import SharedSettings
from shared.transport import REQUEST, NoHint, hint_in, message_of


def encoded(**changes: Any) -> bytes:
    """Return a hint, but for some of its fields."""
    return json.dumps(message_of("default", new_job_id()) | changes).encode()


def body(content: object) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


def headers(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = message_of("default", JobId(""))["headers"]
    return made | changes


@pytest.mark.parametrize("job_id", [new_job_id(), JobId("")])
def test_a_hint_says_the_id_that_was_sent(job_id: JobId) -> None:
    assert hint_in(json.dumps(message_of("default", job_id)).encode()) == (job_id, "")


def test_a_hint_names_the_request_that_brought_it() -> None:
    message = message_of("default", JobId(""), "req_5f0c7a2b9d3e4f60718293a4")

    assert hint_in(json.dumps(message).encode()) == ("", "req_5f0c7a2b9d3e4f60718293a4")


@pytest.mark.parametrize("name", ["two\nlines", "x" * 129, 7, None, ["a"], {}])
def test_what_is_no_request_id_goes_no_further(name: object) -> None:
    message = message_of("default", JobId(""))
    message["headers"] |= {REQUEST: name}

    assert hint_in(json.dumps(message).encode()) == ("", "")


FOREIGN = {
    "no JSON": (b"{", "not JSON"),
    "no text": (b"\xff\xfe\x00", "not JSON"),
    "nothing": (b"", "not JSON"),
    "too deep": (b"[" * 8000, "not JSON"),
    "too long": (b" " * 9000, "too long"),
    "null": (b"null", "not a task"),
    "number": (b"7", "not a task"),
    "no headers": (encoded(headers=None), "not a task"),
    "other headers": (encoded(headers=["task"]), "not a task"),
    "older protocol": (json.dumps({"task": "iconotext.hint", "args": ["x"]}).encode(), "not a task"),
    "other task": (encoded(headers=headers(task="os.system")), "another task"),
    "task of another type": (encoded(headers=headers(task=["iconotext.hint"])), "another task"),
    "compressed": (encoded(headers=headers(compression="application/x-gzip")), "compressed"),
    "pickle": (encoded(**{"content-type": "application/x-python-serialize"}), "not JSON inside"),
    "no base64": (encoded(body="%%%"), "an unreadable body"),
    "no ASCII": (encoded(body="é"), "an unreadable body"),
    "no body": (encoded(body=None), "an unreadable body"),
    "no JSON inside": (encoded(body=base64.b64encode(b"\x80\x04").decode()), "an unreadable body"),
    "no arguments": (encoded(body=body([[], {}, {}])), "other arguments"),
    "two arguments": (encoded(body=body([["job_1", "job_2"], {}, {}])), "other arguments"),
    "another type": (encoded(body=body([[7], {}, {}])), "other arguments"),
    "another id": (encoded(body=body([["x' OR 1=1"], {}, {}])), "other arguments"),
    "named ones": (encoded(body=body([[""], {"job": 1}, {}])), "other arguments"),
    "no list": (encoded(body=body({"args": ["x"]})), "other arguments"),
}


@pytest.mark.parametrize(("message", "kind"), FOREIGN.values(), ids=FOREIGN)
def test_anything_else_is_none_and_is_called_by_its_kind(message: bytes, kind: str) -> None:
    with pytest.raises(NoHint) as refused:
        hint_in(message)
    assert str(refused.value) == kind


def test_tls_checks_the_servers_certificate() -> None:
    secure, plain = (
        make_celery(SharedSettings(redis_url=f"{scheme}://redis.internal:6379/0")).connection_for_read()
        for scheme in ("rediss", "redis")
    )
    assert secure.ssl == {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    assert not plain.ssl
