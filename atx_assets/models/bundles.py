"""The bundles of the models, one folder per version, and which version is the champion.

Not here: what a bundle holds (`bundle.py`), whether a version is promoted (`learning/`).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atx_assets.errors import AtxError, DamagedError, FileError, MissingError
from atx_assets.learning.features import FeatureEncoding
from atx_assets.models.bundle import JUDGED, MODEL, QUALITY, Bundle, as_json, sync
from atx_assets.models.versions import kept_versions, models_folder
from atx_assets.storage.checksums import is_damaged
from atx_assets.storage.data_folder import DataFolder
from atx_assets.storage.disk_errors import writable

if TYPE_CHECKING:  # needs XGBoost, which code that only looks at versions does not
    from atx_assets.models.new_bundle import NewBundle

KEPT = 10


@dataclass(frozen=True)
class Place:
    """Which version is champion, as in `champion.json`.

    `before` are the previous champions, the last first. `declined` are the versions that a person
    replaced since training last set the champion. Training promotes none of them again, nor
    another version that learned from no newer label: a person who goes back a version does not want
    the next change of a film's votes to bring back the same model. `lifted` is set if the
    person then promoted the version trained last: then only the declined versions stay out.
    `challenger` is the version trained last, if it did not become champion.
    """

    version: int
    before: tuple[int, ...] = ()
    declined: tuple[int, ...] = ()
    challenger: int | None = None
    lifted: bool = False


class Bundles:
    """The folder `models/` under the data folder."""

    def __init__(self, files: DataFolder) -> None:
        """Manage the bundles in the same data folder as the assets' files."""
        self._files = files
        self.folder = models_folder(files)

    def place(self) -> Place:
        """Return the record of the champion.

        Raises:
            MissingError: no model has been trained yet, or the record is missing.
            DamagedError: the record is damaged.
        """
        pointer = self.folder / "champion.json"
        kept = ", ".join(map(str, self.versions()))
        if self.is_empty:
            raise MissingError("no model has been trained yet: run full_rebuild (`atx run`) first")
        if not pointer.exists():
            raise MissingError(
                f"{pointer} is missing: `atx promote VERSION` writes it again; "
                f"versions kept: {kept}"
            )
        try:
            if is_damaged(pointer):
                raise ValueError("its checksum differs")
            said = json.loads(pointer.read_text(encoding="utf-8"))
            return Place(
                int(said["version"]),
                tuple(said.get("before", ())),
                tuple(said.get("declined", ())),
                said.get("challenger"),
                bool(said.get("lifted", False)),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(
                f"{pointer} is damaged: `atx promote VERSION` writes it again; "
                f"versions kept: {kept or 'none'}"
            ) from error

    @property
    def is_empty(self) -> bool:
        """Return whether no version is kept and no champion is recorded."""
        return not self.versions() and not (self.folder / "champion.json").exists()

    def champion(self) -> Bundle:
        """Return the version that scores.

        Raises:
            MissingError: no model has been trained yet, or the version or its record is gone.
            DamagedError: the record is damaged.
        """
        return self.version(self.place().version)

    def champion_of(self, layout: str) -> Bundle:
        """Return the bundle that scores, if it knows the layout of the films.

        Raises:
            AtxError: nothing is trained yet, or only on the other layout.
        """
        bundle = self.champion()
        if bundle.encoding.layout != layout:
            raise AtxError(
                f"the champion (version {bundle.version}) learned from the "
                f"{bundle.encoding.layout} layout, but the films are now in the {layout} layout: "
                "run full_rebuild"
            )
        return bundle

    def champion_to_meet(self, layout: str) -> Bundle | None:
        """Return the champion that a new version is compared with.

        None if there is none for these films: nothing was trained yet, or on the other layout, or
        by an atx so old that its bundles are not read.

        Raises:
            AtxError: it is not as it was saved, or gone, or the record of it is. That is not the
                same as none: the next version would replace it without a comparison.
        """
        if self.is_empty:
            return None
        champion = self.champion()
        if champion.is_too_old:
            return None
        if not champion.is_intact:
            raise AtxError(
                f"version {champion.version}, the champion, is not as it was saved, so a new "
                f"version cannot be compared with it: {self.mend()}"
            )
        return champion if champion.encoding.layout == layout else None

    def version(self, number: int) -> Bundle:
        """Return a version that is kept.

        Raises:
            MissingError: it no longer exists.
        """
        folder = self.folder / str(number)
        if folder.exists():
            return Bundle(folder, number)
        place = self._place_or_none()
        if place and place.version == number:
            raise MissingError(
                f"version {number}, the champion, is gone from {self.folder}: {self.mend()}"
            )
        raise MissingError(
            f"version {number} of the model is not in {self.folder}: run the job score (`atx run "
            "--job score`), or full_rebuild"
        )

    def mend(self) -> str:
        """Return how to make scores possible again if the champion cannot score, cheapest first.

        Another version can score: the last champion before, or else the newest one, if it is whole
        and has the layout of the films.
        """
        place, layout = self._place_or_none(), self._layout()
        gone = place.version if place else None
        restore = f"restore {self.folder / str(gone) if gone else self.folder} from a backup"
        for number in dict.fromkeys((*(place.before if place else ()), *self.versions()[::-1])):
            if number != gone and _is_usable(Bundle(self.folder / str(number), number), layout):
                return f"`atx promote {number}` scores by version {number}, or {restore}"
        return f"{restore}; to start again without it, remove {self.folder} and run full_rebuild"

    def _layout(self) -> str:
        """Return the last layout of the films, from the latest encoding; "" if unknown."""
        try:
            encoding = FeatureEncoding.from_json(self._files.read_text("feature_encoding"))
        except (FileError, OSError, ValueError, KeyError):
            return ""
        return encoding.layout

    def keep(self, new: NewBundle) -> Bundle:
        """Save a whole version, without making it champion, and return it.

        If the same version is already kept, to the last byte, it is not saved again; the record of
        its quality is updated.
        """
        with writable(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
            folder = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))
            try:
                new.save(folder)
            except BaseException:  # on a full disk, others need the room of what was written
                shutil.rmtree(folder, ignore_errors=True)
                raise
        for version in reversed(self.versions()):
            known = Bundle(self.folder / str(version), version)
            if known.same_as(Bundle(folder, 0)):
                quality = (folder / QUALITY).read_bytes()
                if not known.has_quality(quality):
                    with self._files.replacing(known.folder / QUALITY) as new_file:
                        new_file.write_bytes(quality)
                shutil.rmtree(folder)
                return known
        version = max(self.versions(), default=0) + 1
        folder.rename(self.folder / str(version))
        sync(self.folder)
        return Bundle(self.folder / str(version), version)

    def promote(self, bundle: Bundle, *, by_hand: bool = False) -> None:
        """Make a version the champion, in one step.

        Args:
            bundle: a version that is kept.
            by_hand: a person does it; the replaced champion is then declined (see `Place`).
        """
        place = self._place_or_none()
        gone = [place.version, *place.before] if place else []
        if gone[:1] != [bundle.version]:
            declined = {*(place.declined if place else ()), *gone[:1]} if by_hand else set()
            lifted = by_hand and place is not None and self._lifts(place, bundle.version)
            before = [version for version in dict.fromkeys(gone) if version != bundle.version]
            self._put(
                Place(
                    bundle.version,
                    tuple(before[:KEPT]),
                    tuple(sorted(declined - {bundle.version})),
                    lifted=lifted,
                )
            )
        elif place and place.challenger is not None:
            self._put(replace(place, challenger=None))
        self.copy_champion()

    def before_champion(self) -> Bundle:
        """Return the previous champion: the last that is whole and has the same layout.

        Raises:
            MissingError: none is kept.
            DamagedError: the champion is damaged, or the record of it.
        """
        place = self.place()
        layout = self.champion().encoding.layout
        for version in place.before:
            bundle = Bundle(self.folder / str(version), version)
            if bundle.is_whole and bundle.encoding.layout == layout:
                return bundle
        raise MissingError(
            f"version {place.version} is the champion, and no earlier champion is kept: `atx "
            f"promote VERSION` takes any version in {self.folder} "
            f"({', '.join(map(str, self.versions()))})"
        )

    def roll_back(self) -> Bundle:
        """Make `before_champion` the champion again, and return it."""
        place, bundle = self.place(), self.before_champion()
        older = place.before[place.before.index(bundle.version) + 1 :]
        declined = {*place.declined, place.version} - {bundle.version}
        self._put(Place(bundle.version, older, tuple(sorted(declined))))
        self.copy_champion()
        return bundle

    def declined(self) -> list[Bundle]:
        """Return the versions whose labels are known to be declined: those kept whole."""
        place = self.place()
        if place.lifted:
            return []
        kept = [self.version(n) for n in place.declined if n in self.versions()]
        return [bundle for bundle in kept if bundle.is_whole]

    def challenge(self, bundle: Bundle) -> None:
        """Record the version that was trained last and did not become champion."""
        place = self.place()
        if place.challenger != bundle.version:
            self._put(replace(place, challenger=bundle.version))

    def judge(self, bundle: Bundle, judged: dict[str, Any]) -> None:
        """Record how a version was judged, see `Bundle.judged`."""
        with self._files.replacing(bundle.folder / JUDGED) as new_file:
            new_file.write_text(as_json(judged), encoding="utf-8")

    def prune(self) -> None:
        """Remove all versions except the last ones, the champion, the one before it, the declined.

        Without the labels of a declined version, nobody could tell whether there are newer ones.
        """
        place = self.place()
        wanted = {*self.versions()[-KEPT:], place.version, *place.before[:1], *place.declined}
        for version in self.versions():
            if version not in wanted:
                shutil.rmtree(self.folder / str(version))

    def challenger(self) -> Bundle | None:
        """Return the version trained last, if it did not become champion and is kept whole."""
        version = self.place().challenger
        if version not in self.versions():
            return None
        bundle = self.version(version)
        return bundle if bundle.is_whole else None

    def trained_last(self) -> Bundle | None:
        """Return the version trained last, champion or challenger; None before the first training.

        Raises:
            MissingError, DamagedError: from the record of the champion.
        """
        if not self.versions():
            return None
        place = self.place()
        number = place.version if place.challenger is None else place.challenger
        return self.version(number) if number in self.versions() else None

    def versions(self) -> list[int]:
        """Return the versions that are kept, the oldest first."""
        return kept_versions(self._files)

    def digests(self) -> set[str]:
        """Return the digests of the versions that are kept."""
        found = set()
        for version in self.versions():
            # A process that was killed may have left one half removed.
            with contextlib.suppress(FileNotFoundError):
                found.add(Bundle(self.folder / str(version), version).digest)
        return found

    def copy_champion(self) -> None:
        """Copy the champion's model to `binomial_classifier.ubj`, if it differs.

        A process that died after a promotion may have left the previous version's.
        """
        model, copy = self.champion().folder / MODEL, self._files.path("tuned_classifier")
        if copy.exists() and copy.read_bytes() == model.read_bytes():
            return
        with self._files.replacing(copy) as new_file:
            shutil.copyfile(model, new_file)

    @staticmethod
    def _lifts(place: Place, version: int) -> bool:
        """Return whether a version is the one trained last, so training may continue from there."""
        if version == place.challenger:
            return True
        return not place.lifted and version == max(place.declined, default=None)

    def _place_or_none(self) -> Place | None:
        try:
            return self.place()
        except (MissingError, DamagedError):
            return None

    def _put(self, place: Place) -> None:
        said = {
            name: value for name, value in asdict(place).items() if value not in ((), None, False)
        }
        with self._files.replacing(self.folder / "champion.json") as new_file:
            new_file.write_text(json.dumps(said) + "\n", encoding="utf-8")

    def _sweep(self) -> None:
        """Remove unfinished versions of a process that was killed."""
        for left in self.folder.glob(".new-*"):
            shutil.rmtree(left, ignore_errors=True)


def _is_usable(bundle: Bundle, layout: str) -> bool:
    """Return whether a version is whole and, if a layout is given, knows it."""
    try:
        return bundle.is_whole and layout in ("", bundle.encoding.layout)
    except (FileError, OSError, ValueError):
        return False
