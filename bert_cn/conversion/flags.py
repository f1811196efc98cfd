"""The flags of convert_checkpoint, and their values as one. Imports no TensorFlow."""

import dataclasses

from absl import flags

from bert_cn.conversion import format_names

# The flags belong to the command that calls `define_flags`: --help lists them there.
flags.disclaim_key_flags()

PARTS = ("encoder", "mlm", "pretraining")
_TF2_LAYOUTS = ("transformers", format_names.MODEL_GARDEN)


@dataclasses.dataclass(frozen=True)
class ConversionArgs:
    """One conversion: its input, the changes to it, its output."""

    input: str
    """A folder or prefix, local or any that `tf.io.gfile` opens."""

    input_format: str
    """One of `format_names.INPUT_FORMATS`, or "auto"."""

    bert_config_file: str
    """For a checkpoint without a configuration of its own; "" for none."""

    allow_partial: bool
    """Leave out weights that no BERT has, and heads that lack weights."""

    parts: str | None
    """The parts to keep, one of `PARTS`; None for those of the input."""

    keep_layers: tuple[int, ...] | None
    """The layers to keep, from 0; None for all."""

    vocab_file: str
    """A vocab.txt to use instead of the input's own; "" for none."""

    resize_embeddings: bool
    """Give the model as many rows as `vocab_file` has tokens."""

    add_words: str
    """A file of words to add to the vocabulary; "" for none."""

    resize_positions: int
    """Positions that the model is to have; 0 for those that it has."""

    random_seed: int
    """Decides the rows that `resize_embeddings` draws."""

    do_lower_case: bool | None
    """None to do as the input says."""

    output_format: str
    """One of `format_names.OUTPUT_FORMATS`."""

    output_dir: str
    """The folder to make."""

    overwrite: bool
    """Replace an older conversion in `output_dir`."""

    max_shard_size: str
    """The most that one file of a pt folder may hold, such as "5GB"."""

    xla_device: bool | None
    """Goes into transformers' config.json unless it is None."""

    license: str
    """For the model card; "" if unknown."""


def define_flags() -> None:
    """Define the flags of `ConversionArgs`, and --tf2_layout."""
    _define_input()
    _define_changes()
    _define_output()


def _define_input() -> None:
    flags.DEFINE_string(
        "input",
        "",
        "A training output folder (its newest checkpoint) or OUTPUT_DIR/ckpt-STEP, a "
        "TF1 checkpoint prefix, a transformers or sentence-transformers folder, a "
        "KerasHub preset.",
    )
    flags.DEFINE_enum(
        "input_format",
        format_names.AUTO,
        (format_names.AUTO, *format_names.INPUT_FORMATS),
        "The format of --input; auto recognises it by its files.",
    )
    flags.DEFINE_string(
        "bert_config_file",
        "",
        "For a TF1 checkpoint without a bert_config.json beside it.",
    )
    flags.DEFINE_bool(
        "allow_partial",
        False,
        "Leave out weights that no BERT has, and heads that lack weights.",
    )


def _define_changes() -> None:
    flags.DEFINE_enum(
        "parts",
        None,
        PARTS,
        "The parts to keep: encoder (with its pooler), mlm (and the masked-LM head) or "
        "pretraining (and both heads); without the flag, all that the input has.",
    )
    flags.DEFINE_list(
        "keep_layers", None, "Numbers of the layers to keep, from 0, such as 0,1,2."
    )
    flags.DEFINE_string(
        "vocab_file",
        "",
        "The vocab.txt, if the input has none or if you want another one.",
    )
    flags.DEFINE_bool(
        "resize_embeddings",
        False,
        "Fit the model to --vocab_file, which may have any size: tokens of both "
        "vocabularies keep their rows, new tokens start as the mean of their pieces', "
        "or as the initializer draws them where those are unknown.",
    )
    flags.DEFINE_string(
        "add_words",
        "",
        "Words to add to the vocabulary, one a line: they take the places of [unusedN] "
        "first. Each starts as the mean of its pieces.",
    )
    flags.DEFINE_integer(
        "resize_positions",
        0,
        "Give the model this many positions; the new ones are made of the learned ones "
        "(hierarchical decomposition, Su, 2020). 0 keeps those that it has.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "random_seed",
        12345,
        "Decides the rows that --resize_embeddings draws.",
        lower_bound=0,
        upper_bound=2**32 - 1,
    )
    flags.DEFINE_bool(
        "do_lower_case",
        None,
        "Whether the tokenizer lower-cases; without the flag, as the input says.",
    )


def _define_output() -> None:
    flags.DEFINE_enum(
        "output_format", None, format_names.OUTPUT_FORMATS, "The format to write."
    )
    flags.DEFINE_enum(
        "tf2_layout",
        _TF2_LAYOUTS[0],
        _TF2_LAYOUTS,
        "The older name of --output_format=model_garden is --output_format=tf2 with "
        "--tf2_layout=model_garden.",
    )
    flags.DEFINE_string("output_dir", "", "The folder to write.")
    flags.DEFINE_bool(
        "overwrite", False, "Replace an older conversion in --output_dir."
    )
    flags.DEFINE_string(
        "max_shard_size", "5GB", "The most that one file of a pt folder may hold."
    )
    flags.DEFINE_bool(
        "xla_device", None, "Write this xla_device into transformers' config.json."
    )
    flags.DEFINE_string(
        "license", "", "The licence for the model card, such as apache-2.0."
    )


def read_flags() -> ConversionArgs:
    """Return the values of the parsed flags.

    Raises:
        ValueError: one is missing, is malformed or contradicts another one.
    """
    values = flags.FLAGS.flag_values_dict()
    names = [field.name for field in dataclasses.fields(ConversionArgs)]
    args = {name: values[name] for name in names}
    if not args["input"]:
        raise ValueError("--input is empty: name the checkpoint to convert.")
    if args["output_format"] is None:
        raise ValueError(
            "--output_format is missing: one of "
            f"{', '.join(format_names.OUTPUT_FORMATS)}."
        )
    older_name = (format_names.TF2, format_names.MODEL_GARDEN)
    if (args["output_format"], values["tf2_layout"]) == older_name:
        args["output_format"] = format_names.MODEL_GARDEN
    if args["resize_embeddings"] and not args["vocab_file"]:
        raise ValueError(
            "--resize_embeddings fits the model to another vocabulary: name it by "
            "--vocab_file."
        )
    if args["add_words"] and args["vocab_file"]:
        raise ValueError(
            "--add_words adds to the vocabulary that the checkpoint has, and "
            "--vocab_file names another one: pass one of the two."
        )
    args["keep_layers"] = _parse_layers(args["keep_layers"])
    return ConversionArgs(**args)


def _parse_layers(values: list[str] | None) -> tuple[int, ...] | None:
    if values is None:
        return None
    try:
        return tuple(int(value) for value in values)
    except ValueError as error:
        raise ValueError(
            "--keep_layers must be numbers with commas between, such as 0,1,2. "
            f"Received: {','.join(values)}."
        ) from error
