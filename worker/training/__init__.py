"""Pure PyTorch: configuration, data, models, the trainer, checkpoints, export."""
