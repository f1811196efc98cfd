"""Everything around a TPU: strategy, health, supervision, preflight."""

import os

# TensorFlow reads this when it is imported; its start-up lines, among them an "error"
# for every missing GPU, would bury ours. What matters reaches Python as an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
