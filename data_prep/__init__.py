"""Raw text to whole-word-masked TFRecords."""
