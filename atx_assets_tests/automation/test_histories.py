"""Random histories of labels, on real PostgreSQL and real runs: they all end in agreement.

`test_decide.py` plays thousands of them in no time, with time and runs made up.
"""

import io
import re

import dagster as dg
import hypothesis.strategies as st
import psycopg
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, event, given, note, settings

from atx_assets.automation.decide import LAST_ATTEMPT
from atx_assets_tests.builders.scale import soaking, times

pytestmark = pytest.mark.slow

TITLES = st.integers(0, 3)
VERDICTS = st.sampled_from(["override", "accepted", "rejected", "unfiltered"])

#: What can happen: a name, and what it needs.
STEPS = st.one_of(
    st.tuples(st.just("edit"), TITLES, VERDICTS),
    st.tuples(st.just("edit"), TITLES, VERDICTS),
    st.tuples(st.just("delete and put back"), TITLES),
    st.tuples(st.just("begin"), TITLES, VERDICTS),
    st.tuples(st.just("commit")),
    st.tuples(st.just("roll back")),
    st.tuples(st.just("time passes"), st.sampled_from([5, 25, 70, 400])),
    st.tuples(st.just("tick"), st.booleans()),
    st.tuples(st.just("quiet"), st.booleans()),
    st.tuples(st.just("quiet"), st.booleans()),
    st.tuples(st.just("restart")),
)


def undated(contents: dict[str, bytes]) -> dict[str, bytes]:
    """The files, without the dates of labels, nor the sums of what they were made from."""
    dated = re.compile(rb'^ *"label_date": .*$', re.MULTILINE)

    def without_dates(name: str, content: bytes) -> bytes:
        if name.endswith(".json"):
            return dated.sub(b"", content)
        if name.endswith(".parquet"):
            rows = pq.read_table(io.BytesIO(content)).replace_schema_metadata(None)
            rows = rows.drop_columns([n for n in ("label_date",) if n in rows.column_names])
            pq.write_table(rows, plain := io.BytesIO())
            return plain.getvalue()
        return content

    return {name: without_dates(name, content) for name, content in contents.items()}


class History:
    """Plays steps on a living library, and counts what may bring a run."""

    def __init__(self, living) -> None:
        self.living = living
        self.titles = living.some_titles(4, "override")
        self.open: psycopg.Connection | None = None
        self.changed_titles: set[int] = set()
        self.runs = self.failed = self.states = 0

    def play(self, step) -> None:
        name, *values = step
        getattr(self, "_" + name.replace(" ", "_"))(*values)

    def _edit(self, title, verdict):
        self._changes()
        if self.open and title in self.changed_titles:
            return  # it would wait for the open transaction, and we are both
        self.living.label(self.titles[title], verdict)

    def _delete_and_put_back(self, title):
        self._changes()
        if self.open:
            return
        with self.living.connection.transaction():
            self.living.connection.execute(
                "CREATE TEMP TABLE kept ON COMMIT DROP AS"
                " SELECT * FROM atp.media WHERE imdb_id = %s",
                (self.titles[title],),
            )
            self.living.connection.execute(
                "DELETE FROM atp.media WHERE imdb_id = %s", (self.titles[title],)
            )
            self.living.connection.execute("INSERT INTO atp.media SELECT * FROM kept")

    def _begin(self, title, verdict):
        """Change a label in a transaction that stays open."""
        if self.open is None:
            self.open = self.living.place.connect()
            self.changed_titles.clear()
        if title in self.changed_titles:
            return
        self.changed_titles.add(title)
        self.open.execute(
            "UPDATE atp.media SET rejection_status = %s::atp.rejection_status,"
            " rejection_reason = NULL WHERE imdb_id = %s",
            (verdict, self.titles[title]),
        )

    def _commit(self):
        if self.open:
            self._changes()
            self.open.commit()
            self.open.close()
            self.open = None

    def _roll_back(self):
        if self.open:
            self.open.rollback()
            self.open.close()
            self.open = None

    def _time_passes(self, seconds):
        self.living.passes(seconds)

    def _tick(self, fails):
        answer = self.living.tick()
        note(str(answer)[:200])
        if isinstance(answer, dg.RunRequest):
            self.runs += 1
            self.failed += fails
            assert self.living.start(answer, fails=fails, whole=True) != fails

    def _quiet(self, fails):
        """Half a minute in which nothing changes, and the sensor looks as it does."""
        for _ in range(6):
            self._tick(fails)
            self.living.passes(5)

    def _restart(self):
        """A daemon that begins anew, and has lost what it had seen."""
        self.living.cursors.clear()

    def _changes(self):
        self.states += 1


@settings(
    max_examples=times(2, 15),
    deadline=None,
    derandomize=not soaking(),
    # Each example takes seconds: to shrink one takes longer than to read it.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, min_size=12, max_size=24))
def test_every_history_ends_in_agreement_with_no_more_runs_than_it_needs(living, steps):
    history = History(living)
    for step in steps:
        note(str(step))
        history.play(step)
    history.play(("commit",))
    # Quiet: an hour and a half in which nothing changes, for labels by rules and failed attempts.
    for _ in range(12):
        history.play(("quiet", False))
        living.passes(420)
    assert living.tick().startswith("the results are up to date")
    # The results are those of a refresh made now, row for row. The copy of the table is none: an
    # update that changes nothing moves its `updated_at`, which is also a label's date.
    before = undated(living.place.contents())
    assert living.place.run("refresh", living.instance, ATX_MLFLOW="off").success
    after = undated(living.place.contents())
    assert [name for name in after if after[name] != before.get(name)] in ([], ["media.parquet"])
    event(f"{history.runs} runs, {history.failed} of them failed")
    # No run without a change that was quiet, or a failed attempt to repeat.
    assert history.runs <= history.states + history.failed
    attempts = [int(run.tags.get("atx/attempt", 1)) for run in living.runs()]
    assert max(attempts) <= LAST_ATTEMPT
