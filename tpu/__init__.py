"""Everything around a TPU that training itself does not need."""

import os

# TensorFlow reads this when it is imported. Its start-up lines, among them an "error"
# for every missing GPU, would hide ours. Real errors reach Python as exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
