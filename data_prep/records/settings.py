"""The settings that, with text and vocabulary, decide the bytes of the records."""

import dataclasses
import math

from data_prep.records import masking as masking_lib
from data_prep.records import packing as packing_lib
from data_prep.records import schema, tfrecords
from data_prep.text import corpus, lines, segmentation, traditional

# The records to train on, and those of the documents that are held out.
SPLITS = ("train", "eval")
DEDUPLICATIONS = ("none", "exact", "near")

# Tokens of a sequence: compact records count them in 16 bits.
_LONGEST = 65_535


@dataclasses.dataclass(frozen=True)
class Settings:
    """Flags of create_pretraining_data that change the records.

    Names and meaning are google-research/bert's where it has the flag. The order is
    that of the manifest, whose keys they are.
    """

    feature_names: str = "google"
    """Key of `schema.RECORD_NAMES`, the spelling of the features on disk."""

    compression: str = "none"
    """Key of `tfrecords.COMPRESSIONS`: how whole record files are compressed."""

    text_field: str = "text"
    """Fields that hold the document in files with fields, separated by commas."""

    on_bad_utf8: str = "fail"
    """One of `lines.ON_BAD_UTF8`: how to read bytes that are not UTF-8."""

    max_seq_length: int = 128
    """Tokens per sequence."""

    max_predictions_per_seq: int = 20
    """Masked positions per sequence."""

    sentence_task: str = "nsp"
    """One of `packing.SENTENCE_TASKS`; with "none" every next_sentence_label is 0."""

    packing: str = "pairs"
    """One of `packing.PACKINGS`: the content of a sequence."""

    truncation: str = "none"
    """One of `packing.TRUNCATIONS`: what becomes of text that does not fit a pair."""

    pack_sequences: int = 1
    """Sequences that share a record of max_seq_length, at most."""

    do_lower_case: bool = True
    """Lower-case the text and strip accents."""

    segmenter: str = "rjieba"
    """One of `segmentation.SEGMENTERS`: finds the words."""

    user_dict: str = ""
    """Path of the dictionary that is added to the segmenter's, or ""."""

    user_dict_sha256: str = ""
    """Hash of the dictionary's bytes, or ""."""

    traditional: str = "auto"
    """One of `traditional.CHOICES`: documents to segment in simplified form."""

    fix_punctuation: bool = False
    """Replace punctuation that the vocabulary lacks."""

    masking: str = "token"
    """One of `masking.MASKINGS`: the tokens that are masked together."""

    mask_unit: str = "token"
    """One of `masking.MASK_UNITS`: the tokens that share one draw of 80/10/10."""

    whole_word_share: float = 0.5
    """With `masking` "mixed", the share of sequences whose whole words are masked."""

    similar_words: str = ""
    """Path of the words that take the place of [MASK], or ""."""

    similar_words_sha256: str = ""
    """Hash of that file's bytes, or ""."""

    masking_time: str = "static"
    """Key of `schema.FEATURES_OF`; "dynamic" records are masked while training."""

    dupe_factor: int = 10
    """Copies of the corpus, each with other masks."""

    masked_lm_prob: float = 0.15
    """Share of tokens to mask."""

    short_seq_prob: float = 0.1
    """Share of documents that are cut into shorter sequences."""

    random_seed: int = 12345
    """Decides every draw."""

    eval_fraction: float = 0.0
    """Share of the documents that are held out, to evaluate on."""

    eval_documents: int = 0
    """Number of the documents that are held out, to evaluate on."""

    split: str = "train"
    """One of `SPLITS`: which of the documents these records are made of."""

    filter: str = ""
    """A table of thresholds, see `quality_filter.load_thresholds`; "" for none."""

    filter_sha256: str = ""
    """Hash of that table's bytes, or ""."""

    drop_repeated_lines: int = 0
    """Lines that stand in more documents than this are removed; 0 for none."""

    deduplicate: str = "none"
    """One of `DEDUPLICATIONS`: which documents are used once."""

    @property
    def max_text_tokens(self) -> int:
        """Tokens of a sequence that are text, not [CLS] or [SEP]."""
        return self.max_seq_length - packing_lib.SPECIAL_TOKENS[self.packing]

    @property
    def masking_rules(self) -> masking_lib.MaskingRules:
        """The rules by which sequences are masked."""
        return masking_lib.MaskingRules(
            self.masked_lm_prob,
            self.max_predictions_per_seq,
            self.masking,
            self.mask_unit,
            self.whole_word_share,
        )

    @property
    def reading_rules(self) -> corpus.ReadingRules:
        """The rules by which input files are read."""
        return corpus.ReadingRules(self.text_field, self.on_bad_utf8)

    def check(self) -> None:
        """Raise ValueError for a value that cannot work, with the flag's name."""
        self._check_ranges()
        self._check_choices()
        self._check_combinations()

    def _check_ranges(self) -> None:
        smallest = max(packing_lib.SPECIAL_TOKENS.values()) + 2
        rules = (
            (
                "max_seq_length",
                smallest <= self.max_seq_length <= _LONGEST,
                f"from {smallest} to {_LONGEST:,}",
            ),
            (
                "max_predictions_per_seq",
                1 <= self.max_predictions_per_seq <= _LONGEST,
                f"from 1 to {_LONGEST:,}",
            ),
            ("random_seed", 0 <= self.random_seed < 1 << 63, "0 or more, below 2^63"),
            ("dupe_factor", self.dupe_factor >= 1, "1 or more"),
            ("pack_sequences", self.pack_sequences >= 1, "1 or more"),
            ("masked_lm_prob", 0 < self.masked_lm_prob <= 1, "over 0 and at most 1"),
            ("short_seq_prob", 0 <= self.short_seq_prob <= 1, "from 0 to 1"),
            ("eval_fraction", 0 <= self.eval_fraction < 1, "0 or more, below 1"),
            ("drop_repeated_lines", self.drop_repeated_lines >= 0, "0 or more"),
            ("eval_documents", self.eval_documents >= 0, "0 or more"),
            ("whole_word_share", 0 <= self.whole_word_share <= 1, "from 0 to 1"),
        )
        for name, holds, rule in rules:
            if not holds:
                raise ValueError(
                    f"--{name}={getattr(self, name)} cannot work: it must be {rule}."
                )

    def _check_choices(self) -> None:
        choices = (
            ("masking", masking_lib.MASKINGS),
            ("mask_unit", masking_lib.MASK_UNITS),
            ("masking_time", tuple(schema.FEATURES_OF)),
            ("sentence_task", packing_lib.SENTENCE_TASKS),
            ("packing", packing_lib.PACKINGS),
            ("deduplicate", DEDUPLICATIONS),
            ("truncation", packing_lib.TRUNCATIONS),
            ("segmenter", segmentation.SEGMENTERS),
            ("traditional", traditional.CHOICES),
            ("on_bad_utf8", lines.ON_BAD_UTF8),
            ("feature_names", tuple(schema.RECORD_NAMES)),
            ("compression", tuple(tfrecords.COMPRESSIONS)),
        )
        for name, known in choices:
            if getattr(self, name) not in known:
                raise ValueError(
                    f"--{name}={getattr(self, name)} is unknown: choose one of "
                    f"{', '.join(known)}."
                )

    def _check_combinations(self) -> None:
        dictionaries = segmentation.WITH_DICTIONARY
        if self.masking_time == "dynamic" and self.dupe_factor != 1:
            raise ValueError(
                f"--dupe_factor={self.dupe_factor} has no use with "
                "--masking_time=dynamic, which stores each sequence once and masks it "
                "again in each epoch: leave --dupe_factor out."
            )
        if self.masking_time == "dynamic" and self.feature_names != "google":
            raise ValueError(
                f"--feature_names={self.feature_names} has no use with "
                "--masking_time=dynamic, whose records no other program reads: leave "
                "it out."
            )
        if self.packing != "pairs" and self.sentence_task != "none":
            raise ValueError(
                f"--packing={self.packing} makes sequences of one part, and "
                f"--sentence_task={self.sentence_task} compares two: use "
                "--sentence_task=none or --packing=pairs."
            )
        if self.packing != "pairs" and self.truncation != "none":
            raise ValueError(
                f"--truncation={self.truncation} is for pairs, and --packing="
                f"{self.packing} truncates nothing: leave it out."
            )
        if self.pack_sequences > 1:
            self._check_packed()
        if self.eval_fraction and self.eval_documents:
            raise ValueError(
                "--eval_fraction and --eval_documents both say how much is held out: "
                "pass one of the two."
            )
        if self.masking == "token" and self.mask_unit != "token":
            raise ValueError(
                f"--mask_unit={self.mask_unit} has no use with --masking=token, which "
                "draws for each token: leave it out, or mask whole words."
            )
        if self.similar_words and self.masking == "token":
            raise ValueError(
                "--similar_words has no use with --masking=token, which masks no "
                "words: mask whole words, such as --masking=ngram, which is MacBERT's."
            )
        if self.similar_words and self.masking_time == "dynamic":
            raise ValueError(
                "--similar_words has no use with --masking_time=dynamic: use static "
                "masks, and --dupe_factor for several of them."
            )
        if self.traditional == "yes" and self.segmenter not in dictionaries:
            raise ValueError(
                f"--traditional=yes has no use with --segmenter={self.segmenter}, "
                "which has no dictionary: leave it out, or use --segmenter="
                f"{' or '.join(dictionaries)}."
            )
        if self.user_dict and self.segmenter not in dictionaries:
            raise ValueError(
                f"--segmenter={self.segmenter} has no dictionary that --user_dict "
                "could add to: use --segmenter="
                f"{' or '.join(dictionaries)}."
            )

    def _check_packed(self) -> None:
        name = f"--pack_sequences={self.pack_sequences}"
        if self.packing in packing_lib.ACROSS_DOCUMENTS:
            raise ValueError(
                f"{name} has no use with --packing={self.packing}, which fills each "
                "sequence: leave it out, or use --packing=pairs or lines."
            )
        if self.masking_time != "dynamic":
            raise ValueError(
                f"{name} needs --masking_time=dynamic: no other records have a place "
                "for several sequences."
            )
        if self.truncation != "none":
            raise ValueError(
                f"{name} goes with --truncation=none alone, not with "
                f"{self.truncation}: leave one of them out."
            )

    def missing_predictions(self) -> int | None:
        """Return the max_predictions_per_seq that masked_lm_prob needs, or None.

        None says that there are enough. With fewer, a smaller share of the longest
        sequences is masked.
        """
        needed = math.ceil(self.max_seq_length * self.masked_lm_prob - 0.5)
        return needed if needed > self.max_predictions_per_seq else None
