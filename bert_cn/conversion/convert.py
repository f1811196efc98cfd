"""Convert one checkpoint, and print what was read, changed and written."""

import sys
import time

import numpy as np

from bert_cn.conversion import (
    formats,
    pretrained,
    surgery,
    tokenizer_files,
    transformers_pt,
    weight_map,
)
from bert_cn.conversion.flags import ConversionArgs
from bert_cn.conversion.weight_map import Part
from bert_cn.model import config as config_lib
from data_prep.text import added_words
from data_prep.text import vocab as vocab_lib

# Each of `flags.PARTS` -> the parts of a model that it keeps.
_KEPT_PARTS = {
    "encoder": weight_map.ENCODER_PARTS,
    "mlm": (*weight_map.ENCODER_PARTS, Part.MLM),
    "pretraining": weight_map.ALL_PARTS,
}


def convert(args: ConversionArgs) -> None:
    """Read, change and write a checkpoint.

    Raises:
        ValueError: it cannot be read, changed or written as the flags say.
    """
    # Refuse now what would fail after minutes of reading.
    formats.check_output(args.output_format, args.output_dir, args.overwrite)
    transformers_pt.check_shard_size(args.max_shard_size)

    started = time.monotonic()
    bert = _change(_read(args), args)
    step = "" if bert.global_step is None else f" at step {bert.global_step}"
    print(
        f"Read {len(bert.weights)} weights ({bert.count_parameters():,} parameters: "
        f"{', '.join(bert.parts)}){step} in {time.monotonic() - started:.1f} s."
    )
    _print_tokenizer(bert, args)

    entry = formats.FORMATS[args.output_format]
    for warning in entry.describe_differences(bert):
        _warn(warning)
    started = time.monotonic()
    formats.write_checkpoint(
        bert,
        args.output_format,
        args.output_dir,
        args.overwrite,
        pretrained.WriteOptions(args.max_shard_size),
    )
    print(
        f"Wrote {args.output_dir} ({entry.description}) in "
        f"{time.monotonic() - started:.1f} s."
    )


def _read(args: ConversionArgs) -> pretrained.PretrainedBert:
    name = formats.find_format(args.input, args.input_format)
    print(f"Reading {args.input}: {formats.FORMATS[name].description}.", flush=True)
    options = pretrained.ReadOptions(
        bert_config_file=args.bert_config_file,
        allow_partial=args.allow_partial,
        any_vocabulary=bool(args.vocab_file),
    )
    bert = formats.read_checkpoint(args.input, name, options)
    if bert.left_out:
        print(weight_map.describe_names("Left out", bert.left_out, most=20))
    return bert


def _change(
    bert: pretrained.PretrainedBert, args: ConversionArgs
) -> pretrained.PretrainedBert:
    _check_changes(bert, args)
    if args.parts is not None:
        bert.keep_parts(_KEPT_PARTS[args.parts])
    if args.keep_layers is not None:
        bert = surgery.keep_layers(bert, args.keep_layers)
        print(f"Kept layers {','.join(map(str, args.keep_layers))}.")
    if args.resize_positions:
        positions = bert.config.max_position_embeddings
        bert = surgery.resize_positions(bert, args.resize_positions)
        print(f"Extended the positions from {positions} to {args.resize_positions}.")
    if args.add_words:
        words = added_words.load_words(args.add_words)
        bert = _resize(bert, surgery.add_words(bert, words), args.random_seed)
    elif args.resize_embeddings:
        vocabulary = vocab_lib.load_vocabulary(args.vocab_file)
        bert = _resize(bert, vocabulary, args.random_seed)
    elif args.vocab_file:
        earlier = bert.vocabulary
        bert.set_vocabulary(vocab_lib.load_vocabulary(args.vocab_file))
        _warn_of_renamed_tokens(earlier, bert.vocabulary)
    if args.do_lower_case is not None:
        bert.do_lower_case = args.do_lower_case
    bert.xla_device, bert.license_name = args.xla_device, args.license
    return bert


def _check_changes(bert: pretrained.PretrainedBert, args: ConversionArgs) -> None:
    """Raise ValueError if a flag asks for a change that this model cannot have."""
    if bert.config.model_type == config_lib.BERT:
        return
    for name in (
        *("resize_positions", "add_words", "resize_embeddings", "vocab_file"),
        "do_lower_case",
    ):
        if getattr(args, name):
            raise ValueError(
                f"--{name} is for BERT, and {args.input} is of type "
                f"{bert.config.model_type}, which keeps its own tokenizer and "
                "positions: leave the flag out."
            )


def _resize(
    bert: pretrained.PretrainedBert, vocabulary: vocab_lib.Vocabulary, seed: int
) -> pretrained.PretrainedBert:
    resized = surgery.resize_vocabulary(bert, vocabulary, np.random.default_rng(seed))
    kept, _ = surgery.find_kept_rows(bert.vocabulary, vocabulary)
    means = len(surgery.find_pieces(bert, vocabulary))
    print(
        f"Resized the embeddings from {bert.config.vocab_size:,} to "
        f"{len(vocabulary):,} rows: {len(kept):,} are kept, {means:,} are means of "
        f"their pieces' rows, {len(vocabulary) - len(kept) - means:,} are drawn with "
        f"--random_seed={seed}, {bert.config.vocab_size - len(kept):,} are dropped."
    )
    return resized


def _warn_of_renamed_tokens(
    earlier: vocab_lib.Vocabulary | None, vocabulary: vocab_lib.Vocabulary
) -> None:
    """Count the rows that now belong to other tokens, such as a renamed [unused1]."""
    if earlier is None:
        return
    pairs = zip(earlier.tokens, vocabulary.tokens, strict=False)
    renamed = [(old, new) for old, new in pairs if old != new]
    if renamed:
        old, new = renamed[0]
        _warn(
            f"{len(renamed):,} ids have another token in {vocabulary.path} than in the "
            f"checkpoint's vocabulary (the first: {old!r} is now {new!r}) and keep "
            "their rows; if tokens only moved, pass --resize_embeddings."
        )


def _print_tokenizer(bert: pretrained.PretrainedBert, args: ConversionArgs) -> None:
    if bert.vocabulary is None:
        _warn(
            f"{args.input} has no vocabulary, so no tokenizer files are written; name "
            "one by --vocab_file."
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


def _warn(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr)
