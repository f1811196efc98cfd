"""The flags of encode_sentences, and their values. No TensorFlow here."""

import dataclasses

from absl import flags

from bert_cn.conversion import format_names

# The flags belong to the command that calls `define_flags`: --help lists them there.
flags.disclaim_key_flags()

DTYPES = ("float32", "float16")


@dataclasses.dataclass(frozen=True)
class EncodeArgs:
    """Which lines to embed, and by which checkpoint."""

    checkpoint: str
    """Anything that convert_checkpoint reads."""

    input_file: str
    """A UTF-8 text file, one sentence a line."""

    output_file: str
    """The .npy file to write; "" for none."""

    dtype: str
    """One of `DTYPES`, that of the file."""

    query: list[str]
    """Sentences whose nearest lines are printed."""

    nearest: int
    """How many lines are printed for each."""

    batch_size: int
    """Lines per batch."""

    max_seq_length: int
    """Tokens that a line is cut to; 0 for what the checkpoint's folder says, or all."""

    pooling: str | None
    """One of `format_names.POOLINGS`; None to do as the checkpoint says."""

    normalize: bool | None
    """Give embeddings length 1; None to do as the checkpoint says."""

    overwrite: bool
    """Replace `output_file`."""


def define_flags() -> None:
    """Define the flags of `EncodeArgs`."""
    flags.DEFINE_string(
        "checkpoint",
        None,
        "A folder of sentence-transformers, or anything else that convert_checkpoint "
        "reads.",
        required=True,
    )
    flags.DEFINE_string(
        "input_file", None, "A UTF-8 text file, one sentence a line.", required=True
    )
    flags.DEFINE_string(
        "output_file",
        "",
        "The .npy file to write, [lines, hidden]; a blank line has its row, too.",
    )
    flags.DEFINE_enum("dtype", "float32", DTYPES, "The type in --output_file.")
    flags.DEFINE_multi_string(
        "query", [], "Print the lines that are nearest to this sentence; repeatable."
    )
    flags.DEFINE_integer(
        "nearest", 5, "How many lines to print for each --query.", lower_bound=1
    )
    flags.DEFINE_integer("batch_size", 64, "Lines per batch.", lower_bound=1)
    flags.DEFINE_integer(
        "max_seq_length",
        0,
        "Tokens that a line is cut to; without the flag, as the checkpoint's folder "
        "says, or as many as the model has positions.",
        lower_bound=0,
    )
    flags.DEFINE_enum(
        "pooling",
        None,
        format_names.POOLINGS,
        "How token states become an embedding; without the flag, as the checkpoint's "
        "folder says, or mean.",
    )
    flags.DEFINE_bool(
        "normalize",
        None,
        "Whether embeddings have length 1; without the flag, as the checkpoint's "
        "folder says, or no.",
    )
    flags.DEFINE_bool("overwrite", False, "Replace an existing --output_file.")


def read_flags() -> EncodeArgs:
    """Return the values of the parsed flags.

    Raises:
        ValueError: nothing is asked for, or a value cannot work.
    """
    values = flags.FLAGS.flag_values_dict()
    names = [field.name for field in dataclasses.fields(EncodeArgs)]
    args = EncodeArgs(**{name: values[name] for name in names})
    if not (args.output_file or args.query):
        raise ValueError(
            "Nothing to do: pass --output_file=vectors.npy, or --query=SENTENCE to see "
            "its nearest lines."
        )
    if args.output_file and not args.output_file.endswith(".npy"):
        raise ValueError(
            f"--output_file={args.output_file} must end with .npy, the format that it "
            "is written in."
        )
    return args
