"""libpq's variables in the environment: which ones apply, and to whose server.

libpq takes every option that a connection does not name from the environment of its process, in
psycopg, in Dagster's psycopg2 and in `pg_dump`. Not here: the settings (`settings.py`): only they
say where a connection goes, as which user, and with which session options.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

#: Variables that say where a connection goes, as which user, and with which session options. Listed
#: one by one: PGID, PGDATA and others with the same prefix are not libpq's.
_IGNORED = frozenset(
    {
        *("PGAPPNAME", "PGCLIENTENCODING", "PGCONNECT_TIMEOUT", "PGDATABASE", "PGDATESTYLE"),
        *("PGGEQO", "PGGSSDELEGATION", "PGHOST", "PGHOSTADDR", "PGLOADBALANCEHOSTS"),
        *("PGLOCALEDIR", "PGMAXPROTOCOLVERSION", "PGMINPROTOCOLVERSION", "PGOPTIONS"),
        *("PGPASSWORD", "PGPORT", "PGREQUIRESSL", "PGSERVICE", "PGSERVICEFILE"),
        *("PGSSLCOMPRESSION", "PGSSLNEGOTIATION", "PGSYSCONFDIR", "PGTARGETSESSIONATTRS"),
        *("PGTZ", "PGUSER"),
    }
)
#: A path that does not exist: no file of the person's is read for the embedded server.
_NOWHERE = "/nonexistent"

#: Variables that say how safe a connection must be, or prove who we are. They apply to the owner's
#: server, and libpq itself reads them. Each with its option, and the value of that option that
#: demands nothing of the embedded server: none of them applies to its private socket.
OBEYED: dict[str, tuple[str, str]] = {
    "PGCHANNELBINDING": ("channel_binding", "disable"),
    "PGGSSENCMODE": ("gssencmode", "disable"),
    "PGGSSLIB": ("gsslib", "gssapi"),
    "PGKRBSRVNAME": ("krbsrvname", "postgres"),
    "PGPASSFILE": ("passfile", _NOWHERE),
    "PGREQUIREAUTH": ("require_auth", "none"),
    "PGREQUIREPEER": ("requirepeer", ""),  # the name of the server's user: see `unasked`
    "PGSSLCERT": ("sslcert", _NOWHERE),
    "PGSSLCERTMODE": ("sslcertmode", "allow"),
    "PGSSLCRL": ("sslcrl", _NOWHERE),
    "PGSSLCRLDIR": ("sslcrldir", _NOWHERE),
    "PGSSLKEY": ("sslkey", _NOWHERE),
    "PGSSLMAXPROTOCOLVERSION": ("ssl_max_protocol_version", "TLSv1.3"),
    "PGSSLMINPROTOCOLVERSION": ("ssl_min_protocol_version", "TLSv1.2"),
    "PGSSLMODE": ("sslmode", "disable"),
    "PGSSLROOTCERT": ("sslrootcert", _NOWHERE),
    "PGSSLSNI": ("sslsni", "1"),
}


class Settled(NamedTuple):
    """What to do with libpq's variables: those to be `removed`, and `added` if they are not set.

    `ignored` names the removed ones that have no effect: the old name of one that has an effect is
    not among them.
    """

    removed: tuple[str, ...]
    added: dict[str, str]
    ignored: tuple[str, ...]


def settled(environ: Mapping[str, str], values: Mapping[str, str]) -> Settled:
    """Return the changes that leave libpq only the variables that apply.

    Such variables in `.env` apply, too: otherwise a connection would be less safe than requested.

    Args:
        environ: the environment of the process, from which libpq reads.
        values: the same, merged over those of `.env`.
    """
    removed = tuple(sorted(_IGNORED & environ.keys()))
    added = {name: value for name, value in values.items() if name in OBEYED}
    # The old name of a demand for encryption, with the meaning that libpq gives it.
    if not values.get("PGREQUIRESSL", "").startswith("1"):
        return Settled(removed, added, removed)
    ignored = tuple(name for name in removed if name != "PGREQUIRESSL")
    return Settled(removed, {"PGSSLMODE": "require", **added}, ignored)


def obeyed_names() -> str:
    """Return the names of the set variables that apply to the owner's server, comma-separated."""
    return ", ".join(name for name in OBEYED if os.environ.get(name))


def unasked(socket_folder: str) -> Mapping[str, str]:
    """Return options for the embedded server that undo the variables for the owner's server.

    Only for those that are set: an older libpq does not know every option.
    """
    options = {option: value for name, (option, value) in OBEYED.items() if name in os.environ}
    if "requirepeer" in options:
        options["requirepeer"] = _owner(socket_folder)
    return options


def _owner(folder: str) -> str:
    try:
        return Path(folder).owner()
    except (OSError, KeyError):  # it does not exist yet, or its owner has no name
        return ""
