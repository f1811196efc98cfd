"""Masked-LM and next-sentence training: input, step, loop, checkpoints."""
