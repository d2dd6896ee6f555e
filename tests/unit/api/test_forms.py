"""Multipart bodies as real clients write them, and as nobody should."""

from __future__ import annotations

import io

import pytest
from flask import Flask, Request
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.test import encode_multipart

from api.forms import Part, parse_form
from shared.errors import MalformedBody


def parse(body: bytes, content_type: str = "multipart/form-data; boundary=x", most: int = 10) -> list[Part]:
    return parse_form(Request({"CONTENT_TYPE": content_type}), body, most)


def part(name: str, content: bytes, filename: str | None = None) -> Part:
    return Part(name=name, filename=filename, content=content)


HEAD = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
NAMED = b'--x\r\nX-Y: z\r\ncontent-disposition:form-data;name=b;filename="\xc3\xa9.png"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (HEAD + b"1\r\n--x--\r\n", [part("a", b"1")]),
        (HEAD + b"1\r\n--x--", [part("a", b"1")]),
        (HEAD + b"\r\n--x--\r\n", [part("a", b"")]),
        (HEAD + b"1\r\n--x \t\r\n" + HEAD[5:] + b"2\r\n--x--\r\nafter", [part("a", b"1"), part("a", b"2")]),
        (b"before\r\n" + HEAD + b"1\r\n--x--\r\n", [part("a", b"1")]),
        # Nothing but headers, as RFC 2046 allows and werkzeug's own client writes.
        (HEAD + b"--x--\r\n", [part("a", b"")]),
        # What only begins like the boundary is content.
        (HEAD + b"1\r\n--xy\r\n--x--\r\n", [part("a", b"1\r\n--xy")]),
        (HEAD + b"\r\n\r\n--\r\n--x--\r\n", [part("a", b"\r\n\r\n--")]),
        (b"--x--\r\n", []),
        (NAMED + b"\x00\xff\r\n--x--\r\n", [part("b", b"\x00\xff", "é.png")]),
    ],
)
def test_a_form_is_read_as_written(body: bytes, found: list[Part]) -> None:
    assert parse(body) == found


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x",
        b"--x\r\n",
        HEAD,
        HEAD + b"1",
        HEAD + b"1\r\n--x",
        HEAD + b"1\r\n--x\r\n",
        HEAD + b"1\r\n--x-",
        b"--x\r\n" + HEAD + b"1\r\n--x--\r\n",
        HEAD.replace(b"\r\n", b"\n") + b"1\n--x--\n",
        b"--x\r\n\r\nno headers\r\n--x--\r\n",
        b"--x\r\nContent-Type: text/plain\r\n\r\n1\r\n--x--\r\n",
        b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n1\r\n--x--\r\n',
        b"--x\r\nContent-Disposition: form-data; name=a\r\nX: " + b"a" * 10_000 + b"\r\n\r\n1\r\n--x--\r\n",
    ],
)
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        parse(body)


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary="])
def test_without_a_boundary_there_is_no_form(content_type: str) -> None:
    with pytest.raises(MalformedBody, match="boundary"):
        parse(HEAD + b"1\r\n--x--\r\n", content_type)


def test_no_more_parts_are_read_than_may_be() -> None:
    body = b"".join(HEAD + b"1\r\n" for _ in range(4)) + b"--x--\r\n"

    assert len(parse(body, most=4)) == 4
    with pytest.raises(RequestEntityTooLarge):
        parse(body, most=3)


@given(contents=st.lists(st.binary(max_size=60) | st.sampled_from([b"\r\n", b"--x", b"\r\n--x", b"\r\n--"])))
def test_any_bytes_come_back_as_they_were(contents: list[bytes]) -> None:
    values = {
        f"p{place}": FileStorage(io.BytesIO(content), "a.png") for place, content in enumerate(contents)
    }
    boundary, body = encode_multipart(values, boundary="----a boundary that is nowhere else")

    found = parse(body, f'multipart/form-data; boundary="{boundary}"', most=1_000)

    assert [one.content for one in found] == contents


@given(body=st.binary(max_size=300) | st.text('-x\r\n ;="', max_size=80).map(str.encode))
def test_no_bytes_are_more_than_refused(body: bytes) -> None:
    try:
        parse(HEAD + body)
    except (MalformedBody, RequestEntityTooLarge):
        return


def test_blanks_without_end_take_no_time() -> None:
    with pytest.raises(MalformedBody):
        parse(HEAD + b"\r\n--x" + b" " * 5_000_000)


def test_a_real_client_is_understood() -> None:
    app = Flask(__name__)
    with app.test_request_context(
        data={"request": "{}", "photo": (io.BytesIO(b"\r\n--"), 'a "b".png')}
    ) as context:
        request = context.request
        found = parse_form(request, request.get_data(parse_form_data=False), 2)

    assert found[0] == part("request", b"{}")
    assert (found[1].name, found[1].content) == ("photo", b"\r\n--")
