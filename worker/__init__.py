"""What runs beside the control plane: control tasks, agents, trainers, compressors, the data plane."""

import os

# ONNX Runtime (from 1.29, Linux too) reports every session, model name and hash included, to its maker over
# the network unless this is set before its first import. A tenant's model is nobody else's business.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
