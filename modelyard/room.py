"""What every room of the client stands on."""

from modelyard.transport import Transport


class Room:
    """Part of the API, over one transport."""

    def __init__(self, transport: Transport) -> None:
        self._http = transport
