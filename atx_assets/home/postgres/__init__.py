"""The embedded PostgreSQL server of a home: creates, starts, stops and dumps it."""
