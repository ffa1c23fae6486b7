"""Who asked for a run, as its tags say, and names that are used with these tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

#: Why it was asked for, in words, and at which attempt; for people.
WHY, ATTEMPT = "atx/why", "atx/attempt"

#: Dagster's own, which its UI does not show among the others.
SENSOR, SCHEDULE, RUN_KEY = "dagster/sensor_name", "dagster/schedule_name", "dagster/run_key"

#: Dagster's own: set on a run that it retries by itself.
_RETRY = "dagster/retry_number"

#: The schedules; a job is called like the second.
NIGHTLY, HOUSEKEEPING = "nightly", "housekeeping"
#: Jobs that write to the owner's tables, and not to our files.
CORRECTIONS = ("correct_labels", "undo_correction")
#: The sensors that follow what is in the database.
FOLLOWERS = ("label_sensor", "film_sensor")
#: The check that keeps a run of its own accord from learning that everything is gone.
LABELS_STILL_THERE = "labels_still_there"


def asked_by(run: dg.DagsterRun) -> str:
    """Return the name of the sensor or schedule that asked for a run; empty if a person did.

    Dagster copies all tags to a run that a person re-executes, those of sensor and schedule too.
    A run with a parent is a person's, unless Dagster says that it is a retry of its own.
    """
    if run.parent_run_id and _RETRY not in run.tags:
        return ""
    return run.tags.get(SENSOR) or run.tags.get(SCHEDULE, "")
