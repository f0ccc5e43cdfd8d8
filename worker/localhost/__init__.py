"""The cloud of one host: what EC2 is elsewhere, for instances that are processes here.

`python -m worker.localhost --home DIR --socket PATH` speaks JSON over HTTP on a Unix socket (0600):

- `POST /machines` {tag, shape, environment} → the machine; the same tag is the same machine, for ever
- `GET /machines` → {"machines": […]}, all that are not terminated
- `GET /machines/<tag>` → the machine, also when terminated
- `DELETE /machines/<tag>` → the machine, from now on shutting down
- `POST /faults` {operation: "create", reason}: the next create fails with that reason (for tests)

A machine is a folder (`home/instances/<tag>`), a short one for sockets beside PATH (or in
`MODELYARD_AGENT_RUNTIME`), a process one (`machine_init.py`) that keeps an agent running as
systemd would, and all that the agent started. Its life: pending (asked for, on record) → running (process one
exists) → shutting-down (SIGTERM to the agent's process group, a grace, then SIGKILL to everything of the
machine) → terminated (no process of it is left; its folder is gone).

`home/localhost/log.jsonl` is the one state and the independent record of provider seconds: an append-only line
per event, on disk before anything else happens, from which a daemon that was killed takes up again: machines
that still run are adopted by process id and start time. SIGTERM terminates all machines, then ends.
"""
