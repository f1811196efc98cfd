"""What pretraining and fine-tuning share: devices, optimizers, reports."""
