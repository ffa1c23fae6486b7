"""Who asked for a run, according to its tags, and the names used with these tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

#: The reason for the run in words, and the number of the attempt; for people.
WHY, ATTEMPT = "atx/why", "atx/attempt"

#: Dagster's own tags, which its UI does not show among the others.
SENSOR, SCHEDULE, RUN_KEY = "dagster/sensor_name", "dagster/schedule_name", "dagster/run_key"

#: Dagster's own tag on a run that it retries by itself.
_RETRY = "dagster/retry_number"

#: The schedules; a job has the same name as the second.
NIGHTLY, HOUSEKEEPING = "nightly", "housekeeping"
#: Jobs that write to the owner's tables, not to our files.
CORRECTIONS = ("correct_labels", "undo_correction")
#: The sensors that follow the database.
FOLLOWERS = ("label_sensor", "film_sensor")
#: The check that keeps a run that started by itself from learning from vanished labels.
LABELS_STILL_THERE = "labels_still_there"


def asked_by(run: dg.DagsterRun) -> str:
    """Return the name of the sensor or schedule that asked for a run; empty if a person did.

    If a person re-executes a run, Dagster copies all its tags, also those of sensor and schedule.
    A run with a parent belongs to a person, unless Dagster marks it as a retry of its own.
    """
    if run.parent_run_id and _RETRY not in run.tags:
        return ""
    return run.tags.get(SENSOR) or run.tags.get(SCHEDULE, "")
