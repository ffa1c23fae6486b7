"""Which layout a database has, and what is said of one that cannot be used."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from psycopg import sql

from atx_assets import schemas
from atx_assets.errors import AtxError
from atx_assets.sources.layouts import MEDIA, TRAINING, SourceTable

#: What the later database's `atp.media` lost to `atp.training`.
MOVED = ("genre", "language", "rt_score", "metascore", "imdb_rating", "imdb_votes")


def found(library, wanted: str = "") -> SourceTable:
    with library.reading(wanted) as (_, source):
        return source


def refusal(library, wanted: str = "") -> str:
    """The line that finding the source fails with."""
    with pytest.raises(AtxError) as failure:
        found(library, wanted)
    line = str(failure.value)
    assert "\n" not in line
    return line


def test_a_table_of_releases_is_the_media_layout(library):
    library.create("media")
    source = found(library)
    assert source.layout is MEDIA
    assert list(source.columns) == [c.name for c in schemas.MEDIA]
    assert source.known == schemas.MEDIA


def test_a_table_of_titles_is_the_training_layout(library):
    library.create("training")
    source = found(library)
    assert source.layout is TRAINING
    assert source.known == schemas.TRAINING


def test_the_later_database_has_both_tables_and_is_the_training_layout(library):
    library.create("media", without=MOVED)
    library.create("training")
    assert found(library).layout is TRAINING


@pytest.mark.parametrize("wanted", ["media", "training"])
def test_the_setting_decides_where_both_layouts_are_whole(library, wanted):
    library.create("media")
    library.create("training")
    assert found(library).layout is TRAINING
    assert found(library, wanted).layout.name == wanted


@pytest.mark.parametrize(("there", "wanted"), [("media", "training"), ("training", "media")])
def test_a_setting_for_a_table_that_is_not_there_is_refused(library, there, wanted):
    library.create(there)
    line = refusal(library, wanted)
    assert f"ATX_SOURCE={wanted}" in line
    assert f"atp.{wanted}" in line
    assert library.database.name in line
    assert "unset ATX_SOURCE" in line


def test_the_setting_cannot_make_a_layout_of_a_table_without_metadata(library):
    library.create("media", without=MOVED)
    library.create("training")
    line = refusal(library, "media")
    assert "atp.media lacks the column" in line
    assert all(name in line for name in MOVED)


def test_releases_without_metadata_are_no_library_of_their_own(library):
    """Kept out: advice to add the columns, and a model that learns from years alone."""
    library.create("media", without=MOVED)
    line = refusal(library)
    assert all(name in line for name in MOVED)
    assert "a migration moves those to atp.training" in line
    assert "ADD COLUMN" not in line


def test_an_empty_database_is_told_with_the_command_that_fills_it(library):
    line = refusal(library)
    assert f"database {library.database.name} has neither layout" in line
    assert "no such table in schema atp" in line
    assert "atx load FILE" in line
    assert "PG_DB" in line


def test_tables_of_other_columns_are_an_unknown_layout_that_is_named(library):
    library.execute("CREATE SCHEMA atp; CREATE TABLE atp.media (hash text, verdict text)")
    library.execute("CREATE TABLE atp.training (imdb_id text, taste int)")
    line = refusal(library)
    assert "neither layout" in line
    assert "atp.media has hash, verdict" in line
    assert "atp.training has imdb_id, taste" in line


def test_tables_of_another_schema_are_not_looked_at(library):
    library.execute("CREATE TABLE public.media (rejection_status text)")
    assert "neither layout" in refusal(library)


def test_a_half_made_training_table_does_not_hide_the_media_layout(library):
    library.create("media")
    library.execute("CREATE TABLE atp.training (imdb_id text)")
    assert found(library).layout is MEDIA


@pytest.mark.parametrize("layout", [MEDIA, TRAINING], ids=["media", "training"])
def test_each_column_that_atx_needs_is_missed_by_name(library, layout):
    library.create(layout.name)
    table = sql.Identifier("atp", layout.table)
    discriminator = {"media": "rejection_status", "training": "label"}[layout.name]
    needed = [c.name for c in layout.columns if c.required and c.name != discriminator]
    assert set(layout.features) <= set(needed)
    for name in needed:
        rename = sql.SQL("ALTER TABLE {} RENAME {} TO {}")
        there, away = sql.Identifier(name), sql.Identifier("elsewhere")
        library.execute(rename.format(table, there, away))
        line = refusal(library)
        assert f"atp.{layout.table} lacks the column {name}" in line
        assert f"ALTER TABLE atp.{layout.table} ADD COLUMN {name} " in line
        library.execute(rename.format(table, away, there))
    found(library)


@pytest.mark.parametrize("layout", [MEDIA, TRAINING], ids=["media", "training"])
def test_a_column_that_atx_can_do_without_may_be_missing(library, layout):
    optional = [c.name for c in layout.columns if not c.required and c.name != layout.key]
    library.create(layout.name, without=optional)
    source = found(library)
    assert source.known == tuple(c for c in layout.columns if c.name not in optional)


@pytest.mark.parametrize(
    ("column", "type_", "said"),
    [
        ("rt_score", "text", "text"),
        ("imdb_votes", "numeric", "numeric"),
        ("imdb_rating", "text", "text"),
        ("genre", "text", "text"),
        ("language", "int[]", "integer[]"),
        ("media_title", "bytea", "bytea"),
        ("error_status", "int", "integer"),
        ("updated_at", "date", "date"),
        ("rejection_status", "bool", "boolean"),
    ],
)
def test_a_column_of_another_type_is_named_with_the_types_that_would_do(
    library, column, type_, said
):
    library.create("media", types={column: type_})
    line = refusal(library)
    assert f"atp.media.{column} has type {said}," in line
    wanted = next(c for c in schemas.MEDIA if c.name == column)
    assert f"atx reads {wanted.type} from" in line


def test_other_types_that_hold_the_same_are_taken(library):
    types = {
        "hash": "varchar(64)",
        "media_type": "text",
        "rejection_status": "varchar(20)",
        "imdb_rating": "double precision",
        "imdb_votes": "bigint",
        "rt_score": "smallint",
        "genre": "varchar(20)[]",
        "updated_at": "timestamp(3) without time zone",
        "created_at": "timestamp(0) with time zone",
    }
    library.create("media", types=types)
    assert found(library).layout is MEDIA


@pytest.mark.parametrize("relation", ["VIEW", "MATERIALIZED VIEW"])
def test_a_view_may_stand_for_the_table(library, relation):
    library.create("media")
    library.execute("ALTER TABLE atp.media RENAME TO releases")
    library.execute(f"CREATE {relation} atp.media AS SELECT * FROM atp.releases")
    assert found(library).layout is MEDIA


def test_a_column_that_was_dropped_is_not_there(library):
    library.create("media", types={"extra": "text"})
    library.execute("ALTER TABLE atp.media DROP COLUMN extra")
    assert "extra" not in found(library).columns


class TestPermissions:
    @pytest.fixture
    def reader(self, library) -> Iterator[str]:
        """A role that may log in, and nothing else."""
        role = f"reader_{library.database.name[-12:]}"
        name = sql.Identifier(role)
        library.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(name))
        yield role
        library.execute(sql.SQL("DROP OWNED BY {}").format(name))
        library.execute(sql.SQL("DROP ROLE {}").format(name))

    @pytest.fixture
    def as_role(self, library, reader):
        database = replace(library.database, user=reader, password="secret")
        return replace(library, database=database, as_reader=lambda database: database)

    @pytest.mark.parametrize("layout", ["media", "training"])
    def test_without_usage_of_the_schema_the_grants_are_told(
        self, library, reader, as_role, layout
    ):
        library.create(layout)
        line = refusal(as_role)
        assert f"user {reader} may not read atp.{layout}" in line
        assert f"GRANT USAGE ON SCHEMA atp TO {reader}" in line
        assert f"GRANT SELECT ON atp.{layout} TO {reader}" in line

    @pytest.mark.parametrize("layout", ["media", "training"])
    def test_without_select_on_the_table_the_grants_are_told(
        self, library, reader, as_role, layout
    ):
        library.create(layout)
        library.execute(f"GRANT USAGE ON SCHEMA atp TO {reader}")
        line = refusal(as_role)
        assert f"user {reader} may not read atp.{layout}" in line
        assert f"GRANT SELECT ON atp.{layout} TO {reader}" in line

    def test_the_mend_that_is_told_mends_it_and_nothing_more_is_needed(
        self, library, reader, as_role, release, tmp_path
    ):
        library.create("media", [release(1, rejection_status="override")])
        line = refusal(as_role)
        for statement in line.partition(": ")[2].rstrip(";").split(";"):
            library.execute(statement)
        assert found(as_role).layout is MEDIA
        assert as_role.extract(tmp_path / "media.parquet").num_rows == 1
        assert as_role.fingerprints() == library.fingerprints()

    def test_rights_on_the_table_in_use_are_enough(self, library, reader, as_role):
        library.create("media", without=MOVED)
        library.create("training")
        library.execute(f"GRANT USAGE ON SCHEMA atp TO {reader}")
        library.execute(f"GRANT SELECT ON atp.training TO {reader}")
        assert found(as_role).layout is TRAINING
