"""The formats by name: recognise, read and write a checkpoint of any of them."""

import contextlib
import dataclasses
import fnmatch
import os
from collections.abc import Callable

import tensorflow as tf

from bert_cn.conversion import (
    folders,
    google_tf1,
    keras_preset,
    model_card,
    model_garden,
    onnx_model,
    pretrained,
    sentence_transformer,
    training_output,
    transformers_config,
    transformers_pt,
    transformers_tf2,
)

AUTO = "auto"
Reader = Callable[[str, pretrained.ReadOptions], pretrained.PretrainedBert]
Writer = Callable[[pretrained.PretrainedBert, str, pretrained.WriteOptions], None]


@dataclasses.dataclass(frozen=True)
class Format:
    """One checkpoint format.

    Attributes:
        name: as in --input_format and --output_format.
        description: in words, for messages.
        read: path, options -> PretrainedBert; raises ValueError; None for a format that
            is only written.
        write: writes into an empty local folder; None for a format that is only read,
            or written as a layout of another one.
        files: names that `write` makes, `*` for anything.
    """

    name: str
    description: str
    read: Reader | None
    write: Writer | None = None
    files: tuple[str, ...] = ()


_FORMATS = (
    Format("training", "training output folder of bert_cn", training_output.read),
    Format(
        "tf1",
        "TF1 checkpoint of google-research/bert",
        google_tf1.read,
        google_tf1.write,
        google_tf1.FILES,
    ),
    Format(
        "tf2",
        "transformers folder with tf_model.h5",
        transformers_tf2.read,
        transformers_tf2.write,
        transformers_tf2.FILES,
    ),
    Format(
        "keras",
        "KerasHub preset",
        keras_preset.read,
        keras_preset.write,
        keras_preset.FILES,
    ),
    Format(
        "pt",
        "transformers folder with PyTorch weights",
        transformers_pt.read,
        transformers_pt.write,
        transformers_pt.FILES,
    ),
    Format(
        "sentence_transformers",
        "sentence-transformers folder with mean pooling",
        sentence_transformer.read,
        sentence_transformer.write,
        sentence_transformer.FILES,
    ),
    Format(
        model_garden.LAYOUT,
        "TF2 checkpoint of TF Model Garden",
        model_garden.read,
        files=model_garden.FILES,
    ),
    Format("onnx", "ONNX model", None, onnx_model.write, onnx_model.FILES),
)
FORMATS = {entry.name: entry for entry in _FORMATS}
INPUT_FORMATS = tuple(name for name, entry in FORMATS.items() if entry.read)
# Folders of these may lack their configuration.
WITHOUT_CONFIG = ("tf1", model_garden.LAYOUT)
OUTPUT_FORMATS = tuple(name for name, entry in FORMATS.items() if entry.write)


def recognise_format(path: str) -> Format:
    """Say which format lies at a path, by its files' names and their content.

    Raises:
        ValueError: there is nothing, or nothing that is known.
    """
    if model_garden.find_prefix(path):
        return FORMATS[model_garden.LAYOUT]
    if training_output.find_prefix(path):
        return FORMATS["training"]
    if sentence_transformer.is_sentence_transformer(path):
        return FORMATS["sentence_transformers"]
    config_path = folders.join(path, transformers_config.CONFIG_FILE)
    if folders.exists(config_path):
        values = folders.read_json(config_path)
        if keras_preset.is_preset_config(values):
            return FORMATS["keras"]
        if any(folders.exists(path, name) for name in transformers_pt.WEIGHT_FILES):
            return FORMATS["pt"]
        if folders.exists(path, transformers_tf2.WEIGHTS_FILE):
            return FORMATS["tf2"]
    if google_tf1.find_prefix(path) is not None:
        return FORMATS["tf1"]
    raise ValueError(_unknown(path))


def _unknown(path: str) -> str:
    names = folders.list_folder(path)
    if not path or not (names or folders.exists(path)):
        found = "there is nothing there"
    elif not names:
        found = "it is an empty folder or a single file"
    else:
        found = f"it holds {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
    return (
        f"No checkpoint is recognised at {path!r}: {found}. Name a training output "
        "folder, a TF1 checkpoint prefix (folder/bert_model.ckpt), a transformers "
        "folder (config.json with model.safetensors, pytorch_model.bin or tf_model.h5) "
        "or a KerasHub preset."
    )


def find_format(path: str, input_format: str = AUTO) -> Format:
    """Return the format of a checkpoint, recognised if input_format is "auto".

    Raises:
        ValueError: nothing is recognised there, or the format's name is unknown.
    """
    if input_format == AUTO:
        return recognise_format(path)
    if input_format not in INPUT_FORMATS:
        raise ValueError(
            f"The format of a checkpoint must be one of {', '.join(INPUT_FORMATS)} or "
            f"{AUTO}. Received: {input_format!r}."
        )
    return FORMATS[input_format]


def read_checkpoint(
    path: str,
    input_format: str = AUTO,
    options: pretrained.ReadOptions | None = None,
) -> pretrained.PretrainedBert:
    """Read a checkpoint of any format.

    Args:
        path: a folder, or for TF1 also a prefix; local or any that `tf.io.gfile` opens.
        input_format: one of `INPUT_FORMATS`, or "auto" to recognise it.
        options: see `ReadOptions`.

    Raises:
        ValueError: nothing is recognised there, or its reader refuses it.
    """
    options = options or pretrained.ReadOptions()
    entry = find_format(path, input_format)
    if options.bert_config_file and entry.name not in WITHOUT_CONFIG:
        raise ValueError(
            f"--bert_config_file is for checkpoints without one, and {path!r} is a "
            f"{entry.description}, which has its own: leave the flag out."
        )
    bert = entry.read(path, options)
    if not options.any_vocabulary:
        bert.check_vocabulary()
    if not bert.training_notes:
        folder = path if tf.io.gfile.isdir(path) else os.path.dirname(path)
        bert.training_notes = model_card.read_training_notes(folder)
    return bert


def write_checkpoint(
    bert: pretrained.PretrainedBert,
    output_format: str,
    output_dir: str,
    overwrite: bool = False,
    options: pretrained.WriteOptions | None = None,
) -> None:
    """Write a folder of one format, whole or not at all.

    Args:
        bert: what to write.
        output_format: one of `OUTPUT_FORMATS`.
        output_dir: the folder to make; local or any that `tf.io.gfile` opens.
        overwrite: replace the folder if it holds an older conversion.
        options: see `WriteOptions`.

    Raises:
        ValueError: the format is unknown or cannot hold the model, or the folder is not
            empty.
    """
    entry = _writer(output_format)
    options = options or pretrained.WriteOptions()

    def write(folder: str) -> None:
        entry.write(bert, folder, options)
        losses = describe_losses(bert, output_format, options)
        layout = find_layout(output_format, options)
        model_card.write(bert, layout, losses, folder)

    folders.write_folder(output_dir, write, overwrite, _is_ours)


def check_output(output_format: str, output_dir: str, overwrite: bool) -> None:
    """Refuse early what `write_checkpoint` would refuse after minutes of reading."""
    _writer(output_format)
    if output_format == "onnx":
        onnx_model.check_installed()
    if not output_dir:
        raise ValueError("--output_dir is empty: name the folder to write.")
    folders.check_output_folder(output_dir, overwrite, _is_ours)


def _writer(output_format: str) -> Format:
    with contextlib.suppress(KeyError):
        entry = FORMATS[output_format]
        if entry.write:
            return entry
    raise ValueError(
        f"--output_format must be one of {', '.join(OUTPUT_FORMATS)}. Received: "
        f"{output_format!r}."
    )


def _is_ours(path: str) -> bool:
    name = os.path.basename(path)
    if name == model_card.CARD_FILE:
        return model_card.is_our_card(path)
    return any(
        fnmatch.fnmatchcase(name, pattern)
        for entry in _FORMATS
        for pattern in entry.files
    )


def find_layout(output_format: str, options: pretrained.WriteOptions) -> str:
    """Return the name of the format that the options make of another one."""
    is_garden = output_format == "tf2" and options.tf2_layout == model_garden.LAYOUT
    return model_garden.LAYOUT if is_garden else output_format


def describe_losses(
    bert: pretrained.PretrainedBert,
    output_format: str,
    options: pretrained.WriteOptions | None = None,
) -> list[str]:
    """Return what the format's own software computes otherwise, a sentence each."""
    describe = {
        "keras": keras_preset.describe_losses,
        model_garden.LAYOUT: model_garden.describe_losses,
        "pt": transformers_pt.describe_losses,
        "sentence_transformers": sentence_transformer.describe_losses,
        "tf1": google_tf1.describe_losses,
    }.get(find_layout(output_format, options or pretrained.WriteOptions()))
    return describe(bert) if describe else []
