"""The agent: the one process of ours on an instance. It makes true there what the control plane wants.

How it lives
------------
`python -m worker.agent --folder DIR` says hello until the API answers, then *syncs*: it tells what it has not
yet been heard saying (reports) and how long each assignment has run, and is told which assignments it should
hold. It syncs every `heartbeat_seconds`, at once when it has something to tell, and at once when its doorbell
rings (a Celery worker on the instance's own queue; without a broker the timer alone does it). An answer of 401
means that the instance is over: everything is ended, exit 0. SIGTERM is a drain: everything is stopped as if the
control plane had asked, the last reports are delivered, exit 0.

How an assignment lives here
----------------------------
told → *preparing* (folder, inputs through the cache, sandbox, limits) → *running* (`Started` is reported when
the process is there; from then on its seconds count) → *ended* (`Ended`, the last report of the epoch) → every
report acknowledged and every usage segment shipped → folder removed. An epoch that the control plane calls
stale is killed and forgotten without a word. No (assignment, epoch) is ever started twice.

What is on disk, `DIR/assignments/<id>-<epoch>/`: `state.json` (phase, start on the boot clock, seconds at the last
heartbeat), `spool/` (reports, numbered from 1, kept until acknowledged), `job/` (what the process sees as `/job`).
With the API away the processes go on and the spool grows; it is replayed in order. When the agent itself is
killed, its processes die with it, and the next agent finds the folder, replays the spool and adds
`Ended(failed, interruption)` with the seconds known last.

An instance that has nothing to do keeps a process ready for the next attempt where the control plane says so:
`standby`, whose docstring holds its lifecycle.

Who does what: `agent` syncs and decides, `attempt` and `replica` each live one assignment in one thread,
`process` starts and ends the sandboxed process, `sandbox` and `limits` say how, `inputs` and `uploads` move files,
`reporter` and `spool` make what is seen into numbered reports, `control` speaks HTTP, `doorbell` listens.
"""

AGENT_VERSION = "0.1.0"
