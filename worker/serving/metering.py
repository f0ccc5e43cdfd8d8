"""From a batch that ran to answers and usage lines: the usage is on disk before an answer leaves."""

import math
import time

import orjson

from backend.core.wire import LATENCY_BUCKETS, LATENCY_FLOOR_US, LATENCY_PER_OCTAVE, UsageLine
from worker.serving import answers
from worker.serving.batching import Call, Outcome
from worker.serving.bodies import encoded_body
from worker.serving.errors import RequestError
from worker.serving.log import log
from worker.serving.model import Array, Model
from worker.serving.tensors import encode_output
from worker.serving.usage import UsageLog

MICROSECONDS = 1_000_000
FLOORS = MICROSECONDS / LATENCY_FLOOR_US


class Meter:
    """Answers batches. Refused calls are counted here and written with the next batch or second."""

    def __init__(self, endpoint_name: str, usage: UsageLog) -> None:
        self._endpoint_name = endpoint_name
        self._usage = usage
        self._errors: dict[tuple[str, str], int] = {}
        self._starts: dict[str, tuple[bytes, bytes]] = {}

    def refused(self, key_id: str, variant: str) -> None:
        """Count a call with a valid key that is answered with an error."""
        if key_id:
            self._errors[variant, key_id] = self._errors.get((variant, key_id), 0) + 1

    def flush_errors(self) -> None:
        """Write the counted errors, if any."""
        if self._errors:
            try:
                self._usage.append(self._error_lines())
            except OSError as error:
                log("usage could not be written", error=str(error))
            else:
                self._errors = {}

    def _error_lines(self) -> list[UsageLine]:
        """The counted errors, which are forgotten once these lines are written."""
        now = time.time()
        return [
            UsageLine(
                at=now,
                variant=variant,
                key_id=key_id,
                calls=0,
                items=0,
                bytes_in=0,
                bytes_out=0,
                compute_us=0,
                errors=errors,
            )
            for (variant, key_id), errors in self._errors.items()
        ]

    def answer(self, outcome: Outcome) -> None:
        """Encode every answer, write the usage with one write, then let the answers go."""
        model = outcome.model
        ready: list[tuple[Call, bytes]] = []
        metered: dict[str, list[int]] = {}
        latencies: dict[str, dict[int, int]] = {}
        for call, result in outcome.results:
            data = result if isinstance(result, RequestError) else self._written(call, model, result)
            if isinstance(data, RequestError):
                self.refused(call.key_id, model.name)
                ready.append((call, _error(call, data)))
                continue
            ready.append((call, data))
            if call.key_id:
                counts = metered.setdefault(call.key_id, [0, 0, 0, 0])
                counts[0] += 1
                counts[1] += call.inference.items
                counts[2] += call.bytes_in
                counts[3] += len(data)
                taken = latencies.setdefault(call.key_id, {})
                place = latency_bucket(time.perf_counter() - call.began)
                taken[place] = taken.get(place, 0) + 1
        if metered:
            try:
                self._usage.append(self._lines(outcome, metered, latencies))
            except OSError as error:
                log("usage could not be written", error=str(error))
                refusal = RequestError(503, "usage cannot be recorded", (("retry-after", "5"),))
                ready = [(call, _error(call, refusal) if call.key_id else data) for call, data in ready]
            else:
                self._errors = {}
        for call, data in ready:
            call.deliver(data)

    def _lines(
        self, outcome: Outcome, metered: dict[str, list[int]], latencies: dict[str, dict[int, int]]
    ) -> list[UsageLine]:
        now = time.time()
        shares = _shares(round(outcome.compute_seconds * MICROSECONDS), [counts[1] for counts in metered.values()])
        lines = [
            UsageLine(
                at=now,
                variant=outcome.model.name,
                key_id=key_id,
                calls=calls,
                items=items,
                bytes_in=bytes_in,
                bytes_out=bytes_out,
                compute_us=share,
                errors=0,
                latency=latencies[key_id],
            )
            for (key_id, (calls, items, bytes_in, bytes_out)), share in zip(metered.items(), shares, strict=True)
        ]
        return lines + self._error_lines()

    def _start(self, model: Model) -> tuple[bytes, bytes]:
        """Constant first parts of a variant's answers: the status line with headers, and the JSON."""
        start = self._starts.get(model.name)
        if start is None:
            variant = model.name.encode("latin-1", "replace")
            start = (
                b"HTTP/1.1 200 OK\r\nx-modelyard-variant: %b\r\nx-amzn-invoked-production-variant: %b\r\n"
                % (variant, variant),
                b'{"model_name":%b,"model_version":%b,"parameters":{"variant":%b},'
                % tuple(map(orjson.dumps, (self._endpoint_name, model.version_id, model.name))),
            )
            self._starts[model.name] = start
        return start

    def _written(self, call: Call, model: Model, outputs: list[Array]) -> bytes | RequestError:
        """The answer, or why it cannot be written as it is wanted."""
        try:
            return self._encode(call, model, outputs)
        except RequestError as refusal:
            return refusal
        except (TypeError, ValueError) as error:  # outputs without rows, or of different numbers of them
            return RequestError(422, f"the answer cannot be written: {error}")

    def _encode(self, call: Call, model: Model, outputs: list[Array]) -> bytes:
        head, body = self._start(model)
        if call.inference.render is not None:
            return _rendered(call, head, outputs)
        wanted = call.inference.outputs
        parts = [encode_output(model.outputs[index], outputs[index], binary=binary) for index, binary in wanted]
        if call.inference.id is not None:
            body += b'"id":%b,' % orjson.dumps(call.inference.id)
        body += b'"outputs":[%b]}' % b",".join([text for text, _ in parts])
        kind = b"content-type: application/json\r\n"
        if any(binary for _, binary in wanted):
            kind = b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\n" % len(body)
            body = b"".join([body, *[data for _, data in parts]])
        encoded = encoded_body(body, call.encoding) if call.encoding else None
        if encoded is not None:
            kind += b"content-encoding: %b\r\nvary: accept-encoding\r\n" % call.encoding.encode()
            body = encoded
        return b"%b%b%bcontent-length: %d\r\n\r\n%b" % (head, kind, call.connection_line, len(body), body)


def latency_bucket(seconds: float) -> int:
    """The bucket of `UsageLine.latency` that a call of this length counts in."""
    if seconds * FLOORS <= 1:
        return 0
    return min(math.ceil(LATENCY_PER_OCTAVE * math.log2(seconds * FLOORS)), LATENCY_BUCKETS - 1)


def _rendered(call: Call, start: bytes, outputs: list[Array]) -> bytes:
    assert call.inference.render is not None  # noqa: S101  asked by the caller
    media_type, data = call.inference.render(outputs)
    return b"%bcontent-type: %b\r\n%bcontent-length: %d\r\n\r\n%b" % (
        start,
        media_type.encode(),
        call.connection_line,
        len(data),
        data,
    )


def _error(call: Call, refusal: RequestError) -> bytes:
    return answers.refusal(
        refusal,
        invocation=call.invocation,
        keep_alive=call.connection_line != answers.CLOSE,
        old_http=bool(call.connection_line),
        by_model=True,
    )


def _shares(total: int, weights: list[int]) -> list[int]:
    """Split `total` by weight into whole numbers that add up to it exactly."""
    whole = sum(weights)
    shares: list[int] = []
    given = passed = 0
    for weight in weights:
        passed += weight
        share = total * passed // whole - given
        given += share
        shares.append(share)
    return shares
