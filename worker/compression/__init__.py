"""Compression: the job process of kind `compression` (`python -m worker.compression`).

Life of a compression:

1. `config` checks the parameters; what is wrong is told as `user_code`.
2. `inputs`: the channel `model` holds the artifact to compress, the channel `dataset` images or texts as the model's
   signature says. The train split calibrates and fine-tunes, the validation split measures.
3. Where pruning is asked for, `prune` builds the PyTorch model from the artifact's weights, removes channels or sets
   weights to zero, trains it on with the trainer of training jobs, and exports it: still fp32. Only this needs torch.
4. `methods` lists the methods as data. `choice` writes one candidate for each plan of the method (every layer; for
   static int8 also all but the first convolution, which is often faster in float) and looks at its accuracy.
5. Where no plan keeps the accuracy, the search falls back layer by layer: `sensitivity` changes each layer alone and
   compares the answers on training inputs; more and more of the most sensitive ones stay in float until it is kept.
6. `measure` compares those that keep it with the original: size, latency and throughput, on one thread as a replica's
   process runs it, interleaved so that a noisy machine is unfair to nobody. It happens on the job's own instance, so
   the instance type of the job is the one the figures are of. The fastest that passes is the result.
7. `report` is written and told, as a log line and as metrics, whatever follows.
8. `gate` (pure) decides. Refused: the job fails with class `gate` and the numbers as its reason. Accepted:
   the artifact is `model.onnx` and `signature.json`, with the same inputs and outputs as before, and
   `evaluation.json`, as a training writes it; the tokenizer of a text model, and of a model that is only pruned its
   weights, so that it can be compressed again.

SIGTERM is looked at between these. Only fine-tuning has checkpoints: an attempt after an interruption prunes again,
which gives the same model, and trains on from the newest.
"""
