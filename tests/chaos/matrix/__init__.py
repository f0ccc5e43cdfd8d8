"""The kill matrix: process by fault by phase, each a case on a running home, and what must be true afterwards.

Life of a case
--------------
1. The home is calm: every service runs, the steady endpoint answers its client (`load`).
2. A *subject* (`subjects`, `endpoints`) begins in a thread of its own: a training job, a compression job or an
   endpoint's life, asked for over the public API as a patient integrator would (`patience`).
3. Meanwhile the rows are looked at every few milliseconds (`phases`); at the first sight of the phase the process is
   looked up (`targets`) and struck (`faults`): killed, stopped for 30 s, its disk filled, its connection cut.
4. The fault is over, the subject reaches its right end, and the checks follow (`checks`): attempts, leases, processes,
   files, machines, usage, calls answered = billed, and the steady endpoint, which must not notice a fault of the
   control plane (★7).
5. A red case leaves its rows and the end of every log in a folder.

A *home* (`home`) runs its cases one after the other, since booting takes seconds; several homes run side by side
(`runner`). When a home has run its cases the whole of its bill is audited against the provider's log and replayed.
Which cases there are, and the covering choice that a seed makes of them, is data (`cases`).
"""
