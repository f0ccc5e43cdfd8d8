"""MLflow: a pyfunc model under `mlflow models serve` with two workers; it does not batch."""

import os
import sys
from pathlib import Path

import mlflow
import numpy as np
from mlflow.models.signature import ModelSignature
from mlflow.types.schema import Schema, TensorSpec
from sessions import arguments

CODE = """
import mlflow
import numpy as np
from sessions import Model


class Digits(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.model = Model(context.artifacts["onnx"])

    def predict(self, context, model_input, params=None):
        return self.model(np.asarray(model_input, np.float32))


mlflow.models.set_model(Digits())
"""

if __name__ == "__main__":
    model, port, folder = arguments()
    saved = folder / "pyfunc"
    folder.mkdir(parents=True, exist_ok=True)
    if not saved.exists():
        code = folder / "digits_model.py"
        code.write_text(CODE)
        digits, logits = (TensorSpec(np.dtype("float32"), shape) for shape in ((-1, 1, 28, 28), (-1, 10)))
        mlflow.pyfunc.save_model(
            str(saved),
            python_model=str(code),
            artifacts={"onnx": model},
            signature=ModelSignature(Schema([digits]), Schema([logits])),
            pip_requirements=["onnxruntime"],
            code_paths=[str(Path(__file__).parent / "sessions.py")],
        )
    beside = Path(sys.executable).parent
    os.environ["PATH"] = f"{beside}:{os.environ['PATH']}"
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    command = ["mlflow", "models", "serve", "-m", str(saved), "--env-manager", "local"]
    command += ["-h", "127.0.0.1", "-p", str(port), "-w", "2"]
    os.execv(str(beside / "mlflow"), command)  # noqa: S606 - no shell is meant
