"""The tags by which a run is known that nobody started by hand, and names used with them."""

#: Why it was asked for, in words, and at which attempt; for people.
WHY, ATTEMPT = "atx/why", "atx/attempt"

#: Dagster's own, which its UI does not show among the others.
SENSOR, SCHEDULE, RUN_KEY = "dagster/sensor_name", "dagster/schedule_name", "dagster/run_key"

#: The schedule.
NIGHTLY = "nightly"
#: The check that keeps a run of its own accord from learning that everything is gone.
LABELS_STILL_THERE = "labels_still_there"
