"""Pretraining, conversion and fine-tuning of Chinese BERT."""

import os

from bert_cn.training import environment as _environment

# TensorFlow reads this when it is imported; its start-up lines, among them an "error"
# for every missing GPU, would bury ours. What matters reaches Python as an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# So it does with what --tpu needs.
_environment.prepare_command()
