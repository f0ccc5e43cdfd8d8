"""The half of the `modelyard` command that is a client: it stands on `modelyard.Client` and on nothing of the backend.

A module per resource holds a typer app named `app`. What a command needs it takes from `session` (who we are
and where the platform is), prints through `output` (a table for people, JSON for programs, on stdout) and waits
through `waiting` (bars and news on stderr). Importing any of them is cheap: the client, rich's tables and
everything else heavy is imported by the command that runs.

Exit status: 0 done; 1 the platform or the job said no, told on stderr with the way out; 2 the command line is wrong.
"""
