"""`atx score`: scores titles given as JSON with the champion. Not here: how it scores them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from atx_assets.errors import AtxError
from atx_assets.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: From this many titles on, it pays to start more than one thread.
MANY = 1_000
_SHAPE = 'give an object such as {"imdb_id": "tt0133093", "genre": ["Action"]}, or a list of them'


def score(settings: Settings, text: str) -> str:
    """Score titles given as JSON, without the database or MLflow.

    Args:
        settings: those that name the data folder.
        text: one object, or a list of them, with the columns of the layout that was trained on.

    Returns:
        JSON of the same shape: for each title `key`, `probability` (the same number as in
        `scored_results`), `decision` (keep or skip) and `model_version`.

    Raises:
        AtxError: the text is not valid JSON, a title cannot be read, or there is no model.
    """
    from atx_assets.models.bundles import Bundles
    from atx_assets.sources.given_titles import given_titles
    from atx_assets.sources.layouts import LAYOUTS
    from atx_assets.storage.data_folder import DataFolder

    given = _parsed(text)
    bundle = Bundles(DataFolder(settings.data_dir)).champion()
    records = given if isinstance(given, list) else [given]
    titles = given_titles(records, LAYOUTS[bundle.encoding.layout])
    # Imported here, so that an error above does not wait for XGBoost.
    from atx_assets.learning.models import alone
    from atx_assets.learning.scoring import blind_probabilities

    def ask() -> NDArray[np.float64]:
        return blind_probabilities(titles, bundle)

    probability = alone(ask) if len(records) < MANY else ask()
    answers = [
        {
            "key": key,
            "probability": float(value),
            "decision": "keep" if value >= bundle.threshold else "skip",
            "model_version": bundle.version,
        }
        for key, value in zip(titles["key"].to_pylist(), probability, strict=True)
    ]
    return json.dumps(answers if isinstance(given, list) else answers[0], indent=2)


def read_given(file: Path | None, stdin: TextIO) -> str:
    """Return the text of a file, or of standard input.

    Raises:
        AtxError: the file cannot be read, or standard input is a terminal.
    """
    if file is None or str(file) == "-":
        if stdin.isatty():
            raise AtxError(f"name a FILE, or write to standard input: {_SHAPE}")
        return stdin.read()
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise AtxError(f"{file} cannot be read: {reason}") from error


def _parsed(text: str) -> Any:
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise AtxError(
            f"this is not valid JSON (line {error.lineno}: {error.msg}): {_SHAPE}"
        ) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; nested lists
        raise AtxError(f"this is too long or too deeply nested for a title: {_SHAPE}") from error
    if not isinstance(given, dict | list):
        raise AtxError(f"this is not a title: {_SHAPE}")
    return given
