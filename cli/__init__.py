"""The command line: one file per command; every heavy import stands inside a command's body."""
