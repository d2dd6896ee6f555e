from __future__ import annotations

import re
from pathlib import Path

import pytest

from api import documents, errors, web
from tests.unit.api.conftest import Api

_STATIC = Path(web.__file__).parent / "static"


def policy(api: Api, path: str) -> tuple[str, str]:
    response = api.client.get(path)
    assert (response.status_code, response.mimetype) == (200, "text/html")
    return response.headers["Content-Security-Policy"], response.get_data(as_text=True)


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_only_our_own_scripts_and_styles_run(api: Api, path: str) -> None:
    csp, html = policy(api, path)

    [nonce] = set(re.findall(r"'nonce-([^']+)'", csp))
    assert "default-src 'none'" in csp
    assert "unsafe" not in csp
    for tag in re.findall(r"<(?:script|style|link rel=\"stylesheet\")[^>]*>", html):
        assert f'nonce="{nonce}"' in tag
    assert not re.search(r"\son[a-z]+=|\sstyle=|javascript:", html)


def test_a_nonce_is_used_once(api: Api) -> None:
    assert policy(api, "/")[0] != policy(api, "/")[0]


@pytest.mark.parametrize("name", ["docs.js", "page.js"])
def test_a_script_writes_text_never_markup(name: str) -> None:
    script = (_STATIC / name).read_text()

    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "srcdoc",
    ):
        assert way not in script


@pytest.mark.parametrize("name", [path.name for path in sorted(_STATIC.iterdir())])
def test_each_static_file_is_served(api: Api, name: str) -> None:
    with api.client.get(f"/static/{name}") as response:
        assert response.status_code == 200
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.get_data() == (_STATIC / name).read_bytes()


@pytest.mark.parametrize("name", ["..%2f__init__.py", "../__init__.py", "%2fetc%2fpasswd", "nothing.css"])
def test_nothing_else_is_served(api: Api, name: str) -> None:
    assert api.client.get(f"/static/{name}").status_code == 404


def test_the_type_of_every_problem_leads_to_its_words(api: Api) -> None:
    html = api.client.get("/docs").get_data(as_text=True)

    for code in errors.STATUS:
        assert f'<tr id="{code}">' in html


def test_the_reference_escapes_what_it_shows(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "error_codes", lambda: [("<b>", 400, "not `<i>`, nor <u>")])

    html = api.client.get("/docs").get_data(as_text=True)

    assert "<code>&lt;b&gt;</code>" in html
    assert "not <code>&lt;i&gt;</code>, nor &lt;u&gt;" in html


def test_the_reader_comes_from_its_package(api: Api) -> None:
    html = api.client.get("/docs").get_data(as_text=True)

    sources = re.findall(r"<(?:script|link)[^>]*(?:src|href)=\"([^\"]+)\"", html)
    assert {"/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"} <= set(sources)
    for source in sources:
        with api.client.get(source) as response:
            assert response.status_code == 200, source
            assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "name", ["swagger-ui-standalone-preset.js", "..%2fplugins.py", "../__init__.py", "page.js"]
)
def test_nothing_else_of_the_package_is_served(api: Api, name: str) -> None:
    assert api.client.get(f"/docs/{name}").status_code == 404
