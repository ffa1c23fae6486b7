"""The tags by which a run is known that nobody started by hand, and names used with them."""

#: On every run that a sensor or the schedule asked for.
BY_ITSELF = "atx/by_itself"
#: Why, in words.
WHY = "atx/why"
#: Of a sensor's runs: which one asked, at which attempt, between which two states.
SENSOR, ATTEMPT, GONE_FROM, WANTED = "atx/sensor", "atx/attempt", "atx/gone_from", "atx/wanted"
#: The fingerprint of the films at that time.
FILMS = "atx/films"

#: The schedule, and the tag in which Dagster names it.
NIGHTLY, SCHEDULE = "nightly", "dagster/schedule_name"
#: The check that keeps a run of its own accord from learning that everything is gone.
LABELS_STILL_THERE = "labels_still_there"
