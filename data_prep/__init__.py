"""Raw text to whole-word-masked TFRecords."""

import os

# Before TensorFlow is imported anywhere: its start-up notices are of no use to someone
# who prepares data, and hide the progress line. A user's own setting wins.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
