"""Endpoints: stable addresses that answer inference, and what stands behind them.

Life of an endpoint
-------------------
A user writes intents: an endpoint with a *config* (instance type, replica count, production variants), later
another config, or the wish to delete it. Configs are immutable; `wanted_config_id` names the one asked for,
`live_config_id` the one that answers. Only the controller writes status.

creating        Replicas of the wanted config are placed and started. When all of them answered a real probe for
                every variant the wanted config is live, and in the next routing table. When every gateway that
                asked in the last five seconds says that it has applied such a table: in service. A gateway that
                is down is not waited for, and one that does not follow only for ten seconds.
in_service      The routing table sends connections to the replicas of the live config. A replica that ends or is
                lost is replaced, with growing pauses. A config with other weights or another replica count only
                keeps the replicas there are; weights change with the routing table. Anything else: updating.
updating        Replicas of the wanted config come up beside those of the live one. When all are ready the wanted
                config becomes live in one transaction (in service again once the gateways know it), and the old
                replicas drain: out of the routing table at once, told to stop some seconds later, when every
                gateway has the new table. If the new config fails five times in a row the endpoint goes back to
                the live one.
out_of_service  No replica answers; they are being replaced.
failed          Five replicas in a row failed and none answers. A new config starts over.
deleting        Out of the routing table; replicas are told to stop.
deleted         The last replica ended. The name is free again.

Life of a replica
-----------------
pending (waits for an instance; the reason says for what: quota, budget, boot) → starting (assigned to an
instance; its agent fetches the models, starts the processes and probes them) → in_service → draining → stopping
→ stopped. It may be failed (it said so, or a probe did) or lost (nobody heard of it) at any time. Its
assignment is the fleet's: the meter runs from the start report to the end, split over the variants by compute
time when it is charged.

Routing and usage
-----------------
Every control pass builds the routing table of all tenants from rows; gateways poll it, say which version they
have applied, and keep the last one on disk. Replicas write usage segments; agents deliver them. A segment
counts once, whatever happens: its id is a key.
"""
