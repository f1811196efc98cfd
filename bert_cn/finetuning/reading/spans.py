"""Answers from the logits of windows, each a slice of its context.

Every pair of a start and an end is compared, unlike in google-research/bert's
run_squad.py, which pairs the best starts with the best ends. The conditions are the
same: the window is the one with most context around the start, and the answer has at
most `max_answer_length` tokens.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.special

from bert_cn.finetuning.reading import windows as windows_lib

# The score of a context without any token: low, and finite for JSON.
_NOTHING = -1e6


@dataclasses.dataclass(frozen=True)
class Window:
    """A model's logits for one part of a context.

    Attributes:
        begin: number of the part's first token in its context.
        start_logits: float32 [tokens of the part].
        end_logits: float32 [tokens of the part].
        null_start_logit: the start logit of [CLS], which stands for no answer.
        null_end_logit: the end logit of [CLS].
    """

    begin: int
    start_logits: np.ndarray
    end_logits: np.ndarray
    null_start_logit: float
    null_end_logit: float

    @property
    def null_score(self) -> float:
        """The score of no answer."""
        return self.null_start_logit + self.null_end_logit


@dataclasses.dataclass(frozen=True)
class Span:
    """A possible answer.

    Attributes:
        text: the slice of the context from start to end; "" for no answer.
        start: offset of its first character; -1 for no answer.
        end: offset after its last character; -1 for no answer.
        start_logit: of its first token.
        end_logit: of its last token.
    """

    text: str
    start: int
    end: int
    start_logit: float
    end_logit: float

    @property
    def score(self) -> float:
        """The sum of both logits."""
        return self.start_logit + self.end_logit


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The possible answers to one question.

    Attributes:
        spans: answers with different texts, the best first; empty only if the context
            has no token.
        null: no answer, with the logits of the window where its score is lowest.
    """

    spans: list[Span]
    null: Span

    @property
    def best_text(self) -> str:
        """The best answer, even if no answer has a higher score."""
        return self.spans[0].text if self.spans else ""

    @property
    def null_diff(self) -> float:
        """The score of no answer minus that of the best answer."""
        best = self.spans[0].score if self.spans else _NOTHING
        return self.null.score - best

    def decide(self, threshold: float | None) -> str:
        """Return the answer, "" for none.

        Args:
            threshold: there is no answer if `null_diff` is above it; None if every
                question has one.
        """
        if threshold is not None and self.null_diff > threshold:
            return ""
        return self.best_text

    def describe(self, with_null: bool, n_best_size: int) -> list[dict]:
        """Return google-research/bert's entries of nbest_predictions.json.

        Args:
            with_null: list no answer, too, in the order of the scores.
            n_best_size: the most other entries.

        Returns:
            Text, start and end in characters, probability among the entries, logits.
        """
        entries = list(self.spans[:n_best_size])
        if with_null or not entries:
            entries = sorted([*entries, self.null], key=lambda e: e.score, reverse=True)
        shares = scipy.special.softmax([entry.score for entry in entries])
        return [
            {**dataclasses.asdict(entry), "probability": float(share)}
            for entry, share in zip(entries, shares, strict=True)
        ]


def predict(
    context: str,
    char_starts: np.ndarray,
    char_ends: np.ndarray,
    windows: Sequence[Window],
    n_best_size: int,
    max_answer_length: int,
) -> Prediction:
    """Find the best answers to one question.

    Args:
        context: answers are slices of it.
        char_starts: int [tokens of the context], offset of each token's first
            character.
        char_ends: int [tokens of the context], offset after its last character.
        windows: the logits of all parts of the context, in its order.
        n_best_size: the most answers wanted.
        max_answer_length: the most tokens of an answer.
    """
    parts = [(each.begin, each.begin + len(each.start_logits)) for each in windows]
    owners = windows_lib.choose_parts(parts)
    found: list[tuple[float, int, int, float, float]] = []
    for number, (window, (begin, end)) in enumerate(zip(windows, parts, strict=True)):
        owned = owners[begin:end] == number
        for start, last in _find_best(window, owned, n_best_size, max_answer_length):
            start_logit = float(window.start_logits[start])
            end_logit = float(window.end_logits[last])
            score = start_logit + end_logit
            found.append((-score, begin + start, begin + last, start_logit, end_logit))
    spans: dict[str, Span] = {}
    for _, first, last, start_logit, end_logit in sorted(found):
        start = int(char_starts[first])
        end = windows_lib.find_end(context, int(char_ends[last]))
        span = Span(context[start:end], start, end, start_logit, end_logit)
        spans.setdefault(span.text, span)
    least = min(windows, key=lambda window: window.null_score)
    null = Span("", -1, -1, least.null_start_logit, least.null_end_logit)
    return Prediction(list(spans.values())[:n_best_size], null)


def _find_best(
    window: Window, owned: np.ndarray, count: int, max_answer_length: int
) -> list[tuple[int, int]]:
    """Return the best (first, last token) pairs in a part, unordered."""
    length = len(window.start_logits)
    width = min(max_answer_length, length)
    if not owned.any():
        return []
    padded = np.append(window.end_logits, np.full(width - 1, -np.inf, np.float32))
    ends = np.lib.stride_tricks.sliding_window_view(padded, width)
    starts = np.flatnonzero(owned)
    # [owned starts, width]: the score of the answer from each start to 0, 1, ... tokens
    # after it.
    scores = (window.start_logits[starts, None] + ends[starts]).ravel()
    best = np.arange(len(scores))
    if count < len(scores):
        best = np.argpartition(-scores, count - 1)[:count]
    best = best[np.isfinite(scores[best])]
    return [
        (int(starts[row]), int(starts[row] + further))
        for row, further in zip(*np.divmod(best, width), strict=True)
    ]
