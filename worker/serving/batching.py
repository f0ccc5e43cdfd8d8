"""Batches without a timer: what was read by the next turn of the event loop is the batch.

One lane per variant. A call waits in its lane until the loop has read every socket that was ready; then calls
whose inputs fit together run as one batch, at most MAX_BATCH_ITEMS items. A model that takes longer than
5 ms runs in a thread, and the next batch gathers meanwhile.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from worker.serving.errors import RequestError
from worker.serving.log import log
from worker.serving.model import MAX_BATCH_ITEMS, Array, Model
from worker.serving.tensors import Inference

COST_SHARE = 0.1
"""Weight of the newest batch in what a batch is expected to cost."""


class Call:
    """One inference on its way. `deliver` gets the bytes of its answer. `key_id` empty = not metered.

    `invocation`: it came by SageMaker Runtime's address, and an error is told in its shape. `encoding`: the content
    encoding that its answer may have.
    """

    __slots__ = ("began", "bytes_in", "connection_line", "deliver", "encoding", "inference", "invocation", "key_id")

    def __init__(
        self,
        inference: Inference,
        key_id: str,
        bytes_in: int,
        connection_line: bytes,
        deliver: Callable[[bytes], None],
        *,
        invocation: bool = False,
        encoding: str = "",
    ) -> None:
        self.encoding = encoding
        self.inference = inference
        self.key_id = key_id
        self.bytes_in = bytes_in
        self.connection_line = connection_line
        self.deliver = deliver
        self.invocation = invocation
        self.began = time.perf_counter()


class Outcome:
    """One batch that ran: per call its rows of every output, or the error it is answered with."""

    __slots__ = ("compute_seconds", "model", "results")

    def __init__(
        self, model: Model, results: list[tuple[Call, list[Array] | RequestError]], compute_seconds: float
    ) -> None:
        self.model = model
        self.results = results
        self.compute_seconds = compute_seconds


def infer(model: Model, calls: list[Call]) -> Outcome:
    """Run one batch; where it fails as a whole, each call alone, so that a bad one fails alone."""
    began = time.perf_counter()
    try:
        results = _together(model, calls)
    except Exception as error:  # noqa: BLE001  a graph fails with errors of no common type
        results = [(call, _alone(model, call, error if len(calls) == 1 else None)) for call in calls]
    return Outcome(model, results, time.perf_counter() - began)


def _together(model: Model, calls: list[Call]) -> list[tuple[Call, list[Array] | RequestError]]:
    if len(calls) == 1:
        return [(calls[0], model.run(calls[0].inference.arrays))]
    outputs = model.run(
        {name: np.concatenate([call.inference.arrays[name] for call in calls]) for name in model.inputs}
    )
    total = sum(call.inference.items for call in calls)
    if any(len(output) != total for output in outputs):
        raise ValueError("the outputs have another number of rows than the batch")  # then each call runs alone
    results: list[tuple[Call, list[Array] | RequestError]] = []
    at = 0
    for call in calls:
        end = at + call.inference.items
        results.append((call, [output[at:end] for output in outputs]))
        at = end
    return results


def _alone(model: Model, call: Call, failure: Exception | None) -> list[Array] | RequestError:
    if failure is None:
        try:
            return model.run(call.inference.arrays)
        except Exception as error:  # noqa: BLE001  as above
            failure = error
    if isinstance(failure, MemoryError) or "bad_alloc" in str(failure):
        return RequestError(503, "out of memory for an input of this size")
    return RequestError(422, f"the model refused this input: {str(failure)[:300]}")


class Lane:
    """The queue of one variant. `done` is called in the loop with every batch that ran."""

    def __init__(self, loop: asyncio.AbstractEventLoop, model: Model, done: Callable[[Outcome], None]) -> None:
        self._loop = loop
        self.model = model
        self._done = done
        self._groups: dict[tuple[int, ...], list[Call]] = {}
        self._scheduled = False
        self._running = False
        self._waiting_items = 0
        self._waiting_calls = 0
        self._batch_seconds = model.cost_seconds
        self._runner = None if model.inline else ThreadPoolExecutor(1, thread_name_prefix=model.name)

    @property
    def expected_seconds(self) -> float:
        """How long what waits and runs will take, by what a batch took lately."""
        batches = self._waiting_calls
        if self.model.batchable:
            batches = min(batches, -(-self._waiting_items // MAX_BATCH_ITEMS))
        return (batches + self._running) * self._batch_seconds

    def submit(self, call: Call) -> None:
        """Queue a call for the next batch."""
        self._waiting_items += call.inference.items
        self._waiting_calls += 1
        self._groups.setdefault(call.inference.shape_key, []).append(call)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._running and self._groups:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if not self._groups:
            return
        calls = self._next_batch()
        self._waiting_items -= sum([call.inference.items for call in calls])
        self._waiting_calls -= len(calls)
        if self._runner is None:
            began = time.perf_counter()
            self._done(infer(self.model, calls))
            self._took(time.perf_counter() - began)
            self._schedule()
        else:
            self._running = True
            self._runner.submit(infer, self.model, calls).add_done_callback(self._ran)

    def _next_batch(self) -> list[Call]:
        """Calls of the group that has waited longest, up to MAX_BATCH_ITEMS items, at least one call."""
        key = next(iter(self._groups))
        waiting = self._groups.pop(key)
        if not self.model.batchable:
            taken = 1
        else:
            items = taken = 0
            for call in waiting:
                items += call.inference.items
                if taken and items > MAX_BATCH_ITEMS:
                    break
                taken += 1
        if taken < len(waiting):
            self._groups[key] = waiting[taken:]
        return waiting[:taken]

    def _took(self, seconds: float) -> None:
        """A batch was answered: follow the cost of one, a tenth at a time."""
        self._batch_seconds += (seconds - self._batch_seconds) * COST_SHARE

    def _ran(self, work: "Future[Outcome]") -> None:
        self._loop.call_soon_threadsafe(self._back, work)

    def _back(self, work: "Future[Outcome]") -> None:
        self._running = False
        self._schedule()
        try:
            outcome = work.result()
            self._took(outcome.compute_seconds)
            self._done(outcome)
        except Exception as error:  # noqa: BLE001  a bug of ours must not stop the lane
            log("batch lost", variant=self.model.name, error=repr(error))

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not self._groups and not self._running
