"""Checkpoints of every BERT tool, in and out, by way of one form in memory."""
