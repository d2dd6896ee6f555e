"""Every error that has a name, in one tree.

    IconotextError
    |-- CallerError                     the request or its input is wrong; the same input fails again
    |   |-- InvalidRequest              invalid_request         (carries one Problem per fault)
    |   |   |-- MalformedBody           malformed_body
    |   |   |-- UnknownTask             unknown_task
    |   |   |-- UnknownHead             unknown_head
    |   |   |-- UnknownStyle            unknown_style
    |   |   |-- NotOffered              not_offered             (the profile's models cannot do that)
    |   |   |-- KeyReused               idempotency_key_reused (with another payload)
    |   |   |-- WebhookRefused          webhook_refused         (webhooks are off, or not to that address)
    |   |   |-- UrlRefused              url_refused             (URLs are off, or not that one)
    |   |   |-- FileMissing             file_not_found
    |   |   |-- FileTooLarge            file_too_large
    |   |   |-- ImageRefused            image_refused           (what the header alone tells)
    |   |   |   |-- ImageNotRecognized  image_not_recognized
    |   |   |   |-- ImageFormatForbidden image_format_forbidden
    |   |   |   `-- ImageTooLarge       image_too_large
    |   |   `-- VideoRefused            video_refused           (what the header alone tells)
    |   |       |-- VideoNotRecognized  video_not_recognized
    |   |       |-- VideoFormatForbidden video_format_forbidden
    |   |       `-- VideoTooLarge       video_too_large         (too many pixels, or too long)
    |   |-- ImageCorrupt                image_corrupt           (what only decoding tells)
    |   |-- ImageUndecodable            image_undecodable       (decoding broke its memory or time limit)
    |   |-- VideoCorrupt                video_corrupt           (no frame in it, or broken off)
    |   |-- VideoUndecodable            video_undecodable       (decoding broke its memory or time limit)
    |   |-- BodyTooLarge                body_too_large
    |   |-- UnsupportedMediaType        unsupported_media_type
    |   |-- NotFound                    not_found
    |   |-- TooManyJobs                 too_many_jobs           retryable (the tenant has too much waiting)
    |   |-- UrlUnreachable              url_unreachable         retryable (fetching it failed)
    |   |-- TooManyRequests             rate_limited            retryable (the tenant asks too often)
    |   |-- StorageQuotaExceeded        storage_quota_exceeded  (the tenant keeps too much)
    |   |-- Forbidden                   forbidden               (the key is good, its scopes are not enough)
    |   `-- Unauthorized                unauthorized
    `-- SystemFault                     ours; the caller did nothing wrong
        |-- BadConfiguration            bad_configuration
        |-- StoreUnavailable            store_unavailable       retryable
        |   `-- DatabaseFull            database_full           retryable
        |-- BlobsUnavailable            blobs_unavailable       retryable
        |   `-- BlobsFull               blobs_full              retryable
        |-- Overloaded                  overloaded              retryable (too much waits, whoever sent it)
        |-- QueueUnavailable            queue_unavailable       retryable
        |-- ModelUnavailable            model_unavailable
        |-- ModelOutOfMemory            model_out_of_memory     retryable
        |-- ModelFailed                 model_failed
        |-- DecoderFailed               decoder_failed          retryable
        |-- JobTimeout                  timeout
        |-- AttemptsExhausted           attempts_exhausted
        |-- LeaseLost                   lease_lost              (never stored)
        `-- InternalError               internal

A class answers three questions: whose fault (its branch), is the same job worth another attempt
(`retryable`), and under which `code` it is stored. A code is stored for ever: it never changes meaning.
Errors know nothing of HTTP; `api/errors.py` holds the one table from code to status.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a request."""

    #: JSON pointer (RFC 6901) to the value at fault, in the request body as sent; "" is the whole body.
    pointer: str
    #: What was wrong and what would be right.
    message: str
    #: The code of this fault.
    code: str = "invalid_request"


class IconotextError(Exception):
    """The root of the tree; raise a leaf."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class CallerError(IconotextError):
    """The request or its input is wrong; sending it again fails again."""

    code = "invalid_request"


class InvalidRequest(CallerError):
    """The request does not say something we can do; each of its faults is named."""

    code = "invalid_request"

    def __init__(self, message: str, problems: Sequence[Problem] = (), *, pointer: str | None = None) -> None:
        super().__init__(message)
        if pointer is not None and not problems:
            problems = (Problem(pointer, message, self.code),)
        self.problems = tuple(problems)


class MalformedBody(InvalidRequest):
    """The body is not what its media type says, or holds what plain JSON cannot."""

    code = "malformed_body"


class UnknownTask(InvalidRequest):
    """There is no task of this name."""

    code = "unknown_task"


class UnknownHead(InvalidRequest):
    """There is no classifier of this name."""

    code = "unknown_head"


class UnknownStyle(InvalidRequest):
    """The model knows no style of this name."""

    code = "unknown_style"


class NotOffered(InvalidRequest):
    """The input asks for what the profile's models cannot do; another profile may."""

    code = "not_offered"


class KeyReused(InvalidRequest):
    """The idempotency key belongs to a submit that said something else."""

    code = "idempotency_key_reused"


class WebhookRefused(InvalidRequest):
    """Webhooks are off here, or nothing may be sent to that address."""

    code = "webhook_refused"


class UrlRefused(InvalidRequest):
    """URLs are off here, or nothing may be fetched from that one."""

    code = "url_refused"


class FileMissing(InvalidRequest):
    """A ref names a file that is not there."""

    code = "file_not_found"


class FileTooLarge(InvalidRequest):
    """A file weighs more than one may."""

    code = "file_too_large"


class ImageRefused(InvalidRequest):
    """An image is refused from its header alone."""

    code = "image_refused"


class ImageNotRecognized(ImageRefused):
    """The bytes are no image."""

    code = "image_not_recognized"


class ImageFormatForbidden(ImageRefused):
    """The image is of a format that is not accepted."""

    code = "image_format_forbidden"


class ImageTooLarge(ImageRefused):
    """The image has more pixels than one may."""

    code = "image_too_large"


class VideoRefused(InvalidRequest):
    """A video is refused from its header alone."""

    code = "video_refused"


class VideoNotRecognized(VideoRefused):
    """The bytes are no video."""

    code = "video_not_recognized"


class VideoFormatForbidden(VideoRefused):
    """The video is of a container or codec that is not accepted."""

    code = "video_format_forbidden"


class VideoTooLarge(VideoRefused):
    """The video has more pixels, or lasts longer, than one may."""

    code = "video_too_large"


class ImageCorrupt(CallerError):
    """The image cannot be decoded."""

    code = "image_corrupt"


class ImageUndecodable(CallerError):
    """Decoding the image took more memory or time than it may."""

    code = "image_undecodable"


class VideoCorrupt(CallerError):
    """No frame of the video can be decoded, or it breaks off."""

    code = "video_corrupt"


class VideoUndecodable(CallerError):
    """Decoding the video took more memory or time than it may."""

    code = "video_undecodable"


class BodyTooLarge(CallerError):
    """The body has more bytes, or more parts, than any accepted request."""

    code = "body_too_large"


class UnsupportedMediaType(CallerError):
    """The body is of a media type that is not accepted here."""

    code = "unsupported_media_type"


class NotFound(CallerError):
    """There is no such thing, or it is not yours."""

    code = "not_found"


class TooManyJobs(CallerError):
    """The tenant has as much waiting as it may have; later there is room again."""

    code = "too_many_jobs"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UrlUnreachable(CallerError):
    """What a URL names cannot be fetched now; its server may be better later."""

    code = "url_unreachable"
    retryable = True


class TooManyRequests(CallerError):
    """The tenant asks more often than it may."""

    code = "rate_limited"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StorageQuotaExceeded(CallerError):
    """The tenant's uploads and results weigh as much as they may; deleting some makes room."""

    code = "storage_quota_exceeded"


class Forbidden(CallerError):
    """The key is good, and its scopes do not cover this."""

    code = "forbidden"


class Unauthorized(CallerError):
    """No key came, or one that is unknown, expired or revoked."""

    code = "unauthorized"


class SystemFault(IconotextError):
    """Ours; the caller did nothing wrong."""


class BadConfiguration(SystemFault):
    """The service is set up in a way that cannot work."""

    code = "bad_configuration"


class StoreUnavailable(SystemFault):
    """The database does not answer."""

    code = "store_unavailable"
    retryable = True


class DatabaseFull(StoreUnavailable):
    """Nothing can be written until there is room on the database's disk."""

    code = "database_full"


class BlobsUnavailable(SystemFault):
    """The store of files does not answer."""

    code = "blobs_unavailable"
    retryable = True


class BlobsFull(BlobsUnavailable):
    """No file can be stored until there is room on the blob store's disk."""

    code = "blobs_full"


class Overloaded(SystemFault):
    """So much waits that nothing more is accepted; later there is room again."""

    code = "overloaded"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueUnavailable(SystemFault):
    """The queue does not answer."""

    code = "queue_unavailable"
    retryable = True


class ModelUnavailable(SystemFault):
    """No model is there for what the job needs."""

    code = "model_unavailable"


class ModelOutOfMemory(SystemFault):
    """The model ran out of memory."""

    code = "model_out_of_memory"
    retryable = True


class ModelFailed(SystemFault):
    """The model failed."""

    code = "model_failed"


class DecoderFailed(SystemFault):
    """The process that decodes images and videos failed."""

    code = "decoder_failed"
    retryable = True


class JobTimeout(SystemFault):
    """The job ran longer than its `timeout_s`."""

    code = "timeout"


class AttemptsExhausted(SystemFault):
    """Every attempt ended in a crash or in a fault that may pass; none is left."""

    code = "attempts_exhausted"


class LeaseLost(SystemFault):
    """This worker no longer owns the job; whatever it computed is dropped."""

    code = "lease_lost"


class InternalError(SystemFault):
    """Something went wrong on our side; quote the request id."""

    code = "internal"


def every_error() -> Iterator[type[IconotextError]]:
    """Yield each class of the tree, the root first."""
    pending: list[type[IconotextError]] = [IconotextError]
    while pending:
        kind = pending.pop()
        yield kind
        pending.extend(kind.__subclasses__())
