"""What changes which fingerprint, and what changes none."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atx_assets.sources.layouts import MEDIA, TRAINING

DAY = datetime(2025, 4, 1, tzinfo=UTC)
LABELS, HUMAN, FILMS = "labels", "human_labels", "media"
ALL = {LABELS, HUMAN, FILMS}
ALL_BUT_HUMAN = {LABELS, FILMS}
RULE_SKIP = {"rejection_status": "rejected", "rejection_reason": "rt_score is null"}

#: A value that is another than the one before, by type.
OTHER = {
    "string": "'fr'",
    "list<string>": "'{fr}'",
    "int64": "42",
    "float64": "4.2",
    "bool": "true",
    "timestamp[us, UTC]": "'2020-01-01'",
}


#: Changes by which a release breaks each rule of the contract.
BROKEN = {
    "year": "release_year = 9999",
    "score": "rt_score = 101",
    "rating": "imdb_rating = 0.5",
    "infinite rating": "imdb_rating = 'infinity'",
    "names": "media_title = E'\\u200b', original_title = ' '",
    "long name": "media_title = repeat('x', 1001)",
    "many genres": "genre = array_fill('a'::text, ARRAY[251])",
    "long genre": "genre = ARRAY[repeat('x', 1001)]",
    "long reason": "rejection_reason = repeat('x', 1001)",
    "malformed id": "imdb_id = 'tt1'",
    "malformed key": "hash = 'F' || left(hash, 39)",
}


class TestMediaLayout:
    @pytest.fixture
    def filled(self, library, release):
        """Releases 1 to 5, of five films: one of each verdict."""
        library.create(
            "media",
            [
                release(1, rejection_status="override", rejection_reason="resolution 720p"),
                release(2, rejection_status="rejected"),
                release(3, rejection_status="accepted"),
                release(4, **RULE_SKIP),
                release(5),
                release(6, media_type="tv_show", rejection_status="override"),
            ],
        )
        return library

    @pytest.mark.parametrize(
        ("number", "status", "reason", "changed"),
        [
            (1, "override", None, set()),
            (1, "accepted", None, {LABELS, HUMAN}),
            (1, "rejected", "resolution 720p", {LABELS, HUMAN}),
            (1, "rejected", None, {LABELS, HUMAN}),
            (1, "unfiltered", None, {LABELS, HUMAN}),
            (2, "rejected", "", set()),
            (2, "rejected", "N/A", set()),
            (2, "rejected", "rt_score is null", {LABELS, HUMAN}),
            (2, "override", None, {LABELS, HUMAN}),
            (3, "override", None, {LABELS, HUMAN}),
            (3, "rejected", "rt_score is null", {LABELS}),
            (3, "rejected", "N/A", {LABELS, HUMAN}),
            (3, "unfiltered", None, {LABELS}),
            (4, "rejected", "rt_score 50 is below min", set()),
            (4, "rejected", None, {LABELS, HUMAN}),
            (4, "rejected", "N/A", {LABELS, HUMAN}),
            (4, "accepted", "rt_score is null", {LABELS}),
            (5, "override", None, {LABELS, HUMAN}),
            (5, "accepted", None, {LABELS}),
            (5, "rejected", "rt_score is null", {LABELS}),
            (5, "unfiltered", "rt_score is null", set()),
            (6, "accepted", None, set()),
        ],
    )
    def test_a_changed_verdict_changes_the_labels_and_a_persons_the_human_ones(
        self, filled, number, status, reason, changed
    ):
        query = "UPDATE atp.media SET rejection_status = %s, rejection_reason = %s WHERE hash = %s"
        assert filled.changes_made_by(query, (status, reason, f"{number:040x}")) == changed

    def test_labels_that_change_places_are_a_change(self, library, release):
        rows = [release(1, rejection_status="accepted"), release(2, **RULE_SKIP)]
        library.create("media", rows)
        swapped = library.changes_made_by(
            """UPDATE atp.media SET rejection_reason = 'x', rejection_status =
               CASE rejection_status WHEN 'accepted' THEN 'rejected' ELSE 'accepted'
               END::atp.rejection_status"""
        )
        assert swapped == {LABELS}

    @pytest.mark.parametrize("version", [180_000, 130_000])
    def test_features_that_change_places_are_a_change(self, library, release, monkeypatch, version):
        # A server before version 14 cannot hash a record, and gets another query.
        monkeypatch.setattr("psycopg.ConnectionInfo.server_version", version)
        rows = [release(n, media_title="Alien", imdb_id=None, rt_score=n) for n in (1, 2)]
        library.create("media", rows)
        assert library.changes_made_by("UPDATE atp.media SET rt_score = 3 - rt_score") == {FILMS}

    def test_each_feature_of_a_film_changes_the_media_alone(self, filled):
        kinds = {c.name: c.type for c in MEDIA.columns}
        for name in (*MEDIA.features, "media_title"):
            value = OTHER[kinds[name]]
            query = f"UPDATE atp.media SET {name} = {value} WHERE hash = lpad('5', 40, '0')"
            assert filled.changes_made_by(query) == {FILMS}, name

    def test_pipeline_columns_and_times_change_nothing(self, filled):
        kinds = {c.name: c for c in MEDIA.columns}
        used = {"hash", "media_type", "media_title", "imdb_id", "rejection_status"}
        used |= {"rejection_reason", *MEDIA.features}
        # It decides which release stands for a title.
        used |= {"created_at"}
        others = [name for name in kinds if name not in used]
        assert {"pipeline_status", "updated_at", "resolution", "error_status"} <= set(others)
        for name in others:
            value = f"'{kinds[name].values[0]}'" if kinds[name].values else OTHER[kinds[name].type]
            assert filled.changes_made_by(f"UPDATE atp.media SET {name} = {value}") == set(), name

    @pytest.mark.parametrize("unknown", ["NULL", "''", "'N/A'", "' '"])
    def test_the_name_of_a_release_counts_where_it_names_the_film(self, filled, unknown):
        filled.execute(f"UPDATE atp.media SET media_title = {unknown} WHERE hash LIKE '%%5'")
        query = "UPDATE atp.media SET original_title = 'Another.Film' WHERE right(hash, 1) = '5'"
        assert filled.changes_made_by(query) == {FILMS}

    def test_an_update_that_changes_nothing_changes_nothing(self, filled):
        query = "UPDATE atp.media SET updated_at = now(), rt_score = rt_score"
        assert filled.changes_made_by(query) == set()

    def test_the_order_of_the_rows_changes_nothing(self, library, release):
        rows = [
            release(n, rejection_status=("override", "accepted", "unfiltered")[n % 3], rt_score=n)
            for n in range(30)
        ]
        library.create("media", rows)
        before = library.fingerprints()
        library.execute("TRUNCATE atp.media")
        library.insert("media", rows[::-1])
        assert library.fingerprints() == before

    @pytest.mark.parametrize(
        ("number", "changed"),
        [(1, ALL), (2, ALL), (3, {LABELS, FILMS}), (4, {LABELS, FILMS}), (5, {FILMS}), (6, set())],
    )
    def test_a_removed_release_changes_what_it_took_part_in_and_its_return_mends_it(
        self, filled, number, changed
    ):
        before = filled.fingerprints()
        filled.execute("CREATE TEMPORARY TABLE kept AS SELECT * FROM atp.media")
        where = f"WHERE hash = lpad('{number}', 40, '0')"
        assert filled.changes_made_by(f"DELETE FROM atp.media {where}") == changed
        filled.execute(f"INSERT INTO atp.media SELECT * FROM kept {where}")
        assert filled.fingerprints() == before

    def test_a_series_that_turns_out_a_film_is_an_added_film(self, filled):
        query = "UPDATE atp.media SET media_type = 'movie' WHERE media_type = 'tv_show'"
        assert filled.changes_made_by(query) == ALL

    def test_a_film_of_another_id_is_another_film(self, filled):
        query = "UPDATE atp.media SET imdb_id = 'tt7777777' WHERE right(hash, 1) = '5'"
        assert filled.changes_made_by(query) == {FILMS}

    @pytest.mark.parametrize(
        "same",
        [
            {"imdb_id": "tt0000009"},
            {"imdb_id": None, "media_title": "Straße"},
            {"imdb_id": "N/A", "media_title": "Straße"},
            {"imdb_id": None, "media_title": "", "original_title": "Straße"},
            {"imdb_id": None, "media_title": "Straße", "release_year": None},
        ],
        ids=["by id", "by name and year", "by name, id N/A", "by release name", "without year"],
    )
    def test_the_order_in_which_a_person_said_both_is_part_of_the_labels(
        self, library, release, same
    ):
        keep = release(1, rejection_status="override", updated_at=DAY, **same)
        skip = release(2, rejection_status="rejected", updated_at=DAY - timedelta(1), **same)
        library.create("media", [keep, skip, release(3)])
        later = "UPDATE atp.media SET updated_at = %s WHERE right(hash, 1) = %s"
        assert library.changes_made_by(later, (DAY + timedelta(1), "1")) == set()
        assert library.changes_made_by(later, (DAY + timedelta(2), "2")) == {LABELS, HUMAN}
        assert library.changes_made_by(later, (DAY + timedelta(3), "3")) == set()
        assert library.changes_made_by(later, (DAY + timedelta(4), "1")) == {LABELS, HUMAN}

    def test_the_order_counts_where_a_release_without_id_joins_a_title(self, library, release):
        keep = release(1, rejection_status="override", media_title="Alien")
        skip = release(2, rejection_status="rejected", media_title="ALIEN", imdb_id=None)
        library.create("media", [keep, skip])
        later = "UPDATE atp.media SET updated_at = %s WHERE right(hash, 1) = %s"
        library.execute(later, (DAY + timedelta(1), "1"))
        assert library.changes_made_by(later, (DAY + timedelta(2), "2")) == {LABELS, HUMAN}

    def test_a_later_keep_is_seen_though_case_and_sharp_s_differ(self, library, release):
        """Kept out: SQL's lower-case knows no ß, and no tick saw that the title is a keep."""
        keep = release(1, rejection_status="override", media_title="Die große Stille")
        skip = release(2, rejection_status="rejected", media_title="DIE GROSSE STILLE")
        later = skip | {"imdb_id": None, "updated_at": DAY + timedelta(1)}
        library.create("media", [keep, later])
        touch = "UPDATE atp.media SET updated_at = %s WHERE right(hash, 1) = '1'"
        assert library.changes_made_by(touch, (DAY + timedelta(2),)) == {LABELS, HUMAN}

    @pytest.mark.parametrize(
        ("labelled", "joins", "other"),
        [
            ("Amélie", "AME\u0301LIE", "Amelie"),
            ("Alien 3", "Alien\u00b3", "Alien 3D"),
            ("ｉｔ", "It", "It 2"),
        ],
    )
    def test_an_unlabelled_film_changes_the_labels_only_where_one_joins_it(
        self, library, release, labelled, joins, other
    ):
        rows = [release(1, rejection_status="accepted", imdb_id=None, media_title=labelled)]
        library.create("media", [*rows, release(2), release(3)])
        named = "UPDATE atp.media SET media_title = %s WHERE right(hash, 1) = %s"
        assert library.changes_made_by(named, (other, "2")) == {FILMS}
        expected = {FILMS} if joins == "Alien\u00b3" else {LABELS, FILMS}
        assert library.changes_made_by(named, (joins, "2")) == expected
        assert library.changes_made_by(named, (other, "3")) == {FILMS}

    def test_a_label_moves_with_the_id_of_its_row(self, filled):
        query = "UPDATE atp.media SET imdb_id = 'tt0000009' WHERE right(hash, 1) = %s"
        assert filled.changes_made_by(query, ("1",)) == ALL
        assert filled.changes_made_by(query, ("3",)) == {LABELS, FILMS}
        assert filled.changes_made_by(query, ("5",)) == {FILMS}

    def test_a_label_goes_with_its_row_when_that_is_set_aside_and_comes_back(self, filled):
        query = "UPDATE atp.media SET imdb_votes = %s WHERE right(hash, 1) = '1'"
        before = filled.fingerprints()
        assert filled.changes_made_by(query, (-5,)) == ALL
        assert filled.changes_made_by(query, (None,)) == ALL
        assert filled.fingerprints() == before

    @pytest.mark.parametrize("broken", sorted(BROKEN))
    def test_every_way_to_be_set_aside_takes_the_label_along(self, filled, broken):
        query = f"UPDATE atp.media SET {BROKEN[broken]} WHERE right(hash, 1) = '1'"
        assert {LABELS, HUMAN} <= filled.changes_made_by(query)

    @pytest.mark.parametrize(("other", "moved"), [("movie", ALL), ("tv_show", {LABELS, HUMAN})])
    def test_rows_of_one_key_take_their_labels_along(self, library, release, other, moved):
        other_row = release(2, media_type=other)
        library.create("media", [release(1, rejection_status="override"), other_row])
        library.execute("ALTER TABLE atp.media DROP CONSTRAINT media_pkey")
        query = "UPDATE atp.media SET hash = lpad('1', 40, '0') WHERE right(hash, 1) = '2'"
        assert library.changes_made_by(query) == moved

    @pytest.mark.parametrize("unknown", ["\u00a0", "\u200b", "\u3000N/A"])
    def test_the_name_of_a_release_counts_where_the_films_is_unknown_to_python_alone(
        self, filled, unknown
    ):
        filled.execute("UPDATE atp.media SET media_title = %s WHERE hash LIKE '%%5'", (unknown,))
        query = "UPDATE atp.media SET original_title = 'Another.Film' WHERE right(hash, 1) = '5'"
        assert filled.changes_made_by(query) == {FILMS}

    def test_the_count_of_rows_can_be_read(self, filled):
        found = filled.fingerprints()
        counts = [f.split("-")[0] for f in (found.labels, found.human_labels, found.media)]
        assert counts == ["4", "2", "5"]

    def test_an_empty_table_has_fingerprints(self, library):
        library.create("media")
        found = library.fingerprints()
        assert found.labels == found.human_labels == found.media == "0-0000000000000000"

    @pytest.mark.slow
    @settings(
        max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(data=st.data())
    def test_the_label_fingerprint_changes_whenever_a_title_has_another_label(
        self, library, release, titles_of, data
    ):
        if library.connection.execute("SELECT to_regclass('atp.media')").fetchone() == (None,):
            library.create("media")
        statuses = st.sampled_from(["override", "accepted", "rejected", "unfiltered"])
        reasons = st.sampled_from([None, "", "N/A", " ", "rt_score is null"])
        times = st.integers(0, 3).map(lambda days: DAY + timedelta(days))
        rows = [
            release(
                n,
                imdb_id=data.draw(
                    st.sampled_from([None, "tt0000001", " tt0000001\t", "tt0000002"])
                ),
                media_title=data.draw(st.sampled_from(["Alien", " ALIEN", "\n", "Brazil"])),
                rejection_status=data.draw(statuses),
                rejection_reason=data.draw(reasons),
                updated_at=data.draw(times),
            )
            for n in range(data.draw(st.integers(1, 4)))
        ]
        changed = [dict(row) for row in rows]
        changed[data.draw(st.integers(0, len(rows) - 1))] |= {
            "rejection_status": data.draw(statuses),
            "rejection_reason": data.draw(reasons),
            "updated_at": data.draw(times),
        }
        prints, labels = [], []
        for moment in (rows, changed):
            library.execute("DELETE FROM atp.media")
            library.insert("media", moment)
            prints.append(library.fingerprints())
            made = titles_of("media", moment, is_sorted=True).select(
                ["key", "label", "label_source"]
            )
            labels.append(sorted(map(str, made.to_pylist())))
        humans = [[row for row in moment if "'human'" in row] for moment in labels]
        if labels[0] != labels[1]:
            assert prints[0].labels != prints[1].labels
        if humans[0] != humans[1]:
            assert prints[0].human_labels != prints[1].human_labels
        if rows == changed:
            assert prints[0] == prints[1]
        assert prints[0].media == prints[1].media


class TestTrainingLayout:
    @pytest.fixture
    def filled(self, library, entry):
        """Titles 1 to 5: labelled by a person, by rules, by the model, not at all, and a series."""
        library.create(
            "training",
            [
                entry(1, label="would_watch", human_labeled=True, reviewed=True),
                entry(2, label="would_not_watch", reviewed=True),
                entry(3, label="would_watch"),
                entry(4),
                entry(5, media_type="tv_season", label="would_watch", human_labeled=True),
            ],
        )
        return library

    @pytest.mark.parametrize(
        ("number", "change", "changed"),
        [
            (1, "label = 'would_not_watch'", {LABELS, HUMAN}),
            (1, "label = NULL", {LABELS, HUMAN}),
            (1, "human_labeled = false", {LABELS, HUMAN}),
            (1, "reviewed = false", set()),
            (1, "anomalous = true", {LABELS, HUMAN}),
            (2, "label = 'would_watch'", {LABELS}),
            (2, "human_labeled = true", {LABELS, HUMAN}),
            (2, "reviewed = false", ALL_BUT_HUMAN),
            (2, "reviewed = NULL", ALL_BUT_HUMAN),
            (2, "anomalous = true", {LABELS}),
            (3, "label = 'would_not_watch'", {FILMS}),
            (3, "reviewed = true", ALL_BUT_HUMAN),
            (3, "reviewed = NULL", set()),
            (3, "human_labeled = true", ALL),
            (4, "label = 'would_watch'", {FILMS}),
            (4, "label = 'would_watch', reviewed = true", {LABELS}),
            (4, "label = 'would_watch', human_labeled = true", {LABELS, HUMAN}),
            # The label that it gets later is the downloader's: the review must be seen before.
            (4, "reviewed = true", {FILMS}),
            (4, "human_labeled = true", set()),
            (5, "label = NULL", set()),
            (5, "media_type = 'movie'", ALL),
            (1, "media_type = 'tv_show'", ALL),
            (2, "media_type = 'tv_show'", {LABELS, FILMS}),
            (4, "media_type = 'tv_show'", {FILMS}),
        ],
    )
    def test_labels_and_their_provenance_change_what_they_should(
        self, filled, number, change, changed
    ):
        query = f"UPDATE atp.training SET {change} WHERE imdb_id = 'tt000000{number}'"
        assert filled.changes_made_by(query) == changed

    def test_each_feature_of_a_film_changes_the_media_alone(self, filled):
        kinds = {c.name: c.type for c in TRAINING.columns}
        for name in (*TRAINING.features, "media_title"):
            value = "1942" if name == "release_year" else OTHER[kinds[name]]
            query = f"UPDATE atp.training SET {name} = {value}"
            assert filled.changes_made_by(query) == {FILMS}, name

    def test_other_columns_and_times_change_nothing(self, filled):
        kinds = {c.name: c.type for c in TRAINING.columns}
        used = {"imdb_id", "label", "human_labeled", "anomalous", "reviewed", "media_type"}
        used |= {"media_title", *TRAINING.features}
        others = [name for name in kinds if name not in used and name != "tmdb_id"]
        assert {"updated_at", "overview", "season"} <= set(others)
        for name in others:
            query = f"UPDATE atp.training SET {name} = {OTHER[kinds[name]]}"
            assert filled.changes_made_by(query) == set(), name

    def test_an_enum_counts_by_its_word_and_not_by_its_number_in_the_catalog(self, library, entry):
        for kind in ("one", "other"):
            library.execute(f"CREATE TYPE {kind} AS ENUM ('fr', 'de')")
        rows = [entry(1, original_language="de")]
        library.create("training", rows, types={"original_language": "one"})
        change = "ALTER TABLE atp.training ALTER original_language TYPE other USING (%s)"
        same, another = "original_language::text::other", "'fr'"
        assert library.changes_made_by(change % same) == set()
        assert library.changes_made_by(change % another) == {FILMS}

    def test_an_older_table_has_fingerprints_of_its_own_labels(self, library, entry):
        missing = ["human_labeled", "anomalous", "reviewed"]
        rows = [entry(1, label="would_watch"), entry(2)]
        rows = [{k: v for k, v in row.items() if k not in missing} for row in rows]
        library.create("training", rows, without=missing)
        assert library.fingerprints().human_labels.startswith("0-")
        query = "UPDATE atp.training SET label = 'would_not_watch' WHERE label IS NOT NULL"
        assert library.changes_made_by(query) == {LABELS}
        # The columns come with the meaning that their absence had: no label has changed. From now
        # on it counts which rows are reviewed, and an extraction must see them.
        added = """ALTER TABLE atp.training ADD human_labeled bool NOT NULL DEFAULT false,
            ADD anomalous bool NOT NULL DEFAULT false, ADD reviewed bool DEFAULT true"""
        assert library.changes_made_by(added) == {FILMS}

    def test_the_order_of_the_rows_changes_nothing(self, library, entry):
        rows = [entry(n, label="would_watch" if n % 3 else None, budget=n) for n in range(30)]
        library.create("training", rows)
        before = library.fingerprints()
        library.execute("TRUNCATE atp.training")
        library.insert("training", rows[::-1])
        assert library.fingerprints() == before
