"""Why a SQLite file cannot be used, from what SQLite says, and how to fix that.

The causes need opposite fixes: a file that another program has locked is whole, and to restore it
from a backup or to move it away would destroy what is in it. Not here: any use of the file.
"""

from __future__ import annotations

from pathlib import Path

from atx_assets.models.mlflow_answers import reason

#: What SQLite says, which is the same in every version and language, and how to fix it.
_FIXES = {
    "disk is full": "make room on its disk",
    "disk I/O error": "its disk fails or is full: look at the system's log and `df`",
    "readonly database": "change its owner, or mount its disk for writing",
    "unable to open database file": "see that it and its folder can be written to",
    "not authorized": "see that it and its folder can be written to",
}
_LOCKED = ("is locked", "locking protocol")
_DAMAGED = ("malformed", "is not a database", "file is encrypted")


def store_fault(store: Path, error: BaseException) -> str:
    """Say in a line, after the store's name, what SQLite found wrong with it and how to fix it.

    Args:
        store: the embedded MLflow store.
        error: of `sqlite3`, or of MLflow or SQLAlchemy with the same text in it.
    """
    told = str(error)
    if any(words in told for words in _LOCKED):
        # psutil is imported where a store is locked, and not by each process that may use one.
        from atx_assets.models.lock_holders import lock_holder

        return f"is locked by {lock_holder(store)}: wait until that is done, or end it"
    if any(words in told for words in _DAMAGED):
        return (
            f"is damaged ({_first_of(told, _DAMAGED)}): restore a backup, or move it away to begin "
            "a new one"
        )
    for words, fix in _FIXES.items():
        if words in told:
            return f"cannot be used ({words}): {fix}"
    return f"cannot be used ({reason(error)}): `atx doctor --deep` tries each step"


def _first_of(told: str, words: tuple[str, ...]) -> str:
    found = next(word for word in words if word in told)
    return {"is not a database": "file is not a database"}.get(found, found)
