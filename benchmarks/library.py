"""A made-up library of any size in the `media` layout, the same for the same arguments.

It is shaped like real libraries: a title has one or several releases, most have one to three genres
out of about twenty and one language out of about sixty, and many numbers are unknown. Labels are
random, which is enough if nothing is learned from them; or they follow a taste, which a model can
learn as far as its noise permits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atx_assets import schemas

if TYPE_CHECKING:
    import psycopg

# Few, so that a block costs little memory, whatever the size of the library.
BLOCK = 250_000

GENRES = """
    Drama Comedy Documentary Action Thriller Horror Romance Crime Adventure Sci-Fi Mystery
    Family Fantasy Animation Biography History Music War Sport Musical Western Short News
    Film-Noir
""".split()  # noqa: SIM905  (a list has a line a word)
LANGUAGES = """
    English French Spanish Japanese German Italian Korean Hindi Mandarin Russian Portuguese
    Cantonese Swedish Danish Arabic Polish Turkish Tamil Telugu Dutch Norwegian Thai Hebrew
    Persian Finnish Malayalam Czech Hungarian Indonesian Greek Ukrainian Romanian Bengali
    Vietnamese Tagalog Serbian Icelandic Croatian Urdu Punjabi Marathi Kannada Bulgarian
    Catalan Estonian Latvian Lithuanian Slovak Slovenian Albanian Georgian Armenian Kazakh
    Swahili Zulu Afrikaans Yiddish Latin Basque Galician
""".split()  # noqa: SIM905  (a list has a line a word)

#: What a taste makes of a genre or a language; of others nothing.
LIKED = {
    "Documentary": 0.5, "Crime": 0.5, "Sci-Fi": 0.9, "Mystery": 0.4, "Biography": 0.4,
    "Drama": 0.3, "Horror": -1.2, "Romance": -0.5, "Family": -0.7, "Reality": -1.0,
    "Musical": -0.6, "English": 0.6, "Hindi": -0.6, "Tamil": -0.6,
}  # fmt: skip
#: The least liking of a keep: some 17 of 100 labelled films have it, as in real libraries.
KEPT_FROM = 3.0


def releases(
    count: int,
    *,
    titles: int,
    seed: int = 0,
    labelled: float = 0.75,
    films: float = 0.92,
    taste: bool = False,
) -> pa.Table:
    """Make up releases.

    Args:
        count: how many.
        titles: how many films they are of; release i is of film i modulo this.
        seed: another seed makes other releases of the same films.
        labelled: the share of the films that have a verdict.
        films: the share of the releases that are films.
        taste: verdicts are those of a taste, with noise; else they are drawn by lot.

    Returns:
        The columns of `schemas.MEDIA`, ordered by hash.
    """
    made = _blocks(count, titles=titles, seed=seed, labelled=labelled, films=films, taste=taste)
    return pa.concat_tables(made).sort_by("hash")


def _blocks(
    count: int, *, titles: int, seed: int, labelled: float, films: float, taste: bool = False
) -> Iterator[pa.Table]:
    pools = {
        "genre": _lists(GENRES, 4000, np.random.default_rng(1)),
        "language": _lists(LANGUAGES, 1000, np.random.default_rng(2), one=0.7),
    }
    for start in range(0, count, BLOCK):
        film = np.arange(start, min(start + BLOCK, count)) % titles
        yield _block(film, np.random.default_rng([seed, start]), pools, labelled, films, taste)


def _block(
    film: np.ndarray[Any, Any],
    dice: np.random.Generator,
    pools: dict[str, pa.Array],
    labelled: float,
    films: float,
    taste: bool,
) -> pa.Table:
    n = len(film)
    # What belongs to the film is the same in each of its releases.
    own = _Hashed(film)
    number = pa.array(film)
    digits = pc.cast(number, pa.string())
    title = _join("Title ", digits)
    year = pa.array(1920 + (own.uniform("year") ** 0.5 * 105).astype(np.int64))
    resolution = _pick(dice, ["1080p", "720p", "2160p", "480p"], [0.7, 0.15, 0.1, 0.05], n)
    upload = _pick(dice, ["WEBRip", "BluRay"], [0.7, 0.3], n)
    name = _join(title, " (", pc.cast(year, pa.string()), ") [", resolution, "] [", upload, "]")
    stored = dice.random(n) < 0.3

    verdict = own.uniform("verdict") / labelled
    keep, human = verdict < 0.16, verdict < 0.06
    if taste:
        keep, human = _liking(own, pools) >= KEPT_FROM, own.uniform("who") < 0.1
        human |= keep & (own.uniform("who") < 0.7)
    status = np.select(
        [verdict >= 1, keep & human, keep], ["unfiltered", "override", "accepted"], "rejected"
    )
    score = pc.cast(pa.array(own.integers("rt_score", 0, 101)), pa.string())
    reason = _join("rt_score ", score, " below 75")
    if taste:
        # A person gives no reason; a rule may mean the release alone.
        release = pa.array(own.uniform("reason") < 0.05)
        reason = pc.if_else(release, "resolution 2160p is not in allowed_values", reason)
        reason = _some(reason, ~human)
    came = 1_735_689_600_000_000 + dice.integers(0, 31_536_000_000_000, n)
    columns: dict[str, Any] = {
        "hash": _hashes(dice, n),
        "media_type": _pick(dice, ["movie", "tv_show"], [films, 1 - films], n),
        "media_title": title,
        "season": _some(pa.array(dice.integers(1, 12, n)), dice.random(n) < 0.08),
        "episode": _some(pa.array(dice.integers(1, 24, n)), dice.random(n) < 0.08),
        "release_year": year,
        "pipeline_status": _pick(dice, ["rejected", "complete"], [0.7, 0.3], n),
        "error_status": pa.array(dice.random(n) < 0.01),
        "error_condition": pa.nulls(n, pa.string()),
        "rejection_status": pa.array(status.astype(object), pa.string()),
        "rejection_reason": _some(reason, status == "rejected"),
        "parent_path": _some(_join("/data/movies/Title ", digits), stored),
        "target_path": _some(_join("/data/movies/", name, ".mkv"), stored),
        "original_title": name,
        "original_path": _some(_join("Title.", digits, ".", resolution, ".", upload), stored),
        "original_link": _some(_join("magnet:?xt=urn:btih:", _hashes(dice, n)), stored),
        "rss_source": _pick(dice, ["yts.mx", None], [0.5, 0.5], n),
        "uploader": _pick(dice, ["YTS", "EZTV", None], [0.4, 0.1, 0.5], n),
        "genre": _some(
            pools["genre"].take(pa.array(own.integers("genre", 0, len(pools["genre"])))),
            own.uniform("has genre") < 0.95,
        ),
        "language": _some(
            pools["language"].take(pa.array(own.integers("language", 0, len(pools["language"])))),
            own.uniform("has language") < 0.9,
        ),
        "rt_score": _some(
            pa.array(own.integers("rt_score", 0, 101)), own.uniform("has rt_score") < 0.6
        ),
        "metascore": _some(
            pa.array(own.integers("metascore", 0, 101)), own.uniform("has metascore") < 0.4
        ),
        "imdb_rating": _some(
            pa.array(np.round(10 + own.uniform("imdb_rating") * 90, 1)),
            own.uniform("has imdb_rating") < 0.8,
        ),
        "imdb_votes": _some(
            pa.array(np.exp(own.uniform("imdb_votes") * 14).astype(np.int64)),
            own.uniform("has imdb_votes") < 0.85,
        ),
        "imdb_id": _some(
            _join("tt", pc.utf8_lpad(digits, 7, "0")), own.uniform("has imdb_id") < 0.95
        ),
        "resolution": resolution,
        "video_codec": _pick(dice, ["x265", None], [0.2, 0.8], n),
        "upload_type": upload,
        "audio_codec": pa.nulls(n, pa.string()),
        "created_at": pa.array(came),
        "updated_at": pa.array(came + dice.integers(1_000_000, 10**12, n)),
    }
    schema = schemas.arrow_schema(schemas.MEDIA)
    return pa.table([_as(columns[f.name], f.type) for f in schema], schema=schema)


def _liking(own: _Hashed, pools: dict[str, pa.Array]) -> np.ndarray[Any, Any]:
    """How much a person likes each film: what is known of it, what is not, and a mood."""
    liking = 2.5 * own.uniform("rt_score") + 0.8 * own.uniform("imdb_rating")
    liking += 0.5 * (own.uniform("imdb_votes") - 0.5) + 0.4 * (own.uniform("year") - 0.5)
    for column, pool in pools.items():
        of_pool = np.array([sum(LIKED.get(w, 0) for w in words) for words in pool.to_pylist()])
        liking += of_pool[own.integers(column, 0, len(pool))]
    # The sum of three uniform numbers is nearly a normal one, with a deviation of .5.
    return liking + sum(own.uniform(f"mood {number}") - 0.5 for number in range(3))


class _Hashed:
    """Numbers that look random and belong to a film, one row of them a purpose."""

    def __init__(self, film: np.ndarray[Any, Any]) -> None:
        self._film = film.astype(np.uint64)

    def uniform(self, purpose: str) -> np.ndarray[Any, Any]:
        """Numbers from 0 to 1, by splitmix64."""
        salt = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")
        z = (self._film + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        answer: np.ndarray[Any, Any] = (z >> np.uint64(11)) / 2.0**53
        return answer

    def integers(self, purpose: str, low: int, high: int) -> np.ndarray[Any, Any]:
        """Integers from `low` up to but not including `high`."""
        return low + (self.uniform(purpose) * (high - low)).astype(np.int64)


def _lists(words: list[str], count: int, dice: np.random.Generator, one: float = 0.35) -> pa.Array:
    """A pool of lists, in which the first words and (by the share `one`) single words prevail."""
    weights = 1 / np.arange(1, len(words) + 1)
    weights /= weights.sum()
    lengths = np.where(dice.random(count) < one, 1, dice.integers(1, 5, count))
    lists = [dice.choice(words, n, replace=False, p=weights).tolist() for n in lengths]
    return pa.array([*lists[:-2], ["N/A"], []], pa.list_(pa.string()))


def _pick(
    dice: np.random.Generator, values: list[str | None], shares: list[float], n: int
) -> pa.Array:
    indices = dice.choice(len(values), n, p=shares)
    return pa.array(values, pa.string()).take(pa.array(indices))


def _some(values: pa.Array, where: np.ndarray[Any, Any]) -> pa.Array:
    return pc.if_else(pa.array(where), values, pa.scalar(None, values.type))


def _join(*parts: Any) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def _hashes(dice: np.random.Generator, n: int) -> pa.Array:
    letters = pa.py_buffer(dice.bytes(20 * n).hex().encode())
    offsets = pa.py_buffer(np.arange(0, 40 * n + 1, 40, dtype=np.int32))
    return pa.Array.from_buffers(pa.string(), n, [None, offsets, letters])


def _as(values: pa.Array, kind: pa.DataType) -> pa.Array:
    return values if values.type == kind else values.cast(kind)


def fill_database(
    connection: psycopg.Connection,
    count: int,
    *,
    seed: int = 0,
    labelled: float = 0.75,
    films: float = 0.92,
    taste: bool = False,
) -> None:
    """Make `atp.media` in an empty database, with `count` releases in no order, and commit.

    They are of two thirds as many films; the other arguments are those of `releases`.
    """
    from psycopg import sql

    connection.execute("CREATE SCHEMA atp")
    for column in schemas.MEDIA:
        if column.sql.startswith("atp."):
            kind, values = column.sql.removeprefix("atp."), map(sql.Literal, column.values)
            connection.execute(
                sql.SQL("CREATE TYPE {} AS ENUM ({})").format(
                    sql.Identifier("atp", kind), sql.SQL(", ").join(values)
                )
            )
    columns = ", ".join(f"{c.name} {c.sql}" for c in schemas.MEDIA)
    # Unlogged: the log of a table that is thrown away would double the time of filling it.
    connection.execute(f"CREATE UNLOGGED TABLE atp.media ({columns})".encode())
    titles = count * 2 // 3
    for block in _blocks(
        count, titles=titles, seed=seed, labelled=labelled, films=films, taste=taste
    ):
        with connection.cursor().copy("COPY atp.media FROM STDIN (FORMAT csv)") as copy:
            copy.write(_csv(block))
    connection.execute("ALTER TABLE atp.media ADD PRIMARY KEY (hash)")
    connection.commit()
    connection.autocommit = True
    # Now, or it would happen under the first contender.
    connection.execute("VACUUM ANALYZE atp.media")
    connection.execute("CHECKPOINT")


def _csv(table: pa.Table) -> bytes:
    """Text that COPY reads: an empty field is null, `""` is the empty string."""
    from pyarrow import csv

    for at, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            lists = table[field.name].combine_chunks()
            inner = pc.binary_join(lists, '","')
            array = pc.if_else(
                pc.equal(pc.list_value_length(lists), 0), "{}", _join('{"', inner, '"}')
            )
            table = table.set_column(at, field.name, array)
    into = pa.BufferOutputStream()
    options = csv.WriteOptions(include_header=False, quoting_style="needed")
    csv.write_csv(table, into, options)
    return bytes(into.getvalue())
