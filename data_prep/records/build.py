"""One bucket of documents -> its records: the function that every runner calls.

The golden sentence as a record: its features, before they are encoded.

>>> from tests.data_prep.worked_example import masked, sequences, vocabulary
>>> for name, values in build_features(sequences, masked, np.array([False])).items():
...     print(name, *values[0].astype(int))
input_ids 3 219 220 221 222 5 5 225 226 227 228 229 230 231 232 151 86 150 74 4
input_mask 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
segment_ids 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
next_sentence_labels 0
masked_lm_positions 5 6 18
masked_lm_ids 223 224 195
masked_lm_weights 1 1 1
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from data_prep.records import (
    compact,
    masking,
    packing,
    pairs,
    row_packing,
    schema,
    sequences,
    similar_words,
    tfrecords,
    token_counts,
)
from data_prep.records import counts as counting
from data_prep.records.settings import Settings
from data_prep.text import counts as counts_lib
from data_prep.text import documents as documents_lib
from data_prep.text import (
    punctuation,
    quality_filter,
    segmentation,
    traditional,
    vocab,
)

# Sequences that are masked and encoded at a time.
_BLOCK_SEQUENCES = 4096
# Counts that a bucket without any sequence would lack.
_SEQUENCE_COUNTS = (
    "sequences",
    "parts",
    "random_next",
    "random_next_same_text",
    "swapped",
    "sequence_tokens",
    "masked_tokens",
    "budget_tokens",
    "budgets_filled",
    "words_masked_in_part",
)


@dataclasses.dataclass(frozen=True)
class Block:
    """Some finished records.

    Attributes:
        records: serialized, see `tfrecords.encode_examples`.
        counts: to add to those of earlier blocks.
        done: share of the bucket that is finished, from 0 to 1.
    """

    records: list[bytes]
    counts: counts_lib.Counts
    done: float


class BucketRecordMaker:
    """Makes the records of buckets; builds the costly tokenizer once.

    Args:
        settings: checked settings.
        vocabulary: the WordPiece vocabulary.
    """

    def __init__(self, settings: Settings, vocabulary: vocab.Vocabulary):
        self._settings = settings
        self._vocabulary = vocabulary
        self._document_tokenizer = _build_tokenizer(settings, vocabulary)
        self._thresholds = None
        if settings.filter:
            self._thresholds = read_thresholds(settings)
            self._segment = segmentation.build_segmenter(settings.segmenter)
        self._similar_words = None
        if settings.similar_words:
            self._similar_words = similar_words.build(
                settings.similar_words,
                settings.similar_words_sha256,
                vocabulary,
                settings.do_lower_case,
            )

    def make(
        self, documents: Sequence[tuple[str, int]], bucket: int
    ) -> Iterator[Block]:
        """Yield one bucket's records, shuffled, in blocks.

        Args:
            documents: the bucket's texts, in the order of their hashes, and the times
                that each is used.
            bucket: the bucket's number; with the seed it decides every draw.
        """
        tokenized, counts = self._tokenize(documents)
        yield Block([], counts, 0.0)
        spans, labels, counts = self._pack(tokenized, bucket)
        yield Block([], counts, 0.0)
        # The stream after that of packing: shuffling and masks.
        rng = self._generator(bucket, 1)
        rows = self._choose_rows(spans, rng)
        known = sequences.mark_known_words(
            tokenized.tokens, tokenized.word_starts, self._vocabulary
        )
        for first in range(0, len(rows), _BLOCK_SEQUENCES):
            block = rows[first : first + _BLOCK_SEQUENCES]
            words, parts = self._lay_out(tokenized, spans, labels, known, block)
            choices = self._list_choices(words)
            masked = self._mask(choices, rng)
            counts = self._count(words, masked, parts)
            counts[token_counts.NAME] = token_counts.count_tokens(choices)
            records = self._encode(choices, masked, parts)
            yield Block(records, counts, (first + len(block)) / len(rows))

    def _tokenize(self, documents: Sequence[tuple[str, int]]):
        """Return (documents as they are packed, their counts)."""
        documents, filtered = self._filter(documents)
        # Equal texts stand side by side, the one with most copies last.
        distinct = dict(documents)
        duplicates = len(documents) - len(distinct)
        dropped = 0
        if self._settings.deduplicate == "exact":
            documents, dropped = list(distinct.items()), duplicates
        texts = [text for text, copies in documents for _ in range(copies)]
        counts = dict.fromkeys(_SEQUENCE_COUNTS, 0)
        counts |= {
            "duplicate_documents": duplicates,
            "duplicates_dropped": dropped,
            "copies_added": len(texts) - len(documents),
        }
        tokenized = self._document_tokenizer.tokenize(texts)
        counts |= filtered | tokenized.counts
        if self._settings.packing in packing.ACROSS_DOCUMENTS:
            tokenized = packing.join_documents(tokenized, self._vocabulary.sep_id)
        return tokenized, counts

    def _filter(
        self, documents: Sequence[tuple[str, int]]
    ) -> tuple[Sequence[tuple[str, int]], dict]:
        """Return the documents that pass --filter, and counts by rule."""
        if self._thresholds is None:
            return documents, {}
        kept, problems = [], {}
        for text, copies in documents:
            words = self._list_words(text)
            problem = quality_filter.find_problem(text, words, self._thresholds)
            if problem:
                problems[problem] = problems.get(problem, 0) + 1
            else:
                kept.append((text, copies))
        return kept, {
            "documents_filtered": len(documents) - len(kept),
            "filtered_by_rule": problems,
        }

    def _list_words(self, text: str) -> list[str]:
        places = [*np.flatnonzero(self._segment(text)).tolist(), len(text)]
        words = (text[start:end].strip() for start, end in itertools.pairwise(places))
        return [word for word in words if word]

    def _pack(self, tokenized: documents_lib.TokenizedDocuments, bucket: int):
        """Return (spans, next_sentence_labels, counts) of all copies."""
        copies = self._settings.dupe_factor
        if self._settings.packing == "pairs":
            packed = self._pack_pairs(tokenized, self._generator(bucket, 0))
        else:
            # Nothing is drawn: the copies are equal.
            packed = self._pack_copy(tokenized)
            packed = packing.Packed(
                np.tile(packed.spans, (copies, 1)), np.tile(packed.labels, copies)
            )
        spans, labels = packed.spans, packed.labels
        counts = {
            "truncated_tokens": packed.truncated_tokens,
            "dropped_tokens": packed.dropped_tokens,
        }
        if self._settings.sentence_task == "nsp":
            counts["random_next_same_text"] = counting.count_same_text(
                tokenized, spans, labels.astype(bool)
            )
        return spans, labels, counts

    def _pack_pairs(self, tokenized, rng) -> packing.Packed:
        settings = self._settings
        rules = pairs.PairRules(
            settings.max_text_tokens,
            settings.short_seq_prob,
            settings.sentence_task,
            settings.truncation,
            fill_rows=settings.pack_sequences > 1,
        )
        clause_ends = self._document_tokenizer.ends_clause(tokenized.tokens)
        return pairs.make_pairs(
            tokenized, clause_ends, rules, rng, settings.dupe_factor
        )

    def _pack_copy(self, tokenized) -> packing.Packed:
        longest = self._settings.max_text_tokens
        if self._settings.packing == "lines":
            return packing.make_lines(tokenized)
        if self._settings.packing == "full_sentences":
            return packing.make_full_sentences(tokenized, longest)
        return packing.make_chunks(tokenized, longest)

    def _choose_rows(self, spans, rng) -> np.ndarray:
        """Return the sequences of each record in a random order, [rows, most]."""
        settings = self._settings
        if settings.pack_sequences == 1:
            return rng.permutation(len(spans))[:, None]
        lengths = sequences.count_tokens(spans)
        return row_packing.pack_rows(
            lengths, settings.max_seq_length, settings.pack_sequences, rng
        )

    def _lay_out(self, tokenized, spans, labels, known, rows):
        """Return rows as `Sequences`, and their parts, see `sequences.list_parts`."""
        is_part = rows >= 0
        chosen = rows[is_part]
        length = self._settings.max_seq_length
        built = sequences.build_sequences(
            tokenized, spans[chosen], known, length, self._vocabulary
        )
        parts = np.zeros((*rows.shape, compact.NUMBERS_PER_PART), np.int64)
        parts[is_part] = sequences.list_parts(built, labels[chosen])
        if self._settings.pack_sequences > 1:
            built = sequences.join_rows(built, rows, self._vocabulary.pad_id)
        return built, parts

    def _list_choices(self, words: sequences.Sequences) -> sequences.Sequences:
        """Return the sequences; their words are those that masking chooses from."""
        if self._settings.masking == "token":
            return sequences.split_words(words, self._vocabulary)
        return words

    def _mask(self, choices: sequences.Sequences, rng) -> masking.MaskedSequences:
        if self._settings.masking_time == "dynamic":
            return masking.leave_unmasked(choices.input_ids)
        rules = self._settings.masking_rules
        return masking.mask_sequences(
            choices, rules, self._vocabulary, rng, self._similar_words
        )

    def _count(self, words, masked, parts) -> counts_lib.Counts:
        settings = self._settings
        num_labels = int(parts[:, :, 2].sum())
        budgets = masking.count_budgets(words.lengths, settings.masking_rules)
        return {
            "sequences": len(parts),
            "parts": int((parts[:, :, 0] > 0).sum()),
            "random_next": num_labels * (settings.sentence_task == "nsp"),
            "swapped": num_labels * (settings.sentence_task == "sop"),
            "sequence_tokens": int(words.lengths.sum()),
            "masked_tokens": int(masked.num_predictions.sum()),
            "budget_tokens": int(budgets.sum()),
            "budgets_filled": int((masked.num_predictions == budgets).sum()),
            **counting.measure_sequences(words, masked),
        }

    def _encode(self, choices, masked, parts) -> list[bytes]:
        settings = self._settings
        if settings.masking_time == "dynamic":
            rows = compact.encode(choices, parts, len(self._vocabulary))
            features = {schema.SEQUENCES: rows}
        else:
            features = build_features(choices, masked, parts[:, 0, 2] > 0)
        return tfrecords.encode_examples(features, settings.feature_names)

    def _generator(self, bucket: int, stream: int) -> np.random.Generator:
        seed = np.random.SeedSequence([self._settings.random_seed, bucket, stream])
        return np.random.default_rng(seed)


def build_features(
    choices: sequences.Sequences,
    masked: masking.MaskedSequences,
    labels: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return the `schema.FEATURES` of some records: name -> array [records, values].

    Args:
        choices: the sequences; their words are those that masking chooses from.
        masked: the same sequences after masking.
        labels: bool [records], next_sentence_labels.
    """
    columns = np.arange(choices.input_ids.shape[1])
    predictions = np.arange(masked.positions.shape[1])
    in_use = predictions < masked.num_predictions[:, None]
    return {
        schema.INPUT_IDS: masked.input_ids,
        schema.INPUT_MASK: columns < choices.lengths[:, None],
        schema.SEGMENT_IDS: choices.segment_ids,
        schema.NEXT_SENTENCE_LABELS: labels[:, None].astype(np.uint8),
        schema.MASKED_LM_POSITIONS: masked.positions,
        schema.MASKED_LM_IDS: masked.labels,
        schema.MASKED_LM_WEIGHTS: in_use.astype(np.float32),
    }


def read_user_words(
    settings: Settings, simplifier: traditional.Simplifier | None
) -> list[segmentation.UserWord]:
    """Read the user dictionary; add each word's simplified form if there is one.

    Args:
        settings: name the dictionary.
        simplifier: makes the simplified text that is segmented, or None.

    Raises:
        ValueError: the file cannot be read, or is not the one of the settings.
    """
    if not settings.user_dict:
        return []
    words, sha256 = segmentation.load_user_dict(settings.user_dict)
    if sha256 != settings.user_dict_sha256:
        raise ValueError(
            f"--user_dict={settings.user_dict} has changed since the run began: run "
            "the command again."
        )
    if simplifier is None or settings.traditional == "no":
        return list(words)
    simplified = simplifier.simplify([entry.word for entry in words])
    return [
        dataclasses.replace(entry, word=form)
        for entry, other in zip(words, simplified, strict=True)
        for form in dict.fromkeys((entry.word, other))
    ]


def read_thresholds(settings: Settings) -> quality_filter.Thresholds:
    """Read the table of --filter.

    Raises:
        ValueError: the file cannot be read, or is not the one of the settings.
    """
    thresholds, sha256 = quality_filter.load_thresholds(settings.filter)
    if sha256 != settings.filter_sha256:
        raise ValueError(
            f"--filter={settings.filter} has changed since the run began: run the "
            "command again."
        )
    return thresholds


def _build_tokenizer(
    settings: Settings, vocabulary: vocab.Vocabulary
) -> documents_lib.DocumentTokenizer:
    simplifier = None
    # Only a dictionary tells traditional words from simplified ones.
    if settings.segmenter in segmentation.WITH_DICTIONARY:
        simplifier = traditional.Simplifier(settings.traditional)
    substitutes = None
    if settings.fix_punctuation:
        substitutes = punctuation.choose_substitutes(vocabulary)
    user_words = read_user_words(settings, simplifier)
    return documents_lib.DocumentTokenizer(
        vocabulary,
        settings.do_lower_case,
        segmentation.build_segmenter(settings.segmenter, user_words),
        settings.max_text_tokens,
        simplifier,
        substitutes,
    )
