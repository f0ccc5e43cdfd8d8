"""What every room of the client stands on."""

from modelyard.transport import Transport


class Room:
    """Part of the API, over one transport."""

    def __init__(self, transport: Transport) -> None:
        self._http = transport


def given(**fields: object) -> dict[str, object]:
    """The fields that were given: None = leave it as it is."""
    return {name: value for name, value in fields.items() if value is not None}
