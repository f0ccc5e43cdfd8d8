"""Images that decode to hundreds of times their size: few at once, whoever sends them."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image, PngImagePlugin

from backend.datasets import images
from backend.datasets.images import read_image
from backend.datasets.problems import FileError

pytestmark = pytest.mark.unit


def png(width: int, height: int) -> bytes:
    target = io.BytesIO()
    Image.new("L", (width, height)).save(target, "PNG")
    return target.getvalue()


def test_large_images_are_decoded_two_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    decoding, most, lock = 0, 0, threading.Lock()
    load = PngImagePlugin.PngImageFile.load

    def counted(image: PngImagePlugin.PngImageFile) -> object:
        nonlocal decoding, most
        with lock:
            decoding += 1
            most = max(most, decoding)
        try:
            time.sleep(0.05)
            return load(image)
        finally:
            with lock:
                decoding -= 1

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", counted)
    content = png(2100, 2000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: read_image(f"a/{number}.png", content, member=None), range(8)))
    assert most == 2


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    width = 1 + images.MAX_PIXELS // 8000
    with pytest.raises(FileError, match="pixels"):
        read_image("a/b.png", png(8000, width), member=None)
