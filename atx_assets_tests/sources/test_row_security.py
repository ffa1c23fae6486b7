"""Row-level security that hides rows from the user of atx: said by every way to the table."""

from collections.abc import Callable

import pytest

from atx_assets.automation.observe import fingerprints_now
from atx_assets.commands.doctor.media import MediaDatabase as DoctorsLook
from atx_assets.defs.resources.media_database import MediaDatabase
from atx_assets.errors import Note
from atx_assets_tests.builders.corrections import Place, told_by


@pytest.fixture
def place(media: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A library whose owner has turned row-level security on, and given nobody a policy."""
    for name, value in media.environment().items():
        monkeypatch.setenv(name, value)
    media.library.execute("ALTER TABLE atp.media ENABLE ROW LEVEL SECURITY")
    return media


def _read(place: Place) -> None:
    with MediaDatabase().reading(place.settings()):
        pass


LOOKS: dict[str, tuple[str, Callable[[Place], object]]] = {
    "a run": ("atx_reader", _read),
    "a tick": ("atx_reader", lambda place: fingerprints_now(place.settings())),
    "doctor": ("atx_reader", lambda place: DoctorsLook(place.settings()).check()),
    "correct": ("atx_corrector", lambda place: place.correct("keep", "tt0000001", write=False)),
}


@pytest.mark.parametrize("look", LOOKS)
def test_rows_that_are_all_hidden_are_told_with_the_policy_that_shows_them(
    place: Place, look: str
) -> None:
    """Kept out: "0 labelled rows: label more films", said of a library full of labels."""
    user, action = LOOKS[look]
    line = told_by(lambda: action(place))
    hidden = f"row-level security hides every row of atp.media from user {user}: "
    told, _, statement = line.partition("let its owner run ")
    assert told == hidden
    place.library.execute(statement)
    if look == "doctor":
        assert "label more films" not in told_by(lambda: action(place))
    else:
        action(place)


def test_rows_of_which_some_are_hidden_are_told_by_doctor(place: Place) -> None:
    place.library.execute(
        "CREATE POLICY part ON atp.media FOR SELECT TO atx_reader USING (imdb_id = 'tt0000001')"
    )
    line = told_by(lambda: DoctorsLook(place.settings()).check())
    assert "are needed: row-level security hides some; let its owner run CREATE POLICY" in line


def test_a_whole_library_behind_a_policy_is_a_note(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atx_assets.learning.folds.LEAST_LABELS", 1)
    place.library.execute("CREATE POLICY all_ ON atp.media FOR SELECT TO atx_reader USING (true)")
    told = DoctorsLook(place.settings()).check()
    assert isinstance(told, Note)
    assert "that row-level security shows this user" in told
