"""`atx doctor`: one file a subject, a function a check."""
