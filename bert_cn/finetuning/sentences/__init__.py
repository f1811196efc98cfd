"""Sentence-BERT: sentence embeddings, pooled from the states of tokens."""
