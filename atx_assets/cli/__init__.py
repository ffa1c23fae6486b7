"""The program `atx`: one file per command, imported when the command is called.

A command's file has its arguments and its help, and calls one function of `commands/`. At its top
it imports nothing heavier than click: `atx --help` imports all of these files.
"""
