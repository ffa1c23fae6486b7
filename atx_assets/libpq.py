"""libpq's variables in the environment: which ones count, and for whose server.

libpq takes every option that a connection does not name from the environment of its process, in
psycopg, in Dagster's psycopg2 and in `pg_dump` alike. Not here: the settings (`settings.py`), which
alone say where a connection goes, as whom, and what its session is like.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

#: Those that say where a connection goes, as whom, and what its session is like. Named one by one:
#: PGID, PGDATA and others that begin alike are none of libpq's.
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
#: A path of nothing: no file of the person's is read for the embedded server.
_NOWHERE = "/nonexistent"

#: Those that say how safe a connection must be, or prove who we are: they hold for a server that is
#: somebody's, as libpq itself reads them. Each with its option, and with the value of that option
#: that asks nothing of the embedded server, to whose private socket none of them applies.
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
    """What becomes of libpq's variables: to be `removed`, and `added` where they are not set.

    `ignored` names those of the removed that do not count: an old name of one that does is not
    among them.
    """

    removed: tuple[str, ...]
    added: dict[str, str]
    ignored: tuple[str, ...]


def settled(environ: Mapping[str, str], values: Mapping[str, str]) -> Settled:
    """Say what leaves libpq only those variables that count.

    What `.env` says of a variable that counts holds, too: else a connection would be less safe
    than was asked for.

    Args:
        environ: the environment of the process, from which libpq reads.
        values: the same, over those of `.env`.
    """
    removed = tuple(sorted(_IGNORED & environ.keys()))
    added = {name: value for name, value in values.items() if name in OBEYED}
    # The old name of a demand for encryption: as libpq reads it.
    if not values.get("PGREQUIRESSL", "").startswith("1"):
        return Settled(removed, added, removed)
    ignored = tuple(name for name in removed if name != "PGREQUIRESSL")
    return Settled(removed, {"PGSSLMODE": "require", **added}, ignored)


def obeyed_names() -> str:
    """Name the variables that hold for a server of somebody's now, with commas between."""
    return ", ".join(name for name in OBEYED if os.environ.get(name))


def unasked(socket_folder: str) -> Mapping[str, str]:
    """Return the options of a connection to the embedded server that undo what counts elsewhere.

    Only for what is set: an older libpq does not know every option.
    """
    options = {option: value for name, (option, value) in OBEYED.items() if name in os.environ}
    if "requirepeer" in options:
        options["requirepeer"] = _owner(socket_folder)
    return options


def _owner(folder: str) -> str:
    try:
        return Path(folder).owner()
    except (OSError, KeyError):  # it is not there yet, or its owner has no name
        return ""
