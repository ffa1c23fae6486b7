"""What assets are handed: PostgreSQL, MLflow, the files under the data folder."""
