"""Texts -> token ids in flat arrays, and a cache of them with a fingerprint.

Sequences of different lengths are joined in one array, so that nothing is padded before
a batch is made, and a data set of a million pairs is a handful of arrays.
"""

import dataclasses
import hashlib
import io
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from data_prep import storage
from data_prep.text import tokenization
from data_prep.text import vocab as vocab_lib

TOKEN_IDS = "token_ids"
SEGMENT_IDS = "segment_ids"
PADDING_MASK = "padding_mask"
# The inputs of the encoder.
INPUTS = (TOKEN_IDS, SEGMENT_IDS, PADDING_MASK)
# float32 [batch]: 1, or 0 for the filling of a last batch.
WEIGHT = "example_weight"
# Raise it when the same text would be encoded into other arrays.
_CACHE_VERSION = 1
# Shares of [UNK] among a file's tokens. With Google's Chinese vocabulary, Chinese texts
# have 2 % at most, and English texts that keep their capitals 7 to 12 %; with its
# English vocabulary, Chinese texts have some 60 %.
_UNKNOWN_WARNED, _UNKNOWN_REFUSED = 0.05, 0.5


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Sequences of different lengths.

    Attributes:
        tokens: name -> int32 [tokens of all sequences], such as `TOKEN_IDS` and
            `SEGMENT_IDS`; all of the same length. A task that predicts something for
            each token has its labels here too.
        starts: int64 [sequences + 1]; sequence i is starts[i] up to starts[i + 1].
    """

    tokens: Mapping[str, np.ndarray]
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sequence, int64 [sequences]."""
        return np.diff(self.starts)


@dataclasses.dataclass(frozen=True)
class Features:
    """The examples of one split, as a model takes them.

    Attributes:
        sequences: prefix -> one sequence per example. A task with one sequence has the
            prefix "", and its batches have `token_ids`; a task with two has "a_" and
            "b_", and its batches have `a_token_ids` and `b_token_ids`.
        columns: name -> array [examples, ...]: labels, scores, indices.
    """

    sequences: Mapping[str, Sequences]
    columns: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.sequences.values())))

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each example's longest sequence, int64 [examples]."""
        return np.max([each.lengths for each in self.sequences.values()], axis=0)

    def with_columns(self, **columns: np.ndarray) -> "Features":
        """Return the same sequences with more columns."""
        return dataclasses.replace(self, columns={**self.columns, **columns})


def join_sequences(rows: Sequence[Mapping[str, np.ndarray]]) -> Sequences:
    """Join sequences that were made one by one.

    Args:
        rows: one mapping per sequence, name -> int [its tokens], all of one length.
    """
    lengths = [len(row[TOKEN_IDS]) for row in rows]
    return Sequences(
        {
            name: np.concatenate([row[name] for row in rows]).astype(np.int32)
            for name in rows[0]
        },
        np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
    )


def encode_texts(
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    tokenizer: tokenization.Tokenizer,
    vocabulary: vocab_lib.Vocabulary,
    max_seq_length: int,
) -> tuple[Sequences, int]:
    """Encode [CLS] text [SEP] or [CLS] text [SEP] pair [SEP].

    RoBERTa and XLM-R have two [SEP] in the middle, and one segment.

    A text that is too long loses tokens at its end. In a pair the longer text loses
    them, token by token, or the second if both are equally long, as in
    google-research/bert's `_truncate_seq_pair`.

    Args:
        texts: first texts.
        pairs: second texts, segment 1, or None for single texts.
        tokenizer: uses the vocabulary.
        vocabulary: has the ids of [CLS] and [SEP].
        max_seq_length: the most tokens, including [CLS] and [SEP]; at least 4.

    Returns:
        The sequences with token and segment ids, and how many had to be cut.
    """
    first = tokenizer.tokenize(texts)
    counts = np.diff(first.line_starts)
    if pairs is None:
        kept = np.minimum(counts, max_seq_length - 2)
        cut = int((kept < counts).sum())
        return _assemble(vocabulary, [(first, kept)]), cut
    second = tokenizer.tokenize(pairs)
    others = np.diff(second.line_starts)
    room = max_seq_length - 2 - vocabulary.separators
    kept = np.minimum(counts, np.maximum(room - others, (room + 1) // 2))
    kept_others = np.minimum(others, room - kept)
    cut = int(((kept < counts) | (kept_others < others)).sum())
    return _assemble(vocabulary, [(first, kept), (second, kept_others)]), cut


def describe_unknown(
    path: str, ids: Sequence[np.ndarray], vocabulary: vocab_lib.Vocabulary
) -> str:
    """Return a phrase on the share of [UNK] in a file, and warn if it is not small.

    Args:
        path: of the file.
        ids: token ids, int [tokens] each; [CLS] and [SEP] do not count.
        vocabulary: has the ids of all three.

    Raises:
        ValueError: most tokens are [UNK], so that the vocabulary is for other texts.
    """
    special = (vocabulary.cls_id, vocabulary.sep_id)
    count = sum(len(each) - int(np.isin(each, special).sum()) for each in ids)
    unknown = sum(int((each == vocabulary.unk_id).sum()) for each in ids)
    share = unknown / max(count, 1)
    advice = (
        "name a checkpoint whose vocabulary is made for such text, or pass "
        "--do_lower_case if only capitals are unknown."
    )
    said = f"{share:.2%} of the tokens are [UNK]"
    if share > _UNKNOWN_REFUSED:
        raise ValueError(f"{path}: {said}, which the model cannot tell apart: {advice}")
    if share > _UNKNOWN_WARNED:
        print(f"warning: {path}: {said}: {advice}", file=sys.stderr, flush=True)
    return said


def _assemble(
    vocabulary: vocab_lib.Vocabulary,
    segments: Sequence[tuple[tokenization.TokenizedLines, np.ndarray]],
) -> Sequences:
    """Join [CLS], and for each segment the first tokens of each line and [SEP].

    Args:
        vocabulary: has the ids of [CLS] and [SEP].
        segments: tokens, and how many of each line are kept, int64 [lines].
    """
    more = vocabulary.separators - 1
    lengths = 1 + sum(kept + 1 for _, kept in segments) + more * (len(segments) - 1)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    token_ids = np.full(starts[-1], vocabulary.sep_id, np.int32)
    token_ids[starts[:-1]] = vocabulary.cls_id
    segment_ids = np.zeros(starts[-1], np.int32)
    begins = starts[:-1] + 1
    for number, (tokens, kept) in enumerate(segments):
        within = _count_up(kept)
        sources = np.repeat(tokens.line_starts[:-1], kept) + within
        token_ids[np.repeat(begins, kept) + within] = tokens.ids[sources]
        if vocabulary.segments > 1:
            segment_ids[np.repeat(begins, kept + 1) + _count_up(kept + 1)] = number
        begins = begins + kept + 1 + more
    return Sequences({TOKEN_IDS: token_ids, SEGMENT_IDS: segment_ids}, starts)


def _count_up(counts: np.ndarray) -> np.ndarray:
    """Return 0, 1, ..., counts[0] - 1, 0, 1, ..., counts[1] - 1, ..., int64."""
    before = np.cumsum(counts) - counts
    return np.arange(counts.sum(), dtype=np.int64) - np.repeat(before, counts)


def to_bytes(texts: Iterable[str]) -> bytes:
    """Return texts as data for `compute_fingerprint`.

    JSON's escapes can spell half a character, which strict UTF-8 cannot; the tokenizer
    makes [UNK] of it.
    """
    return "\0".join(texts).encode("utf-8", "surrogatepass")


def compute_fingerprint(data: bytes, **settings) -> str:
    """Return a hexadecimal digest of everything that features depend on.

    Args:
        data: the bytes of the data file.
        settings: all else that changes the arrays, such as vocabulary, length, case and
            columns; anything that JSON can hold.
    """
    digest = hashlib.sha256(data)
    text = json.dumps([_CACHE_VERSION, settings], sort_keys=True, ensure_ascii=False)
    digest.update(text.encode())
    return digest.hexdigest()


def load_or_encode(
    cache_dir: str, name: str, fingerprint: str, encode: Callable[[], Features]
) -> Features:
    """Read features from a cache, or make and keep them.

    Args:
        cache_dir: folder of the cache; "" for none.
        name: of the split, part of the file's name.
        fingerprint: from `compute_fingerprint`; another one is another file.
        encode: makes the features.
    """
    if not cache_dir:
        return encode()
    path = os.path.join(cache_dir, f"{name}-{fingerprint[:16]}.npz")
    if storage.exists(path):
        try:
            return _unpack(storage.read_bytes(path))
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
            print(f"{path} is damaged and is made again.", flush=True)
    features = encode()
    storage.makedirs(cache_dir)
    storage.write_whole(path, _pack(features))
    return features


def _pack(features: Features) -> bytes:
    arrays = {f"column/{name}": array for name, array in features.columns.items()}
    for prefix, each in features.sequences.items():
        arrays[f"starts/{prefix}"] = each.starts
        arrays |= {f"tokens/{prefix}/{name}": a for name, a in each.tokens.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _unpack(data: bytes) -> Features:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        columns, starts, tokens = {}, {}, {}
        for key in arrays.files:
            kind, _, rest = key.partition("/")
            if kind == "column":
                columns[rest] = arrays[key]
            elif kind == "starts":
                starts[rest] = arrays[key]
            else:
                prefix, _, name = rest.partition("/")
                tokens.setdefault(prefix, {})[name] = arrays[key]
    return Features(
        {prefix: Sequences(tokens[prefix], starts[prefix]) for prefix in starts},
        columns,
    )
