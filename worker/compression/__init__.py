"""Compression: the job process of kind `compression` (`python -m worker.compression`), ONNX only, no torch.

Life of a compression:

1. `config` checks the parameters; what is wrong is told as `user_code`.
2. The channel `model` holds the artifact to compress, the channel `dataset` the images: the train split
   calibrates, the validation split measures.
3. `quantize` writes one candidate per plan (every layer in int8; or all but the first convolution, which is
   often faster in float): static, QDQ, per channel.
4. `measure` compares each candidate with the original: size, accuracy on validation, and speed, interleaved
   so that a noisy machine is unfair to nobody. The fastest candidate that keeps the accuracy is the result.
5. `report.json` is written and told, as a log line and as metrics, whatever follows.
6. `gate` (pure) decides. Refused: the job fails with class `gate` and the numbers as its reason. Accepted:
   the artifact is `model.onnx` and `signature.json`, with the same inputs and outputs as before, and
   `evaluation.json`, as a training writes it.

SIGTERM is looked at between these; there is no checkpoint, for the whole takes seconds.
"""
