"""The machine room of one host: embedded PostgreSQL and Valkey, and the supervisor behind `modelyard up`.

A home folder holds everything that lasts; a runtime folder (short path, sockets only) everything that dies
with the processes. An embedded server lives so: prepare (folders, a random password in a 0600 file, for
PostgreSQL `initdb` into a side folder renamed when it is whole) → launched by `launcher.py` as an
unprivileged user, tied to its parent by a death signal → ready when it accepts a log-in → stopped by a
signal, killed after a grace. Nothing is ever reachable without a password, and no file outside the home and
runtime folders is created or changed.

This room is mechanism: it imports nothing of ours but `backend.core`.
"""
