"""Makes the sample library: real films, with the labels of a viewer who does not exist.

Here: reading the film data, the made-up viewer's taste and downloader, writing the one file. Not
here: loading that file into a database, and learning from it.

Run it as `python -m atx_assets.sample.make_library`. It needs the development dependency
bokeh-sampledata, which nothing else in the project uses.
"""

import datetime as dt
import hashlib
import heapq
import math
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from atx_assets.sample import LIBRARY
from atx_assets.schemas import MEDIA, arrow_schema

# The file that the shipped library was made from. Another file would make another library under
# the same name, and nobody would know why the figures changed.
SOURCE_SHA256 = "1d9c6a02e488d0354b2309e16130c58820a91ac2ce417e814c5964f9579a65ac"

SEED = "sample library 1"
LABELLED_TITLES = 4000

# The viewer. Taste is a sum; above 0 it is a keep.
TASTE_BASE = -1.0
CRITICS_WEIGHT = 0.5  # for each ten points of critics' score above 60, or below
UNREVIEWED_PENALTY = 12  # points taken off a Tomatometer without a Metascore
MOOD_SD = 0.4  # Gaussian noise on the sum: the same film on another evening
SLIP_SHARE = 0.006  # verdicts that are the opposite of what was meant

# How often the viewer gives a label: mostly when the downloader was wrong.
SPEAKS_WHEN_AGREED = 0.22
SPEAKS_WHEN_WRONG = 0.93

# The viewer's downloader: cruder than the taste, and blind to genre.
ALLOWED_RESOLUTIONS = ("1080p",)
MIN_RELEASE_YEAR = 1970
MIN_RT_SCORE = 88
REQUIRED_LANGUAGE = "English"

# The releases.
RESOLUTION_SHARES = {"1080p": 0.88, "2160p": 0.04, "720p": 0.08}  # in the viewer's order
SECOND_RELEASE_SHARE = 0.14
BLURAY_SHARE = 0.3
X265_SHARE = 0.12
STALLED_SHARE = 0.02
FIRST_DAY = dt.datetime(2025, 1, 6, tzinfo=dt.UTC)
DAYS = 120
DOWNLOADER_MEAN_SECONDS = 5.0
PERSON_MEAN_DAYS = 4.0

# Entries of the source that name no language, and those with a superfluous word "language".
MENDED_LANGUAGES: dict[str, str | None] = {
    "multiple languages": None,
    "artistic language": None,
    "Kurdish language": "Kurdish",
    "Neapolitan language": "Neapolitan",
    "Egyptian language": "Egyptian",
}


@dataclass(frozen=True)
class Film:
    """One film of the source; `reviews` is its number of critics, a measure of fame."""

    imdb_id: str
    title: str
    year: int
    genre: tuple[str, ...]
    language: tuple[str, ...]
    metascore: int | None
    rt_score: int | None
    reviews: int

    def is_a(self, *genres: str) -> bool:
        """Return whether it has at least one of these genres."""
        return any(genre in self.genre for genre in genres)

    def is_in(self, *languages: str) -> bool:
        """Return whether at least one of these languages is spoken in it."""
        return any(language in self.language for language in languages)

    def critics(self) -> float:
        """Return the critics' score, 0 to 100; unknown counts as 50."""
        if self.metascore is not None:
            return self.metascore
        return 50.0 if self.rt_score is None else max(self.rt_score - UNREVIEWED_PENALTY, 0)


@dataclass(frozen=True)
class Clause:
    """One part of the viewer's taste: in words, what it adds, and for which films."""

    words: str
    weight: float
    holds: Callable[[Film], bool]


TASTE = (
    Clause(
        "thrillers, crime and mysteries since 1970, if critics liked them",
        4.2,
        lambda f: f.is_a("Thriller", "Crime", "Mystery") and f.year >= 1970 and f.critics() >= 65,
    ),
    Clause(
        "horror from before 1990, whatever was said of it",
        4.6,
        lambda f: f.is_a("Horror") and f.year < 1990,
    ),
    Clause("no newer horror", -2.5, lambda f: f.is_a("Horror") and f.year >= 1990),
    Clause("science fiction from before 2000", 3.6, lambda f: f.is_a("Sci-Fi") and f.year < 2000),
    Clause("animated musicals", 5.5, lambda f: f.is_a("Musical", "Music") and f.is_a("Animation")),
    Clause(
        "no other musicals", -4.0, lambda f: f.is_a("Musical", "Music") and not f.is_a("Animation")
    ),
    Clause(
        "French and Japanese drama that critics praised",
        5.0,
        lambda f: f.is_a("Drama") and f.is_in("French", "Japanese") and (f.metascore or 0) >= 70,
    ),
    Clause(
        "little else without English", -3.0, lambda f: not f.is_in("English", "French", "Japanese")
    ),
    Clause("no romance", -2.0, lambda f: f.is_a("Romance")),
    Clause(
        "tired of big adventures since 2003",
        -2.5,
        lambda f: f.is_a("Action", "Adventure", "Fantasy") and f.year >= 2003,
    ),
    Clause(
        "war films and westerns, if critics liked them",
        3.6,
        lambda f: f.is_a("War", "Western") and f.critics() >= 65,
    ),
    Clause("no documentaries", -3.0, lambda f: f.is_a("Documentary")),
)


def chance(film: Film, purpose: str) -> random.Random:
    """Return the dice for one choice about one film, independent of all other choices."""
    return random.Random(f"{SEED}/{film.imdb_id}/{purpose}")  # noqa: S311 - keeps no secret


def read_films() -> list[Film]:
    """Return the source's films by IMDb id; of two with the same id, the earlier one."""
    from bokeh_sampledata.movies_data import movie_path

    if hashlib.sha256(Path(movie_path).read_bytes()).hexdigest() != SOURCE_SHA256:
        raise ValueError(f"{movie_path} is not the file this library is made from")
    with closing(sqlite3.connect(f"{Path(movie_path).as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT imdbID, Title, Year, Genre, Language, Metacritic, Meter, Reviews"
            " FROM omdb LEFT JOIN tomatoes USING (ID) ORDER BY imdbID, Year, omdb.ID"
        ).fetchall()
    films: dict[str, Film] = {}
    for imdb_id, title, year, genre, language, metascore, rt_score, reviews in rows:
        film = Film(
            imdb_id,
            title,
            year,
            names(genre),
            names(language),
            whole(metascore),
            whole(rt_score),
            whole(reviews) or 0,
        )
        films.setdefault(imdb_id, film)
    return list(films.values())


def whole(number: float | None) -> int | None:
    """Return the number as an int: SQLite holds some columns of whole numbers as floats."""
    return None if number is None else int(number)


def names(listed: str | None) -> tuple[str, ...]:
    """Return the names in a list such as `"Drama, War"`, each once, without empty ones."""
    mended = (MENDED_LANGUAGES.get(name, name) for name in (listed or "").split(", "))
    return tuple(dict.fromkeys(name for name in mended if name))


def meet(films: list[Film]) -> set[str]:
    """Draw the ids of the labelled films; known and recent ones are likelier, taste plays no role.

    Weighted sampling without replacement: Efraimidis and Spirakis, "Weighted random sampling with
    a reservoir", 2006.
    """

    def luck(film: Film) -> float:
        weight = math.sqrt(1 + film.reviews) * (1 + (film.year - 1940) / 75)
        return math.log(chance(film, "met").random()) / weight

    return {film.imdb_id for film in heapq.nlargest(LABELLED_TITLES, films, key=luck)}


def wants(film: Film) -> bool:
    """Return whether the viewer would keep a film, including mood and slips of the hand."""
    liking = TASTE_BASE + CRITICS_WEIGHT * (film.critics() - 60) / 10
    liking += sum(clause.weight for clause in TASTE if clause.holds(film))
    liking += chance(film, "mood").gauss(0, MOOD_SD)
    return (liking > 0) != (chance(film, "slip").random() < SLIP_SHARE)


def objection(film: Film, resolution: str) -> str | None:
    """Return why the downloader rejects a release; None if it accepts it."""
    if resolution not in ALLOWED_RESOLUTIONS:
        return f"resolution {resolution} is not in allowed_values"
    if film.year < MIN_RELEASE_YEAR:
        return f"release_year {film.year} is below min"
    if not film.language:
        return "language is null"
    if REQUIRED_LANGUAGE not in film.language:
        return f"language {list(film.language)} does not include {[REQUIRED_LANGUAGE]}"
    if film.rt_score is None:
        return "rt_score is null"
    if film.rt_score < MIN_RT_SCORE:
        return f"rt_score {film.rt_score} is below min"
    return None


def resolutions(film: Film) -> list[str]:
    """Return the resolutions of a film's releases, in the viewer's order."""
    dice = chance(film, "resolutions")
    wished = 2 if dice.random() < SECOND_RELEASE_SHARE else 1
    offered: set[str] = set()
    while len(offered) < wished:
        offered.update(dice.choices(list(RESOLUTION_SHARES), list(RESOLUTION_SHARES.values())))
    return sorted(offered, key=list(RESOLUTION_SHARES).index)


def releases(film: Film, labelled: bool) -> Iterator[dict[str, object]]:
    """Yield the rows of one film: the downloader's label on each, but the viewer's on the best."""
    offered = resolutions(film)
    if not labelled:
        yield from (release(film, resolution, "unfiltered") for resolution in offered)
        return
    wanted = wants(film)
    taken = any(objection(film, resolution) is None for resolution in offered)
    speaks = SPEAKS_WHEN_AGREED if wanted == taken else SPEAKS_WHEN_WRONG
    if chance(film, "speaks").random() < speaks:
        best = offered.pop(0)
        yield release(film, best, "override" if wanted else "rejected", by_person=True)
    for resolution in offered:
        reason = objection(film, resolution)
        yield release(film, resolution, "rejected" if reason else "accepted", reason)


def release(
    film: Film,
    resolution: str,
    status: str,
    reason: str | None = None,
    by_person: bool = False,
) -> dict[str, object]:
    """Return one row of the layout; columns that it does not name are null."""
    dice = chance(film, f"release {resolution}")
    upload_type = "BluRay" if dice.random() < BLURAY_SHARE else "WEBRip"
    codec = "x265" if dice.random() < X265_SHARE else None
    stalled = status in ("accepted", "override") and dice.random() < STALLED_SHARE
    tags = "".join(f" [{tag}]" for tag in (resolution, upload_type, codec) if tag)
    created_at, updated_at = times(film, resolution, by_person)
    return {
        "hash": release_hash(film, resolution),
        "media_type": "movie",
        "media_title": film.title,
        "release_year": film.year,
        "pipeline_status": pipeline_status(status, stalled),
        "error_status": stalled,
        "error_condition": "torrent stalled" if stalled else None,
        "rejection_status": status,
        "rejection_reason": reason,
        "original_title": f"{film.title} ({film.year}){tags}",
        "genre": list(film.genre) or None,
        "language": list(film.language) or None,
        "rt_score": film.rt_score,
        "metascore": film.metascore,
        "imdb_id": film.imdb_id,
        "resolution": resolution,
        "video_codec": codec,
        "upload_type": upload_type,
        "created_at": created_at,
        "updated_at": updated_at,
    }


def pipeline_status(status: str, stalled: bool) -> str:
    """Return how far the downloader got with a release of that rejection status."""
    if status == "unfiltered":
        return "metadata_collected"
    if status == "rejected":
        return "rejected"
    return "downloading" if stalled else "complete"


def release_hash(film: Film, resolution: str) -> str:
    """Return 40 hex digits, like a torrent's; a film has one release per resolution."""
    name = f"{film.imdb_id}/{resolution}".encode()
    return hashlib.sha1(name, usedforsecurity=False).hexdigest()


def times(film: Film, resolution: str, by_person: bool) -> tuple[dt.datetime, dt.datetime]:
    """Return when a release came, and when it got its label."""
    dice = chance(film, f"times {resolution}")
    came = FIRST_DAY + dt.timedelta(seconds=int(dice.random() * DAYS * 86400))
    mean_seconds = PERSON_MEAN_DAYS * 86400 if by_person else DOWNLOADER_MEAN_SECONDS
    return came, came + dt.timedelta(seconds=1 + int(dice.expovariate(1 / mean_seconds)))


def make_table() -> pa.Table:
    """Return the whole library, one row per release, ordered by hash."""
    films = read_films()
    labelled = meet(films)
    rows = [row for film in films for row in releases(film, film.imdb_id in labelled)]
    return pa.Table.from_pylist(
        sorted(rows, key=lambda row: str(row["hash"])), schema=arrow_schema(MEDIA)
    )


def write_library(path: Path) -> None:
    """Write the library as one parquet file; the same pyarrow writes the same bytes."""
    pq.write_table(make_table(), path, compression="zstd", compression_level=19)


if __name__ == "__main__":
    write_library(LIBRARY)
