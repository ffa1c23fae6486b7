"""Each table's columns: name, type, meaning, limits. They feed SQL, Arrow, UI and checks.

Not here: code that reads or writes the tables. Types are Arrow's, as text, so that
this module imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

STRING, STRINGS, INT, FLOAT, BOOL, TIME = (
    "string",
    "list<string>",
    "int64",
    "float64",
    "bool",
    "timestamp[us, UTC]",
)

IMDB_ID = r"^tt[0-9]{7,8}$"

#: Texts that mean unknown, besides null.
UNKNOWN_TEXT = ("", "N/A")

#: No title has more characters than this, and no film has more genres or companies.
_LONGEST, _ENTRIES = 1_000, 250


@dataclass(frozen=True)
class Column:
    """One column of a table.

    `sql` is its PostgreSQL type in the source tables. `required` says that atx cannot work
    without it. `low`, `high` (both inclusive), `values`, `pattern`, `longest` (characters of a
    text, or of an entry of a list) and `entries` (of a list, at most) are what the source's
    contract allows it to hold, besides unknown; with `zero_is_unknown`, 0 means unknown.
    """

    name: str
    type: str
    meaning: str
    sql: str = ""
    required: bool = False
    nullable: bool = True
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] = ()
    pattern: str = ""
    longest: int | None = None
    entries: int | None = None
    zero_is_unknown: bool = False


def arrow_type(name: str) -> pa.DataType:
    """Return the Arrow type for `name`, one of this module's constants."""
    import pyarrow as pa

    types: dict[str, Any] = {
        STRING: pa.string(),
        STRINGS: pa.list_(pa.string()),
        INT: pa.int64(),
        FLOAT: pa.float64(),
        BOOL: pa.bool_(),
        TIME: pa.timestamp("us", tz="UTC"),
    }
    return types[name]


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """Return the Arrow schema of a table with these columns, in their order."""
    import pyarrow as pa

    return pa.schema([pa.field(c.name, arrow_type(c.type)) for c in columns])


def _count(name: str, meaning: str, sql: str) -> Column:
    return Column(name, INT, meaning, sql, required=True, low=0, zero_is_unknown=True)


def _list(name: str, meaning: str, sql: str) -> Column:
    return Column(name, STRINGS, meaning, sql, required=True, longest=_LONGEST, entries=_ENTRIES)


MEDIA_TYPES = ("movie", "tv_show", "tv_season", "unknown")
PIPELINE_STATUSES = (
    "ingested",
    "paused",
    "parsed",
    "rejected",
    "file_accepted",
    "metadata_collected",
    "media_accepted",
    "queued",
    "downloading",
    "downloaded",
    "transferred",
    "complete",
)
REJECTION_STATUSES = ("unfiltered", "accepted", "rejected", "override")
RSS_SOURCES = ("yts.mx", "episodefeed.com")
LABELS = ("would_watch", "would_not_watch")

#: `atp.media`: one row per release.
MEDIA = (
    Column(
        "hash",
        STRING,
        "the release's torrent hash, lower-case hex",
        "char(40)",
        required=True,
        nullable=False,
        pattern="^[0-9a-f]{40}$",
    ),
    Column(
        "media_type",
        STRING,
        "film, series or season; only films are used",
        "atp.media_type",
        required=True,
        nullable=False,
        values=MEDIA_TYPES,
    ),
    Column("media_title", STRING, "the film's title", "text", required=True, longest=_LONGEST),
    Column("season", INT, "number of the season", "int"),
    Column("episode", INT, "number of the episode", "int"),
    Column("release_year", INT, "year of release", "int", required=True, low=1870, high=2100),
    Column(
        "pipeline_status",
        STRING,
        "how far the downloader got with it",
        "atp.pipeline_status",
        values=PIPELINE_STATUSES,
    ),
    Column("error_status", BOOL, "whether the downloader failed on it", "bool"),
    Column("error_condition", STRING, "what the downloader failed on", "text"),
    Column(
        "rejection_status",
        STRING,
        "the verdict: override (a person's keep), accepted, rejected, unfiltered (unlabelled)",
        "atp.rejection_status",
        required=True,
        values=REJECTION_STATUSES,
    ),
    Column(
        "rejection_reason",
        STRING,
        "the rule that rejected it; none: a person",
        "text",
        True,
        longest=_LONGEST,
    ),
    Column("parent_path", STRING, "folder in the library", "text"),
    Column("target_path", STRING, "file in the library", "text"),
    Column(
        "original_title",
        STRING,
        "name of the release",
        "text",
        required=True,
        nullable=False,
        longest=_LONGEST,
    ),
    Column("original_path", STRING, "file as downloaded", "text"),
    Column("original_link", STRING, "link to the release", "text"),
    Column("rss_source", STRING, "feed it came from", "atp.rss_source", values=RSS_SOURCES),
    Column("uploader", STRING, "who uploaded it", "text"),
    _list("genre", "genres, English names", "text[]"),
    _list("language", "languages spoken, English names", "text[]"),
    Column("rt_score", INT, "Rotten Tomatoes critics' score, %", "int", True, low=0, high=100),
    Column("metascore", INT, "Metacritic score, 0 to 100", "int", True, low=0, high=100),
    Column(
        "imdb_rating",
        FLOAT,
        "IMDb rating, 1 to 10 or 10 to 100",
        "numeric",
        True,
        low=1,
        high=100,
        zero_is_unknown=True,
    ),
    _count("imdb_votes", "number of IMDb votes", "int"),
    Column("imdb_id", STRING, "IMDb id of the title", "text", required=True, pattern=IMDB_ID),
    Column("resolution", STRING, "resolution of the release", "text"),
    Column("video_codec", STRING, "video codec of the release", "text"),
    Column("upload_type", STRING, "what the release was made from", "text"),
    Column("audio_codec", STRING, "audio codec of the release", "text"),
    Column("created_at", TIME, "when the row was made", "timestamptz", required=True),
    Column("updated_at", TIME, "when the row last changed", "timestamptz", required=True),
)

#: `atp.training`: one row per title.
TRAINING = (
    Column(
        "imdb_id",
        STRING,
        "IMDb id of the title",
        "varchar(10)",
        required=True,
        nullable=False,
        pattern=IMDB_ID,
    ),
    Column("tmdb_id", INT, "TMDb id of the title", "int"),
    Column("label", STRING, "the verdict; none: unlabelled", "atp.label", True, values=LABELS),
    Column("human_labeled", BOOL, "a person gave the verdict", "bool"),
    Column("anomalous", BOOL, "right but odd: never trained on", "bool"),
    Column(
        "media_type",
        STRING,
        "film, series, season or pack; only films are used",
        "atp.media_type",
        required=True,
        nullable=False,
        values=(*MEDIA_TYPES, "tv_episode_pack"),
    ),
    Column(
        "media_title",
        STRING,
        "the title",
        "varchar(255)",
        required=True,
        nullable=False,
        longest=_LONGEST,
    ),
    Column("season", INT, "number of the season", "smallint"),
    Column("episode", INT, "number of the episode", "smallint"),
    Column("release_year", INT, "year of release", "smallint", required=True, low=1870, high=2100),
    _count("budget", "budget, US dollars", "bigint"),
    _count("revenue", "takings, US dollars", "bigint"),
    _count("runtime", "running time, minutes", "int"),
    _list("origin_country", "countries of origin, ISO 3166", "char(2)[]"),
    _list("production_companies", "companies that made it", "varchar(255)[]"),
    _list("production_countries", "countries it was made in", "char(2)[]"),
    Column(
        "production_status",
        STRING,
        "released, in production, ...",
        "varchar(25)",
        True,
        longest=_LONGEST,
    ),
    Column(
        "original_language",
        STRING,
        "language it was made in, ISO 639",
        "char(2)",
        True,
        longest=_LONGEST,
    ),
    _list("spoken_languages", "languages spoken, ISO 639", "char(2)[]"),
    _list("genre", "genres, English names", "varchar(20)[]"),
    Column("original_media_title", STRING, "title in the language it was made in", "varchar(255)"),
    Column("tagline", STRING, "its slogan", "varchar(255)"),
    Column("overview", STRING, "what it is about", "text"),
    Column("tmdb_rating", FLOAT, "TMDb rating, 0 to 10", "numeric(5,3)", True, low=0, high=10),
    _count("tmdb_votes", "number of TMDb votes", "int"),
    Column("rt_score", INT, "Rotten Tomatoes critics' score, %", "int", True, low=0, high=100),
    Column("metascore", INT, "Metacritic score, 0 to 100", "int", True, low=0, high=100),
    Column(
        "imdb_rating",
        FLOAT,
        "IMDb rating, 1 to 10 or 10 to 100",
        "numeric(4,1)",
        True,
        low=1,
        high=100,
        zero_is_unknown=True,
    ),
    _count("imdb_votes", "number of IMDb votes", "int"),
    Column("created_at", TIME, "when the row was made", "timestamptz", nullable=False),
    Column("updated_at", TIME, "when the row last changed", "timestamptz", nullable=False),
    Column("reviewed", BOOL, "a person looked at the verdict", "bool"),
)

#: `quarantine`: one row per row of the source that cannot be used.
QUARANTINE = (
    Column("source_key", STRING, "its key in the source: hash or imdb_id"),
    Column("imdb_id", STRING, "its IMDb id"),
    Column("media_title", STRING, "its title"),
    Column("media_type", STRING, "film, series or season"),
    Column("reasons", STRINGS, "why it is set aside: column, rule and value"),
    Column("row", STRING, "the row as the source has it, as JSON, long values cut"),
)

_KEY = Column("key", STRING, "what the title is known by: its IMDb id, or title|year without one")
_IMDB = Column("imdb_id", STRING, "IMDb id, if there is one")
_TITLE = Column("media_title", STRING, "title of the film")
_SOURCE = Column("label_source", STRING, "who labelled it: human, rule, model; none: unlabelled")

#: `titles`: these, then the layout's other feature columns as they came.
TITLES = (
    _KEY,
    Column("kind", STRING, "film"),
    _IMDB,
    Column("tmdb_id", INT, "TMDb id, if the source has one"),
    _TITLE,
    Column("release_year", INT, "year of release"),
    Column("label", BOOL, "the verdict: true keep, false skip; none: unlabelled"),
    _SOURCE,
    Column("label_reason", STRING, "why a rule skipped it"),
    Column("label_date", TIME, "when the row with the label last changed; the label is no newer"),
    Column("origin", STRING, "what asked for the label, if atx wrote it; not known yet"),
    Column("trains", BOOL, "whether a model learns from it"),
    Column("seen", BOOL, "whether its owner has seen it; not known yet"),
    Column("owned", BOOL, "whether it is in the library; not known yet"),
    Column("hash", STRING, "hash of the release that represents it"),
    Column("original_title", STRING, "name of that release"),
    Column("created_at", TIME, "when it came to the database"),
)
#: The only kind of title so far.
FILM_KIND = "film"

#: `training_table`: these, then one column per feature (named in the feature encoding).
TRAINING_TABLE = (
    _KEY,
    _IMDB,
    _TITLE,
    Column("label", BOOL, "the verdict: true keep, false skip"),
    Column("label_source", STRING, "who labelled it: human or rule"),
)

#: `scored_results`: one row per film.
SCORED_RESULTS = (
    _KEY,
    _IMDB,
    _TITLE,
    Column("release_year", INT, "year of release"),
    _SOURCE,
    Column("actual", BOOL, "the verdict trained on; none: not a training row"),
    Column("predicted", BOOL, "the model's verdict at the champion's threshold"),
    Column(
        "probability",
        FLOAT,
        "chance of a keep; for a training row from models that did not see its label",
    ),
    Column("probability_in_sample", FLOAT, "chance of a keep by the champion itself"),
    Column("cm_value", STRING, "tp, fp, tn or fn; none where actual is none"),
    Column("model_version", INT, "version of the champion that scored it"),
)

#: `false_positives` and `false_negatives`: one record per mistake.
ERROR_RECORDS = (
    _TITLE,
    *(
        Column(c.name, c.type, c.meaning)
        for c in MEDIA
        if c.name in ("release_year", "rt_score", "metascore", "imdb_rating", "imdb_votes")
    ),
    Column("genre", STRINGS, "genres"),
    Column("language", STRINGS, "languages spoken"),
    *(
        c
        for c in SCORED_RESULTS
        if c.name in ("predicted", "actual", "cm_value", "probability", "label_source")
    ),
    Column("beyond_threshold", FLOAT, "probability minus the threshold: above zero, a keep"),
    Column("label_reason", STRING, "why a rule skipped it"),
    Column("about_release", BOOL, "whether that reason is the release alone, and not the film"),
    Column("label_date", STRING, "when the row with the label last changed; the label is no newer"),
    Column("why", STRINGS, "what moved the probability most, in log-odds"),
    Column("nearest", STRINGS, "labelled films treated most alike; for the first 1,000"),
    _IMDB,
    Column("link", STRING, "its page at IMDb"),
    Column("original_title", STRING, "name of the release that represents the title"),
    Column("hash", STRING, "hash of that release"),
    _KEY,
)

#: The tasks of the review queue.
AGAIN, LABEL, RECOMMENDED = "label_again", "label", "recommended"
#: Their names in files that an earlier atx wrote, which are still read.
EARLIER_TASKS = {"judge again": AGAIN, "judge": LABEL}
#: `review_queue`: one record per title to label.
REVIEW_QUEUE = (
    Column("rank", INT, "1 for the first of its task"),
    Column("task", STRING, f"{AGAIN}, {LABEL}, or {RECOMMENDED} (a keep that nobody has labelled)"),
    Column("because", STRING, "why it is there"),
    Column("doubted_at", FLOAT, "chance of a keep by the models that doubt the label"),
    *ERROR_RECORDS,
)

#: Scores recorded for every combination of the search and every fold.
FOLD_SCORES = ("average_precision", "roc_auc", "recall", "precision", "f1", "log_loss")

#: The hyperparameters that the search varies, in the order of their columns.
GRID_KEYS = (
    "max_depth",
    "learning_rate",
    "n_estimators",
    "subsample",
    "colsample_bytree",
    "gamma",
)

_GRID_MEANINGS = {
    "max_depth": "deepest level of a tree",
    "learning_rate": "how much of each tree is added",
    "n_estimators": "number of trees",
    "subsample": "share of the rows that each tree sees",
    "colsample_bytree": "share of the features that each tree sees",
    "gamma": "least gain for which a leaf is split",
}

#: `hyperparameters`: one row per combination.
GRID_SEARCH_RESULTS = (
    *(
        Column(k, INT if k in ("max_depth", "n_estimators") else FLOAT, _GRID_MEANINGS[k])
        for k in GRID_KEYS
    ),
    Column("chosen", BOOL, "the one that trains: the simplest of those near the best"),
    Column("near_best", BOOL, "within one standard error of the best"),
    Column("rank", INT, "1 for the best mean of the objective among those scored in every fold"),
    Column("folds", INT, "folds that it was scored in; the race drops what falls behind"),
    *(
        Column(f"{kind}_{score}", FLOAT, f"{meaning} of {score} over the folds")
        for score in FOLD_SCORES
        for kind, meaning in (("mean", "mean"), ("std", "standard deviation"))
    ),
    *(
        Column(f"fold{fold}_{score}", FLOAT, f"{score} in fold {fold}")
        for score in FOLD_SCORES
        for fold in range(5)
    ),
)
