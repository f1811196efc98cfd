"""KerasHub presets of RobertaBackbone and XLMRobertaBackbone.

KerasHub numbers positions from 0 and has no segment, so that its position table is ours
from the first position on, with the one segment's row added to each: the sums are the
same. It has no pooler and no heads; they stand beside the preset as `keras_preset` has
them, and so does the tokenizer's own file. The encoder is read back to the same
outputs; the rows of the padding's position and of the segment are 0 then.
"""

import json
import os
import shutil

import keras_hub
import numpy as np

from bert_cn.conversion import (
    fast_tokenizer,
    folders,
    pretrained,
    weight_map,
)
from bert_cn.conversion.weight_map import Part
from bert_cn.model import config as config_lib
from data_prep import storage

BACKBONES = {
    config_lib.ROBERTA: keras_hub.models.RobertaBackbone,
    config_lib.XLM_ROBERTA: keras_hub.models.XLMRobertaBackbone,
}
# KerasHub's preset has a tokenizer.json of its own.
TOKENIZER_FILE = "fast_tokenizer.json"
# Names in a folder of transformers -> names in a preset.
_OWN_FILES = {
    fast_tokenizer.TOKENIZER_FILE: TOKENIZER_FILE,
    "tokenizer_config.json": "tokenizer_config.json",
    "special_tokens_map.json": "special_tokens_map.json",
}
# KerasHub's, of every LayerNorm.
EPSILON = 1e-5
HEAD_PARTS = (Part.POOLER, Part.MLM)
_SENTENCEPIECE = "sentencepiece.bpe.model"
_ASSETS = "assets/tokenizer"
# KerasHub's asset -> the name in a folder of transformers.
_ASSET_NAMES = {
    "vocabulary.json": "vocab.json",
    "merges.txt": "merges.txt",
    "vocabulary.spm": _SENTENCEPIECE,
}
_WORDS = "bert/embeddings/word_embeddings"
_POSITIONS = "bert/embeddings/position_embeddings"
_SEGMENTS = "bert/embeddings/token_type_embeddings"


def check(bert: pretrained.PretrainedBert) -> None:
    """Raise ValueError if KerasHub would compute another function."""
    config = bert.config
    if config.layer_norm_eps != EPSILON or config.hidden_act != config_lib.GELU_EXACT:
        raise ValueError(
            f"{bert.source} has layer_norm_eps={config.layer_norm_eps:g} and "
            f"hidden_act={config.hidden_act}, and KerasHub has {EPSILON:g} and exact "
            "GELU: choose another --output_format."
        )


def describe_differences(bert: pretrained.PretrainedBert) -> list[str]:
    """Say what KerasHub's software will not have."""
    said = []
    vocabulary = bert.vocabulary
    if isinstance(vocabulary, fast_tokenizer.FastVocabulary) and not _has_assets(bert):
        said.append(
            "KerasHub's XLMRobertaTokenizer needs sentencepiece.bpe.model, which "
            f"{bert.source} lacks, so that the preset has no tokenizer; "
            f"{TOKENIZER_FILE} is that of the tokenizers library."
        )
    return said


def _has_assets(bert: pretrained.PretrainedBert) -> bool:
    if bert.config.model_type == config_lib.ROBERTA:
        return True
    return _SENTENCEPIECE in bert.vocabulary.files


def build_backbone(config: config_lib.BertConfig):
    """Build KerasHub's own model of this size, with random weights."""
    return BACKBONES[config.model_type](
        vocabulary_size=config.vocab_size,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        hidden_dim=config.hidden_size,
        intermediate_dim=config.intermediate_size,
        dropout=config.hidden_dropout_prob,
        max_sequence_length=config.max_length,
        name="bert",
    )


def _variables(backbone) -> dict[str, object]:
    """Return canonical name -> variable, for all but segments.

    Raises:
        ValueError: the backbone has other variables than are known here.
    """
    config = config_of(backbone)
    variables = {variable.path: variable for variable in backbone.variables}
    named = {
        _WORDS: backbone.embeddings.token_embedding.embeddings,
        _POSITIONS: backbone.embeddings.position_embedding.position_embeddings,
    }
    for weight in weight_map.list_weights(config, (Part.ENCODER,)):
        if weight.keras in variables:
            named[weight.name] = variables[weight.keras]
    known = {weight.name for weight in weight_map.list_weights(config, (Part.ENCODER,))}
    missing = sorted(known - set(named) - {_SEGMENTS})
    if missing:
        raise ValueError(
            f"KerasHub's backbone has no variable for {missing[0]}: this release of "
            "KerasHub is not known here."
        )
    return named


def config_of(backbone) -> config_lib.BertConfig:
    """Return the configuration of a backbone."""
    model_type = config_lib.ROBERTA
    if isinstance(backbone, keras_hub.models.XLMRobertaBackbone):
        model_type = config_lib.XLM_ROBERTA
    return config_lib.BertConfig(
        vocab_size=backbone.vocabulary_size,
        hidden_size=backbone.hidden_dim,
        num_hidden_layers=backbone.num_layers,
        num_attention_heads=backbone.num_heads,
        intermediate_size=backbone.intermediate_dim,
        hidden_act=config_lib.GELU_EXACT,
        hidden_dropout_prob=backbone.dropout,
        attention_probs_dropout_prob=backbone.dropout,
        # RoBERTa's padding has the id 1, and tokens begin at position 2.
        max_position_embeddings=backbone.max_sequence_length + 2,
        type_vocab_size=1,
        model_type=model_type,
        pad_token_id=1,
        layer_norm_eps=EPSILON,
    )


def assign(backbone, bert: pretrained.PretrainedBert) -> None:
    """Put the encoder's weights into a backbone."""
    for name, variable in _variables(backbone).items():
        array = bert.weights[name]
        if name == _POSITIONS:
            array = array[bert.config.first_position :] + bert.weights[_SEGMENTS][0]
        variable.assign(np.reshape(array, variable.shape))


def read_encoder(backbone, config: config_lib.BertConfig) -> dict[str, np.ndarray]:
    """Return the encoder's weights of a backbone by their canonical names."""
    shapes = {
        weight.name: weight.shape
        for weight in weight_map.list_weights(config, (Part.ENCODER,))
    }
    weights = {
        name: np.asarray(variable.numpy())
        for name, variable in _variables(backbone).items()
    }
    padding = np.zeros((config.first_position, config.hidden_size), np.float32)
    weights[_POSITIONS] = np.concatenate([padding, weights[_POSITIONS]])
    weights[_SEGMENTS] = np.zeros((1, config.hidden_size), np.float32)
    return {name: np.reshape(weights[name], shape) for name, shape in shapes.items()}


def write_tokenizer(bert: pretrained.PretrainedBert, folder: str) -> None:
    """Write KerasHub's tokenizer, where it has one, and the library's own file."""
    vocabulary = bert.vocabulary
    if vocabulary is None:
        return
    for name, here in _OWN_FILES.items():
        if name in vocabulary.files:
            storage.write_whole(os.path.join(folder, here), vocabulary.files[name])
    if not _has_assets(bert):
        return
    if bert.config.model_type == config_lib.XLM_ROBERTA:
        proto = vocabulary.files[_SENTENCEPIECE]
        tokenizer = keras_hub.models.XLMRobertaTokenizer(proto=proto)
    else:
        model = json.loads(vocabulary.tokenizer.to_str())["model"]
        merges = [x if isinstance(x, str) else " ".join(x) for x in model["merges"]]
        # The special tokens may stand beside the model.
        ids = vocabulary.tokenizer.get_vocab(with_added_tokens=True)
        tokenizer = keras_hub.models.RobertaTokenizer(vocabulary=ids, merges=merges)
    tokenizer.save_to_preset(folder)


def read_tokenizer(path: str, local: str) -> fast_tokenizer.FastVocabulary:
    """Return the tokenizer of a preset.

    Args:
        path: of the preset, for messages and files.
        local: an empty local folder to work in.

    Raises:
        ValueError: there is none.
    """
    if folders.exists(path, TOKENIZER_FILE):
        for name, here in _OWN_FILES.items():
            if folders.exists(path, here):
                _copy(folders.join(path, here), os.path.join(local, name))
    else:
        for asset, name in _ASSET_NAMES.items():
            if folders.exists(path, _ASSETS, asset):
                source = folders.join(path, _ASSETS, asset)
                _copy(source, os.path.join(local, name))
    return fast_tokenizer.read(local, path)


def _copy(source: str, target: str) -> None:
    directory, name = os.path.split(source)
    with folders.local_copy(directory, [name]) as found:
        shutil.copyfile(os.path.join(found, name), target)
