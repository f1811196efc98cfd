"""How often each token stands in records, as their data stage counted it."""

import os
import typing

import numpy as np

from bert_cn.pretraining import record_files
from data_prep.records import masking, token_counts
from data_prep.text import vocab as vocab_lib

# Accuracy this close above that of a habit counts as the habit alone.
_MARGIN = 0.01


def read_counts(files: record_files.RecordFiles) -> np.ndarray | None:
    """Return how often each token may be masked in some records.

    Args:
        files: from `record_files.check_files`. If they are groups with weights, the
            counts of each group are scaled to its share of the training records.

    Returns:
        float64 [vocabulary]; None if a file's tokens were not counted.

    Raises:
        ValueError: a file of counts is damaged.
    """
    rows = {}
    for manifest in files.manifests:
        table = token_counts.read_counts(manifest.token_counts_path)
        if table is None:
            return None
        folder = os.path.dirname(manifest.path)
        for shard, row in zip(manifest.shards, table, strict=True):
            rows[os.path.join(folder, shard["file"])] = row
    if not rows.keys() >= set(files.paths):
        return None
    groups = [sum(rows[path] for path in group.paths) for group in files.groups]
    total = sum(counts.sum() for counts in groups)
    weights = np.array([group.weight for group in files.groups])
    shares = weights / weights.sum()
    return sum(
        counts * (total * share / max(counts.sum(), 1))
        for counts, share in zip(groups, shares, strict=True)
    )


class Habits(typing.NamedTuple):
    """What a model gets right that has learned no context.

    Attributes:
        token: the most frequent token.
        share: its share of the tokens, the accuracy of who always answers it.
    """

    token: str
    share: float

    @property
    def copying(self) -> float:
        """Accuracy of who copies the masked tokens that show, and answers the token."""
        return masking.KEEP_SHARE + (1.0 - masking.KEEP_SHARE) * self.share

    def explain(self, accuracy: float) -> str:
        """Return a sentence on an accuracy that these habits suffice for, else ""."""
        if accuracy <= self.share + _MARGIN:
            habit = f"always answering {self.token!r} gives ({self.share:.4f})"
        elif abs(accuracy - self.copying) <= _MARGIN:
            habit = (
                f"copying the tokens that masking left unchanged and answering "
                f"{self.token!r} for the others gives ({self.copying:.4f})"
            )
        else:
            return ""
        return (
            f"masked_lm_accuracy {accuracy:.4f} is what {habit}: the model looks at no "
            "context yet. A new model learns sooner with --attention_initializer="
            "neighbors, --output_bias_initializer=unigram, --pretraining_dropout=0 and "
            "a higher --learning_rate, see configs/pretrain/bert_tiny_cn_fast.flags."
        )


def find_habits(
    files: record_files.RecordFiles, vocabulary: vocab_lib.Vocabulary | None
) -> Habits | None:
    """Return the habits that some records reward; None if their tokens are unknown."""
    counts = read_counts(files)
    if counts is None or vocabulary is None or not counts.sum():
        return None
    token = int(counts.argmax())
    return Habits(vocabulary.tokens[token], float(counts[token] / counts.sum()))
