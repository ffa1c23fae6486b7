"""`atx doctor`: one file per subject, one function per check."""
