"""The one job engine: it queues, places, meters and records every kind of job.

Life of a job
-------------
queued        A row, due now. The doorbell only hurries the control task; without one the tick finds it.
              The controller asks in this order: was a stop requested → stopped. Is spending on hold → wait, and
              say so. Is there an idle instance of the project and shape → take it. Was one asked for already → wait for
              it. Does the quota allow one → ask for it.
provisioning  An instance was asked for on this job's behalf and is not ready yet.
starting      An attempt exists, with an assignment on a ready instance; the agent fetches the inputs.
running       The agent's start report was accepted: the meter runs. Progress, metrics, logs and checkpoints come as
              reports, each accepted once and in order.
stopping      A user asked to stop; the agent was told, the job process writes a checkpoint and ends.
completed     The result is uploaded and the kind has made of it what it makes (a model version).
failed        With a class, a plain reason, a hint, the last log lines (★11).
stopped       A user asked, and it ended. What was checkpointed stays.

An attempt is one try: starting → running → completed | failed | stopped | interrupted. An interruption (lost agent,
lost machine, drain, spot notice) ends the attempt, not the job: the job is queued again, and the next attempt resumes
from the newest complete checkpoint. Failures of class interruption, platform and capacity are tried again until
`max_attempts`; user_code, out_of_memory, timeout, credentials and gate are not: they would fail again.

Who writes what (★4): users write `stop_requested_at`; agents write reports; only the controller that holds the job's
lease writes status, here, through `backend.core.lifecycle.transition`.
"""
