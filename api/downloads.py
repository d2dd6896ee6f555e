"""Stored bytes as a response that is safe to open in a browser."""

from __future__ import annotations

import mimetypes
from typing import BinaryIO, cast

from flask import Response, request
from werkzeug.wsgi import wrap_file

from api.services import Services
from shared.jobs import FileId

#: What a browser may show in place; our own decoders read these, and none of them can run a script.
_SHOWN = {"image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp"}


def send(file: FileId, media_type: str, name: str, house: Services) -> Response:
    """Return a response that streams stored bytes; `Range` and `If-None-Match` are honoured.

    Args:
        file: what to send; its owner was checked by the caller.
        media_type: as the service found or made it, not as a caller claimed it.
        name: offered for saving, without extension; ASCII letters, digits, `-` and `_` are kept.
        house: where the bytes are.
    """
    content: BinaryIO = house.blobs.open(file)
    size = house.blobs.size(file)
    response = Response(wrap_file(request.environ, content), content_type=media_type, direct_passthrough=True)
    response.call_on_close(content.close)
    response.content_length = size
    response.set_etag(file)
    way = "inline" if media_type in _SHOWN else "attachment"
    safe = "".join(letter for letter in name if letter.isascii() and (letter.isalnum() or letter in "-_"))
    extension = mimetypes.guess_extension(media_type) or ""
    response.headers["Content-Disposition"] = f'{way}; filename="{safe or "file"}{extension}"'
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox; frame-ancestors 'none'"
    response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
    return cast(
        Response, response.make_conditional(request.environ, accept_ranges=True, complete_length=size)
    )
