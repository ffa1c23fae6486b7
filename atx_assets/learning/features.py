"""The feature encoding: how a title becomes the numbers that a model sees. Data, not code.

Training, batch scoring and scoring one title all use `FeatureEncoding`.
Not here: which rows train, where titles come from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from atx_assets.schemas import UNKNOWN_TEXT
from atx_assets.text import normal_form

#: The only column that occurs on two scales; inside atx it is 0 to 100.
RATING = "imdb_rating"

#: How an encoding compares categories: by case alone, as earlier releases did; in the normal form.
BY_CASE, NORMAL = 1, 2

#: The most features that one source column may become. Without a limit, a library whose
#: genres are free text takes minutes and gigabytes to learn from.
MOST_CATEGORIES = 1_000

_WORDS = {
    "release_year": "release year",
    "metascore": "Metascore",
    "rt_score": "Rotten Tomatoes",
    "imdb_rating": "IMDb rating",
    "imdb_votes": "IMDb votes",
    "tmdb_rating": "TMDb rating",
    "tmdb_votes": "TMDb votes",
    "spoken_languages": "spoken language",
    "origin_country": "country",
    "production_countries": "made in",
    "production_companies": "company",
    "original_language": "original language",
    "production_status": "status",
}


@dataclass(frozen=True)
class NumericFeature:
    """A number, scaled so that the training rows' range is 0 to 1.

    `minimum` and `maximum` are null if no training row knows the number.
    """

    column: str
    feature: str
    minimum: float | None
    maximum: float | None
    zero_is_unknown: bool


@dataclass(frozen=True)
class Category:
    """One 0/1 column: its spellings in training, and how many training titles have it."""

    feature: str
    values: tuple[str, ...]
    titles: int


@dataclass(frozen=True)
class CategoryFeatures:
    """The 0/1 columns of one source column, which holds one category or a list."""

    column: str
    categories: tuple[Category, ...]


@dataclass(frozen=True)
class FeatureEncoding:
    """Everything needed to encode a title.

    Attributes:
        layout: name of the layout that it was learned from.
        ten_means: the meaning of an IMDb rating of exactly 10.
        numeric, categorical: the features, in order.
        text_form: `BY_CASE` or `NORMAL`: a model must get the columns that it learned from.
    """

    layout: str
    ten_means: int
    numeric: tuple[NumericFeature, ...]
    categorical: tuple[CategoryFeatures, ...]
    text_form: int = NORMAL

    @cached_property
    def names(self) -> list[str]:
        """The features in the order of the matrix's columns."""
        numeric = [n.feature for n in self.numeric]
        return numeric + [c.feature for g in self.categorical for c in g.categories]

    @cached_property
    def columns(self) -> list[str]:
        """The source columns that are read."""
        return [n.column for n in self.numeric] + [g.column for g in self.categorical]

    def matrix(self, titles: pa.Table) -> NDArray[np.float32]:
        """Encode titles as the dense matrix that models are trained on and predict from.

        Args:
            titles: n rows with the source columns of the encoding.

        Returns:
            float32, shape (n, number of features), C order: 0 is 0.0, unknown is NaN.
        """
        matrix = np.zeros((titles.num_rows, len(self.names)), np.float32)
        for number, feature in enumerate(self.numeric):
            matrix[:, number] = self._scaled(titles, feature)
        for rows, at in self._indicators(titles):
            matrix[rows, at] = 1.0
        return matrix

    def table(self, titles: pa.Table) -> dict[str, NDArray[np.float32 | np.uint8]]:
        """Encode titles as columns for a reader: float32 numbers, uint8 0/1 categories.

        The same numbers as `matrix`, by feature name, each of shape (n,).
        """
        first = len(self.numeric)
        flags = np.zeros((len(self.names) - first, titles.num_rows), np.uint8)
        for rows, at in self._indicators(titles):
            flags[at - first, rows] = 1
        numbers = {n.feature: self._scaled(titles, n) for n in self.numeric}
        return numbers | dict(zip(self.names[first:], flags, strict=True))

    def known_numbers(self, titles: pa.Table, column: str) -> NDArray[np.float64]:
        """Return a numeric source column in its own unit: float64, shape (n,), unknown as NaN."""
        zero = next(n.zero_is_unknown for n in self.numeric if n.column == column)
        return known_numbers(titles[column], column, zero, self.ten_means)

    def _scaled(self, titles: pa.Table, feature: NumericFeature) -> NDArray[np.float32]:
        numbers = self.known_numbers(titles, feature.column)
        if feature.minimum is None or feature.maximum is None:
            return np.full(len(numbers), np.nan, np.float32)
        span = (feature.maximum - feature.minimum) or 1.0
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = ((numbers - feature.minimum) / span).astype(np.float32)
        # A number too large for float32 would become infinite, which no model accepts.
        scaled[~np.isfinite(scaled)] = np.nan
        return scaled

    def _indicators(self, titles: pa.Table) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Return, for each categorical column, the rows and the matrix columns that are 1."""
        at = {name: position for position, name in enumerate(self.names)}
        found = []
        for group in self.categorical:
            rows, codes, words = words_of(titles[group.column])
            # -1 means a category that was not in training: it has no column.
            names = (feature_name(group.column, word, self.text_form) for word in words)
            columns = [at.get(name, -1) for name in names]
            column = np.array([*columns, -1])[codes]
            found.append((rows[column >= 0], column[column >= 0]))
        return found

    def to_json(self) -> str:
        """Return the encoding as JSON, the same text for the same encoding."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> FeatureEncoding:
        """Read what `to_json` wrote.

        Raises:
            ValueError: the text is not a feature encoding.
        """
        try:
            data = json.loads(text)
            # Encodings had no text_form when there was only one.
            text_form = data.get("text_form", BY_CASE)
            if text_form not in (BY_CASE, NORMAL):
                raise ValueError(f"an encoding of another release: its text_form is {text_form!r}")
            return cls(
                layout=data["layout"],
                ten_means=data["ten_means"],
                numeric=tuple(NumericFeature(**n) for n in data["numeric"]),
                categorical=tuple(
                    CategoryFeatures(
                        g["column"],
                        tuple(
                            Category(c["feature"], tuple(c["values"]), c["titles"])
                            for c in g["categories"]
                        ),
                    )
                    for g in data["categorical"]
                ),
                text_form=text_form,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a feature encoding: {error}") from error


def fit_encoding(
    training: pa.Table,
    *,
    layout: str,
    numeric: Sequence[str],
    categorical: Sequence[str],
    zero_is_unknown: frozenset[str],
    all_ratings: pa.ChunkedArray,
    least_titles: Mapping[str, int],
) -> FeatureEncoding:
    """Learn the encoding from the training rows.

    Args:
        training: the training titles, with the source columns named in the other arguments.
        layout: name of the layout, stored for readers.
        numeric: columns to scale.
        categorical: columns with one category or a list of them.
        zero_is_unknown: the numeric columns in which 0 means unknown.
        all_ratings: `imdb_rating` of every film, which decides what a 10 means.
        least_titles: by column, how many training titles a category needs; 1 by default.
            Of more than `MOST_CATEGORIES` categories, the most frequent are used.
    """
    ten_means = _ten_means(all_ratings)
    numbers = []
    for column in numeric:
        zero = column in zero_is_unknown
        known = known_numbers(training[column], column, zero, ten_means)
        known = known[~np.isnan(known)]
        low, high = (float(known.min()), float(known.max())) if len(known) else (None, None)
        numbers.append(NumericFeature(column, f"{column}_norm", low, high, zero))
    groups = [_fit_categories(training, c, least_titles.get(c, 1)) for c in categorical]
    return FeatureEncoding(layout, ten_means, tuple(numbers), tuple(groups))


def column_in_words(column: str) -> str:
    """Return a source column's name for people: `rt_score` is Rotten Tomatoes."""
    return _WORDS.get(column, column.replace("_", " "))


def feature_name(column: str, category: str, text_form: int = NORMAL) -> str:
    """Return the name of a category's 0/1 column.

    >>> feature_name("genre", "Sci-Fi")
    'genre_sci_fi'
    """
    compared = normal_form(category) if text_form == NORMAL else category.lower()
    return column + "_" + re.sub(r"\W+", "_", compared)


def known_numbers(
    column: pa.ChunkedArray, name: str, zero_is_unknown: bool, ten_means: int
) -> NDArray[np.float64]:
    """Return a numeric column as float64, shape (n,), with unknown values as NaN.

    An IMDb rating below 10 is on the scale of 1 to 10 and is multiplied by ten.
    """
    numbers: NDArray[np.float64] = np.array(pc.cast(column, "double", safe=False).to_numpy())
    if name == RATING:
        small = (numbers < 10) | ((numbers == 10) & (ten_means == 10))
        with np.errstate(over="ignore", invalid="ignore"):
            # Rounded, or 7.1 on one scale and 71 on the other would be two numbers.
            numbers = np.where(small, np.round(numbers * 10, 6), numbers)
    numbers[~np.isfinite(numbers)] = np.nan
    if zero_is_unknown:
        numbers[numbers == 0] = np.nan
    # There is only one zero: the range must not depend on the order of the rows.
    return numbers + 0.0


def _ten_means(ratings: pa.ChunkedArray) -> int:
    """Return the scale, 10 or 100, of most other ratings in the table."""
    numbers = pc.cast(ratings, "double").to_numpy()
    small = (numbers > 0) & (numbers < 10)
    return 10 if np.count_nonzero(small) > np.count_nonzero(numbers > 10) else 100


def _fit_categories(training: pa.Table, column: str, least: int) -> CategoryFeatures:
    rows, codes, words = words_of(training[column])
    spellings: dict[str, list[str]] = {}
    for word in words:
        spellings.setdefault(feature_name(column, word), []).append(word)
    names = sorted(spellings)
    position = {name: at for at, name in enumerate(names)}
    of_word = np.array([position[feature_name(column, w)] for w in words] or [0])
    # A title that has a category twice, or in two spellings, counts once.
    width = max(len(names), 1)
    # Sorted, not `np.unique`: that hashes, and takes a hundred times as long.
    pairs = np.sort(rows * width + of_word[codes])
    once = pairs[np.diff(pairs, prepend=-1) > 0]
    counts = np.bincount(once % width, minlength=len(names))
    # Ties are broken by name, so that the order of the rows decides nothing.
    most_first = np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]
    return CategoryFeatures(
        column,
        tuple(
            Category(names[at], tuple(sorted(spellings[names[at]])), int(counts[at]))
            for at in np.sort(most_first)
            if names and counts[at] >= least
        ),
    )


def words_of(
    column: pa.ChunkedArray,
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Split a column of categories, or of lists of them.

    Returns:
        rows and codes, int arrays of one shape: title `rows[i]` has the category
        `words[codes[i]]`; and words, the distinct known categories.
    """
    if pa.types.is_list(column.type):
        flat = column.combine_chunks()
        lengths = pc.list_value_length(flat).fill_null(0).to_numpy()
        rows = np.repeat(np.arange(len(flat)), lengths)
        encoded = pc.list_flatten(flat).dictionary_encode()
    else:
        rows = np.arange(len(column))
        encoded = column.combine_chunks().dictionary_encode()
    words = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(len(words)).to_numpy()
    # Unknown, in any spelling, is dropped, and the other codes are renumbered.
    known = [at for at, word in enumerate(words) if word not in UNKNOWN_TEXT]
    renumbered = np.full(len(words) + 1, -1)
    renumbered[known] = np.arange(len(known))
    codes = renumbered[codes]
    return rows[codes >= 0], codes[codes >= 0], [words[at] for at in known]
