"""Convert a BERT checkpoint from any of the formats into another.

    python -m bert_cn.convert_checkpoint --input=out/tiny --output_format=pt \
        --output_dir=out/tiny_pt

Formats: tf1 (google-research/bert), tf2 (tf_model.h5 of transformers 4, or by
--tf2_layout=model_garden a checkpoint of TF Model Garden), keras
(KerasHub preset), pt (transformers with PyTorch), sentence_transformers (the encoder
with mean pooling), onnx (only written). The input may also be a training output folder.
"""

import sys
import time

import numpy as np
from absl import flags

from bert_cn.conversion import (
    formats,
    pretrained,
    surgery,
    tokenizer_files,
    transformers_pt,
    weight_map,
)
from bert_cn.conversion.weight_map import Part
from data_prep import command_line
from data_prep.text import vocab as vocab_lib

_PARTS_BY_NAME = {
    "encoder": (Part.ENCODER, Part.POOLER),
    "mlm": (Part.ENCODER, Part.POOLER, Part.MLM),
    "pretraining": weight_map.ALL_PARTS,
}

_INPUT = flags.DEFINE_string(
    "input",
    "",
    "A training output folder (its newest checkpoint) or OUTPUT_DIR/ckpt-STEP, a TF1 "
    "checkpoint prefix, a transformers or sentence-transformers folder, a KerasHub "
    "preset.",
)
_INPUT_FORMAT = flags.DEFINE_enum(
    "input_format",
    formats.AUTO,
    (formats.AUTO, *formats.INPUT_FORMATS),
    "The format of --input; auto recognises it by its files.",
)
_OUTPUT_FORMAT = flags.DEFINE_enum(
    "output_format", None, formats.OUTPUT_FORMATS, "The format to write."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "", "The folder to write.")
_VOCAB_FILE = flags.DEFINE_string(
    "vocab_file",
    "",
    "The vocab.txt, where the input has none or another shall be used.",
)
_RESIZE_EMBEDDINGS = flags.DEFINE_bool(
    "resize_embeddings",
    False,
    "Fit the model to --vocab_file, of whatever size: tokens of both vocabularies keep "
    "their rows, new tokens get rows as the initializer draws them.",
)
_RANDOM_SEED = flags.DEFINE_integer(
    "random_seed",
    12345,
    "Decides the rows that --resize_embeddings draws.",
    lower_bound=0,
    upper_bound=2**32 - 1,
)
_KEEP_LAYERS = flags.DEFINE_list(
    "keep_layers", None, "Numbers of the layers to keep, from 0, such as 0,1,2."
)
_DO_LOWER_CASE = flags.DEFINE_bool(
    "do_lower_case",
    None,
    "Whether the tokenizer lower-cases; without the flag, what the input says.",
)
_BERT_CONFIG_FILE = flags.DEFINE_string(
    "bert_config_file", "", "For a TF1 checkpoint without a bert_config.json beside it."
)
_PARTS = flags.DEFINE_enum(
    "parts",
    None,
    tuple(_PARTS_BY_NAME),
    "What to keep: the encoder with its pooler, with the masked-LM head too, or all of "
    "a pretraining model; without the flag, what the input has.",
)
_ALLOW_PARTIAL = flags.DEFINE_bool(
    "allow_partial",
    False,
    "Leave out weights that no BERT has, and heads that lack weights.",
)
_MAX_SHARD_SIZE = flags.DEFINE_string(
    "max_shard_size", "5GB", "The most that one file of a pt folder may hold."
)
_TF2_LAYOUT = flags.DEFINE_enum(
    "tf2_layout",
    "transformers",
    ("transformers", "model_garden"),
    "What --output_format=tf2 writes: a tf_model.h5 for transformers 4, or an "
    "object-based checkpoint for TF Model Garden.",
)
_XLA_DEVICE = flags.DEFINE_bool(
    "xla_device", None, "Write this xla_device into transformers' config.json."
)
_LICENSE = flags.DEFINE_string(
    "license", "", "The licence for the model card, such as apache-2.0."
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, "Replace an older conversion in --output_dir."
)


def main(arguments: list[str]) -> None:
    """Read, say what was read, write, say what was written."""
    command_line.refuse_arguments(arguments)
    if not _INPUT.value:
        raise ValueError("--input is empty: name the checkpoint to convert.")
    if _OUTPUT_FORMAT.value is None:
        raise ValueError(
            f"--output_format is missing: one of {', '.join(formats.OUTPUT_FORMATS)}."
        )
    formats.check_output(_OUTPUT_FORMAT.value, _OUTPUT_DIR.value, _OVERWRITE.value)
    transformers_pt.check_shard_size(_MAX_SHARD_SIZE.value)
    bert = _read()
    options = pretrained.WriteOptions(_MAX_SHARD_SIZE.value, _TF2_LAYOUT.value)
    for warning in formats.describe_losses(bert, _OUTPUT_FORMAT.value, options):
        print(f"warning: {warning}", file=sys.stderr)
    started = time.monotonic()
    formats.write_checkpoint(
        bert,
        _OUTPUT_FORMAT.value,
        _OUTPUT_DIR.value,
        _OVERWRITE.value,
        options,
    )
    written = formats.FORMATS[formats.find_layout(_OUTPUT_FORMAT.value, options)]
    print(
        f"Wrote {_OUTPUT_DIR.value} ({written.description}) in "
        f"{time.monotonic() - started:.1f} s."
    )


def _read() -> pretrained.PretrainedBert:
    started = time.monotonic()
    entry = formats.find_format(_INPUT.value, _INPUT_FORMAT.value)
    print(f"Reading {_INPUT.value}: {entry.description}.", flush=True)
    options = pretrained.ReadOptions(
        _BERT_CONFIG_FILE.value,
        _ALLOW_PARTIAL.value,
        any_vocabulary=bool(_VOCAB_FILE.value),
    )
    bert = formats.read_checkpoint(_INPUT.value, entry.name, options)
    if bert.left_out:
        print(weight_map.describe_names("Left out", bert.left_out, most=20))
    bert = _change(bert)
    step = "" if bert.global_step is None else f" at step {bert.global_step}"
    print(
        f"Read {len(bert.weights)} weights ({bert.count_parameters():,} parameters: "
        f"{', '.join(bert.parts)}){step} in {time.monotonic() - started:.1f} s."
    )
    _print_tokenizer(bert)
    return bert


def _change(bert: pretrained.PretrainedBert) -> pretrained.PretrainedBert:
    """Do what the flags ask for between reading and writing."""
    if _PARTS.value is not None:
        bert.keep_parts(_PARTS_BY_NAME[_PARTS.value])
    if _KEEP_LAYERS.value is not None:
        bert = surgery.keep_layers(bert, _parse_layers(_KEEP_LAYERS.value))
        print(f"Kept layers {','.join(_KEEP_LAYERS.value)}.")
    if _RESIZE_EMBEDDINGS.value:
        bert = _resize(bert)
    elif _VOCAB_FILE.value:
        earlier = bert.vocabulary
        bert.set_vocabulary(vocab_lib.load_vocabulary(_VOCAB_FILE.value))
        _warn_of_renamed_tokens(earlier, bert.vocabulary)
    if _DO_LOWER_CASE.value is not None:
        bert.do_lower_case = _DO_LOWER_CASE.value
    bert.xla_device, bert.license_name = _XLA_DEVICE.value, _LICENSE.value
    return bert


def _parse_layers(values: list[str]) -> list[int]:
    try:
        return [int(value) for value in values]
    except ValueError as error:
        raise ValueError(
            "--keep_layers must be numbers with commas between, such as 0,1,2. "
            f"Received: {','.join(values)}."
        ) from error


def _resize(bert: pretrained.PretrainedBert) -> pretrained.PretrainedBert:
    if not _VOCAB_FILE.value:
        raise ValueError(
            "--resize_embeddings fits the model to another vocabulary: name it by "
            "--vocab_file."
        )
    vocabulary = vocab_lib.load_vocabulary(_VOCAB_FILE.value)
    rng = np.random.default_rng(_RANDOM_SEED.value)
    resized = surgery.resize_vocabulary(bert, vocabulary, rng)
    kept, _ = surgery.find_kept_rows(bert.vocabulary, vocabulary)
    print(
        f"Resized the embeddings from {bert.config.vocab_size:,} to "
        f"{len(vocabulary):,} rows: {len(kept):,} are kept, "
        f"{len(vocabulary) - len(kept):,} are drawn with "
        f"--random_seed={_RANDOM_SEED.value}, "
        f"{bert.config.vocab_size - len(kept):,} are dropped."
    )
    return resized


def _warn_of_renamed_tokens(
    earlier: vocab_lib.Vocabulary | None, vocabulary: vocab_lib.Vocabulary
) -> None:
    """Say which rows now belong to other tokens, as when [unusedN] are given words."""
    if earlier is None:
        return
    pairs = zip(earlier.tokens, vocabulary.tokens, strict=False)
    renamed = [(old, new) for old, new in pairs if old != new]
    if renamed:
        old, new = renamed[0]
        print(
            f"warning: {len(renamed):,} ids have another token in {_VOCAB_FILE.value} "
            f"than in the checkpoint's vocabulary (the first: {old!r} is now {new!r}) "
            "and keep their rows; if tokens only moved, pass --resize_embeddings.",
            file=sys.stderr,
        )


def _print_tokenizer(bert: pretrained.PretrainedBert) -> None:
    if bert.vocabulary is None:
        print(
            f"warning: {_INPUT.value} has no vocabulary, so no tokenizer files are "
            "written; name one by --vocab_file.",
            file=sys.stderr,
        )
        return
    lower_case = tokenizer_files.lower_case(bert)
    guessed = (
        " (not recorded; guessed from whether the vocabulary has capital letters, "
        "--do_lower_case says otherwise)"
        if bert.do_lower_case is None
        else ""
    )
    print(
        f"Vocabulary of {len(bert.vocabulary)} tokens, "
        f"do_lower_case={str(lower_case).lower()}{guessed}."
    )


if __name__ == "__main__":
    command_line.run_command(main)
