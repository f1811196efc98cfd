"""Sentence-BERT: sentence embeddings by mean pooling."""
