"""What a client gets from a real gateway and real replica processes."""

import pytest

from tests.serving.conftest import Plane
from tests.serving.plane import Client

pytestmark = pytest.mark.integration


def test_an_inference_is_answered_with_its_variant(plane: Plane) -> None:
    with Client(plane.port) as client:
        for target, scale in (("a", 1.0), ("b", 2.0)):
            status, answer = client.infer([[1, 2, 3, 4], [0, 0, 0, 1]], X_Modelyard_Target_Variant=target)
            assert status == 200
            assert answer["model_name"] == "digits"
            assert answer["model_version"] == f"version-{target}"
            assert answer["parameters"] == {"variant": target}
            output = answer["outputs"][0]
            assert output["name"] == "logits"
            assert output["shape"] == [2, 3]
            assert output["data"] == [10 * scale] * 3 + [scale] * 3
