"""One group of documents -> its records: the function that every runner calls."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from data_prep.records import counts as counting
from data_prep.records import masking, packing, schema, sequences, tfrecords
from data_prep.records.settings import Settings
from data_prep.text import counts as counts_lib
from data_prep.text import documents as documents_lib
from data_prep.text import punctuation, segmentation, traditional, vocab

# Sequences that are masked and encoded at a time.
_BLOCK_SEQUENCES = 4096
# Counts that a group without any sequence would lack.
_SEQUENCE_COUNTS = (
    "sequences",
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
    """Some finished records, what to add to the counts, share of the group done."""

    records: list[bytes]
    counts: counts_lib.Counts
    done: float


class GroupRecordMaker:
    """Turns groups into records; holds what is costly to build.

    Args:
        settings: checked settings.
        vocabulary: the WordPiece vocabulary.
    """

    def __init__(self, settings: Settings, vocabulary: vocab.Vocabulary):
        self._settings = settings
        self._vocabulary = vocabulary
        self._document_tokenizer = _build_tokenizer(settings, vocabulary)

    def make(self, documents: Sequence[str], group: int) -> Iterator[Block]:
        """Yield one group's records, shuffled, in blocks.

        Args:
            documents: the group's texts, in the order of their hashes.
            group: the group's number; with the seed it decides every draw.
        """
        settings = self._settings
        distinct = list(dict.fromkeys(documents))
        duplicates = len(documents) - len(distinct)
        if settings.deduplicate:
            documents = distinct
        dropped = duplicates if settings.deduplicate else 0
        counts = dict.fromkeys(_SEQUENCE_COUNTS, 0)
        counts |= {"duplicate_documents": duplicates, "duplicates_dropped": dropped}
        tokenized = self._document_tokenizer.tokenize(documents)
        yield Block([], counts | tokenized.counts, 0.0)
        if settings.packing == "full_sentences":
            tokenized = packing.join_documents(tokenized, self._vocabulary.sep_id)
        spans, labels, counts = self._pack(tokenized, group)
        yield Block([], counts, 0.0)
        # The stream after those of the copies: shuffling and masks.
        rng = self._generator(group, settings.dupe_factor)
        order = rng.permutation(len(spans))
        known = sequences.mark_known_words(
            tokenized.tokens, tokenized.word_starts, self._vocabulary
        )
        for first in range(0, len(order), _BLOCK_SEQUENCES):
            rows = order[first : first + _BLOCK_SEQUENCES]
            built = sequences.build_sequences(
                tokenized,
                spans[rows],
                known,
                settings.max_seq_length,
                self._vocabulary,
            )
            done = (first + len(rows)) / len(order)
            yield Block(*self._mask(built, labels[rows], rng), done)

    def _pack(self, tokenized: documents_lib.TokenizedDocuments, group: int):
        """Return (spans, next_sentence_labels, counts) of all copies."""
        clause_ends = self._document_tokenizer.ends_clause(tokenized.tokens)
        packed = [
            self._pack_copy(tokenized, clause_ends, self._generator(group, copy))
            for copy in range(self._settings.dupe_factor)
        ]
        counts = {
            "truncated_tokens": sum(copy.truncated_tokens for copy in packed),
            "dropped_tokens": sum(copy.dropped_tokens for copy in packed),
        }
        spans = np.concatenate([copy.spans for copy in packed])
        labels = np.concatenate([copy.labels for copy in packed])
        if self._settings.sentence_task == "nsp":
            counts["random_next_same_text"] = counting.count_same_text(
                tokenized, spans, labels.astype(bool)
            )
        return spans, labels, counts

    def _pack_copy(self, tokenized, clause_ends, rng) -> packing.Packed:
        settings = self._settings
        longest = settings.max_text_tokens
        if settings.packing == "lines":
            return packing.make_lines(tokenized)
        if settings.packing == "full_sentences":
            return packing.make_full_sentences(tokenized, longest)
        return packing.make_pairs(
            tokenized,
            clause_ends,
            longest,
            settings.short_seq_prob,
            settings.sentence_task,
            rng,
        )

    def _mask(self, built, labels, rng: np.random.Generator):
        """Return (records, counts) of some sequences."""
        settings = self._settings
        rules = settings.masking_rules
        words = built
        if rules.masking == "token":
            built = sequences.split_words(built, self._vocabulary)
        budgets = masking.count_budgets(built.lengths, rules)
        if settings.masking_time == "static":
            masked = masking.mask_sequences(built, rules, self._vocabulary, rng)
        else:
            masked = masking.leave_unmasked(built.input_ids)
        features = _sequence_features(built, masked.input_ids, labels)
        if settings.masking_time == "static":
            features |= _prediction_features(masked)
        else:
            features[schema.WORD_IDS] = sequences.number_words(built)
        records = tfrecords.encode_examples(features, settings.feature_names)
        counts = {
            "sequences": len(records),
            "random_next": int(labels.sum()) * (settings.sentence_task == "nsp"),
            "swapped": int(labels.sum()) * (settings.sentence_task == "sop"),
            "sequence_tokens": int(built.lengths.sum()),
            "masked_tokens": int(masked.num_predictions.sum()),
            "budget_tokens": int(budgets.sum()),
            "budgets_filled": int((masked.num_predictions == budgets).sum()),
            **counting.measure_sequences(words, masked),
        }
        return records, counts

    def _generator(self, group: int, stream: int) -> np.random.Generator:
        seed = np.random.SeedSequence([self._settings.random_seed, group, stream])
        return np.random.default_rng(seed)


def _build_tokenizer(settings, vocabulary) -> documents_lib.DocumentTokenizer:
    shadow = None
    # Only a dictionary tells traditional words from simplified ones.
    if settings.segmenter in segmentation.WITH_DICTIONARY:
        shadow = traditional.Simplifier(settings.traditional)
    substitutes = None
    if settings.fix_punctuation:
        substitutes = punctuation.choose_substitutes(vocabulary)
    return documents_lib.DocumentTokenizer(
        vocabulary,
        settings.do_lower_case,
        segmentation.build_segmenter(
            settings.segmenter, read_user_words(settings, shadow)
        ),
        settings.max_text_tokens,
        shadow,
        substitutes,
    )


def read_user_words(settings, shadow) -> list[segmentation.UserWord]:
    """Read the user dictionary; words for shadows are added in simplified form too.

    Args:
        settings: `Settings`, or a manifest.
        shadow: a `traditional.Simplifier`, or None.

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
    if shadow is None or settings.traditional == "no":
        return list(words)
    simplified = shadow.simplify([entry.word for entry in words])
    return [
        dataclasses.replace(entry, word=form)
        for entry, other in zip(words, simplified, strict=True)
        for form in dict.fromkeys((entry.word, other))
    ]


def _sequence_features(built, input_ids, labels) -> dict[str, np.ndarray]:
    columns = np.arange(input_ids.shape[1])
    return {
        schema.INPUT_IDS: input_ids,
        schema.INPUT_MASK: columns < built.lengths[:, None],
        schema.SEGMENT_IDS: built.segment_ids,
        schema.NEXT_SENTENCE_LABELS: labels[:, None].astype(np.uint8),
    }


def _prediction_features(masked: masking.MaskedSequences) -> dict[str, np.ndarray]:
    columns = np.arange(masked.positions.shape[1])
    in_use = columns < masked.num_predictions[:, None]
    return {
        schema.MASKED_LM_POSITIONS: masked.positions,
        schema.MASKED_LM_IDS: masked.labels,
        schema.MASKED_LM_WEIGHTS: in_use.astype(np.float32),
    }
