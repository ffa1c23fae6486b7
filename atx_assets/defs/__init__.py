"""Everything that Dagster sees: assets, checks, jobs, sensors, schedules, resources; thin."""
