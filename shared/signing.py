"""Secrets of webhooks, derived from one secret of the service: the database holds none of them.

Each endpoint has its own, by its id and the number of its rotation; what jobs name by URL alone is signed
with the tenant's. The service's own secret is `ICONOTEXT_SECRET`, or a file that the first process to need it
makes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from shared.errors import BadConfiguration
from shared.settings import SharedSettings

#: Of the service's secret, in characters.
_SHORTEST = 32
_FILE = "secret"
_DOMAIN = "iconotext/webhook"
_FINGERPRINT = "iconotext/fingerprint"


class Signer:
    """Derives secrets; knows nothing else."""

    def __init__(self, master: bytes) -> None:
        """Take the service's secret."""
        self._master = master

    @property
    def fingerprint(self) -> str:
        """Return what two signers have in common only if their secrets are the same; it gives none away."""
        return hmac.new(self._master, _FINGERPRINT.encode(), hashlib.sha256).hexdigest()[:16]

    def secret(self, name: str, rotation: int) -> str:
        """Return a secret as Standard Webhooks writes it, `whsec_` and base64 of 32 bytes.

        Args:
            name: an endpoint's id, or `tenant:<name>`.
            rotation: another number has another secret.
        """
        words = f"{_DOMAIN}/{rotation}/{name}".encode()
        derived = hmac.new(self._master, words, hashlib.sha256).digest()
        return f"whsec_{base64.b64encode(derived).decode()}"


def signer_of(settings: SharedSettings) -> Signer:
    """Return the signer of a service; its secret is made when there is none yet.

    Raises:
        BadConfiguration: the secret is too short, or its file can be neither read nor made.
    """
    given = settings.secret.get_secret_value()
    if given and len(given) < _SHORTEST:
        raise BadConfiguration(f"cannot start: ICONOTEXT_SECRET has fewer than {_SHORTEST} characters")
    return Signer((given or _kept(settings.data_dir / _FILE)).encode())


def _kept(file: Path) -> str:
    """Return the secret in a file that only this user may read; whoever comes first makes it."""
    try:
        if file.exists():
            return file.read_text()
        file.parent.mkdir(parents=True, exist_ok=True)
        made = file.with_name(f"{_FILE}.{os.getpid()}.{secrets.token_hex(4)}")
        made.touch(0o600)
        try:
            made.write_text(secrets.token_urlsafe(_SHORTEST))
            # A link, unlike a rename, leaves what is there: two that start at once agree.
            os.link(made, file)
        except FileExistsError:
            pass
        finally:
            made.unlink()
        return file.read_text()
    except OSError as error:
        raise BadConfiguration(
            f"cannot start: the secret of webhooks can be neither read nor made in {file.parent} "
            f"({error.strerror}); set ICONOTEXT_SECRET"
        ) from error
