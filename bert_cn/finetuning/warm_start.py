"""The start of fine-tuning: a checkpoint of any format, or random weights."""

import dataclasses
import functools

import keras

from bert_cn.conversion import (
    fast_tokenizer,
    formats,
    keras_weights,
    pretrained,
    tokenizer_files,
    weight_map,
)
from bert_cn.conversion.weight_map import Part
from bert_cn.finetuning import features
from bert_cn.model import config as config_lib
from bert_cn.model import pretraining_model
from data_prep.text import tokenization
from data_prep.text import vocab as vocab_lib

_ENCODER_PARTS = (Part.ENCODER, Part.POOLER)
_RANDOM = "random weights"


@dataclasses.dataclass(frozen=True)
class StartingPoint:
    """A configuration, a tokenizer and perhaps weights.

    Attributes:
        config: sizes of the encoder.
        vocabulary: has config.vocab_size tokens.
        do_lower_case: whether text is lower-cased.
        bert: the checkpoint; None for random weights.
        source: where the checkpoint was read from, for messages.
    """

    config: config_lib.BertConfig
    vocabulary: vocab_lib.Vocabulary | fast_tokenizer.FastVocabulary
    do_lower_case: bool
    bert: pretrained.PretrainedBert | None
    source: str

    @functools.cached_property
    def tokenizer(self) -> tokenization.Tokenizer | fast_tokenizer.FastTokenizer:
        """The tokenizer of the checkpoint."""
        return tokenizer_files.build_tokenizer(self.vocabulary, self.do_lower_case)

    @property
    def settings(self) -> dict:
        """The settings that features depend on, for `features.compute_fingerprint`."""
        return {"vocab": self.vocabulary.sha256, "do_lower_case": self.do_lower_case}

    def check_length(self, max_seq_length: int) -> None:
        """Raise ValueError if the model has fewer positions."""
        if max_seq_length > self.config.max_length:
            raise ValueError(
                f"--max_seq_length={max_seq_length} is over the model's "
                f"{self.config.max_length} positions: lower "
                "it, or give the checkpoint more positions by convert_checkpoint."
            )


def load_starting_point(
    init_checkpoint: str,
    bert_config_file: str = "",
    vocab_file: str = "",
    do_lower_case: bool | None = None,
) -> StartingPoint:
    """Read what the flags name, without the heads of the checkpoint.

    Args:
        init_checkpoint: anything that convert_checkpoint reads; "" for random weights,
            which need the next two.
        bert_config_file: for a TF1 checkpoint without one beside it.
        vocab_file: for a checkpoint without a vocabulary.
        do_lower_case: None to do as the checkpoint says, or, if it does not say, as its
            vocabulary suggests.

    Raises:
        ValueError: there is no checkpoint or no vocabulary, or they do not fit.
    """
    if not init_checkpoint:
        return _load_random(bert_config_file, vocab_file, do_lower_case)
    bert = formats.read_checkpoint(
        init_checkpoint,
        options=pretrained.ReadOptions(
            bert_config_file, allow_partial=True, any_vocabulary=bool(vocab_file)
        ),
    )
    if vocab_file:
        _set_vocabulary(bert, vocab_file)
    if bert.vocabulary is None:
        raise ValueError(
            f"--init_checkpoint={init_checkpoint} has no vocabulary: name its "
            "vocab.txt by --vocab_file."
        )
    if do_lower_case is not None:
        bert.do_lower_case = do_lower_case
    return StartingPoint(
        bert.config,
        bert.vocabulary,
        tokenizer_files.lower_case(bert),
        bert,
        init_checkpoint,
    )


def _set_vocabulary(bert: pretrained.PretrainedBert, vocab_file: str) -> None:
    own, given = bert.vocabulary, vocab_lib.load_vocabulary(vocab_file)
    bert.set_vocabulary(given)
    if own is None:
        return
    for index, (old, new) in enumerate(zip(own.tokens, given.tokens, strict=False)):
        if old != new:
            raise ValueError(
                f"{bert.source} was trained with another vocabulary than "
                f"--vocab_file={vocab_file}: id {index} is {old!r} there and {new!r} "
                "here. Leave --vocab_file out to use the checkpoint's own."
            )


def _load_random(
    bert_config_file: str, vocab_file: str, do_lower_case: bool | None
) -> StartingPoint:
    if not (bert_config_file and vocab_file):
        raise ValueError(
            "--init_checkpoint is empty: name a checkpoint, or, to start from random "
            "weights, --bert_config_file and --vocab_file."
        )
    config = config_lib.load_config(bert_config_file)
    vocabulary = vocab_lib.load_vocabulary(vocab_file)
    pretrained.check_vocabulary_size(
        vocabulary,
        config,
        f"the model of --bert_config_file={bert_config_file}",
        "name files that belong together.",
    )
    if do_lower_case is None:
        do_lower_case = pretrained.guess_lower_case(vocabulary)
    return StartingPoint(config, vocabulary, do_lower_case, None, _RANDOM)


def build_encoder(start: StartingPoint, uses_pooler: bool = True) -> keras.Model:
    """Build the encoder and put the checkpoint's weights into it, printing a line.

    Call it under the strategy's scope, with Keras's seed set: if the checkpoint lacks
    the pooler, the pooler keeps the weights that the initializer drew.

    Args:
        start: the checkpoint.
        uses_pooler: whether the task uses the pooler; if not, its absence is not
            printed.

    Returns:
        The model of `pretraining_model.build_encoder`.
    """
    encoder = pretraining_model.build_encoder(start.config)
    if start.bert is None:
        print("Started from random weights.", flush=True)
        return encoder
    parts = tuple(part for part in _ENCODER_PARTS if start.bert.has(part))
    keras_weights.assign_to_model(encoder, start.bert.weights, parts)
    lacks_pooler = uses_pooler and Part.POOLER not in parts
    fresh = (
        " It has no pooler, which starts from random weights." if lacks_pooler else ""
    )
    print(f"Started from {start.source}.{fresh}", flush=True)
    return encoder


def pooler_paths(start: StartingPoint) -> frozenset[str]:
    """Return the pooler's `variable.path`s, for `Learner.unused`."""
    table = weight_map.list_weights(start.config, (Part.POOLER,))
    return frozenset(weight.keras for weight in table)


def read_back(
    encoder: keras.Model, start: StartingPoint, with_pooler: bool = True
) -> pretrained.PretrainedBert:
    """Return the encoder's present weights in the form that conversion writes.

    Args:
        encoder: from `build_encoder`.
        start: what it was built from.
        with_pooler: whether the pooler is returned, too.
    """
    weights = keras_weights.canonical_from_model(encoder, _ENCODER_PARTS)
    bert = pretrained.PretrainedBert(
        config=start.config,
        weights=weights,
        source=start.source,
        vocabulary=start.vocabulary,
        do_lower_case=start.do_lower_case,
    )
    if not with_pooler:
        bert.keep_parts((Part.ENCODER,))
    return bert


def encoder_inputs() -> dict[str, keras.KerasTensor]:
    """Return the encoder's symbolic inputs, int32 [batch, width]."""
    return {
        name: keras.Input((None,), dtype="int32", name=name) for name in features.INPUTS
    }
