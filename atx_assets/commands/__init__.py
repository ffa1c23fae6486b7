"""What each command of `atx` does. Not here: its command line (`cli/`)."""
