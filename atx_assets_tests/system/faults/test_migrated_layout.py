"""A database that is migrated from one layout to the other, and back, between two runs."""

import dagster as dg

from atx_assets import schemas
from atx_assets.automation.tags import WHY
from atx_assets.defs.resources.current_settings import given_settings
from atx_assets.defs.schedules import nightly_request
from atx_assets.models.bundles import Bundles
from atx_assets.sources.layouts import MEDIA, TRAINING
from atx_assets.sources.load.tables import ensure_table
from atx_assets_tests.builders.living import Living

#: What `atp.media` loses to `atp.training`.
MOVED = [name for name in MEDIA.features if name != "release_year"]
#: One row a film, as the owner's migration made it: the verdict and who gave it, the metadata.
FILMS = """
    INSERT INTO atp.training (imdb_id, label, human_labeled, reviewed, media_type, media_title,
        release_year, genre, rt_score, metascore, imdb_rating, imdb_votes, created_at, updated_at)
    SELECT DISTINCT ON (imdb_id) imdb_id,
        (CASE WHEN rejection_status IN ('override', 'accepted') THEN 'would_watch'
              WHEN rejection_status = 'rejected' THEN 'would_not_watch' END)::atp.label,
        rejection_status = 'override', rejection_status <> 'unfiltered', media_type,
        coalesce(media_title, original_title), release_year, genre, rt_score, metascore,
        imdb_rating, imdb_votes, created_at, updated_at
    FROM kept WHERE media_type = 'movie' AND imdb_id IS NOT NULL
    ORDER BY imdb_id, rejection_status DESC, hash
"""


def layout_of_results(living: Living) -> set[str]:
    bundles = Bundles(living.place.files)
    return {bundles.champion().encoding.layout}


def migrate(living: Living, *, only: str = "") -> None:
    """Do as the downloader's migration did: a table of titles, and releases without metadata."""
    db = living.connection
    db.execute("CREATE TABLE IF NOT EXISTS kept AS TABLE atp.media")
    with db.transaction():
        ensure_table(db, TRAINING, schemas.TRAINING, beside_others=True)
        db.execute(f"{FILMS} {only}")
        for name in MOVED:
            db.execute(f"ALTER TABLE atp.media DROP COLUMN IF EXISTS {name}")


def migrate_back(living: Living) -> None:
    db = living.connection
    with db.transaction():
        for column in MEDIA.columns:
            if column.name in MOVED:
                db.execute(f"ALTER TABLE atp.media ADD COLUMN {column.name} {column.sql}")
        moved = ", ".join(f"{name} = kept.{name}" for name in MOVED)
        db.execute(f"UPDATE atp.media SET {moved} FROM kept WHERE kept.hash = media.hash")


def test_results_follow_a_database_that_changes_its_layout_and_back(living: Living) -> None:
    files = living.place.files
    before = files.path("scored_results").read_bytes()
    scores = files.read_table("scored_results")
    first = Bundles(files).champion().version

    # Half way: most labels are not there yet. Nothing is rebuilt, and a person is told.
    migrate(living, only="LIMIT 100")
    assert "labels are gone at once: nothing is rebuilt" in str(living.ticks())
    assert "labels are gone" in living.alerts()
    assert files.path("scored_results").read_bytes() == before

    # All is there: both sensors and the night want it, and the old model does not score it.
    living.connection.execute("TRUNCATE atp.training")
    migrate(living)
    given = given_settings(living.place.settings())
    asked = nightly_request(dg.build_schedule_context(living.instance), given)
    assert asked.asset_selection is None
    assert "labels, films changed" in asked.tags[WHY]
    scoring = living.place.run("score", living.instance)
    assert not scoring.success
    assert files.path("scored_results").read_bytes() == before
    assert living.follows().startswith("the results are up to date with ")
    assert living.follows("film_sensor").startswith("the results are up to date with ")
    assert "labels are gone" not in living.alerts()
    assert layout_of_results(living) == {"training"}
    labels = dict(
        living.connection.execute(
            "SELECT imdb_id, label = 'would_watch' FROM atp.training"
            " WHERE reviewed OR human_labeled"
        ).fetchall()
    )
    rows = files.read_table("scored_results").to_pylist()
    assert {r["imdb_id"]: r["actual"] for r in rows if r["actual"] is not None} == labels
    assert all(0 <= row["probability"] <= 1 for row in rows)

    # On the way back the titles are gone, and the releases have no metadata yet.
    scored = files.path("scored_results").read_bytes()
    living.connection.execute("DROP TABLE atp.training")
    told = str(living.tick())
    assert told.startswith("nothing concluded")
    assert "a migration moves those to atp.training, which does not exist" in told
    assert files.path("scored_results").read_bytes() == scored

    # And back: what was made from these films before is made again, row for row.
    migrate_back(living)
    assert living.follows().startswith("the results are up to date with ")
    assert layout_of_results(living) == {"media"}
    assert Bundles(files).champion().version == first
    assert files.read_table("scored_results").equals(scores)
