"""What labels and films there were before, to detect a loss even if a record is missing.

A missing record does not mean a first run: an asset may have been wiped, runs deleted in the UI, or
Dagster's storage lost, and an empty data folder may be a disk that is not mounted. So the remaining
records and files are used. Not here: reading Dagster's records (`observe.py`,
`home/dagster_records.py`), what is refused (`losses.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from atx_assets.automation.results import READ, TRAINED, Made
from atx_assets.errors import FileError
from atx_assets.models.versions import kept_versions
from atx_assets.storage.data_folder import DataFolder
from atx_assets.storage.disk_errors import why_unreadable

#: With `READ` and `TRAINED`, the assets whose records show that anything was made.
_SCORED = "scored_results"
#: Their files carry the fingerprints that they were made from, and only a run that passed the
#: checks replaces them. `raw_media` is not among them: its file holds what a stopped run has read.
_CARRIERS = (_SCORED, "training_table")


@dataclass(frozen=True)
class Held:
    """What labels and films there were when results were last made.

    Attributes:
        labels, media: their known fingerprints; empty if nothing was made yet.
        gone: a line with the fix if all data are gone from the data folder; else empty.
        unknown: results were made, but nothing says from how many labels.
    """

    labels: frozenset[str] = frozenset()
    media: frozenset[str] = frozenset()
    gone: str = ""
    unknown: bool = False


def held_before(latest: Callable[[str], Made | None], folder: Path) -> Held:
    """Return what there was, by the records of all results, or else by the remaining files, too.

    Args:
        latest: returns the last materialisation of an asset.
        folder: the data folder.
    """
    found = {name: latest(name) for name in (*READ, TRAINED)}
    made = [record for record in found.values() if record is not None]
    records = [
        (record.told.get("atx/labels", ""), record.told.get("atx/media", "")) for record in made
    ]
    gone = data_gone(latest, folder)
    if len(made) < len(found) and not gone:
        records += _of_files(DataFolder(folder))
    labels = frozenset(labels for labels, _ in records if labels)
    media = frozenset(media for _, media in records if media)
    unknown = not labels and not gone and (bool(made) or _may_have_results(folder))
    return Held(labels, media, gone, unknown)


def data_gone(latest: Callable[[str], Made | None], folder: Path) -> str:
    """Return a line with the fix if results were made and the data folder has none; else empty."""
    if not any(latest(name) for name in (*READ, TRAINED, _SCORED)):
        return ""
    try:
        if has_results(folder):
            return ""
    except OSError as error:
        return f"the data folder {folder} cannot be read: {why_unreadable(error)}"
    return (
        f"the data are gone from {folder}: mount their disk, or set ATX_DATA_DIR to where they "
        "are, or restore a backup; to start without them, `atx run` by hand"
    )


def has_results(folder: Path) -> bool:
    """Return whether the data folder holds results, or a version of the model, of an earlier run.

    The copy of the source does not count: an interrupted run leaves it in an empty folder.
    """
    files = DataFolder(folder)
    made = any(files.path(name).exists() for name in (*READ, _SCORED))
    return made or bool(kept_versions(files))


def _may_have_results(folder: Path) -> bool:
    try:
        return has_results(folder)
    except OSError:  # unknown
        return True


def _of_files(files: DataFolder) -> Iterator[tuple[str, str]]:
    """Yield the fingerprints of labels and films in the files, or else the champion's row count.

    A missing, damaged or unreadable file yields nothing: see `Held.unknown`.
    """
    from atx_assets.sources.extracted import snapshot_of

    known = False
    for asset in _CARRIERS:
        try:
            prints: Mapping[str, str] = snapshot_of(files.read_table(asset, ()))["fingerprints"]
        except (FileError, OSError, ValueError, KeyError):
            continue
        known = True
        yield prints.get("labels", ""), prints.get("media", "")
    if not known:
        yield _learned(files), ""


def _learned(files: DataFolder) -> str:
    """Return the champion's number of titles in the form of a fingerprint; "" if unknown.

    There are at least as many labelled rows as titles.
    """
    from atx_assets.models.bundles import Bundles

    try:
        return f"{Bundles(files).champion().about['learned_from']['rows']:d}-"
    except (FileError, OSError, ValueError, KeyError, TypeError):
        return ""
