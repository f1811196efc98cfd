"""Text to tokens: corpus files, vocabularies, words and WordPiece."""
