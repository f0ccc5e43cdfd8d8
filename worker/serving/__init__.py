"""The data plane: the gateway places connections, replicas answer them.

How a request is answered
-------------------------
The *gateway* (`worker.serving.gateway`) owns the public port. It accepts a connection, reads the head of
the first request, looks the key up in its routing table, finds the endpoint of that name in the key's
organization, and hands the socket itself over to one process of one replica of that endpoint, together with
the bytes it has read. From then on the client talks to the replica without any hop.

The *replica* (`worker.serving.replica`) is started by the agent in a sandbox without network, its current
folder laid out as:

    spec.json                         a ReplicaSpec
    models/<variant>/model.onnx       and signature.json; read-only
    usage/                            writable: open-<uuid>.jsonl, sealed-<uuid>.jsonl
    run/                              writable: replica-<n>.sock, one per process, n from 0

Its parent process loads the libraries once, forks `spec.processes` processes, and restarts one that dies.
Each process loads every variant, binds its socket (which is how it says "ready"), and then: adopts
connections, parses HTTP, checks the key, chooses the variant, batches what one turn of its event loop has
read, infers, appends the usage of the batch to its segment with one `write(2)`, and only then answers.

A later request on a handed connection that names another endpoint, or carries a key that the
replica does not know, goes back to the gateway with its socket: the gateway places it anew, or, when the key
is another organization's, closes the connection and logs it.

gRPC cannot be handed over: its gateway (`worker.serving.grpcgateway`) is a process of its own, which sends each
call to a replica over a pool of socket pairs. To the replica it is one more client.

The gateway asks the control plane for the routing table every second and keeps the last one on disk, so
both of them go on answering with everything else down. Killing the gateway ends no handed
connection; killing a replica process ends the connections it held, and no answered call goes unmetered.

Connections of trusted proxies
------------------------------
A proxy before the gateway (`--trusted-proxy`) sends the requests of many clients over one connection, so no replica may
have it. Such a connection stays in the gateway (`worker.serving.proxying`), which reads every head, finds key and
endpoint anew, and sends the request over one of its own connections to a process of that endpoint (`P`,
`worker.serving.pool`); body and answer pass through as they come, and the answer, a tenant's, is checked and framed
anew (`worker.serving.relay`). A proxy that begins a connection with a PROXY header says that it is one client's: that
one is handed over like any other.

What is too much
----------------
Heads, bodies, chunks and waiting are bounded (`syntax`, `chunks`, `connection`). A gateway or a process that holds as
many connections as it has descriptors for turns the next one away with 503 and goes on. A process whose waiting calls
need longer than `queue_seconds`, by the measured cost of a batch, refuses the next one with 503, and a key with
`key_calls` calls under way with 429, both at once and with `Retry-After` (`worker.serving.backpressure`).

End of life: SIGTERM makes a replica process withdraw its socket, tell the gateway (`D`), finish what it
has accepted, give idle connections back to the gateway, seal its usage and exit 0 within 10 s.

Packets between gateway (or agent) and a replica process
--------------------------------------------------------
`run/replica-<n>.sock` listens as AF_UNIX SOCK_SEQPACKET. One packet is one kind byte and a payload
(`worker.serving.packets`); a packet may carry one descriptor (SCM_RIGHTS).

to the replica:
    C  adopt this connection (descriptor); payload = bytes already read from it, may be empty
    P  adopt this connection (descriptor) of the gateway's own pool: one end of a socket pair
    R  the route, a ReplicaRoute as JSON; replaces the one before
    r  the same from a gateway that pools its connections (gRPC): an older route than the one known is ignored, it takes
       no connection back, and when the process drains it closes the connections itself, so that no request is lost
from the replica:
    H  hello, a ReplicaHello as JSON; always first
    L  load, as text: "<connections adopted over this line, in all> <connections held now>"
    B  take this connection back (descriptor); payload = one reason byte and the bytes not yet answered:
       e another endpoint, k a key this replica does not know, i idle and the process drains
both ways:
    D  from the replica: draining, place nothing more here; from the gateway: understood, nothing more comes
    p  a piece of the payload of the next packet of another kind (payloads over 60,000 bytes)

Unix socket addresses are limited to 107 bytes: the replica binds relative to its current folder, and the
clients connect through a descriptor of the folder, so the folder's own path may have any length.

The agent's probe (`worker.serving.probe.probe`) speaks the same protocol: it passes one end of a socket pair
and sends an infer request through the other, authorized by a one-time token whose SHA-256 (hex) the
replica was given as `MODELYARD_PROBE_TOKEN_SHA256`. Probes are answered before any route has come,
and are not metered.
"""
