"""Dagster's own storage, seen before Dagster is: whether it can be reached and written to."""

from atx_assets.errors import AtxError
from atx_assets.settings import Settings


def reach_storage(settings: Settings) -> str:
    """Make sure that Dagster can keep its storage where the settings say; return its name.

    Left to itself, Dagster tries a server that is down for a minute, and then shows a traceback.

    Raises:
        AtxError: it cannot be reached, or no table may be made there.
    """
    import psycopg

    url = settings.dagster_postgres_url.replace("postgresql+psycopg2://", "postgresql://")
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            may = "SELECT has_schema_privilege(current_schema(), 'CREATE')"
            if connection.execute(may).fetchone() != (True,):
                raise AtxError(
                    f"user {connection.info.user} may not create tables in "
                    f"{connection.info.dbname}: make it the owner of that database"
                )
            return f"database {connection.info.dbname}"
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise AtxError(
            f"Dagster's storage cannot be reached ({reason}): check DAGSTER_POSTGRES_URL"
        ) from error
