"""The training step through the TPU's compiler, on a machine without a TPU."""
