"""What labels and films there were before: what a loss is seen by, also where a record is missing.

A missing record is no first run: an asset may have been wiped, runs deleted in the UI, or Dagster's
storage lost, and an empty data folder may be a disk that is not mounted. What is left of records
and files is asked. Not here: reading Dagster's records (`observe.py`, `home/dagster_records.py`),
what is refused (`losses.py`).
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

#: Asked for together with `READ` and `TRAINED` whether anything was made.
_SCORED = "scored_results"
#: Their files carry the fingerprints that they were made from, and are replaced only by a run that
#: was let go on. `raw_media` is not among them: its file holds what a stopped run has read.
_CARRIERS = (_SCORED, "training_table")


@dataclass(frozen=True)
class Held:
    """What labels and films there were when results were last made.

    Attributes:
        labels, media: their fingerprints, as far as they are known; empty if nothing was made yet.
        gone: that the whole data folder is gone, in words with the mend; else empty.
        unknown: whether results were made, and nothing says of how many labels.
    """

    labels: frozenset[str] = frozenset()
    media: frozenset[str] = frozenset()
    gone: str = ""
    unknown: bool = False


def held_before(latest: Callable[[str], Made | None], folder: Path) -> Held:
    """Return what there was: by the records of all results, or else by what is left, files too.

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
    """Say that the data are gone where results were made and the data folder has none."""
    if not any(latest(name) for name in (*READ, TRAINED, _SCORED)):
        return ""
    try:
        if has_results(folder):
            return ""
    except OSError as error:
        return f"the data folder {folder} cannot be read: {why_unreadable(error)}"
    return (
        f"the data are gone from {folder}: mount their disk, or set ATX_DATA_DIR to where they "
        "are, or restore a backup; to begin anew without them, `atx run` by hand"
    )


def has_results(folder: Path) -> bool:
    """Whether the data folder holds results, or a version of the model, of an earlier run.

    What a run has read is none: one that was broken off leaves it in an empty folder.
    """
    files = DataFolder(folder)
    made = any(files.path(name).exists() for name in (*READ, _SCORED))
    return made or bool(kept_versions(files))


def _may_have_results(folder: Path) -> bool:
    try:
        return has_results(folder)
    except OSError:  # nobody can say
        return True


def _of_files(files: DataFolder) -> Iterator[tuple[str, str]]:
    """Yield the fingerprints of labels and films that files carry; else what the champion learned.

    A file that is missing, damaged or not readable says nothing: see `Held.unknown`.
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
    """Return how many titles the champion learned from, as a fingerprint begins; "" if unknown.

    There are at least as many labelled rows as titles.
    """
    from atx_assets.models.bundles import Bundles

    try:
        return f"{Bundles(files).champion().about['learned_from']['rows']:d}-"
    except (FileError, OSError, ValueError, KeyError, TypeError):
        return ""
