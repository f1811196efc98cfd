"""Windows that a model can take, [CLS] question [SEP] part of the context [SEP].

A context that is too long is cut into parts that overlap, as in google-research/bert's
run_squad.py (Devlin et al., 2018, arXiv:1810.04805). Columns keep the number of each
part's first token in its context, so that `spans` finds the characters of an answer.
"""

import dataclasses
import unicodedata
from collections.abc import Sequence

import numpy as np

from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning import warm_start
from bert_cn.finetuning.reading import data, flags
from data_prep.text import tokenization

# Columns, int64 [windows].
QUESTION = "question"  # Number in `Dataset.questions`.
DOCUMENT_START = "document_start"  # Place of the part's first token in the sequence.
CONTEXT_START = "context_start"  # Number of that token in its context.
# For training: int32, the answer's first and last token in the sequence; both are 0,
# which is [CLS], if the window does not hold the whole answer.
START_POSITION = "start_position"
END_POSITION = "end_position"
# Offsets of the characters that these tokens cover; -1 if they are both 0.
COVERED_START = "covered_start"
COVERED_END = "covered_end"


@dataclasses.dataclass(frozen=True)
class Limits:
    """How windows are cut, in tokens.

    Attributes:
        max_seq_length: of a window, including [CLS] and both [SEP].
        doc_stride: from the start of one part of a context to the start of the next.
        max_query_length: of a question; the rest of it is dropped.
    """

    max_seq_length: int
    doc_stride: int
    max_query_length: int


def slide(length: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Return the parts of a context as (first token, token after the last).

    Args:
        length: tokens of the context.
        room: the most tokens of a part.
        stride: see `Limits.doc_stride`; a larger one counts as `room`, so that every
            token is in some part.
    """
    parts = [(0, min(length, room))]
    while parts[-1][1] < length:
        start = parts[-1][0] + min(room, stride)
        parts.append((start, min(length, start + room)))
    return parts


def choose_parts(parts: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return for each token of a context the part that has most context around it.

    That is the part where the smaller one of the token's left and right context, plus a
    hundredth of the part's length, is largest; the first one if several are equal.

    Args:
        parts: from `slide`.

    Returns:
        int64 [tokens of the context], numbers of parts.
    """
    tokens = np.arange(parts[-1][1])
    starts, ends = np.array(parts).T[..., None]
    context = np.minimum(tokens - starts, ends - 1 - tokens)
    scores = context + 0.01 * (ends - starts)
    scores[context < 0] = -np.inf
    return scores.argmax(axis=0)


def find_end(context: str, token_end: int) -> int:
    """Return the end of an answer, from the end of its last token.

    Marks on its last letter belong to the answer, too: lower-casing strips accents, so
    that no token holds them.

    Args:
        context: holds the answer.
        token_end: offset after the token's last character.
    """
    end = token_end
    while end < len(context) and unicodedata.category(context[end]).startswith("M"):
        end += 1
    return end


def load_or_encode(
    args: flags.ReaderArgs,
    dataset: data.Dataset,
    targets: list[data.Target | None] | None,
    start: warm_start.StartingPoint,
) -> features_lib.Features:
    """Return the windows of a file, from the cache if it has them; see `encode`."""
    limits = Limits(args.max_seq_length, args.doc_stride, args.max_query_length)
    fingerprint = features_lib.compute_fingerprint(
        dataset.data,
        limits=dataclasses.astuple(limits),
        questions=len(dataset.questions),
        left_out=None if targets is None else targets.count(None),
        **start.settings,
    )
    return features_lib.load_or_encode(
        args.cache_dir,
        "questions" if targets is None else "answers",
        fingerprint,
        lambda: encode(dataset, targets, start, limits),
    )


def encode(
    dataset: data.Dataset,
    targets: list[data.Target | None] | None,
    start: warm_start.StartingPoint,
    limits: Limits,
) -> features_lib.Features:
    """Encode all questions of a file, and print counts of windows and cuts.

    Args:
        dataset: the questions.
        targets: the places of their answers, for training; None for prediction. A
            question gets no window if its target is None.
        start: its tokenizer and vocabulary.
        limits: of the windows.

    Returns:
        One sequence for each window, and the columns that this module names, in the
        order of the questions, and of the parts of a context.
    """
    vocabulary = start.vocabulary
    queries = start.tokenizer.tokenize([each.text for each in dataset.questions])
    contexts = start.tokenizer.tokenize(dataset.contexts)
    rows, columns, cut = [], [], 0
    for number, question in enumerate(dataset.questions):
        target = targets[number] if targets is not None else None
        if targets is not None and target is None:
            continue
        query = queries.ids[slice(*queries.line_starts[number : number + 2])]
        cut += len(query) > limits.max_query_length
        query = query[: limits.max_query_length]
        between = [vocabulary.sep_id] * vocabulary.separators
        head = np.concatenate([[vocabulary.cls_id], query, between])
        first, end = contexts.line_starts[question.context : question.context + 2]
        context = dataset.contexts[question.context]
        span = _find_tokens(context, contexts, slice(first, end), target)
        room = limits.max_seq_length - len(head) - 1
        for begin, stop in slide(end - first, room, limits.doc_stride):
            part = contexts.ids[first + begin : first + stop]
            ids = np.concatenate([head, part, [vocabulary.sep_id]])
            last = vocabulary.segments - 1
            segments = np.repeat([0, last], [len(head), len(part) + 1])
            rows.append(
                {features_lib.TOKEN_IDS: ids, features_lib.SEGMENT_IDS: segments}
            )
            columns.append((number, len(head), begin, *span.place(begin, stop)))
    sequences = features_lib.join_sequences(rows)
    ids = [sequences.tokens[features_lib.TOKEN_IDS]]
    unknown = features_lib.describe_unknown(dataset.path, ids, vocabulary)
    print(
        f"{dataset.path}: {len(rows)} windows of up to {limits.max_seq_length} tokens; "
        f"{cut} questions cut to {limits.max_query_length} tokens; "
        f"{unknown}.",
        flush=True,
    )
    return features_lib.Features({"": sequences}, _name_columns(columns, targets))


@dataclasses.dataclass(frozen=True)
class _TokenSpan:
    """The tokens of an answer in its context, first and last; -1 for none."""

    first: int = -1
    last: int = -1
    char_start: int = -1
    char_end: int = -1

    def place(self, begin: int, end: int) -> tuple[int, int, int, int]:
        """Return the tokens in a part, counted from its start, and the characters."""
        if self.first < 0 or self.first < begin or self.last >= end:
            return -1, -1, -1, -1
        return self.first - begin, self.last - begin, self.char_start, self.char_end


def _find_tokens(
    context: str,
    contexts: tokenization.TokenizedLines,
    tokens: slice,
    target: data.Target | None,
) -> _TokenSpan:
    """Find the fewest tokens that cover the answer."""
    if target is None or target.start < 0:
        return _TokenSpan()
    starts, ends = contexts.char_starts[tokens], contexts.char_ends[tokens]
    touched = np.flatnonzero((ends > target.start) & (starts < target.end))
    if not len(touched):
        return _TokenSpan()
    low, high = int(touched[0]), int(touched[-1])
    return _TokenSpan(low, high, int(starts[low]), find_end(context, int(ends[high])))


def _name_columns(columns: list[tuple], targets) -> dict[str, np.ndarray]:
    values = np.array(columns, np.int64).T
    number, document_start, context_start, low, high, char_start, char_end = values
    named = {
        QUESTION: number,
        DOCUMENT_START: document_start,
        CONTEXT_START: context_start,
    }
    if targets is None:
        return named
    found = low >= 0
    return {
        **named,
        START_POSITION: np.where(found, document_start + low, 0).astype(np.int32),
        END_POSITION: np.where(found, document_start + high, 0).astype(np.int32),
        COVERED_START: char_start,
        COVERED_END: char_end,
    }


def list_inexact(
    dataset: data.Dataset,
    targets: list[data.Target | None],
    features: features_lib.Features,
    max_answer_length: int,
) -> list[tuple[str, str, int, str]]:
    """Find answers that are no whole number of tokens, and print how many there are.

    Args:
        dataset: a training file.
        targets: from `data.find_targets`.
        features: from `encode`.
        max_answer_length: the most tokens of an answer that is predicted.

    Returns:
        (question's id, answer, offset, reason) of each.
    """
    columns = features.columns
    lengths = columns[END_POSITION] - columns[START_POSITION] + 1
    held = {}
    for row in np.flatnonzero(columns[COVERED_START] >= 0):
        covered = int(columns[COVERED_START][row]), int(columns[COVERED_END][row])
        held[int(columns[QUESTION][row])] = (*covered, int(lengths[row]))
    problems, inside, no_window, too_long = [], 0, 0, 0
    for number, (question, target) in enumerate(
        zip(dataset.questions, targets, strict=True)
    ):
        if target is None or target.start < 0:
            continue
        if number not in held:
            no_window += 1
            why = "no window holds all of it"
        else:
            start, end, length = held[number]
            text = dataset.contexts[question.context][start:end]
            too_long += length > max_answer_length
            if text == target.text.strip():
                continue
            inside += 1
            why = f"its tokens cover {text!r}"
        problems.append((question.id, target.text, target.start, why))
    if problems or too_long:
        print(
            f"{dataset.path}: {inside} answers begin or end inside a token, "
            f"{no_window} are whole in no window, {too_long} are longer than "
            f"--max_answer_length={max_answer_length} tokens.",
            flush=True,
        )
    return problems
