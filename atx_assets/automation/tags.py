"""The tags by which a run is known that nobody started by hand, and names used with them."""

#: Why it was asked for, in words, and at which attempt; for people.
WHY, ATTEMPT = "atx/why", "atx/attempt"

#: Dagster's own, which its UI does not show among the others.
SENSOR, SCHEDULE, RUN_KEY = "dagster/sensor_name", "dagster/schedule_name", "dagster/run_key"

#: The schedules; a job is called like the second.
NIGHTLY, HOUSEKEEPING = "nightly", "housekeeping"
#: The sensors that follow what is in the database.
FOLLOWERS = ("label_sensor", "film_sensor")
#: The check that keeps a run of its own accord from learning that everything is gone.
LABELS_STILL_THERE = "labels_still_there"
