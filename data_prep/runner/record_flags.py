"""The flags of create_pretraining_data that decide what the records hold."""

from absl import flags

from data_prep.records import masking, packing, schema
from data_prep.records import settings as settings_lib
from data_prep.records.settings import Settings
from data_prep.text import lines, segmentation, traditional

# The flags belong to the command that calls `define_flags`: --help lists them there.
flags.disclaim_key_flags()

_DEFAULT = Settings()


def define_flags() -> None:
    """Define the flags of `Settings`, except those of the files."""
    _define_text()
    _define_cleaning()
    _define_sequences()
    _define_masking()


def _define_text() -> None:
    flags.DEFINE_bool(
        "do_lower_case",
        _DEFAULT.do_lower_case,
        "Lower-case the text and strip accents (uncased models).",
    )
    flags.DEFINE_enum(
        "segmenter",
        _DEFAULT.segmenter,
        segmentation.SEGMENTERS,
        "Finds the words: rjieba or jieba (Chinese), pkuseg or thulac (more exact, "
        "far slower; extras), whitespace (the text is already segmented), none "
        "(WordPiece's own words, as in google-research/bert).",
    )
    flags.DEFINE_string(
        "user_dict",
        _DEFAULT.user_dict,
        "File of words to add to rjieba's or jieba's dictionary, in jieba's format: "
        "one word a line, and after it, if needed, its frequency and tag.",
    )
    flags.DEFINE_enum(
        "traditional",
        _DEFAULT.traditional,
        traditional.CHOICES,
        "Find the words of traditional text in its simplified form (OpenCC) and mask "
        "the original: in every document (yes), in none (no), or in documents with "
        "more characters of traditional text alone than of simplified text alone "
        "(auto).",
    )
    flags.DEFINE_bool(
        "fix_punctuation",
        _DEFAULT.fix_punctuation,
        "Replace those of “ ” ‘ ’ — … that the vocabulary lacks by characters that it "
        "has.",
    )
    flags.DEFINE_string(
        "text_field",
        _DEFAULT.text_field,
        "Field or column that holds the document in files with fields; several "
        "separated by commas are joined, each on lines of its own.",
    )
    flags.DEFINE_enum(
        "on_bad_utf8",
        _DEFAULT.on_bad_utf8,
        lines.ON_BAD_UTF8,
        "Stop at bytes that are not UTF-8, or read them as U+FFFD, which makes no "
        "token.",
    )


def _define_cleaning() -> None:
    flags.DEFINE_string(
        "filter",
        _DEFAULT.filter,
        "Leave out documents of low quality: fineweb2_zh, the thresholds that "
        "FineWeb-2 publishes for Chinese, or a JSON file of your own.",
    )
    flags.DEFINE_integer(
        "drop_repeated_lines",
        _DEFAULT.drop_repeated_lines,
        "Remove lines that stand in more documents than this, such as menus and "
        "copyright notices; 0: none.",
    )
    flags.DEFINE_enum(
        "deduplicate",
        _DEFAULT.deduplicate,
        settings_lib.DEDUPLICATIONS,
        "Use documents of equal text once (exact), or documents of similar text, the "
        "longest of them (near: MinHash over five characters at a time).",
    )


def _define_sequences() -> None:
    flags.DEFINE_integer(
        "max_seq_length", _DEFAULT.max_seq_length, "Tokens per sequence."
    )
    flags.DEFINE_enum(
        "packing",
        _DEFAULT.packing,
        packing.PACKINGS,
        "A sequence is a pair of stretches of text (pairs), as many full sentences as "
        "fit (full_sentences, as RoBERTa), as many words as fit, without padding "
        "(chunks), or one line (lines).",
    )
    flags.DEFINE_enum(
        "truncation",
        _DEFAULT.truncation,
        packing.TRUNCATIONS,
        "With pairs, text that has no room: opens the next pair (none), or is cut off "
        "as google-research/bert does, which loses a quarter of a text (google).",
    )
    flags.DEFINE_integer(
        "pack_sequences",
        _DEFAULT.pack_sequences,
        "Put up to this many pairs or lines into one record of --max_seq_length, "
        "instead of padding; attention and positions are those of each alone. Needs "
        "--masking_time=dynamic, and only run_pretraining reads such records. 8 leaves "
        "2 percent of padding.",
    )
    flags.DEFINE_enum(
        "sentence_task",
        None,
        packing.SENTENCE_TASKS,
        "Meaning of next_sentence_labels: nsp, 1 = random next (the default with "
        "pairs); sop, 1 = swapped; none, always 0.",
    )
    flags.DEFINE_float(
        "short_seq_prob",
        _DEFAULT.short_seq_prob,
        "Share of documents cut into shorter pairs.",
    )
    flags.DEFINE_integer(
        "dupe_factor",
        _DEFAULT.dupe_factor,
        "Times the text is used, each time with other masks.",
    )
    flags.DEFINE_integer("random_seed", _DEFAULT.random_seed, "Decides every draw.")


def _define_masking() -> None:
    flags.DEFINE_enum(
        "masking",
        None,
        masking.MASKINGS,
        "Mask whole words (wwm), single tokens (token, the default), runs of one to "
        "four whole words as MacBERT does (ngram), or whole words in some sequences "
        "and single tokens in the others (mixed).",
    )
    flags.DEFINE_float(
        "whole_word_share",
        _DEFAULT.whole_word_share,
        "With --masking=mixed, the share of sequences whose whole words are masked.",
    )
    flags.DEFINE_bool(
        "do_whole_word_mask", None, "google-research/bert's spelling of --masking=wwm."
    )
    flags.DEFINE_enum(
        "mask_unit",
        _DEFAULT.mask_unit,
        masking.MASK_UNITS,
        "One draw decides between [MASK], another token and no change: for each token, "
        "as in google-research/bert, or for all tokens of a word.",
    )
    flags.DEFINE_string(
        "similar_words",
        _DEFAULT.similar_words,
        "File of words to show in the place of [MASK], as MacBERT does: one word a "
        "line, a tab, similar words. Words without a similar one of as many tokens "
        "become random tokens.",
    )
    flags.DEFINE_enum(
        "masking_time",
        _DEFAULT.masking_time,
        list(schema.FEATURES_OF),
        "Mask while the records are written (static), or again in each epoch of "
        "run_pretraining (dynamic; each sequence is then stored once, --dupe_factor is "
        "1).",
    )
    flags.DEFINE_float(
        "masked_lm_prob", _DEFAULT.masked_lm_prob, "Share of tokens masked."
    )
    flags.DEFINE_integer(
        "max_predictions_per_seq",
        _DEFAULT.max_predictions_per_seq,
        "Masked tokens per sequence, at most.",
    )
