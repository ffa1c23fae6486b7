"""The embedded PostgreSQL server of a home: made, started, stopped, dumped."""
