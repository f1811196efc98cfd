"""The parts that pretraining and fine-tuning share: devices, optimizers, reports."""
