"""Routes of files: uploads, what is known of them, their bytes."""

from __future__ import annotations

from flask import Request, Response, jsonify, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from api.auth import tenant
from api.bodies import Announced, read_parts
from api.documents import answer, downloads
from api.downloads import send
from api.errors import answered
from api.references import Upload, uploaded
from api.services import Services, services
from api.snapshots import rfc3339
from shared.containers import START_BYTES, container_of
from shared.errors import MalformedBody, UnsupportedMediaType
from shared.jobs import FileId, Json
from shared.settings import Limits
from shared.store import StoredFile

routes = APIBlueprint(
    "files",
    __name__,
    abp_tags=[Tag(name="Files", description="Images and films, by their SHA-256")],
)

_RAW_TYPES = {"", "application/octet-stream"}
_SENT_AS = ("image/", "video/")


class FilePath(BaseModel):
    file_id: str = Field(description="The id that the upload answered.")


@routes.post(
    "/v1/files",
    operation_id="create_file",
    responses={
        200: answer("Known already: the same bytes have the same id.", "StoredFile", Location="The file."),
        201: answer("Stored.", "StoredFile", Location="The file."),
        **answered(
            [
                "malformed_body", "body_too_large", "file_too_large", "unsupported_media_type",
                "image_not_recognized", "image_format_forbidden", "image_too_large", "video_not_recognized",
                "video_format_forbidden", "storage_quota_exceeded", "store_unavailable",
                "blobs_unavailable", "database_full", "blobs_full",
            ]
        ),
    },
)  # fmt: skip
def create_file() -> Response:
    """Upload a picture or a film, to name it in jobs. A film is stored as it arrives: send it as it is."""
    house = services()
    house.admit_bytes(tenant(), request.content_length)
    file, is_new = _receive(request, house)
    response = jsonify(_file(house.store.get_file(tenant(), file)))
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/files/{file}"
    return response


@routes.get(
    "/v1/files/<file:file_id>",
    operation_id="get_file",
    responses={
        200: answer("What is known of the file.", "StoredFile"),
        **answered(["not_found", "store_unavailable"]),
    },
)
def get_file(path: FilePath) -> Response:
    """Describe a file."""
    return jsonify(_file(services().store.get_file(tenant(), FileId(path.file_id))))


@routes.delete(
    "/v1/files/<file:file_id>",
    operation_id="delete_file",
    description=(
        "Jobs that name it keep its bytes as long as they need them. What a job made is deleted with the job."
    ),
    responses={
        204: {"description": "It is gone."},
        **answered(["not_found", "store_unavailable"]),
    },
)
def delete_file(path: FilePath) -> Response:
    """Delete an upload."""
    services().store.delete_file(tenant(), FileId(path.file_id))
    return Response(status=204)


@routes.get(
    "/v1/files/<file:file_id>/content",
    operation_id="get_file_content",
    responses={
        200: downloads("The bytes.", "image/*", "video/*"),
        206: downloads("The range asked for.", "image/*", "video/*"),
        304: {"description": "The bytes you have are the bytes."},
        **answered(["not_found", "range_not_satisfiable", "store_unavailable", "blobs_unavailable"]),
    },
)
def get_file_content(path: FilePath) -> Response:
    """Return a file's bytes; `Range` and `If-None-Match` are honoured."""
    house = services()
    stored = house.store.get_file(tenant(), FileId(path.file_id))
    return send(stored.id, stored.media_type, stored.id[:16], house)


def _receive(sent: Request, house: Services) -> tuple[FileId, bool]:
    """Store an upload; return its id, and whether it is new."""
    limits = house.settings.limits
    if sent.mimetype == "multipart/form-data":
        return _store(_checked(_only_file(sent, limits), limits), house)
    if sent.mimetype not in _RAW_TYPES and not sent.mimetype.startswith(_SENT_AS):
        raise UnsupportedMediaType(
            f"send image/*, video/*, application/octet-stream or multipart/form-data, not {sent.mimetype}"
        )
    # A form is read whole, and so keeps to the limit of bodies; a film is stored as it arrives.
    sent.max_content_length = max(limits.body_bytes, limits.video_bytes)
    source = Announced(sent)
    if (media_type := container_of(source.peek(START_BYTES))) is not None:
        return _store_film(source, media_type, house)
    content = source.peek(limits.file_bytes + 1)
    return _store(_checked(content, limits, claimed=sent.mimetype), house)


def _only_file(sent: Request, limits: Limits) -> bytes:
    files = [part for part in read_parts(sent, limits) if part.filename is not None]
    if len(files) != 1:
        raise MalformedBody(f"send one file in a request; this one holds {len(files)}", pointer="")
    return files[0].content


def _checked(content: bytes, limits: Limits, claimed: str = "") -> Upload:
    """Return what the bytes are: a film, or else an image, unless the caller takes them for a film."""
    is_film = container_of(content[:START_BYTES]) is not None or claimed.startswith("video/")
    return uploaded("video" if is_film else "image", content, limits)


def _store(found: Upload, house: Services) -> tuple[FileId, bool]:
    """Store an image or a film, the bytes before the row that owns them."""
    file = house.blobs.put(found.content)
    size = len(found.content)
    is_new = house.store.add_file(
        tenant(),
        file,
        media_type=found.media_type,
        size=size,
        width=found.width,
        height=found.height,
        retain=house.settings.retain_uploads,
    )
    return file, is_new


def _store_film(source: Announced, media_type: str, house: Services) -> tuple[FileId, bool]:
    """Store a film as it arrives: no more of it than a chunk is ever in memory."""
    file, size = house.blobs.put_stream(source, house.settings.limits.video_bytes)
    is_new = house.store.add_file(
        tenant(), file, media_type=media_type, size=size, retain=house.settings.retain_uploads
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
