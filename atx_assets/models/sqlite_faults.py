"""Why a SQLite file cannot be used, from SQLite's message, and how to fix that.

The causes need opposite fixes: a file that another program has locked is whole, and restoring it
from a backup or moving it away would lose its content. Not here: any use of the file.
"""

from __future__ import annotations

from pathlib import Path

from atx_assets.models.mlflow_answers import reason

#: SQLite's messages, which are the same in every version and language, and how to fix them.
_FIXES = {
    "disk is full": "make room on its disk",
    "disk I/O error": "its disk fails or is full: look at the system's log and `df`",
    "readonly database": "change its owner, or mount its disk for writing",
    "unable to open database file": "check that it and its folder can be written to",
    "not authorized": "check that it and its folder can be written to",
}
_LOCKED = ("is locked", "locking protocol")
_DAMAGED = ("malformed", "is not a database", "file is encrypted")


def store_fault(store: Path, error: BaseException) -> str:
    """Say in one line, to follow the store's name, what SQLite found wrong and how to fix it.

    Args:
        store: the embedded MLflow store.
        error: from `sqlite3`, or from MLflow or SQLAlchemy with the same text in it.
    """
    message = str(error)
    if any(words in message for words in _LOCKED):
        # psutil is imported only if a store is locked, not in each process that may use one.
        from atx_assets.models.lock_holders import lock_holder

        return f"is locked by {lock_holder(store)}: wait until that is done, or end it"
    if any(words in message for words in _DAMAGED):
        return (
            f"is damaged ({_first_of(message, _DAMAGED)}): restore a backup, or move it away to "
            "start a new one"
        )
    for words, fix in _FIXES.items():
        if words in message:
            return f"cannot be used ({words}): {fix}"
    return f"cannot be used ({reason(error)}): `atx doctor --deep` tries each step"


def _first_of(message: str, words: tuple[str, ...]) -> str:
    found = next(word for word in words if word in message)
    return {"is not a database": "file is not a database"}.get(found, found)
