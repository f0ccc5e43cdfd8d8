"""The Python client of Modelyard's public REST API and of its inference gateway.

from modelyard import Client

with Client("http://127.0.0.1:8700", api_key="my_…") as client:
    job = client.training_jobs.create(project_id, "digits-1", dataset_version_id=version_id, model_name="digits")
    job = client.jobs.wait(job.id)
"""

from modelyard.client import Client
from modelyard.errors import (
    ApiError,
    BadAddress,
    ConnectionFailed,
    EndpointFailed,
    FileUnusable,
    JobDidNotComplete,
    ModelyardError,
    NameAmbiguous,
    NameNotFound,
    TimedOut,
    UnexpectedAnswer,
)
from modelyard.inference import InferenceClient

__all__ = [
    "ApiError",
    "BadAddress",
    "Client",
    "ConnectionFailed",
    "EndpointFailed",
    "FileUnusable",
    "InferenceClient",
    "JobDidNotComplete",
    "ModelyardError",
    "NameAmbiguous",
    "NameNotFound",
    "TimedOut",
    "UnexpectedAnswer",
]
