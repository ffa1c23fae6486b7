"""Connections that the tests open for themselves. Not here: those of atx, which read as a role."""

import psycopg

from atx_assets.settings import Database


def opened(database: Database) -> psycopg.Connection:
    """A connection as the user that `database` names, which commits each statement."""
    return psycopg.connect(
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password,
        dbname=database.name,
        autocommit=True,
    )
