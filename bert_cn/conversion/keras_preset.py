"""KerasHub presets: BertBackbone and BertTokenizer, as save_to_preset writes them.

A BertBackbone has no masked-LM and next-sentence heads, and KerasHub's own BertMaskedLM
computes another head (exact GELU, LayerNorm epsilon 1e-5). So the heads stand beside
the preset in heads.weights.h5, an HDF5 file with one dataset for each canonical name,
and bert_config.json holds the activation and the dropout rates under Google's names.
`read` takes both files; KerasHub ignores them.
"""

import os
import tempfile
from collections.abc import Sequence

import h5py
import keras_hub
import numpy as np

from bert_cn.conversion import (
    folders,
    hdf5,
    keras_roberta,
    keras_weights,
    pretrained,
    tokenizer_files,
    weight_map,
)
from bert_cn.conversion.weight_map import Part
from bert_cn.model import config as config_lib
from bert_cn.training import run_files
from data_prep import command_line, storage
from data_prep.text import vocab as vocab_lib

PRESET_CONFIG_FILE = "config.json"
PRESET_WEIGHTS_FILE = "model.weights.h5"
PRESET_TOKENIZER_FILE = "tokenizer.json"
PRESET_VOCAB_FILE = "assets/tokenizer/vocabulary.txt"
HEADS_FILE = "heads.weights.h5"
FILES = (
    PRESET_CONFIG_FILE,
    PRESET_WEIGHTS_FILE,
    "model.weights.json",
    PRESET_TOKENIZER_FILE,
    "metadata.json",
    "assets",
    HEADS_FILE,
    run_files.CONFIG_FILE,
    run_files.VOCAB_FILE,
    run_files.TOKENIZER_CONFIG_FILE,
    keras_roberta.TOKENIZER_FILE,
    "special_tokens_map.json",
)
_BACKBONES = (keras_hub.models.BertBackbone, *keras_roberta.BACKBONES.values())
_HEAD_PARTS = (Part.MLM, Part.NSP)


def is_preset_config(values: dict) -> bool:
    """Say whether a parsed config.json is one of a KerasHub preset."""
    return "registered_name" in values and "class_name" in values


def read(path: str, options: pretrained.ReadOptions) -> pretrained.PretrainedBert:
    """Read a KerasHub preset folder of a BertBackbone.

    Raises:
        ValueError: files are missing or damaged, or the preset is of another model.
    """
    values = folders.read_json(folders.join(path, PRESET_CONFIG_FILE))
    kinds = {kind.__name__: kind for kind in _BACKBONES}
    kind = kinds.get(values.get("class_name"))
    if kind is None:
        raise ValueError(
            f"{path} is a preset of {values.get('class_name')!r}, and only "
            f"{', '.join(kinds)} can be converted: name another folder."
        )
    names = [name for name in folders.list_folder(path) if name != "assets"]
    with folders.local_copy(path, names) as local:
        _check_files(local, path)
        try:
            # A relative path may be the name of one of KerasHub's own presets, which
            # it would download.
            backbone = kind.from_preset(os.path.abspath(local))
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"KerasHub cannot load the preset {path} "
                f"({command_line.first_line(error)}): copy it again."
            ) from error
        if kind is not keras_hub.models.BertBackbone:
            return _read_roberta(path, local, backbone, options)
        config = _read_config(path, backbone)
        weights = keras_weights.canonical_from_model(backbone, weight_map.ENCODER_PARTS)
        weights = weights.replace(_read_heads(local, path))
    return pretrained.PretrainedBert(
        config=config,
        weights=weights,
        source=path,
        allow_partial=options.allow_partial,
        **_read_tokenizer(path),
    )


def _read_roberta(
    path: str, local: str, backbone, options: pretrained.ReadOptions
) -> pretrained.PretrainedBert:
    config = keras_roberta.config_of(backbone)
    if folders.exists(path, run_files.CONFIG_FILE):
        config = config_lib.load_config(folders.join(path, run_files.CONFIG_FILE))
    encoder = keras_roberta.read_encoder(backbone, config)
    with tempfile.TemporaryDirectory(prefix="bert_cn_") as work:
        vocabulary = keras_roberta.read_tokenizer(path, work)
    return pretrained.PretrainedBert(
        config=config,
        weights=encoder | _read_heads(local, path),
        source=path,
        vocabulary=vocabulary,
        do_lower_case=False,
        allow_partial=options.allow_partial,
    )


def _check_files(local: str, path: str) -> None:
    for name in sorted(os.listdir(local)):
        if not name.endswith(".h5"):
            continue
        shown = folders.join(path, name)
        try:
            with h5py.File(os.path.join(local, name), "r") as file:
                hdf5.check_self_contained(file, shown)
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"{shown} cannot be read ({command_line.first_line(error)}): copy it "
                "again."
            ) from error


def _read_config(
    path: str, backbone: keras_hub.models.BertBackbone
) -> config_lib.BertConfig:
    if folders.exists(path, run_files.CONFIG_FILE):
        return config_lib.load_config(folders.join(path, run_files.CONFIG_FILE))
    return keras_weights.config_of(backbone)


def _read_heads(local: str, path: str) -> dict[str, np.ndarray]:
    file_name = os.path.join(local, HEADS_FILE)
    if not os.path.exists(file_name):
        return {}
    heads = {}

    def visit(name: str, item) -> None:
        if isinstance(item, h5py.Dataset):
            heads[name] = np.asarray(item, np.float32)  # Small beside the encoder.

    try:
        with h5py.File(file_name, "r") as file:
            file.visititems(visit)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"{folders.join(path, HEADS_FILE)} cannot be read "
            f"({command_line.first_line(error)}): copy it again."
        ) from error
    return heads


def _read_tokenizer(path: str) -> dict:
    fields = tokenizer_files.read_tokenizer_files(path)
    if fields["vocabulary"] is None and folders.exists(path, PRESET_VOCAB_FILE):
        vocab_file = folders.join(path, PRESET_VOCAB_FILE)
        fields["vocabulary"] = vocab_lib.load_vocabulary(vocab_file)
    if fields["do_lower_case"] is None and folders.exists(path, PRESET_TOKENIZER_FILE):
        values = folders.read_json(folders.join(path, PRESET_TOKENIZER_FILE))
        fields["do_lower_case"] = values.get("config", {}).get("lowercase")
    return fields


def describe_differences(bert: pretrained.PretrainedBert) -> list[str]:
    """Say how KerasHub's results will differ from this model's."""
    if bert.config.model_type != config_lib.BERT:
        return keras_roberta.describe_differences(bert)
    losses = tokenizer_files.describe_lost_words(bert, "KerasHub's BertTokenizer")
    if bert.config.hidden_act != config_lib.GELU_TANH:
        losses.append(
            "KerasHub's BertBackbone always computes the tanh approximation of GELU, "
            "and this model was trained with the exact one: each activation moves by "
            "up to 5e-4, outputs by more (3e-3 in a real model of 6 layers)."
        )
    if bert.vocabulary is None or not tokenizer_files.lower_case(bert):
        return losses
    if _is_chinese(bert.vocabulary):
        losses.append(
            "KerasHub's BertTokenizer lower-cases by case folding, which turns ，into "
            "',' and gives other ids for most Chinese sentences; so the preset says "
            "lowercase=False: lower-case text yourself before you tokenize it."
        )
    else:
        losses.append(
            "KerasHub's BertTokenizer lower-cases by case folding, which gives other "
            "ids for full-width and compatibility characters."
        )
    return losses


def _is_chinese(vocabulary: vocab_lib.Vocabulary) -> bool:
    """Say whether a tenth of the tokens are single Han characters.

    They are 35 % of Google's Chinese vocabulary and 1 % of its English ones.
    """
    han = sum(
        len(token) == 1 and vocab_lib.is_han(token) for token in vocabulary.tokens
    )
    return han * 10 >= len(vocabulary)


def write(
    bert: pretrained.PretrainedBert, folder: str, _: pretrained.WriteOptions
) -> None:
    """Write a preset, the heads and the vocabulary into a local folder.

    Raises:
        ValueError: the model has no pooler, which a BertBackbone always has.
    """
    if bert.config.model_type != config_lib.BERT:
        _write_roberta(bert, folder)
        return
    if not bert.has(Part.POOLER):
        raise ValueError(
            f"{bert.source} has no pooler, and a KerasHub preset needs one: choose "
            "another --output_format."
        )
    backbone = _build_backbone(bert.config)
    keras_weights.assign_to_model(backbone, bert.weights, weight_map.ENCODER_PARTS)
    backbone.save_to_preset(folder)
    if bert.vocabulary is not None:
        lower_case = tokenizer_files.lower_case(bert)
        lowercase = lower_case and not _is_chinese(bert.vocabulary)
        keras_hub.models.BertTokenizer(
            vocabulary=list(bert.vocabulary.tokens),
            lowercase=lowercase,
            strip_accents=lowercase,
        ).save_to_preset(folder)
    _write_heads(bert, os.path.join(folder, HEADS_FILE))
    storage.write_whole(
        os.path.join(folder, run_files.CONFIG_FILE), bert.config.to_json()
    )
    tokenizer_files.write_vocabulary(bert, folder)


def _write_roberta(bert: pretrained.PretrainedBert, folder: str) -> None:
    keras_roberta.check(bert)
    backbone = keras_roberta.build_backbone(bert.config)
    keras_roberta.assign(backbone, bert)
    backbone.save_to_preset(folder)
    keras_roberta.write_tokenizer(bert, folder)
    _write_heads(bert, os.path.join(folder, HEADS_FILE), keras_roberta.HEAD_PARTS)
    storage.write_whole(
        os.path.join(folder, run_files.CONFIG_FILE), bert.config.to_json()
    )


def _build_backbone(
    config: config_lib.BertConfig,
) -> keras_hub.models.BertBackbone:
    """Build KerasHub's own class: whoever loads the preset does not have ours."""
    return keras_hub.models.BertBackbone(
        vocabulary_size=config.vocab_size,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        hidden_dim=config.hidden_size,
        intermediate_dim=config.intermediate_size,
        dropout=config.hidden_dropout_prob,
        max_sequence_length=config.max_position_embeddings,
        num_segments=config.type_vocab_size,
        name="bert",
    )


def _write_heads(
    bert: pretrained.PretrainedBert, path: str, parts: Sequence[Part] = _HEAD_PARTS
) -> None:
    heads = [part for part in parts if bert.has(part)]
    if not heads:
        return
    with h5py.File(path, "w") as file:
        for weight in weight_map.list_weights(bert.config, heads):
            file.create_dataset(weight.name, data=bert.weights[weight.name])
