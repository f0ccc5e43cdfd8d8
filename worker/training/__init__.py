"""Training: the job process of kind `training` (`python -m worker.training`), pure PyTorch.

Life of a training, attempt by attempt:

1. `config` turns the job's parameters into checked hyperparameters; what is wrong is told as `user_code`.
2. `data` reads the dataset channel `training`: the manifest and every image, decoded once, uint8 in memory. For
   `text-classification` it is `texts`: every text as tokens, by the tokenizer of the pretrained encoder
   (`encoders`), which is installed on the instance. `tasks` is what differs between the two; all that follows is one.
3. `trainer` builds model, optimizer and augmentation, or restores all of them (and every random state, the
   place in the data order, the best weights so far) from the newest complete checkpoint: a resumed training
   equals an uninterrupted one bit for bit on a CPU.
4. Steps: augmentation on the device, autocast forward, scaled backward, optimizer. The first step is told at
   once; later ones as progress and metrics every half second. After each epoch the validation split is
   measured, the best weights kept, and early stopping asked.
5. SIGTERM is looked at between steps: checkpoint, then exit with `STOPPED_EXIT_CODE`.
6. `export` writes the artifact from the best weights: `model.safetensors`, `model.onnx` (its preprocessing
   inside), `signature.json`, the tokenizer of a text model, and compares ONNX Runtime with torch on real examples
   before anything is told.
7. `findings` adds `evaluation.json`: counts by truth and prediction, figures by class, the worst mistakes.

Modules: `config data texts images batches models encoders tasks augmentation schedule precision eager checkpoint
metrics evaluation trainer export findings`, and `preload`, which a standby calls before any job is known. This file
imports nothing, so that `python -m worker.training` can listen for SIGTERM before torch is loaded.
"""
