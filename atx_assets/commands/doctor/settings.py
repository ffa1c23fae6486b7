"""`atx doctor` on settings: names that nothing reads, a file that others can read, ports.

Not here: invalid values, with which no command starts (`settings.py`).
"""

from __future__ import annotations

import difflib
import re
import stat
from collections.abc import Iterator, Mapping, Sequence

from atx_assets.errors import Note
from atx_assets.home.home import own_databases
from atx_assets.libpq import obeyed_names
from atx_assets.settings import ROOT, Settings, environment, read_settings
from atx_assets.storage.locks import try_lock, unlock


class _AskedNames(Mapping[str, str]):
    """An empty environment that records which names are looked up."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def check_names(values: Mapping[str, str] | None = None) -> str:
    """Look for names that nothing reads, in the environment and `.env`: ATX_… and PG_….

    If PG_HOST is misspelled, atx reads the embedded database instead of the owner's, silently.
    """
    asked = _AskedNames()
    read_settings(asked)
    given = environment() if values is None else values
    ours = sorted(name for name in given if name.startswith(("ATX_", "PG_")))
    if unknown := [name for name in ours if name not in asked.names]:
        return Note("; ".join(_unknown(name, asked.names) for name in unknown))
    of_server = [name for name in ("PG_PASS", "PG_PORT", "PG_USER") if given.get(name)]
    if of_server and not given.get("PG_HOST"):
        return Note(f"{', '.join(of_server)} without PG_HOST: the embedded PostgreSQL is used")
    return f"{len(ours)} of atx's own are set, all known"


def check_libpq(settings: Settings, ignored: Sequence[str]) -> str:
    """Say which variables of libpq are set but have no effect, and which apply."""
    names = obeyed_names()
    applies = f"{names} apply to your own server"
    effect = "none has an effect" if not names or all(own_databases(settings)) else applies
    if ignored:
        return Note(
            f"{', '.join(ignored)} set, but not used: only PG_HOST, PG_PORT, PG_DB, PG_USER, "
            "PG_PASS and DAGSTER_POSTGRES_URL say where a connection goes, and as which user"
            + (f"; {effect}" if effect == applies else "")
        )
    return effect


def check_mlflow_variables(ignored: Sequence[str]) -> str:
    """Say which variables of MLflow are set but have no effect."""
    if not ignored:
        return "none without effect"
    return Note(
        f"{', '.join(ignored)} set, but not used: only MLFLOW_HOST and MLFLOW_PORT say where "
        "MLflow is, and only ATX_MODEL_NAME names atx's registered model"
    )


def _unknown(name: str, known: set[str]) -> str:
    nearest = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else "docs/settings.md lists them all"
    return f"{name} is not a setting, and nothing reads it: {hint}"


#: A line of `.env` that sets a password, a token or an address, or has an address with a user.
_SECRET = re.compile(
    r"^\s*(export\s+)?\w+(_PASS|_PASSWORD|_TOKEN|_URL)\s*=\s*\S|^[^#]*://[^/\s]+@", re.MULTILINE
)


def check_env_file() -> str:
    """Say whether other users of this machine can read `.env` and the passwords in it."""
    path = ROOT / ".env"
    try:
        mode, text = path.stat().st_mode, path.read_text(errors="replace")
    except FileNotFoundError:
        return "there is none"
    except OSError as error:
        return Note(f"{path} cannot be read ({error.strerror}): none of its settings apply")
    if _SECRET.search(text) and mode & (stat.S_IRGRP | stat.S_IROTH):
        return Note(f"it holds secrets and other users can read it: `chmod 600 '{path}'`")
    return "only you can read it" if not mode & 0o077 else "it holds no secrets"


def check_ports(settings: Settings) -> str:
    """Say whether the ports of `atx up` are free, or whether an `atx up` of this home has them."""
    from atx_assets.web.processes import free_port

    lock = settings.home / "locks" / "up"
    if lock.exists():
        held = try_lock(lock)
        if held is None:
            return f"`atx up` runs on {settings.home}"
        unlock(held)
    wanted = {"ATX_UI_PORT": settings.ui_port, "ATX_REPORT_PORT": settings.report_port}
    if settings.mlflow_on and not settings.mlflow_host:
        wanted["MLFLOW_PORT"] = settings.mlflow_port
    taken = {name: port for name, port in wanted.items() if free_port(port) != port}
    if taken:
        named = ", ".join(f"{port} ({name})" for name, port in taken.items())
        return Note(f"taken: {named}; `atx up` uses the next free ones and says which")
    return f"{', '.join(map(str, wanted.values()))} are free"
