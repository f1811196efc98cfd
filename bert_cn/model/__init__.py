"""The BERT encoder and its pretraining heads."""
