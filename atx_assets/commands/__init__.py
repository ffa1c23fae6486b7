"""What each command of `atx` does. Not here: its words on the command line (`cli/`)."""
