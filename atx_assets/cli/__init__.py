"""The program `atx`: a file a command, each imported when it is asked for.

A command's file has its arguments and its help, and calls one function of `commands/`. It imports
click alone when it is imported: `atx --help` imports them all.
"""
