"""What the API accepts is what the workers accept: every field, its bounds and its default."""

from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from backend.compression_jobs import schemas as compression_schemas
from backend.training_jobs import schemas as training_schemas
from worker.compression import config as compression
from worker.training import config as training

pytestmark = pytest.mark.unit

PROSE = {"title", "description", "additionalProperties", "$defs", "type"}
DEFAULTS: dict[str, Any] = {"required": []}
"""What one generator writes down and the other leaves out."""


def plain(schema: Any, definitions: dict[str, Any]) -> Any:
    """A JSON schema without prose, references and the generators' own habits."""
    if isinstance(schema, list):
        return [plain(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        return plain(target | {key: value for key, value in schema.items() if key != "$ref"}, definitions)
    if "const" in schema:
        schema = {**schema, "enum": [schema["const"]]}
    found = {key: plain(value, definitions) for key, value in schema.items() if key not in {*PROSE, "const"}}
    if "type" in schema and "enum" not in schema:
        found["type"] = schema["type"]
    if "enum" in found:
        found["enum"] = sorted(found["enum"])
    if "anyOf" in found:
        found["anyOf"] = sorted(found["anyOf"], key=repr)
    if isinstance(schema.get("properties"), dict):
        found["properties"] = {key: plain(value, definitions) for key, value in schema["properties"].items()}
    return {key: value for key, value in found.items() if DEFAULTS.get(key) != value or key not in DEFAULTS}


@pytest.mark.parametrize(
    ("api", "worker"),
    [
        (training_schemas.Hyperparameters, training.Hyperparameters),
        (training_schemas.Augmentation, training.Augmentation),
        (training_schemas.EarlyStopping, training.EarlyStopping),
        (compression_schemas.CompressionParameters, compression.CompressionParameters),
    ],
)
def test_api_and_worker_agree(api: type[BaseModel], worker: type[msgspec.Struct]) -> None:
    said = api.model_json_schema()
    (schema,), definitions = msgspec.json.schema_components([worker])
    ours, theirs = plain(said, said.get("$defs", {})), plain(schema, definitions)
    assert set(ours["properties"]) == set(theirs["properties"])
    for name, field in ours["properties"].items():
        assert field == theirs["properties"][name], name
    assert api().model_dump() == msgspec.to_builtins(worker())


def test_what_the_api_sends_the_worker_reads() -> None:
    sent = training_schemas.Hyperparameters(epochs=3, width=8).model_dump(mode="json")
    read = training.read_parameters({"algorithm": "image-classification", "hyperparameters": sent})
    assert isinstance(read.hyperparameters, training.Hyperparameters)
    assert (read.hyperparameters.epochs, read.hyperparameters.width) == (3, 8)
    assert compression.read_parameters(compression_schemas.CompressionParameters().model_dump(mode="json"))
