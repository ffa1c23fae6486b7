"""From titles to numbers: names, ranges, what is unknown, and one answer however it is asked."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atx_assets import schemas
from atx_assets.defs.assets.training import least_titles
from atx_assets.learning.features import FeatureEncoding, feature_name
from atx_assets.settings import read_settings
from atx_assets.sources.layouts import LAYOUTS, MEDIA, TRAINING

LAYOUT_NAMES = list(LAYOUTS)


def column(encoding: FeatureEncoding, titles: pa.Table, feature: str) -> list[float]:
    return encoding.matrix(titles)[:, encoding.names.index(feature)].tolist()


class TestNames:
    @pytest.mark.parametrize(
        ("category", "name"),
        [
            ("Sci-Fi", "genre_sci_fi"),
            ("Drama", "genre_drama"),
            ("Film Noir", "genre_film_noir"),
            ("Action & Adventure", "genre_action_adventure"),
            ("Game-Show / Reality", "genre_game_show_reality"),
            ("Comédie", "genre_comédie"),
            ("科幻", "genre_科幻"),
        ],
    )
    def test_a_category_is_lower_cased_and_runs_of_other_characters_are_one_underscore(
        self, category, name
    ):
        assert feature_name("genre", category) == name

    def test_features_are_numbers_then_categories_each_group_in_order(self, table, encoding_of):
        titles = table(genre=[["War", "Drama"], ["Sci-Fi"]], language=[["French"], ["English"]])
        assert encoding_of(titles).names == [
            "release_year_norm",
            "metascore_norm",
            "rt_score_norm",
            "imdb_rating_norm",
            "imdb_votes_norm",
            "genre_drama",
            "genre_sci_fi",
            "genre_war",
            "language_english",
            "language_french",
        ]

    def test_the_training_layout_adds_its_numbers_lists_and_single_categories(
        self, table, encoding_of
    ):
        lists = {name: [["aa"]] for name in TRAINING.lists}
        titles = table(
            "training", original_language=["en"], production_status=["Released"], **lists
        )
        names = encoding_of(titles, "training").names
        assert names[5:10] == [
            f"{n}_norm" for n in ("budget", "revenue", "runtime", "tmdb_rating", "tmdb_votes")
        ]
        assert names[10:] == [
            *(f"{name}_aa" for name in TRAINING.lists),
            "original_language_en",
            "production_status_released",
        ]

    def test_unicode_forms_blanks_and_zero_width_characters_make_no_column_of_their_own(
        self, table, encoding_of
    ):
        """Kept out: `genre_come_die` beside `genre_comédie`."""
        spellings = ["Comédie", "Come\u0301die", "Comé\u200bdie", "COMÉDIE", "\u00a0Comédie "]
        encoding = encoding_of(table(genre=[[word] for word in spellings]))
        assert encoding.names[5:] == ["genre_comédie"]
        new = table(genre=[["come\u0301die\u200e"], ["\u200b"]])
        assert column(encoding, new, "genre_comédie") == [1, 0]

    def test_an_encoding_of_an_earlier_release_keeps_its_vocabulary(self, table, encoding_of):
        data = json.loads(encoding_of(table(genre=[["Comédie"]])).to_json())
        del data["text_form"]
        other = {"feature": "genre_come_die", "values": ["Come\u0301die"], "titles": 1}
        data["categorical"][0]["categories"].append(other)
        old = FeatureEncoding.from_json(json.dumps(data))
        titles = table(genre=[["Comédie"], ["Come\u0301die"], ["Comé\u200bdie"], ["COMÉDIE"]])
        assert column(old, titles, "genre_comédie") == [1, 0, 0, 1]
        assert column(old, titles, "genre_come_die") == [0, 1, 0, 0]
        assert FeatureEncoding.from_json(old.to_json()) == old

    def test_an_encoding_of_a_later_release_is_refused(self, table, encoding_of):
        data = json.loads(encoding_of(table(genre=[["Drama"]])).to_json()) | {"text_form": 3}
        with pytest.raises(ValueError, match="text_form is 3"):
            FeatureEncoding.from_json(json.dumps(data))

    def test_spellings_of_one_name_share_a_column_and_count_a_title_once(self, table, encoding_of):
        titles = table(genre=[["Sci-Fi"], ["sci fi", "Sci-Fi"], ["SCI FI"], ["Drama"]])
        [genre, _] = encoding_of(titles).categorical
        assert [c.feature for c in genre.categories] == ["genre_drama", "genre_sci_fi"]
        assert genre.categories[1].values == ("SCI FI", "Sci-Fi", "sci fi")
        assert [c.titles for c in genre.categories] == [1, 3]
        assert column(encoding_of(titles), titles, "genre_sci_fi") == [1, 1, 1, 0]


class TestNumbers:
    def test_the_range_of_the_training_rows_becomes_0_to_1(self, table, encoding_of):
        encoding = encoding_of(table(metascore=[20, 60, 100]))
        assert column(encoding, table(metascore=[20, 40, 100]), "metascore_norm") == [0, 0.25, 1]

    def test_a_title_beyond_the_range_goes_beyond_0_to_1(self, table, encoding_of):
        encoding = encoding_of(table(metascore=[20, 60]))
        assert column(encoding, table(metascore=[0, 100]), "metascore_norm") == [-0.5, 2]

    def test_unknown_is_neither_in_the_range_nor_0(self, table, encoding_of):
        titles = table(metascore=[None, 20, 60])
        found = column(encoding_of(titles), titles, "metascore_norm")
        assert np.isnan(found[0])
        assert found[1:] == [0, 1]

    def test_nan_and_infinity_are_unknown(self, table, encoding_of):
        titles = table("training", tmdb_rating=[float("nan"), float("inf"), -np.inf, 2.0, 6.0])
        encoding = encoding_of(titles, "training")
        found = column(encoding, titles, "tmdb_rating_norm")
        assert np.isnan(found[:3]).all()
        assert found[3:] == [0, 1]

    @pytest.mark.parametrize("layout", LAYOUT_NAMES)
    def test_zero_is_unknown_in_money_time_votes_and_imdbs_rating_alone(
        self, table, encoding_of, layout
    ):
        numeric = LAYOUTS[layout].numeric
        titles = table(layout, **{name: [0, 20, 40] for name in numeric})
        encoding = encoding_of(titles, layout)
        unknown = {n for n in numeric if np.isnan(column(encoding, titles, f"{n}_norm")[0])}
        expected = {"imdb_votes", "imdb_rating", "tmdb_votes", "budget", "revenue", "runtime"}
        assert unknown == expected & set(numeric)
        assert {n.column for n in encoding.numeric if n.minimum == 20} == unknown

    def test_a_number_that_all_titles_share_becomes_0(self, table, encoding_of):
        encoding = encoding_of(table(metascore=[50, 50, None]))
        found = column(encoding, table(metascore=[50, 51, None]), "metascore_norm")
        assert found[0] == 0
        assert found[1] > 0
        assert np.isnan(found[2])

    def test_a_number_that_no_training_title_has_is_unknown_for_all(self, table, encoding_of):
        encoding = encoding_of(table(metascore=[None, None], rt_score=[1, 2]))
        assert encoding.numeric[1].minimum is encoding.numeric[1].maximum is None
        assert np.isnan(column(encoding, table(metascore=[50, 0]), "metascore_norm")).all()


class TestRatingScales:
    def known(self, encoding, titles) -> list[float]:
        return encoding.known_numbers(titles, "imdb_rating").tolist()

    def test_both_scales_in_one_table_mean_the_same(self, table, encoding_of):
        titles = table(imdb_rating=[7.1, 71.0, 1.0, 9.9, 10.1, 100.0, 99.0])
        encoding = encoding_of(titles)
        assert self.known(encoding, titles) == [71, 71, 10, 99, 10.1, 100, 99]
        found = column(encoding, titles, "imdb_rating_norm")
        assert found[0] == found[1]

    def test_a_rating_is_the_same_number_on_both_scales(self, table, encoding_of):
        encoding = encoding_of(table(imdb_rating=[20.0]))
        small = self.known(encoding, table(imdb_rating=[n / 100 for n in range(110, 1000)]))
        large = self.known(encoding, table(imdb_rating=[n / 10 for n in range(110, 1000)]))
        assert small == large

    @pytest.mark.parametrize(
        ("others", "ten"),
        [
            ([7.0, 8.0, 70.0], 100),
            ([7.0, 70.0, 80.0], 10),
            ([10.0, 10.0, 7.0], 100),
            ([None, 10.0, 70.0], 10),
        ],
    )
    def test_exactly_10_follows_the_majority(self, table, encoding_of, others, ten):
        titles = table(imdb_rating=[10.0, *others])
        assert self.known(encoding_of(titles), titles)[0] == ten

    def test_all_films_decide_and_not_the_training_rows_alone(self, table, encoding_of):
        training = table(imdb_rating=[70.0, 10.0])
        films = table(imdb_rating=[70.0, 10.0, 7.0, 8.0])
        assert self.known(encoding_of(training, films=films), training) == [70, 100]

    def test_the_encoding_remembers_the_scale_of_a_10(self, table, encoding_of):
        encoding = encoding_of(table(imdb_rating=[7.0, 8.0]))
        read = FeatureEncoding.from_json(encoding.to_json())
        assert self.known(read, table(imdb_rating=[10.0])) == [100]
        assert self.known(read, table(imdb_rating=[10.0, 70.0, 80.0])) == [100, 70, 80]


class TestCategories:
    def test_each_spelling_of_unknown_makes_no_column_and_no_mark(self, table, encoding_of):
        unknown = [None, [], [""], ["N/A"], [None], ["N/A", "", None]]
        titles = table(genre=[*unknown, ["Drama"], ["N/A", "Drama"]])
        encoding = encoding_of(titles)
        assert [n for n in encoding.names if n.startswith("genre")] == ["genre_drama"]
        assert column(encoding, titles, "genre_drama") == [0] * 6 + [1, 1]

    def test_unknown_single_categories_make_no_column(self, table, encoding_of):
        titles = table("training", original_language=["en", None, "", "N/A", "fr"])
        encoding = encoding_of(titles, "training")
        assert encoding.names[10:] == ["original_language_en", "original_language_fr"]
        assert column(encoding, titles, "original_language_fr") == [0, 0, 0, 0, 1]

    def test_a_category_that_training_did_not_know_leaves_the_others_alone(
        self, table, encoding_of
    ):
        encoding = encoding_of(table(genre=[["Drama"], ["War"]]))
        titles = table(genre=[["Western", "War"], ["Western"]], language=[["Elvish"], None])
        assert encoding.matrix(titles)[:, 5:].tolist() == [[0, 1], [0, 0]]

    def test_a_new_spelling_of_a_known_category_is_that_category(self, table, encoding_of):
        encoding = encoding_of(table(genre=[["Sci-Fi"]]))
        assert column(encoding, table(genre=[["SCI FI"]]), "genre_sci_fi") == [1]

    def test_a_category_named_twice_is_1(self, table, encoding_of):
        titles = table(genre=[["Drama", "Drama"]])
        assert column(encoding_of(titles), titles, "genre_drama") == [1]

    def test_a_company_needs_its_number_of_titles_and_other_lists_do_not(self, table, encoding_of):
        companies = [["A", "B"], ["A", "B"], ["A", "A"], ["C"], ["C", "C"], ["C"]]
        titles = table("training", production_companies=companies, genre=[["War"]] + [[]] * 5)
        found = encoding_of(titles, "training", least_titles={"production_companies": 3})
        assert found.names[10:] == [
            "genre_war",
            "production_companies_a",
            "production_companies_c",
        ]

    @pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUT_NAMES)
    def test_a_category_of_one_title_makes_no_feature_unless_it_is_asked_for(
        self, table, encoding_of, layout
    ):
        """Kept out: 10,675 genres of a title each, which took minutes and gigabytes."""
        each = {name: [[f"{name} {n}", "Common"] for n in range(300)] for name in layout.lists}
        each |= {name: [f"{name} {n}" for n in range(298)] + ["A", "a"] for name in layout.singles}
        titles = table(layout.name, **each)
        least = least_titles(layout, read_settings({}))
        found = encoding_of(titles, layout.name, least_titles=least)
        assert found.names[len(layout.numeric) :] == [
            *(f"{name}_common" for name in layout.lists),
            *(f"{name}_a" for name in layout.singles),
        ]
        one = read_settings({"ATX_CATEGORY_MIN_TITLES": "1", "ATX_COMPANY_MIN_TITLES": "1"})
        found = encoding_of(titles, layout.name, least_titles=least_titles(layout, one))
        assert len(found.names) == sum(
            (len(layout.numeric), 301 * len(layout.lists), 299 * len(layout.singles))
        )

    def test_of_too_many_categories_those_of_most_titles_make_features(self, table, encoding_of):
        titles = table(genre=[[f"g{n:04}", f"g{n + 1:04}", "z"] for n in range(0, 1200, 2)] * 2)
        titles = pa.concat_tables([titles, table(genre=[["g1199"]])])
        names = [n for n in encoding_of(titles).names if n.startswith("genre")]
        assert names == [*(f"genre_g{n:04}" for n in range(998)), "genre_g1199", "genre_z"]

    def test_companies_that_share_a_name_reach_the_number_together(self, table, encoding_of):
        titles = table("training", production_companies=[["Toho Co."], ["TOHO CO"], ["Toho-Co"]])
        found = encoding_of(titles, "training", least_titles={"production_companies": 2})
        assert found.names[10:] == ["production_companies_toho_co"]

    def test_a_null_list_over_hidden_elements_is_unknown(self, encoding_of, table):
        # Arrow lets a null list lie over elements that are still in the buffer.
        hidden = pa.ListArray.from_arrays(
            pa.array([0, 1, 3, 4], pa.int32()),
            pa.array(["Drama", "War", "Sci-Fi", "Drama"]),
            mask=pa.array([False, True, False]),
        )
        titles = table(metascore=[1, 2, 3])
        titles = titles.set_column(titles.column_names.index("genre"), "genre", hidden)
        encoding = encoding_of(titles)
        assert encoding.names[5:] == ["genre_drama"]
        assert column(encoding, titles, "genre_drama") == [1, 0, 1]


class TestNoRows:
    @pytest.mark.parametrize("layout", LAYOUT_NAMES)
    def test_no_titles_give_a_matrix_of_no_rows(self, table, encoding_of, layout):
        encoding = encoding_of(table(layout, genre=[["Drama"]], metascore=[5]), layout)
        none = table(layout, genre=[])
        assert encoding.matrix(none).shape == (0, len(encoding.names))
        assert {len(values) for values in encoding.table(none).values()} == {0}

    @pytest.mark.parametrize("layout", LAYOUT_NAMES)
    def test_an_encoding_of_no_rows_has_no_categories(self, table, encoding_of, layout):
        encoding = encoding_of(table(layout, genre=[]), layout)
        assert encoding.names == [f"{name}_norm" for name in LAYOUTS[layout].numeric]
        assert np.isnan(encoding.matrix(table(layout, metascore=[5]))).all()


class TestJson:
    def test_it_reads_back_equal_and_writes_the_same_text(self, table, encoding_of):
        titles = table(
            genre=[["Sci-Fi", "科幻"], ["“Noir”"]], metascore=[1, 3], imdb_rating=[0.1 + 0.2, 7]
        )
        encoding = encoding_of(titles)
        read = FeatureEncoding.from_json(encoding.to_json())
        assert read == encoding
        assert read.to_json() == encoding.to_json()
        assert read.names == encoding.names

    def test_it_holds_all_that_encodes_a_title(self, table, encoding_of):
        found = json.loads(encoding_of(table(genre=[["Drama"]], rt_score=[50])).to_json())
        assert found["ten_means"] == 100
        assert found["numeric"][2] == {
            "column": "rt_score",
            "feature": "rt_score_norm",
            "minimum": 50.0,
            "maximum": 50.0,
            "zero_is_unknown": False,
        }
        drama = {"feature": "genre_drama", "values": ["Drama"], "titles": 1}
        assert found["categorical"][0] == {"column": "genre", "categories": [drama]}

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"layout": 1}', '{"numeric": 3}', "null"])
    def test_what_is_no_encoding_is_refused(self, text):
        with pytest.raises(ValueError, match=r".+"):
            FeatureEncoding.from_json(text)


NUMBERS = st.none() | st.integers(0, 100)
WORDS = st.sampled_from(["Drama", "Sci-Fi", "sci fi", "Ænima", "N/A", "", None, "Rare"])
TITLE = st.fixed_dictionaries(
    {
        "release_year": st.none() | st.integers(1900, 2030),
        "metascore": NUMBERS,
        "rt_score": NUMBERS,
        "imdb_rating": st.none() | st.floats(1, 100) | st.sampled_from([10.0, 7.1, 71.0]),
        "imdb_votes": st.none() | st.integers(0, 2**40),
        "genre": st.none() | st.lists(WORDS, max_size=4),
        "language": st.none() | st.lists(WORDS, max_size=3),
    }
)


class TestOneAnswer:
    @settings(max_examples=80, deadline=None)
    @given(training=st.lists(TITLE, min_size=1, max_size=6), others=st.lists(TITLE, max_size=6))
    def test_alone_in_a_batch_and_after_json_a_title_gets_the_same_bits(
        self, table, encoding_of, training, others
    ):
        def rows(titles):
            return table(**{name: [t[name] for t in titles] for name in MEDIA.features})

        encoding = encoding_of(rows(training))
        read = FeatureEncoding.from_json(encoding.to_json())
        batch = rows(training + others)
        together = encoding.matrix(batch)
        assert together.dtype == np.float32
        assert together.flags.c_contiguous
        assert read.matrix(batch).tobytes() == together.tobytes()
        for at, title in enumerate(training + others):
            assert read.matrix(rows([title])).tobytes() == together[at].tobytes()
            assert read.matrix(batch.slice(at, 1)).tobytes() == together[at].tobytes()
        chunks = pa.concat_tables([batch.slice(n, 1) for n in range(len(batch))])
        assert encoding.matrix(chunks).tobytes() == together.tobytes()

    @settings(max_examples=40, deadline=None)
    @given(training=st.lists(TITLE, min_size=1, max_size=8))
    def test_the_table_holds_the_numbers_of_the_matrix(self, table, encoding_of, training):
        titles = table(**{n: [t[n] for t in training] for n in MEDIA.features})
        encoding = encoding_of(titles)
        columns = encoding.table(titles)
        assert list(columns) == encoding.names
        numeric = len(encoding.numeric)
        assert [str(c.dtype) for c in columns.values()] == ["float32"] * numeric + ["uint8"] * (
            len(columns) - numeric
        )
        stacked = np.stack([c.astype(np.float32) for c in columns.values()], axis=1)
        assert stacked.tobytes() == encoding.matrix(titles).tobytes()

    def test_a_known_number_of_a_training_row_is_in_0_to_1(self, films, encoding_of):
        encoding = encoding_of(films)
        matrix = encoding.matrix(films)[:, : len(encoding.numeric)]
        known = matrix[~np.isnan(matrix)]
        assert known.min() == 0
        assert known.max() == 1

    def test_an_encoding_of_other_ranges_gives_other_numbers(self, films, encoding_of):
        encoding = encoding_of(films)
        wider = [replace(n, maximum=(n.maximum or 0) + 10) for n in encoding.numeric]
        other = replace(encoding, numeric=tuple(wider))
        assert other.matrix(films).tobytes() != encoding.matrix(films).tobytes()

    @pytest.mark.real_data
    @pytest.mark.parametrize("layout", LAYOUT_NAMES)
    def test_a_real_title_alone_gets_the_bits_it_got_among_all(self, real, layout):
        library = real(layout)
        read = FeatureEncoding.from_json(library.encoding.to_json())
        for at in range(0, len(library.labels), 97):
            alone = read.matrix(library.titles.slice(at, 1))
            assert alone.tobytes() == library.matrix[at].tobytes()


# -- tables of any values that the layouts' types hold

_ANY = {
    schemas.INT: st.none() | st.integers(-(2**63), 2**63 - 1),
    schemas.FLOAT: st.none() | st.floats(),
    schemas.STRING: st.none() | st.text(st.characters(codec="utf-8"), max_size=6),
    schemas.STRINGS: st.none()
    | st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=3), max_size=3),
}


def any_titles(layout: str) -> st.SearchStrategy[list[dict[str, object]]]:
    kinds = {c.name: c.type for c in LAYOUTS[layout].columns}
    row = st.fixed_dictionaries({n: _ANY[kinds[n]] for n in LAYOUTS[layout].features})
    return st.lists(row, min_size=1, max_size=5)


@pytest.mark.slow
class TestAnyValues:
    @pytest.mark.parametrize("layout", LAYOUT_NAMES)
    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_a_title_is_finite_numbers_or_unknown_whatever_it_and_the_training_rows_hold(
        self, table, encoding_of, layout, data
    ):
        """Kept out: an infinite number for a rating of 1e308, which no model takes."""
        training, others = (data.draw(any_titles(layout)) for _ in range(2))

        def rows(titles):
            return table(layout, **{n: [t[n] for t in titles] for n in LAYOUTS[layout].features})

        encoding = encoding_of(rows(training), layout)
        assert len(set(encoding.names)) == len(encoding.names)
        read = FeatureEncoding.from_json(encoding.to_json())
        assert read == encoding
        both = training + others
        matrix = read.matrix(rows(both))
        assert not np.isinf(matrix).any()
        assert matrix.tobytes() == encoding.matrix(rows(both)).tobytes()
        order = data.draw(st.permutations(range(len(both))))
        turned = read.matrix(rows([both[at] for at in order]))
        assert turned.tobytes() == matrix[order].tobytes()
        assert read.matrix(rows(both[-1:])).tobytes() == matrix[-1:].tobytes()

    @pytest.mark.parametrize("layout", LAYOUT_NAMES)
    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_the_order_of_the_training_rows_makes_no_other_encoding(
        self, table, encoding_of, layout, data
    ):
        training = data.draw(any_titles(layout))
        order = data.draw(st.permutations(training))

        def encoded(titles):
            columns = {n: [t[n] for t in titles] for n in LAYOUTS[layout].features}
            return encoding_of(table(layout, **columns), layout).to_json()

        assert encoded(training) == encoded(order)
