"""Pretraining, conversion and fine-tuning of Chinese BERT."""

import os

from bert_cn.training import environment as _environment

# TensorFlow reads this when it is imported. Its start-up lines, among them an "error"
# for every missing GPU, would bury ours; real errors reach Python as exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# --tpu needs other variables, which TensorFlow reads at the same time.
_environment.prepare_command()
