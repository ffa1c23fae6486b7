"""The resources of assets: settings, PostgreSQL, MLflow, the files under the data folder."""
