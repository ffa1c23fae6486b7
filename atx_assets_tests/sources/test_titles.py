"""Which releases are one title, and what its label is: the contract, sentence by sentence."""

from datetime import UTC, datetime, timedelta
from itertools import combinations, permutations
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atx_assets import schemas
from atx_assets.errors import AtxError
from atx_assets.sources.layouts import MEDIA, TRAINING
from atx_assets.sources.titles import titles
from atx_assets_tests.test_text import SPELLINGS

DAY = datetime(2025, 4, 1, tzinfo=UTC)
LATER = DAY + timedelta(days=1)
HUMAN_KEEP = {"rejection_status": "override", "rejection_reason": "resolution 720p"}
HUMAN_SKIP = {"rejection_status": "rejected", "rejection_reason": None}
RULE_KEEP = {"rejection_status": "accepted"}
RULE_SKIP = {"rejection_status": "rejected", "rejection_reason": "rt_score is null"}
UNLABELLED = {"rejection_status": "unfiltered"}
#: The strongest first, with the label and its provenance.
VERDICTS = (
    (HUMAN_KEEP, (True, "human")),
    (HUMAN_SKIP, (False, "human")),
    (RULE_KEEP, (True, "rule")),
    (RULE_SKIP, (False, "rule")),
    (UNLABELLED, (None, None)),
)


def by_key(table: pa.Table) -> dict[str, dict[str, Any]]:
    rows = {row["key"]: row for row in table.to_pylist()}
    assert len(rows) == table.num_rows, "a key came twice"
    return rows


def verdict(row: dict[str, Any]) -> tuple[bool | None, str | None, bool]:
    return row["label"], row["label_source"], row["trains"]


def only(table: pa.Table) -> dict[str, Any]:
    [row] = table.to_pylist()
    return row


class TestVerdictOfARelease:
    @pytest.mark.parametrize(
        ("status", "reason", "expected"),
        [
            ("override", None, (True, "human", True)),
            ("override", "resolution 720p", (True, "human", True)),
            ("accepted", None, (True, "rule", True)),
            ("accepted", "resolution 720p", (True, "rule", True)),
            ("rejected", "rt_score is null", (False, "rule", True)),
            ("rejected", None, (False, "human", True)),
            ("rejected", "", (False, "human", True)),
            ("rejected", "N/A", (False, "human", True)),
            ("unfiltered", None, (None, None, False)),
            ("unfiltered", "rt_score is null", (None, None, False)),
            (None, None, (None, None, False)),
        ],
    )
    def test_status_and_reason_make_label_and_provenance(
        self, release, titles_of, status, reason, expected
    ):
        row = release(1, rejection_status=status, rejection_reason=reason)
        assert verdict(only(titles_of("media", [row]))) == expected

    def test_a_table_in_which_nothing_is_labelled_has_no_labels(self, release, titles_of):
        made = titles_of("media", [release(1), release(2)])
        assert made["label"].null_count == made["label_source"].null_count == 2
        assert made["label_reason"].null_count == 2


class TestVerdictOfATitle:
    def test_the_strongest_release_decides_in_whatever_order_they_come(self, release, titles_of):
        mixes = [
            mix
            for size in (2, 3, 4, 5)
            for chosen in combinations(range(5), size)
            if not {0, 1} <= set(chosen)  # two people's words: the later one, tested below
            for mix in permutations(chosen)
        ]
        rows, expected = [], {}
        for title, mix in enumerate(mixes):
            key = f"tt{title:07}"
            expected[key] = VERDICTS[min(mix)][1]
            for place, strength in enumerate(mix):
                rows.append(release(10 * title + place, imdb_id=key, **VERDICTS[strength][0]))
        found = by_key(titles_of("media", rows))
        assert len(expected) == 108
        assert {k: (r["label"], r["label_source"]) for k, r in found.items()} == expected

    @pytest.mark.parametrize("keep_first", [True, False])
    @pytest.mark.parametrize("keep_is_later", [True, False])
    def test_of_two_human_verdicts_the_later_one_counts(
        self, release, titles_of, keep_first, keep_is_later
    ):
        keep = release(1 if keep_first else 2, imdb_id="tt0000009", **HUMAN_KEEP)
        skip = release(2 if keep_first else 1, imdb_id="tt0000009", **HUMAN_SKIP)
        rule = release(3, imdb_id="tt0000009", updated_at=LATER + timedelta(days=9), **RULE_KEEP)
        keep["updated_at"], skip["updated_at"] = (LATER, DAY) if keep_is_later else (DAY, LATER)
        made = only(titles_of("media", [keep, skip, rule]))
        assert verdict(made) == (keep_is_later, "human", True)

    @pytest.mark.parametrize("keep_first", [True, False])
    def test_two_human_verdicts_of_one_instant_have_one_outcome(
        self, release, titles_of, keep_first
    ):
        keep = release(1 if keep_first else 2, imdb_id="tt0000009", **HUMAN_KEEP)
        skip = release(2 if keep_first else 1, imdb_id="tt0000009", **HUMAN_SKIP)
        assert verdict(only(titles_of("media", [keep, skip]))) == (True, "human", True)

    @pytest.mark.parametrize("keep_first", [True, False])
    def test_a_human_verdict_without_a_time_is_the_earlier_one(
        self, release, titles_of, keep_first
    ):
        keep = release(1 if keep_first else 2, imdb_id="tt0000009", updated_at=None, **HUMAN_KEEP)
        skip = release(2 if keep_first else 1, imdb_id="tt0000009", **HUMAN_SKIP)
        assert verdict(only(titles_of("media", [keep, skip]))) == (False, "human", True)

    def test_a_late_human_skip_of_another_title_changes_nothing_here(self, release, titles_of):
        rows = [release(1, **HUMAN_KEEP), release(2, updated_at=LATER, **HUMAN_SKIP)]
        made = by_key(titles_of("media", rows))
        assert made["tt0000001"]["label"] is True
        assert made["tt0000002"]["label"] is False

    def test_a_rules_skip_names_the_distinct_reasons_of_its_releases(self, release, titles_of):
        reasons = ["resolution 720p", "rt_score is null", "resolution 720p"]
        rows = [
            release(n, imdb_id="tt0000009", rejection_status="rejected", rejection_reason=reason)
            for n, reason in enumerate(reasons)
        ]
        rows += [release(11, rejection_status="rejected", rejection_reason="language is null")]
        rows += [release(12, imdb_id="tt0000012", **RULE_SKIP)]
        rows += [release(13, imdb_id="tt0000012", **RULE_KEEP)]
        made = by_key(titles_of("media", rows))
        assert made["tt0000009"]["label_reason"] == "resolution 720p; rt_score is null"
        assert made["tt0000011"]["label_reason"] == "language is null"
        assert made["tt0000012"]["label_reason"] is None, "it is a keep: nothing skipped it"


class TestVerdictOfAReleaseThatIsSetAside:
    """Kept out: one negative number made a rule's skip of a person's keep."""

    def test_a_persons_keep_outlives_the_number_that_cannot_be_right(self, release, titles_of):
        rows = [
            release(1, imdb_id="tt0000009", imdb_votes=-1, updated_at=LATER, **HUMAN_KEEP),
            release(2, imdb_id="tt0000009", rt_score=80, **RULE_SKIP),
        ]
        made = only(titles_of("media", rows, is_sorted=True))
        assert verdict(made) == (True, "human", True)
        assert (made["hash"], made["rt_score"]) == (rows[1]["hash"], 80)
        assert made["label_date"] == LATER
        assert made["label_reason"] is None

    def test_a_rules_skip_counts_with_its_reason(self, release, titles_of):
        rows = [
            release(1, imdb_id="tt0000009", metascore=101, **RULE_SKIP),
            release(2, imdb_id="tt0000009", **UNLABELLED),
        ]
        made = only(titles_of("media", rows, is_sorted=True))
        assert verdict(made) == (False, "rule", True)
        assert made["label_reason"] == "rt_score is null"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"imdb_id": "tt123456789"},
            {"imdb_id": None},
            {"hash": "f" * 41},
            {"media_type": "miniseries"},
        ],
    )
    def test_it_does_not_count_where_nobody_knows_of_what_it_is(self, release, titles_of, wrong):
        known = {"imdb_id": "tt0000009", "imdb_votes": -1, **HUMAN_KEEP}
        rows = [release(1, **known | wrong), release(2, imdb_id="tt0000009", **RULE_SKIP)]
        assert verdict(only(titles_of("media", rows, is_sorted=True))) == (False, "rule", True)

    def test_it_makes_no_title_by_itself(self, release, titles_of):
        rows = [release(1, imdb_votes=-1, **HUMAN_KEEP), release(2, **RULE_SKIP)]
        assert only(titles_of("media", rows, is_sorted=True))["key"] == "tt0000002"

    @settings(max_examples=100, deadline=None)
    @given(data=st.data())
    def test_a_label_is_the_same_whichever_releases_are_set_aside(self, release, titles_of, data):
        draw = data.draw
        rows = [
            release(
                number,
                imdb_id=draw(st.sampled_from(["tt0000001", "tt0000002"])),
                updated_at=draw(st.sampled_from([DAY, LATER])),
                **draw(st.sampled_from([status for status, _ in VERDICTS])),
            )
            for number in range(draw(st.integers(1, 6)))
        ]
        # One of each title goes on in any case.
        rows += [release(n, imdb_id=f"tt000000{n - 10}", **UNLABELLED) for n in (11, 12)]
        spoilt = [row | {"imdb_votes": draw(st.sampled_from([5, -1]))} for row in rows[:-2]]
        columns = ["key", "label", "label_source", "label_reason", "trains", "label_date"]
        whole = titles_of("media", rows, is_sorted=True).select(columns)
        assert titles_of("media", spoilt + rows[-2:], is_sorted=True).select(columns).equals(whole)


class TestGrouping:
    def test_releases_with_one_id_are_one_title_whatever_they_are_called(self, release, titles_of):
        rows = [
            release(1, imdb_id="tt0000009", media_title="Alien", release_year=1979),
            release(2, imdb_id="tt0000009", media_title="Alien Remastered", release_year=2003),
        ]
        assert only(titles_of("media", rows))["key"] == "tt0000009"

    def test_a_release_without_an_id_joins_the_one_title_of_its_name_and_year(
        self, release, titles_of
    ):
        rows = [
            release(1, imdb_id="tt0000009", media_title="Straße der Sehnsucht", **UNLABELLED),
            release(2, imdb_id=None, media_title="STRASSE DER SEHNSUCHT", **HUMAN_KEEP),
        ]
        made = only(titles_of("media", rows))
        assert made["key"] == "tt0000009"
        assert verdict(made) == (True, "human", True)

    @pytest.mark.parametrize("spelling", SPELLINGS)
    def test_a_release_joins_its_title_however_the_name_is_spelled(
        self, release, titles_of, spelling
    ):
        """Kept out: one film as two titles, for a character that nobody sees."""
        rows = [
            release(1, imdb_id="tt0000009", media_title="Amélie Poulain", **UNLABELLED),
            release(2, imdb_id=None, media_title=spelling, **HUMAN_KEEP),
        ]
        made = only(titles_of("media", rows, is_sorted=True))
        assert (made["key"], made["label"]) == ("tt0000009", True)
        alone = only(titles_of("media", rows[1:], is_sorted=True))
        assert alone["key"] == "amélie poulain|2001"

    @pytest.mark.parametrize("nothing", ["\u200b", "\ufeff \u00ad", "\u00a0\u200e"])
    def test_a_name_that_nobody_can_see_is_unknown(self, release, titles_of, nothing):
        rows = [release(n, imdb_id=None, media_title=nothing) for n in (1, 2)]
        made = titles_of("media", rows, is_sorted=True)
        assert made["key"].to_pylist() == [f"film.{n}.2001.1080p|2001" for n in (1, 2)]

    def test_the_title_keeps_its_id_when_a_release_without_one_stands_for_it(
        self, release, titles_of
    ):
        rows = [
            release(1, imdb_id="tt0000009", media_title="Heat", metascore=None),
            release(2, imdb_id=None, media_title="Heat", metascore=76),
        ]
        made = only(titles_of("media", rows))
        assert made["metascore"] == 76
        assert (made["key"], made["imdb_id"]) == ("tt0000009", "tt0000009")

    @pytest.mark.parametrize("unknown", [None, "", "N/A"])
    def test_an_unknown_id_is_no_id(self, release, titles_of, unknown):
        rows = [
            release(1, imdb_id="tt0000009", media_title="Alien"),
            release(2, imdb_id=unknown, media_title="alien"),
            release(3, imdb_id=unknown, media_title="Brazil", release_year=1985),
        ]
        made = by_key(titles_of("media", rows))
        assert list(made) == ["brazil|1985", "tt0000009"]
        assert made["brazil|1985"]["imdb_id"] is None
        assert made["tt0000009"]["imdb_id"] == "tt0000009"

    def test_a_release_without_an_id_joins_the_title_of_several_releases(self, release, titles_of):
        rows = [release(n, imdb_id="tt0000009", media_title="Alien") for n in (1, 2, 3)]
        rows += [release(4, imdb_id=None, media_title="Alien")]
        assert only(titles_of("media", rows))["key"] == "tt0000009"

    def test_a_title_is_joined_by_any_name_that_one_of_its_releases_has(self, release, titles_of):
        rows = [
            release(1, imdb_id="tt0000009", media_title="Alien"),
            release(2, imdb_id="tt0000009", media_title="Alien Remastered"),
            release(3, imdb_id=None, media_title="Alien Remastered"),
        ]
        assert only(titles_of("media", rows))["key"] == "tt0000009"

    def test_two_titles_of_one_name_and_year_are_joined_by_nothing(self, release, titles_of):
        rows = [
            release(1, imdb_id="tt0000008", media_title="Borderline", **HUMAN_KEEP),
            release(2, imdb_id="tt0000009", media_title="Borderline", **RULE_KEEP),
            release(3, imdb_id=None, media_title="borderline", **HUMAN_SKIP),
            release(4, imdb_id=None, media_title="BORDERLINE", **UNLABELLED),
        ]
        made = by_key(titles_of("media", rows))
        assert list(made) == ["borderline|2001", "tt0000008", "tt0000009"]
        assert verdict(made["borderline|2001"]) == (False, "human", True)
        assert verdict(made["tt0000008"]) == (True, "human", True)

    def test_another_year_is_another_title(self, release, titles_of):
        rows = [
            release(1, imdb_id="tt0000009", media_title="Alien", release_year=1979),
            release(2, imdb_id=None, media_title="Alien", release_year=2001),
            release(3, imdb_id=None, media_title="Alien", release_year=None),
            release(4, imdb_id=None, media_title="Alien", release_year=None),
        ]
        assert list(by_key(titles_of("media", rows))) == ["alien|", "alien|2001", "tt0000009"]

    def test_releases_without_an_id_group_by_name_and_year(self, release, titles_of):
        rows = [release(n, imdb_id=None, media_title=t) for n, t in enumerate(["Ob", "OB", "oB"])]
        rows += [release(9, imdb_id=None, media_title="Obelix")]
        assert list(by_key(titles_of("media", rows))) == ["obelix|2001", "ob|2001"]

    @pytest.mark.parametrize("unknown", [None, "", "N/A"])
    def test_releases_of_unknown_name_are_not_one_title(self, release, titles_of, unknown):
        names = ["(2024) [1080p] ", "(2024) [720p]"]
        rows = [
            release(n, imdb_id=None, media_title=unknown, original_title=name)
            for n, name in enumerate(names)
        ]
        made = by_key(titles_of("media", rows))
        assert list(made) == ["(2024) [1080p]|2001", "(2024) [720p]|2001"]
        assert made["(2024) [1080p]|2001"]["media_title"] == "(2024) [1080p]"

    def test_a_release_without_an_id_does_not_join_a_series(self, release, titles_of):
        rows = [
            release(1, imdb_id="tt0000009", media_title="Fargo", media_type="tv_show"),
            release(2, imdb_id=None, media_title="Fargo"),
        ]
        assert only(titles_of("media", rows))["key"] == "fargo|2001"

    def test_keys_come_in_the_order_of_their_bytes(self, release, titles_of):
        names = ["Zebra", "apple", "Äpfel", "10", "tt", "ﬀ", "💫 star", "z~", "a b", "a-b", "中"]
        rows = [release(n, imdb_id=None, media_title=name) for n, name in enumerate(names)]
        rows += [release(20 + n, imdb_id=i) for n, i in enumerate(["tt0000100", "tt00001001"])]
        keys = titles_of("media", rows)["key"].to_pylist()
        assert len(keys) == 13
        assert keys == sorted(keys, key=str.encode)


class TestTheReleaseThatStandsForATitle:
    def test_the_most_complete_one_stands_then_the_newest_then_the_first_hash(
        self, release, titles_of
    ):
        rows = [
            release(1, imdb_id="tt0000001", created_at=LATER),
            release(2, imdb_id="tt0000001", rt_score=50),
            release(3, imdb_id="tt0000002", rt_score=50),
            release(4, imdb_id="tt0000002", rt_score=60, created_at=LATER),
            release(5, imdb_id="tt0000003", rt_score=50),
            release(6, imdb_id="tt0000003", rt_score=60),
            release(7, imdb_id=None, media_title="Twin"),
            release(8, imdb_id="tt0000004", media_title="Twin"),
        ]
        made = by_key(titles_of("media", rows))
        assert [int(made[f"tt000000{n}"]["hash"], 16) for n in (1, 2, 3, 4)] == [2, 4, 5, 7]
        assert [made[f"tt000000{n}"]["rt_score"] for n in (1, 2, 3)] == [50, 60, 50]

    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_relabelling_does_not_change_what_is_known_of_a_title(self, release, titles_of, data):
        verdicts = st.sampled_from([v for v, _ in VERDICTS])
        times = st.sampled_from([DAY, LATER])
        rows = [
            release(
                number,
                imdb_id=data.draw(st.sampled_from(["tt0000001", "tt0000002", None])),
                media_title=data.draw(st.sampled_from(["Alien", "ALIEN", "Brazil"])),
                rt_score=data.draw(st.sampled_from([None, 10, 20])),
                genre=data.draw(st.sampled_from([None, ["Drama"], ["Comedy"]])),
                created_at=data.draw(times),
            )
            for number in range(data.draw(st.integers(2, 6)))
        ]
        relabelled = [
            row
            | data.draw(verdicts)
            | {"updated_at": data.draw(times), "pipeline_status": "rejected", "error_status": True}
            for row in rows
        ]
        about = ["key", "imdb_id", "media_title", "hash", "original_title", "created_at"]
        kept = [*about, *MEDIA.features]
        before, after = titles_of("media", rows), titles_of("media", relabelled)
        assert before.select(kept).equals(after.select(kept))

    def test_a_title_came_to_the_database_with_its_first_release(self, release, titles_of):
        """Kept out: an old title among the newest since a better release of it came today."""
        rows = [
            release(1, imdb_id="tt0000001", created_at=LATER, rt_score=50),
            release(2, imdb_id="tt0000001", created_at=DAY),
            release(3, imdb_id="tt0000001", created_at=None),
            release(4, imdb_id="tt0000002", created_at=LATER),
            release(5, imdb_id="tt0000003", created_at=None),
        ]
        made = by_key(titles_of("media", rows))
        assert made["tt0000001"]["rt_score"] == 50
        seen = {key: row["created_at"] for key, row in made.items()}
        assert seen == {"tt0000001": DAY, "tt0000002": LATER, "tt0000003": None}

    def test_a_label_is_as_old_as_the_last_touch_of_a_release_that_holds_it(
        self, release, titles_of
    ):
        rows = [
            release(1, imdb_id="tt0000001", rejection_status="override", updated_at=DAY),
            release(2, imdb_id="tt0000001", rejection_status="accepted", updated_at=LATER),
            release(3, imdb_id="tt0000002", rejection_status="accepted", updated_at=DAY),
            release(4, imdb_id="tt0000002", rejection_status="accepted", updated_at=LATER),
            release(5, imdb_id="tt0000003", rejection_status="unfiltered", updated_at=LATER),
            release(6, imdb_id="tt0000004", rejection_status="override", updated_at=None),
        ]
        dates = {key: row["label_date"] for key, row in by_key(titles_of("media", rows)).items()}
        assert dates == {
            "tt0000001": DAY,
            "tt0000002": LATER,
            "tt0000003": None,
            "tt0000004": None,
        }

    def test_two_titles_that_share_nothing_keep_their_own_features(self, release, titles_of):
        rows = [release(n, rt_score=n, genre=[f"G{n}"]) for n in range(1, 50)]
        for number in range(1, 50):
            row = by_key(titles_of("media", rows))[f"tt{number:07}"]
            assert (row["rt_score"], row["genre"]) == (number, [f"G{number}"])


def told_by_the_contract(rows: list[dict[str, Any]]) -> dict[str, tuple[bool | None, str | None]]:
    """The keys of the titles and their labels, worked out release by release."""

    def pair(row: dict[str, Any]) -> tuple[str, int]:
        return row["media_title"].casefold(), row["release_year"]

    ids: dict[tuple[str, int], set[str]] = {}
    for row in rows:
        if row["imdb_id"]:
            ids.setdefault(pair(row), set()).add(row["imdb_id"])
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        same = ids.get(pair(row), set())
        key = row["imdb_id"] or (next(iter(same)) if len(same) == 1 else "{}|{}".format(*pair(row)))
        grouped.setdefault(key, []).append(row)

    labels = {}
    for key, members in grouped.items():
        keeps = [r["updated_at"] for r in members if r["rejection_status"] == "override"]
        rejected = [r for r in members if r["rejection_status"] == "rejected"]
        skips = [r["updated_at"] for r in rejected if not r["rejection_reason"]]
        if keeps and (not skips or max(keeps) >= max(skips)):
            labels[key] = (True, "human")
        elif skips:
            labels[key] = (False, "human")
        elif any(r["rejection_status"] == "accepted" for r in members):
            labels[key] = (True, "rule")
        else:
            labels[key] = (False, "rule") if rejected else (None, None)
    return labels


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_mix_of_releases_gives_the_titles_and_labels_of_the_contract(release, titles_of, data):
    rows = [
        release(
            number,
            imdb_id=data.draw(st.sampled_from([None, "tt0000001", "tt0000002"])),
            media_title=data.draw(st.sampled_from(["Alien", "ALIEN", "Straße", "STRASSE"])),
            release_year=data.draw(st.sampled_from([1979, 1980])),
            rejection_status=data.draw(
                st.sampled_from(["override", "accepted", "rejected", "unfiltered"])
            ),
            rejection_reason=data.draw(st.sampled_from([None, "", "rt_score is null"])),
            updated_at=data.draw(st.sampled_from([DAY, LATER, LATER + timedelta(days=1)])),
        )
        for number in range(data.draw(st.integers(1, 7)))
    ]
    found = by_key(titles_of("media", rows))
    labels = {key: (row["label"], row["label_source"]) for key, row in found.items()}
    assert labels == told_by_the_contract(rows)
    assert all(row["trains"] == (row["label"] is not None) for row in found.values())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_order_in_which_releases_come_makes_no_other_titles(release, titles_of, data):
    """Of releases that differ in all that decides which one stands for the title."""
    rows = [
        release(
            number,
            imdb_id=data.draw(st.sampled_from([None, "tt0000001", "tt0000002"])),
            media_title=data.draw(st.sampled_from(["Alien", "ALIEN", None, "=1+1", "\x1b\u202e"])),
            release_year=data.draw(st.sampled_from([None, 1979])),
            rt_score=data.draw(st.sampled_from([None, 50, 80])),
            genre=data.draw(st.sampled_from([None, [], ["N/A"], ["Drama", None]])),
            rejection_status=data.draw(st.sampled_from(["override", "rejected", "unfiltered"])),
            updated_at=data.draw(st.sampled_from([DAY, LATER])),
        )
        for number in range(data.draw(st.integers(1, 6)))
    ]
    known = titles_of("media", rows)
    turned = data.draw(st.permutations(rows))
    assert titles_of("media", turned).equals(known)
    keys = known["key"].to_pylist()
    assert keys == sorted(set(keys), key=str.encode)


class TestTrainingLayout:
    @pytest.mark.parametrize(
        ("known", "expected"),
        [
            ({"label": None}, (None, None, False)),
            ({"label": None, "human_labeled": True, "reviewed": True}, (None, None, False)),
            ({"label": "would_watch", "human_labeled": True}, (True, "human", True)),
            ({"label": "would_not_watch", "human_labeled": True}, (False, "human", True)),
            (
                {"label": "would_watch", "human_labeled": True, "reviewed": True},
                (True, "human", True),
            ),
            ({"label": "would_watch", "reviewed": True}, (True, "rule", True)),
            ({"label": "would_not_watch", "reviewed": True}, (False, "rule", True)),
            ({"label": "would_watch"}, (True, "model", False)),
            ({"label": "would_not_watch"}, (False, "model", False)),
            ({"label": "would_watch", "reviewed": None}, (True, "model", False)),
            (
                {"label": "would_watch", "human_labeled": True, "anomalous": True},
                (True, "human", False),
            ),
            (
                {"label": "would_not_watch", "reviewed": True, "anomalous": True},
                (False, "rule", False),
            ),
        ],
    )
    def test_label_provenance_and_training_follow_the_flags(
        self, entry, titles_of, known, expected
    ):
        assert verdict(only(titles_of("training", [entry(1, **known)]))) == expected

    def test_columns_missing_from_an_older_table_mean_reviewed_not_human_not_odd(
        self, entry, titles_of
    ):
        rows = [entry(1, label="would_watch"), entry(2, label=None)]
        missing = ["human_labeled", "anomalous", "reviewed"]
        made = by_key(titles_of("training", rows, without=missing))
        assert verdict(made["tt0000001"]) == (True, "rule", True)
        assert verdict(made["tt0000002"]) == (None, None, False)

    @pytest.mark.parametrize(
        ("missing", "expected"),
        [
            ("reviewed", (True, "human", False)),
            ("human_labeled", (True, "model", False)),
            ("anomalous", (True, "human", True)),
        ],
    )
    def test_one_missing_column_takes_its_default_alone(self, entry, titles_of, missing, expected):
        row = entry(1, label="would_watch", human_labeled=True, anomalous=True)
        assert verdict(only(titles_of("training", [row], without=[missing]))) == expected

    def test_a_title_is_one_row_with_its_source_features(self, entry, titles_of):
        row = entry(1, budget=5, spoken_languages=["en", "fr"], original_language="en")
        made = only(titles_of("training", [row]))
        assert made["key"] == made["imdb_id"] == "tt0000001"
        assert {n: made[n] for n in ("budget", "spoken_languages", "original_language")} == {
            "budget": 5,
            "spoken_languages": ["en", "fr"],
            "original_language": "en",
        }
        assert made["hash"] is made["original_title"] is made["label_reason"] is None
        assert made["created_at"] == DAY

    def test_an_unlabelled_title_has_no_date_of_a_label(self, entry, titles_of):
        rows = [entry(1, label="would_watch", updated_at=DAY), entry(2, label=None)]
        dates = titles_of("training", rows)["label_date"].to_pylist()
        assert dates == [DAY, None]


@pytest.mark.parametrize("layout", [MEDIA, TRAINING], ids=["media", "training"])
class TestBothLayouts:
    def test_only_films_are_titles(self, layout, release, entry, titles_of):
        make = release if layout is MEDIA else entry
        kinds = ["movie", "tv_show", "tv_season", "unknown", "movie"]
        rows = [make(n, media_type=kind) for n, kind in enumerate(kinds)]
        keys = titles_of(layout.name, rows)["key"].to_pylist()
        assert keys == ["tt0000000", "tt0000004"]

    def test_no_film_is_told_in_a_line_that_names_what_is_there(
        self, layout, release, entry, titles_of
    ):
        make = release if layout is MEDIA else entry
        with pytest.raises(AtxError) as failure:
            titles_of(layout.name, [make(1, media_type="tv_show"), make(2, media_type="unknown")])
        line = str(failure.value)
        assert f"atp.{layout.table} holds no film" in line
        assert "tv_show, unknown" in line
        assert "atx load" in line
        assert "\n" not in line

    def test_an_empty_table_is_told_likewise(self, layout, titles_of):
        with pytest.raises(AtxError, match="holds no film"):
            titles_of(layout.name, [])

    def test_the_columns_are_those_that_what_follows_expects(
        self, layout, release, entry, titles_of
    ):
        make = release if layout is MEDIA else entry
        made = titles_of(layout.name, [make(1)])
        own = [column.name for column in schemas.TITLES]
        assert made.schema.names == [*own, *(n for n in layout.features if n not in own)]
        for field in schemas.arrow_schema(schemas.TITLES):
            assert made.schema.field(field.name).type == field.type
        assert made["kind"].to_pylist() == ["film"]
        types = {name: str(made.schema.field(name).type) for name in made.schema.names}
        assert types["created_at"] == str(schemas.arrow_type(schemas.TIME))
        assert types["label_date"] == types["created_at"]
        assert types["label"] == types["trains"] == "bool"
        assert all(
            types[n] == "string"
            for n in ("key", "imdb_id", "media_title", "label_source", "hash", "original_title")
        )


@pytest.mark.real_data
class TestRealLibraries:
    def test_the_media_export_has_these_titles_and_labels(self, real_rows):
        rows = real_rows("media")
        assert pc.sum(pc.equal(rows["media_type"], "movie")).as_py() == 7127
        made = titles(rows, MEDIA)
        label, source = made["label"].to_pylist(), made["label_source"].to_pylist()
        assert made.num_rows == 3135
        assert sum(made["trains"].to_pylist()) == 2397
        assert label.count(True) == 414
        assert label.count(None) == 738
        assert (source.count("human"), source.count("rule")) == (305, 2092)

    def test_106_titles_were_skipped_for_their_resolution_alone(self, real_rows):
        reasons = titles(real_rows("media"), MEDIA)["label_reason"].drop_null().to_pylist()
        alone = [r for r in reasons if all(p.startswith("resolution") for p in r.split("; "))]
        assert len(alone) == 106

    def test_the_other_programs_counts_differ_by_the_titles_that_it_did_not_join(self, real_rows):
        # It counted 3143 titles, 2403 of them labelled and 740 not: releases without an id were
        # never joined to a title, and all films of unknown name and one year were one title.
        rows = real_rows("media").to_pylist()
        films = [row for row in rows if row["media_type"] == "movie"]
        without_id: dict[tuple[str, int], set[str]] = {}
        for row in films:
            if not row["imdb_id"]:
                pair = (row["media_title"].casefold(), row["release_year"])
                without_id.setdefault(pair, set()).add(row["rejection_status"])
        ids = {row["imdb_id"] for row in films if row["imdb_id"]}
        assert len(ids) + len(without_id) == 3143

        named = {
            (row["media_title"].casefold(), row["release_year"]) for row in films if row["imdb_id"]
        }
        joined = [pair for pair in without_id if pair in named]
        unnamed = [row for row in films if not row["imdb_id"] and not row["media_title"]]
        apart = len({row["original_title"].strip().casefold() for row in unnamed}) - len(
            [pair for pair in without_id if not pair[0]]
        )
        assert (len(joined), apart) == (9, 1)
        ours = titles(real_rows("media"), MEDIA)
        assert ours.num_rows + len(joined) - apart == 3143
        joined_unlabelled = sum(without_id[pair] == {"unfiltered"} for pair in joined)
        assert ours["label"].null_count + joined_unlabelled == 740
        labelled = sum(ours["trains"].to_pylist())
        assert labelled + len(joined) - joined_unlabelled - apart == 2403

    def test_the_training_export_has_these_titles_and_labels(self, real_rows):
        made = titles(real_rows("training"), TRAINING)
        label = made["label"].to_pylist()
        assert (made.num_rows, sum(made["trains"].to_pylist()), label.count(True)) == (
            1481,
            1481,
            159,
        )
        assert set(made["label_source"].to_pylist()) == {"rule"}

    @pytest.mark.parametrize("layout", [MEDIA, TRAINING], ids=["media", "training"])
    def test_no_key_comes_twice_and_none_is_unknown(self, real_rows, layout):
        keys = titles(real_rows(layout.name), layout)["key"].to_pylist()
        assert None not in keys
        assert len(set(keys)) == len(keys)
        assert keys == sorted(keys, key=str.encode)
