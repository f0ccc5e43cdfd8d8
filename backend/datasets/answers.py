"""Content of a file as an HTTP answer."""

from collections.abc import Iterator

from fastapi.responses import Response, StreamingResponse

from backend.core.storage import CHUNK_BYTES


def file_answer(content: Iterator[bytes], sha256: str, size_bytes: int, media_type: str) -> Response:
    """Whole where it is small, streamed where it is not; content under a digest never changes."""
    headers = {
        "Content-Length": str(size_bytes),
        "ETag": f'"{sha256}"',
        "Cache-Control": "private, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }
    if size_bytes <= CHUNK_BYTES:
        return Response(b"".join(content), media_type=media_type, headers=headers)
    return StreamingResponse(content, media_type=media_type, headers=headers)
