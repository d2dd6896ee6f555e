"""The page at `/`, the reader at `/docs`, and the document behind it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from importlib.resources import files
from typing import cast

from flask import Blueprint, Response, current_app, g, jsonify, render_template, send_from_directory
from flask_openapi3.openapi import OpenAPI

from api import documents
from shared.errors import NotFound

#: Of Swagger UI, where `flask-openapi3-swagger` keeps it: what the reader at `/docs` needs.
_READER: Mapping[str, str] = {"swagger-ui-bundle.js": "js", "swagger-ui.css": "css"}

routes = Blueprint(
    "web", __name__, template_folder="templates", static_folder="static", static_url_path="/static"
)


@routes.get("/")
def page() -> str:
    """Return the page on which people submit and watch jobs."""
    return render_template("page.html", nonce=nonce())


@routes.get("/docs")
def docs() -> str:
    """Return the reader of the OpenAPI document, and the codes that problem types link to."""
    return render_template("docs.html", nonce=nonce(), codes=documents.error_codes())


@routes.get("/docs/<filename>")
def reader(filename: str) -> Response:
    """Return a file of the reader."""
    if filename not in _READER:
        raise NotFound(f"the reader has no file {filename[:100]!r}")
    folder = files("flask_openapi3_swagger") / "templates" / "swagger" / _READER[filename]
    return send_from_directory(str(folder), filename)


@routes.get("/openapi.json")
def openapi() -> Response:
    """Return the OpenAPI 3.1 document."""
    return jsonify(documents.complete(cast(OpenAPI, current_app)))


def nonce() -> str:
    """Return the nonce under which this response's own scripts and styles may run."""
    if "nonce" not in g:
        g.nonce = secrets.token_urlsafe(16)
    return str(g.nonce)


def add_security_headers(response: Response) -> Response:
    """Let a browser load nothing but ours, and show it in nobody's frame."""
    headers = response.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "no-referrer")
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    if response.mimetype == "text/html":
        headers.setdefault(
            "Content-Security-Policy",
            f"default-src 'none'; script-src 'nonce-{nonce()}'; style-src 'nonce-{nonce()}'; "
            "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
            "frame-ancestors 'none'",
        )
        headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    else:
        headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    return response
