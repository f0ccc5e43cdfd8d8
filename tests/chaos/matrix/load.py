"""A client that calls an endpoint all the time, lightly, and counts what comes back."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from modelyard.errors import ApiError, ConnectionFailed
from modelyard.inference import InferenceClient

PAUSE_SECONDS = 0.1
CALLS_PER_CONNECTION = 10
TIMEOUT_SECONDS = 5.0


@dataclass
class Tally:
    """`lost`: no answer came, so it may have been served or not. `refused`: an answer other than 200."""

    answered: int = 0
    lost: int = 0
    refused: int = 0
    longest_gap_seconds: float = 0.0
    told: list[str] = field(default_factory=list)


class Load:
    """One thread, one connection at a time; a new connection goes by the gateway, later calls by the replica alone."""

    def __init__(self, gateway_url: str, api_key: str, endpoint: str, entry: dict[str, Any]) -> None:
        self._gateway_url, self._api_key = gateway_url, api_key
        self._endpoint, self._entry = endpoint, entry
        self.tally = Tally()
        self._earlier = Tally()
        self._last = time.monotonic()
        self._running = threading.Event()
        self._idle = threading.Event()
        self._ended = False
        self._idle.set()
        self._thread = threading.Thread(target=self._run, name=f"load-{endpoint}", daemon=True)
        self._thread.start()

    def resume(self) -> Tally:
        """Call from now on, counted in a new tally."""
        self._earlier = self.whole()
        self.tally = Tally()
        self._last = time.monotonic()
        self._idle.clear()
        self._running.set()
        return self.tally

    def pause(self) -> Tally:
        """Stop calling; returns once the last answer is counted."""
        self._running.clear()
        self._idle.wait()
        self._note_gap()
        return self.tally

    def whole(self) -> Tally:
        """Every call since the beginning: one that was lost in an earlier case may reach the bill in a later one."""
        return Tally(
            answered=self._earlier.answered + self.tally.answered,
            lost=self._earlier.lost + self.tally.lost,
            told=[*self._earlier.told, *self.tally.told],
        )

    def end(self) -> None:
        """For good."""
        self._ended = True
        self._running.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended:
            if not self._running.is_set():
                self._idle.set()
                self._running.wait()
                continue
            with InferenceClient(self._gateway_url, self._api_key, timeout_seconds=TIMEOUT_SECONDS) as client:
                self._talk(client)

    def _talk(self, client: InferenceClient) -> None:
        for _ in range(CALLS_PER_CONNECTION):
            if not self._running.is_set() or self._ended:
                return
            if not self._call(client):
                time.sleep(PAUSE_SECONDS)
                return
            time.sleep(PAUSE_SECONDS)

    def _call(self, client: InferenceClient) -> bool:
        tally = self.tally
        try:
            client.infer(self._endpoint, **self._entry)
        except ConnectionFailed as error:
            tally.lost += 1
            tally.told.append(f"{time.time():.1f} lost: {error}")
            return False
        except ApiError as error:
            tally.refused += 1
            tally.told.append(f"{time.time():.1f} refused: {error}")
            return False
        self._note_gap()
        tally.answered += 1
        return True

    def _note_gap(self) -> None:
        now = time.monotonic()
        self.tally.longest_gap_seconds = max(self.tally.longest_gap_seconds, now - self._last)
        self._last = now
