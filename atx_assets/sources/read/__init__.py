"""Reading the media database: connections, rows, fingerprints, rights. Nothing is written."""
