"""`iconotext db upgrade`: bring the configured database to the newest migration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from client.errors import StackFailed

if TYPE_CHECKING:
    from shared.database import Database


@dataclass(frozen=True, kw_only=True, slots=True)
class Upgrade:
    """What an upgrade did."""

    #: The database's URL without its password.
    database: str
    #: The revision before; None: it was empty.
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before == self.after:
            return f"{self.database} is at revision {self.after} already"
        return f"{self.database} upgraded from {self.before or 'nothing'} to revision {self.after}"


def upgrade() -> Upgrade:
    """Upgrade the database that `ICONOTEXT_DATABASE_URL` or `ICONOTEXT_DATA_DIR` names.

    Raises:
        StackFailed: the service is not installed here, or the database cannot be reached.
    """
    try:
        from shared import telemetry  # noqa: PLC0415  # `pip install iconotext` has the client alone
        from shared.database import Database, masked  # noqa: PLC0415
        from shared.database import upgrade as upgrade_to_head  # noqa: PLC0415
        from shared.errors import IconotextError  # noqa: PLC0415
        from shared.settings import SharedSettings, read  # noqa: PLC0415
    except ImportError as error:
        raise StackFailed(
            f"the service is not installed here ({error}); pip install 'iconotext[all]'"
        ) from error
    telemetry.configure("WARNING", "human", "client")
    try:
        url = read(SharedSettings).resolved_database_url
        database = Database(url, application="iconotext-upgrade", pool_size=1)
        try:
            before = _revision(database)
            upgrade_to_head(url)
            return Upgrade(database=masked(url), before=before, after=_revision(database))
        finally:
            database.close()
    except IconotextError as error:
        raise StackFailed(error.message) from error


def _revision(database: Database) -> str | None:
    from shared.errors import IconotextError  # noqa: PLC0415

    try:
        with database.read() as connection:
            found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except IconotextError:
        return None  # no such table yet; a database out of reach is the upgrade's to report
    return None if found is None else str(found)
