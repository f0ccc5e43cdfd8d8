"""Instance types, instances, assignments, reports, holds and quotas.

Life of an instance
-------------------
requested     A committed row with a unique tag, before any provider is asked (★5).
provisioning  The provider was asked. A controller that died in between describes by tag first, so there is never a
              second machine. The agent boots and says hello. No hello in time: terminating.
ready         The agent speaks. It holds an assignment, or a hold keeps it (billed), or it waits a few seconds for
              someone to take it and then goes. Heartbeats missing for longer than the grace (counting only time the
              API was up): it is lost, and terminating.
terminating   The provider was asked to end it, again and again until it says that it has ended.
terminated    The provider confirmed. Nothing else writes this.

The reconciler lists the provider's machines and ends every one that no living row explains.

Life of an assignment
---------------------
A row says what the instance should be doing: an attempt of a job or a replica of an endpoint, with an epoch. The agent
syncs, runs it, and reports; every report is a row, unique per (assignment, epoch, seq). The start report starts the
meter (Postgres's clock); from then on the agent's monotonic seconds, carried by every heartbeat, say how long it
ran, never beyond Postgres's now. Slices of usage are written at least every minute and once more when it closes.
Closing happens once: by the controller of the job or endpoint that owns it.
"""
