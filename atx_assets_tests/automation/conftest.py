"""A library whose labels change while a real Dagster instance keeps the records."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from atx_assets.automation.decide import Decision, State, decide_films, decide_labels
from atx_assets.automation.observe import results_of
from atx_assets.automation.sensors import tick
from atx_assets.settings import Automation

#: Nobody listens there: a run that trains fails for want of MLflow, within a moment.
NO_MLFLOW = {"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": "9"}

SENSORS: dict[str, tuple[str, Callable[[State, Automation], Decision]]] = {
    "label_sensor": ("refresh", decide_labels),
    "film_sensor": ("score", decide_films),
}


@dataclass
class Living:
    """A workplace with its instance, its clock, and the cursor of each sensor.

    The clock is ours: a tick is told the time, so that a minute passes at once. Runs take real
    time, and the clock never falls behind it.
    """

    place: Any
    instance: dg.DagsterInstance
    connection: psycopg.Connection
    now: float = field(default_factory=time.time)
    cursors: dict[str, str | None] = field(default_factory=dict)

    def passes(self, seconds: float) -> None:
        self.now = max(self.now, time.time()) + seconds

    def passes_since_last_run(self, seconds: float) -> None:
        """Put the clock to a time after the end of the last run, as Dagster recorded it."""
        self.now = self.instance.get_run_records(limit=1)[0].end_time + seconds

    def tick(self, sensor: str = "label_sensor", **settings: str) -> dg.RunRequest | str:
        """Let a sensor look once: the run that it asks for, or why it asks for none."""
        context = dg.build_sensor_context(self.instance, cursor=self.cursors.get(sensor))
        with self.place.environment(**settings):
            result = tick(context, sensor, SENSORS[sensor][1], self.now)
        self.cursors[sensor] = result.cursor
        if result.run_requests:
            return result.run_requests[0]
        return str(result.skip_reason.skip_message)

    def ticks(self, sensor: str = "label_sensor", seconds: int = 60) -> dg.RunRequest | str:
        """Tick every five seconds until a run is asked for, or the time is over."""
        answer: dg.RunRequest | str = ""
        for _ in range(0, seconds, 5):
            if isinstance(answer := self.tick(sensor), dg.RunRequest):
                return answer
            self.passes(5)
        return answer

    def start(
        self, request: dg.RunRequest, sensor: str = "label_sensor", *, fails: bool = False
    ) -> bool:
        """Do as the daemon does: run it, unless a run of its key is there; whether it ended well.

        A run that fails does so when it reaches for MLflow, having read the database.
        """
        tags = {**request.tags, "dagster/run_key": request.run_key, "dagster/sensor_name": sensor}
        known = self.instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": request.run_key}))
        assert not known, "Dagster would not start a run of this key again"
        result = self.place.run(
            SENSORS[sensor][0], self.instance, tags, **(NO_MLFLOW if fails else {})
        )
        self.passes(0)
        return bool(result.success)

    def follows(self, sensor: str = "label_sensor") -> str:
        """Tick and run until the sensor has nothing to do; say why."""
        while isinstance(answer := self.ticks(sensor), dg.RunRequest):
            assert self.start(answer, sensor)
        return answer

    def runs(self, job: str = "refresh") -> Sequence[dg.DagsterRun]:
        return self.instance.get_runs(dg.RunsFilter(job_name=job))

    def judge(self, title: str, status: str, reason: str | None = None) -> None:
        self.connection.execute(
            "UPDATE atp.media SET rejection_status = %s::atp.rejection_status,"
            " rejection_reason = %s WHERE imdb_id = %s",
            (status, reason, title),
        )

    def some_titles(self, number: int, status: str = "rejected") -> list[str]:
        """Titles of one release each."""
        rows = self.connection.execute(
            "SELECT imdb_id FROM atp.media WHERE imdb_id IS NOT NULL GROUP BY 1"
            " HAVING count(*) = 1 AND min(rejection_status)::text = %s ORDER BY 1 LIMIT %s",
            (status, number),
        )
        return [title for (title,) in rows]

    def alerts(self) -> str:
        """The alerts that were raised, as they are recorded."""
        file = Path(self.place.home) / "alerts.json"
        return file.read_text() if file.exists() else ""


@pytest.fixture
def living(copied: Any) -> Iterator[Living]:
    """A library with results that are up to date."""
    with copied.instance() as instance, copied.connect() as connection:
        connection.autocommit = True
        assert results_of(instance) is not None
        yield Living(copied, instance, connection)
