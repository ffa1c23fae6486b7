"""Figures, tables and the page: what people look at. Knows no Dagster."""
