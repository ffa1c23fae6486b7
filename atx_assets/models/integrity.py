"""Whether the assets' files and the versions of the model are as they were written.

Each check returns what it found, as a `Note` if a person should know it, and raises an AtxError
with the fix if a run or a reader would fail. Not here: who asks (`atx doctor`, `atx backup`).
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from atx_assets.errors import AtxError, FileError, Note
from atx_assets.models.bundles import Bundles
from atx_assets.settings import Settings
from atx_assets.storage.checksums import is_damaged
from atx_assets.storage.data_folder import FILES, DataFolder, damaged
from atx_assets.storage.disk_errors import why_unreadable


def check_results(settings: Settings) -> str:
    """Read each asset's file to its end."""
    files = DataFolder(settings.data_dir)
    there = [name for name in FILES if files.path(name).exists()]
    if not there:
        return Note("none yet: `atx run` makes them")
    faults = [fault for name in there if (fault := _fault(files, name))]
    for figure in sorted(settings.data_dir.glob("report_*.png")):
        if is_damaged(figure):
            faults.append(damaged(figure, "analysis_report"))
    if faults:
        raise AtxError("; ".join(faults))
    missing = [FILES[name] for name in FILES if name not in there]
    if missing:
        return Note(f"{', '.join(missing)} missing: `atx run` makes them")
    return f"{len(there)} files, all readable"


def _fault(files: DataFolder, asset: str) -> str:
    """Say what is wrong with an asset's file, and how to fix it; nothing if it is well."""
    path = files.path(asset)
    try:
        if is_damaged(path):
            if asset == "tuned_classifier":  # a copy of the champion's: no training needed
                return f"{path} is damaged: `atx run --select key:scored_results` copies it again"
            return damaged(path, asset)
        if path.suffix == ".parquet":
            try:
                for _ in pq.ParquetFile(path).iter_batches():  # not the whole file at once
                    pass
            except (pa.ArrowException, OSError):
                return damaged(path, asset)
        elif path.suffix == ".json" and asset != "feature_encoding":
            files.read_records(asset)
        elif path.suffix != ".ubj":  # a copy of the champion's, which is checked there
            files.read_text(asset)
    except FileError as error:
        return str(error)
    except OSError as error:
        return f"{path} cannot be read: {why_unreadable(error)}"
    except UnicodeDecodeError:
        return damaged(path, asset)
    return ""


def check_models(settings: Settings) -> str:
    """Check that the champion and the other versions are as they were saved."""
    bundles = Bundles(DataFolder(settings.data_dir))
    versions = bundles.versions()
    if bundles.is_empty:
        files = DataFolder(settings.data_dir)
        if any(files.path(name).exists() for name in ("tuned_classifier", "scored_results")):
            raise AtxError(
                f"all versions are gone from {bundles.folder}: mount their disk, or restore it "
                "from a backup; to start again without them, run full_rebuild"
            )
        return Note("none yet: `atx run` trains the first")
    champion = bundles.champion()
    _ = champion.about  # a bundle of another atx raises its own error
    if champion.is_intact:
        champion.require_answers()
    else:
        raise AtxError(
            f"version {champion.version}, the champion, is not as it was saved: {bundles.mend()}"
        )
    spoilt = [str(v) for v in versions if not bundles.version(v).is_whole]
    if spoilt:
        return Note(
            f"version {champion.version} scores; damaged or from another atx, but not "
            f"needed to score: {', '.join(spoilt)}"
        )
    return f"version {champion.version} scores; {len(versions)} kept, all as they were saved"
