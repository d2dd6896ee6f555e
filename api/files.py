"""Routes of files: uploads, what is known of them, their bytes."""

from __future__ import annotations

from flask import Request, Response, jsonify, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from api.auth import tenant
from api.bodies import read_parts, read_whole
from api.documents import answer
from api.downloads import send
from api.errors import answered
from api.references import Picture, picture
from api.services import Services, services
from api.snapshots import rfc3339
from shared.errors import MalformedBody, UnsupportedMediaType
from shared.jobs import FileId, Json, TenantId
from shared.settings import Limits
from shared.store import StoredFile

routes = APIBlueprint(
    "files", __name__, abp_tags=[Tag(name="Files", description="Pictures, by the SHA-256 of their bytes")]
)

_RAW_TYPES = {"", "application/octet-stream"}


class FilePath(BaseModel):
    file_id: str = Field(description="The id that the upload answered.")


@routes.post(
    "/v1/files",
    operation_id="create_file",
    responses={
        200: answer("Known already: the same bytes have the same id.", "File", Location="The file."),
        201: answer("Stored.", "File", Location="The file."),
        **answered(
            [
                "malformed_body", "body_too_large", "file_too_large", "unsupported_media_type",
                "image_not_recognized", "image_format_forbidden", "image_too_large",
                "store_unavailable", "blobs_unavailable",
            ]
        ),
    },
)  # fmt: skip
def create_file() -> Response:
    """Upload a picture, to name it in jobs."""
    house = services()
    found = picture(_read_upload(request, house.settings.limits), house.settings.limits)
    file, is_new = _store(found, tenant(), house)
    response = jsonify(_file(house.store.get_file(tenant(), file)))
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/files/{file}"
    return response


@routes.get(
    "/v1/files/<file:file_id>",
    operation_id="get_file",
    responses={
        200: answer("What is known of the file.", "File"),
        **answered(["not_found", "store_unavailable"]),
    },
)
def get_file(path: FilePath) -> Response:
    """Describe a file."""
    return jsonify(_file(services().store.get_file(tenant(), FileId(path.file_id))))


@routes.get(
    "/v1/files/<file:file_id>/content",
    operation_id="get_file_content",
    responses={
        200: {"description": "The bytes.", "content": {"image/*": {}}},
        206: {"description": "The range asked for.", "content": {"image/*": {}}},
        304: {"description": "The bytes you have are the bytes."},
        **answered(["not_found", "range_not_satisfiable", "store_unavailable", "blobs_unavailable"]),
    },
)
def get_file_content(path: FilePath) -> Response:
    """Return a file's bytes; `Range` and `If-None-Match` are honoured."""
    house = services()
    stored = house.store.get_file(tenant(), FileId(path.file_id))
    return send(stored.id, stored.media_type, stored.id[:16], house)


def _read_upload(sent: Request, limits: Limits) -> bytes:
    """Return the bytes of an upload."""
    if sent.mimetype == "multipart/form-data":
        files = [part for part in read_parts(sent, limits) if part.filename is not None]
        if len(files) != 1:
            raise MalformedBody(f"send one file in a request; this one holds {len(files)}", pointer="")
        return files[0].content
    if sent.mimetype not in _RAW_TYPES and not sent.mimetype.startswith("image/"):
        raise UnsupportedMediaType(
            f"send image/*, application/octet-stream or multipart/form-data, not {sent.mimetype}"
        )
    return read_whole(sent)


def _store(found: Picture, owner: TenantId, house: Services) -> tuple[FileId, bool]:
    """Store an image, the bytes before the row that owns them; return its id, and whether it is new."""
    file = house.blobs.put(found.content)
    header = found.header
    is_new = house.store.add_file(
        owner,
        file,
        media_type=header.media_type,
        size=len(found.content),
        width=header.width,
        height=header.height,
    )
    return file, is_new


def _file(stored: StoredFile) -> Json:
    return {
        "id": stored.id,
        "media_type": stored.media_type,
        "bytes": stored.bytes,
        "width": stored.width,
        "height": stored.height,
        "created_at": rfc3339(stored.created_at),
        "links": {"self": f"/v1/files/{stored.id}", "content": f"/v1/files/{stored.id}/content"},
    }
