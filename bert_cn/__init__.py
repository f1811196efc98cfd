"""Pretraining, conversion and fine-tuning of Chinese BERT."""
