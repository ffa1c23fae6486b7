"""The jobs that correct labels from the launchpad. Not here: what they do (`sources/correct/`).

They write nothing under the data folder, so they need not wait for a run that does.
"""

from enum import Enum
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from atx_assets.defs.assets import asset_page
from atx_assets.defs.resources.current_settings import CurrentSettings

if TYPE_CHECKING:
    from atx_assets.sources.correct.correction import Corrected

#: Titles in the preview.
SHOWN = 300

_DRY_RUN = "Only show what would change, and write nothing. Set false to write."


class Verdict(Enum):
    """The owner's verdict on the titles."""

    keep = "keep"
    skip = "skip"


class CorrectLabels(dg.Config):
    """Which titles, and the verdict on them."""

    ids: list[str] = Field(
        description="IMDb ids such as tt0133093, or hashes of releases (40 hex digits, if the "
        "table has one row per release). Each of them means its whole title. If one cannot be "
        "used, nothing is written.",
    )
    verdict: Verdict = Field(
        description="keep or skip, as a person's own verdict. In the layout with one row per "
        "release, a keep lets the downloader fetch the title."
    )
    dry_run: bool = Field(default=True, description=_DRY_RUN)


class UndoCorrection(dg.Config):
    """Which correction."""

    correction: int = Field(
        ge=1,
        description="The number of the correction: its run and `atx correct list` show it.",
    )
    dry_run: bool = Field(default=True, description=_DRY_RUN)


@dg.op
def correct(
    context: dg.OpExecutionContext, config: CorrectLabels, current_settings: CurrentSettings
) -> None:
    """Preview the titles and their labels; with dry_run off, write the verdict."""
    from atx_assets.sources.correct.correction import correct as make_correction

    done = make_correction(
        current_settings.read(),
        config.ids,
        config.verdict.value,
        write=not config.dry_run,
        via=_via(context),
    )
    _report(context, done)


@dg.op
def undo(
    context: dg.OpExecutionContext, config: UndoCorrection, current_settings: CurrentSettings
) -> None:
    """Preview the rows that undoing a correction would restore; with dry_run off, restore them."""
    from atx_assets.sources.correct.correction import undo as undo_correction

    done = undo_correction(
        current_settings.read(),
        config.correction,
        write=not config.dry_run,
        via=_via(context),
    )
    _report(context, done)


@dg.job(
    description="Gives titles the owner's verdict, keep or skip, in the database. If one title "
    "cannot be used, it changes none. In the layout with one row per release, a keep lets the "
    "downloader fetch the title. A dry run, which is the default, shows what would change. The "
    "record `corrections.jsonl` in ATX_HOME has what was written."
)
def correct_labels() -> None:
    """Correct labels."""
    correct()


@dg.job(
    description="Restores the rows of a recorded correction to what they were before it. It names "
    "and leaves rows that have changed since. A dry run, which is the default, shows what would "
    "change. The undo is itself recorded as a correction, so you can undo it."
)
def undo_correction() -> None:
    """Undo a correction."""
    undo()


CORRECTION_JOBS = [correct_labels, undo_correction]


def _via(context: dg.OpExecutionContext) -> str:
    return f"Dagster run {context.run_id}"


def _report(context: dg.OpExecutionContext, done: "Corrected") -> None:
    """Show the preview with the op's output, and a written correction on the table's page."""
    plan = done.plan
    records = plan.records()
    context.log.info("%s", plan.summary())
    for warning in plan.warnings():
        context.log.warning("%s", warning)
    metadata: dict[str, Any] = {
        "written": done.number is not None,
        "summary": plan.summary(),
        **({"correction": done.number} if done.number is not None else {}),
        **({"warnings": _as_list(plan.warnings())} if plan.warnings() else {}),
        **({"preview": asset_page.preview(records, list(records[0]), SHOWN)} if records else {}),
        **({"titles not shown": len(records) - SHOWN} if len(records) > SHOWN else {}),
    }
    context.add_output_metadata(metadata)
    if done.number is None:
        context.log.info("nothing was written; to write it, launch the same with dry_run off")
        return
    context.log.info(
        "written as correction %s; undo_correction with that number undoes it", done.number
    )
    observed = {**metadata, "verdict": plan.verdict, "rows": len(plan.rows)}
    context.log_event(
        dg.AssetObservation(
            asset_key=dg.AssetKey(["atp", plan.layout.table]),
            description=f"correction {done.number}: {plan.summary()}",
            metadata=observed,
        )
    )


def _as_list(lines: list[str]) -> Any:
    return dg.MetadataValue.json(lines)
