"""All formats by name: recognise, read and write a checkpoint of any of them."""

import dataclasses
import fnmatch
import os
import re
from collections.abc import Callable

import tensorflow as tf

from bert_cn.conversion import (
    folders,
    format_names,
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
    uer,
)
from bert_cn.model import config as config_lib
from data_prep import storage

Reader = Callable[[str, pretrained.ReadOptions], pretrained.PretrainedBert]
Writer = Callable[[pretrained.PretrainedBert, str, pretrained.WriteOptions], None]


def _describe_nothing(_: pretrained.PretrainedBert) -> list[str]:
    return []


@dataclasses.dataclass(frozen=True)
class Format:
    """One checkpoint format.

    Attributes:
        description: in words, for messages.
        read: path, options -> PretrainedBert; raises ValueError; None for a format that
            is only written.
        write: writes into an empty local folder; None for a format that is only read.
        files: names that `write` makes, `*` for anything.
        describe_differences: says how this model's results or files will differ in the
            format's own software, a sentence each.
        model_types: what it can hold, of `config.MODEL_TYPES`.
        holds_epsilons: whether a BERT may have another epsilon than google-research's.
    """

    description: str
    read: Reader | None = None
    write: Writer | None = None
    files: tuple[str, ...] = ()
    describe_differences: Callable[[pretrained.PretrainedBert], list[str]] = (
        _describe_nothing
    )
    model_types: tuple[str, ...] = (config_lib.BERT,)
    holds_epsilons: bool = False


FORMATS = {
    format_names.TRAINING: Format(
        "training output folder of bert_cn", training_output.read
    ),
    format_names.TF1: Format(
        "TF1 checkpoint of google-research/bert",
        google_tf1.read,
        google_tf1.write,
        google_tf1.FILES,
        google_tf1.describe_differences,
    ),
    format_names.TF2: Format(
        "transformers folder with tf_model.h5",
        transformers_tf2.read,
        transformers_tf2.write,
        transformers_tf2.FILES,
    ),
    format_names.KERAS: Format(
        "KerasHub preset",
        keras_preset.read,
        keras_preset.write,
        keras_preset.FILES,
        keras_preset.describe_differences,
        model_types=config_lib.MODEL_TYPES,
    ),
    format_names.PT: Format(
        "transformers folder with PyTorch weights",
        transformers_pt.read,
        transformers_pt.write,
        transformers_pt.FILES,
        transformers_pt.describe_differences,
        model_types=config_lib.MODEL_TYPES,
        holds_epsilons=True,
    ),
    format_names.SENTENCE_TRANSFORMERS: Format(
        "sentence-transformers folder with mean pooling",
        sentence_transformer.read,
        sentence_transformer.write,
        sentence_transformer.FILES,
        sentence_transformer.describe_differences,
        model_types=config_lib.MODEL_TYPES,
        holds_epsilons=True,
    ),
    format_names.MODEL_GARDEN: Format(
        "TF2 checkpoint of TF Model Garden",
        model_garden.read,
        model_garden.write,
        model_garden.FILES,
        model_garden.describe_differences,
    ),
    format_names.UER: Format("file of UER-py or TencentPretrain", uer.read),
    format_names.ONNX: Format(
        "ONNX model",
        write=onnx_model.write,
        files=onnx_model.FILES,
        model_types=config_lib.MODEL_TYPES,
        holds_epsilons=True,
    ),
}
# Folders of these may lack their configuration.
# Such as bert-base-chinese and hfl/chinese-roberta-wwm-ext.
_HUB_NAME = re.compile(r"([\w.-]+/)?\w[\w.]*-[\w.-]+|[\w.-]+/\w[\w.-]*")
_WITHOUT_CONFIG = (format_names.TF1, format_names.MODEL_GARDEN, format_names.UER)


def find_format(path: str, input_format: str = format_names.AUTO) -> str:
    """Return the name of a checkpoint's format.

    Args:
        path: of the checkpoint.
        input_format: the name; with "auto" the format is recognised by the names and
            the content of the files.

    Raises:
        ValueError: nothing is recognised there, or the format's name is unknown.
    """
    _refuse_pipes(path)
    if input_format != format_names.AUTO:
        if input_format not in format_names.INPUT_FORMATS:
            raise ValueError(
                "The format of a checkpoint must be one of "
                f"{', '.join(format_names.INPUT_FORMATS)} or {format_names.AUTO}. "
                f"Received: {input_format!r}."
            )
        return input_format
    if model_garden.find_prefix(path):
        return format_names.MODEL_GARDEN
    if training_output.find_prefix(path):
        return format_names.TRAINING
    if sentence_transformer.is_sentence_transformer(path):
        return format_names.SENTENCE_TRANSFORMERS
    config_path = folders.join(path, transformers_config.CONFIG_FILE)
    if folders.exists(config_path):
        values = folders.read_json(config_path)
        if keras_preset.is_preset_config(values):
            return format_names.KERAS
        if any(folders.exists(path, name) for name in transformers_pt.WEIGHT_FILES):
            return format_names.PT
        if folders.exists(path, transformers_tf2.WEIGHTS_FILE):
            return format_names.TF2
    if google_tf1.find_prefix(path) is not None:
        return format_names.TF1
    if uer.is_uer_file(path):
        return format_names.UER
    raise ValueError(_unknown(path))


def _refuse_pipes(path: str) -> None:
    """Refuse a file that some reader would wait for without end."""
    if not storage.is_remote(path):
        names = ("", *folders.list_folder(path))
        for file in (os.path.join(path, name) if name else path for name in names):
            storage.check_regular(file)


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
        "folder (config.json with model.safetensors, pytorch_model.bin or "
        f"tf_model.h5), a KerasHub preset or a .bin file of UER-py.{_advise(path)}"
    )


def _advise(path: str) -> str:
    """Return how to get a checkpoint that is named as the Hugging Face Hub names it."""
    owner = os.path.dirname(path)
    if not _HUB_NAME.fullmatch(path) or (owner and folders.exists(owner)):
        return ""
    name = path.rpartition("/")[2]
    return f" A model of the Hugging Face Hub: hf download {path} --local-dir {name}"


def read_checkpoint(
    path: str,
    input_format: str = format_names.AUTO,
    options: pretrained.ReadOptions | None = None,
) -> pretrained.PretrainedBert:
    """Read a checkpoint of any format.

    The configuration and the vocabulary are read now, each weight when it is asked
    for: whoever needs one and then the other hands the result on and reads once.

    Args:
        path: a folder, or for TF1 also a prefix; local or any that `tf.io.gfile` opens.
        input_format: one of `format_names.INPUT_FORMATS`, or "auto" to recognise it.
        options: see `ReadOptions`.

    Raises:
        ValueError: nothing is recognised there, or its reader refuses it.
    """
    options = options or pretrained.ReadOptions()
    name = find_format(path, input_format)
    if options.bert_config_file and name not in _WITHOUT_CONFIG:
        raise ValueError(
            f"--bert_config_file is for checkpoints without one, and {path!r} is a "
            f"{FORMATS[name].description}, which has its own: leave the flag out."
        )
    bert = FORMATS[name].read(path, options)
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
        bert: the model.
        output_format: one of `format_names.OUTPUT_FORMATS`.
        output_dir: the folder to make; local or any that `tf.io.gfile` opens.
        overwrite: replace the folder if it holds an older conversion.
        options: see `WriteOptions`.

    Raises:
        ValueError: the format is unknown or cannot hold the model, or the folder is not
            empty.
    """
    _check_output_format(output_format)
    entry = FORMATS[output_format]
    _check_holds(bert, entry)
    options = options or pretrained.WriteOptions()

    def write(folder: str) -> None:
        entry.write(bert, folder, options)
        model_card.write(bert, output_format, entry.describe_differences(bert), folder)

    folders.write_folder(output_dir, write, overwrite, _is_ours)


def _check_holds(bert: pretrained.PretrainedBert, entry: Format) -> None:
    """Raise ValueError if a format has no place for a model of this kind."""
    config = bert.config
    is_bert = config.model_type == config_lib.BERT
    what = ""
    if config.model_type not in entry.model_types:
        what = f"of type {config.model_type}"
        able = [
            name for name, x in FORMATS.items() if config.model_type in x.model_types
        ]
    elif is_bert and not entry.holds_epsilons:
        if config.layer_norm_eps != config_lib.LAYER_NORM_EPSILON:
            what = f"a BERT with layer_norm_eps={config.layer_norm_eps:g}"
            able = [name for name, x in FORMATS.items() if x.holds_epsilons]
    if what:
        raise ValueError(
            f"{bert.source} is {what}, which a {entry.description} cannot hold: "
            f"choose an --output_format of {', '.join(able)}."
        )


def check_output(output_format: str, output_dir: str, overwrite: bool) -> None:
    """Raise the ValueError that `write_checkpoint` would raise minutes later."""
    _check_output_format(output_format)
    if output_format == format_names.ONNX:
        onnx_model.check_installed()
    if not output_dir:
        raise ValueError("--output_dir is empty: name the folder to write.")
    folders.check_output_folder(output_dir, overwrite, _is_ours)


def _check_output_format(output_format: str) -> None:
    if output_format not in format_names.OUTPUT_FORMATS:
        raise ValueError(
            f"--output_format must be one of {', '.join(format_names.OUTPUT_FORMATS)}. "
            f"Received: {output_format!r}."
        )


def _is_ours(path: str) -> bool:
    name = os.path.basename(path)
    if name == model_card.CARD_FILE:
        return model_card.is_our_card(path)
    return any(
        fnmatch.fnmatchcase(name, pattern)
        for entry in FORMATS.values()
        for pattern in entry.files
    )
