"""The flags of encode_sentences, and their values. No TensorFlow here."""

import dataclasses

from absl import flags

from bert_cn.conversion import format_names

# The flags belong to the command that calls `define_flags`: --help lists them there.
flags.disclaim_key_flags()

DTYPES = ("float32", "float16")


@dataclasses.dataclass(frozen=True)
class EncodingArgs:
    """Which lines are encoded, by which checkpoint, and what comes of it."""

    checkpoint: str
    """Anything that convert_checkpoint reads."""

    input_file: str
    """A UTF-8 file; each line is a sentence."""

    output_file: str
    """The .npy file of the vectors; "" for none."""

    dtype: str
    """Of the vectors, one of `DTYPES`."""

    query: tuple[str, ...]
    """Sentences whose neighbours are printed."""

    nearest: int
    """How many neighbours."""

    batch_size: int
    """Sentences that are computed together."""

    max_seq_length: int
    """Longer sentences are cut; 0 to do as the checkpoint's folder says."""

    pooling: str | None
    """One of `format_names.POOLINGS`; None to do as the folder says."""

    normalize: bool | None
    """Give vectors length 1; None to do as the folder says."""

    bert_config_file: str
    """For a TF1 checkpoint without one beside it."""

    vocab_file: str
    """For a checkpoint without a vocabulary."""

    do_lower_case: bool | None
    """None to do as the checkpoint says."""


def define_flags() -> None:
    """Define the flags of `EncodingArgs`."""
    flags.DEFINE_string(
        "checkpoint",
        "",
        "The best/ of run_sentence_bert, or anything that convert_checkpoint reads.",
    )
    flags.DEFINE_alias("init_checkpoint", "checkpoint")
    flags.DEFINE_string("input_file", "", "A UTF-8 file; each line is a sentence.")
    flags.DEFINE_string(
        "output_file",
        "",
        "The .npy file for the vectors, [lines, dimensions] in the order of the lines; "
        "an earlier one is replaced when all are computed.",
    )
    flags.DEFINE_enum("dtype", DTYPES[0], DTYPES, "Of the vectors in the file.")
    flags.DEFINE_multi_string(
        "query", [], "Print the lines nearest to this sentence; may be repeated."
    )
    flags.DEFINE_integer(
        "nearest", 5, "How many lines --query prints, by cosine.", lower_bound=1
    )
    flags.DEFINE_integer("batch_size", 32, "Lines computed together.", lower_bound=1)
    flags.DEFINE_integer(
        "max_seq_length",
        0,
        "Longer lines are cut to so many tokens, [CLS] and [SEP] counted; without the "
        "flag, as the checkpoint's folder says, or as many as the model has positions.",
        lower_bound=0,
    )
    flags.DEFINE_enum(
        "pooling",
        None,
        format_names.POOLINGS,
        "How token states become a vector; without the flag, as the checkpoint's "
        "folder says, or mean.",
    )
    flags.DEFINE_bool(
        "normalize",
        None,
        "Whether vectors have length 1; without the flag, as the checkpoint's folder "
        "says, or no.",
    )
    flags.DEFINE_string(
        "bert_config_file", "", "For a TF1 checkpoint without one beside it."
    )
    flags.DEFINE_string("vocab_file", "", "For a checkpoint without a vocab.txt.")
    flags.DEFINE_bool(
        "do_lower_case",
        None,
        "Whether to lower-case; without the flag, as the checkpoint says.",
    )


def read_flags() -> EncodingArgs:
    """Return the values of the parsed flags.

    Raises:
        ValueError: one is missing, or nothing would come of the vectors.
    """
    values = flags.FLAGS.flag_values_dict()
    for name, advice in (
        ("checkpoint", "name the folder of a checkpoint"),
        ("input_file", "name a file with a sentence on each line"),
    ):
        if not values[name]:
            raise ValueError(f"--{name} is empty: {advice}.")
    if not (values["output_file"] or values["query"]):
        raise ValueError(
            "Nothing to do: name a file for the vectors by --output_file, or a "
            "sentence to find neighbours of by --query."
        )
    for query in values["query"]:
        if not query.strip():
            raise ValueError("--query is empty: write a sentence, or leave it out.")
    if values["max_seq_length"] in (1, 2):
        raise ValueError(
            f"--max_seq_length={values['max_seq_length']} leaves no token beside [CLS] "
            "and [SEP]: raise it."
        )
    values["query"] = tuple(values["query"])
    return EncodingArgs(
        **{field.name: values[field.name] for field in dataclasses.fields(EncodingArgs)}
    )
