"""What a person reads of a run that failed. Not here: that it had to fail."""

import dagster as dg


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The one line, of atx's own, that says why the run failed, be it a step or before it."""
    assert not result.success
    found = [event.event_specific_data for event in result.all_events if event.is_failure]
    error = next(data.error for data in found if data and data.error)
    while error.cause is not None and not error.message.startswith("atx_assets.errors."):
        error = error.cause
    assert error.message.startswith("atx_assets.errors."), error.message
    line = error.message.partition(": ")[2].rstrip("\n")
    assert "\n" not in line
    return line
