"""PretrainedBert: what a checkpoint of any format holds, in one form."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from bert_cn.conversion import lazy_weights, weight_map
from bert_cn.model import config as config_lib
from data_prep.text import vocab as vocab_lib


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """Options for reading.

    Attributes:
        bert_config_file: the configuration of a TF1 or Model Garden checkpoint, used
            even if its folder has one.
        fallback_config_file: the same, used only if its folder has none.
        allow_partial: see `PretrainedBert`.
        any_vocabulary: the vocabulary found there may have another size than the model,
            because the caller brings one that fits or makes the model fit.
    """

    bert_config_file: str = ""
    fallback_config_file: str = ""
    allow_partial: bool = False
    any_vocabulary: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Projection:
    """A dense layer without activation after the pooling of a sentence's tokens.

    Attributes:
        kernel: float32 [hidden, dimensions].
        bias: float32 [dimensions].
    """

    kernel: np.ndarray
    bias: np.ndarray


@dataclasses.dataclass(frozen=True)
class WriteOptions:
    """Options for writing.

    Attributes:
        max_shard_size: the most that one safetensors or .bin file may hold: "5GB".
        pooling: of a sentence-transformers folder, one of `format_names.POOLINGS`.
        normalize: whether its embeddings have length 1.
        max_seq_length: the tokens it cuts sentences to; 0 for all that the model has.
        projection: what follows its pooling; None for nothing.
    """

    max_shard_size: str = "5GB"
    pooling: str = "mean"
    normalize: bool = False
    max_seq_length: int = 0
    projection: Projection | None = None


@dataclasses.dataclass
class PretrainedBert:
    """A pretrained BERT between two formats.

    Attributes:
        config: sizes and activation.
        weights: canonical name (google-research/bert's variable) -> float32 array, a
            `LazyWeights` once it is here: each access may read a file. All weights of
            the encoder, and of each other part all or none.
        source: where it was read from, for messages.
        vocabulary: the checked vocabulary, whose bytes travel unchanged; None if the
            input has none.
        do_lower_case: whether text is lower-cased before tokenization; None if the
            input does not say.
        global_step: training steps that it took, if known.
        training_notes: Markdown for the model card on how it was trained.
        license_name: for the model card; "" if unknown.
        xla_device: goes into transformers' config.json if it is not None, for users of
            old releases that ask for it.
        allow_partial: leave out what does not fit, instead of refusing it: weights that
            no BERT has, and parts other than the encoder that lack some weight.
        left_out: the names of the weights that were left out.
    """

    config: config_lib.BertConfig
    weights: Mapping[str, np.ndarray | lazy_weights.LazyWeight]
    source: str
    vocabulary: vocab_lib.Vocabulary | None = None
    do_lower_case: bool | None = None
    global_step: int | None = None
    training_notes: str = ""
    license_name: str = ""
    xla_device: bool | None = None
    allow_partial: dataclasses.InitVar[bool] = False
    left_out: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self, allow_partial: bool):
        self.weights = lazy_weights.LazyWeights(self.weights)
        if allow_partial:
            kept, self.left_out = weight_map.select_whole_parts(
                self.weights, self.config
            )
            self.weights = self.weights.select({name: name for name in kept})
        self.parts = weight_map.check_weights(
            self.weights.shapes, self.config, self.source
        )

    def set_vocabulary(self, vocabulary: vocab_lib.Vocabulary) -> None:
        """Take another vocabulary.

        Raises:
            ValueError: it has another size than the model.
        """
        self.vocabulary = vocabulary
        self.check_vocabulary()

    def check_vocabulary(self) -> None:
        """Raise ValueError if the vocabulary has another size than the model."""
        if self.vocabulary is not None:
            check_vocabulary_size(
                self.vocabulary,
                self.config,
                f"the model in {self.source}",
                "name the vocabulary that the model was trained with by --vocab_file, "
                "or fit the model to this one by convert_checkpoint "
                "--resize_embeddings (the rows after the last token of a padded model "
                "are dropped).",
            )

    def keep_parts(self, parts: tuple[weight_map.Part, ...]) -> None:
        """Leave out all other parts.

        Args:
            parts: to keep; the pooler, which many models lack, may be missing.

        Raises:
            ValueError: another one is missing.
        """
        optional = weight_map.Part.POOLER
        parts = tuple(part for part in parts if part != optional or self.has(part))
        missing = [part for part in parts if part not in self.parts]
        if missing:
            raise ValueError(
                f"{self.source} has no {missing[0]}, only {', '.join(self.parts)}: ask "
                "for fewer --parts, or name another checkpoint."
            )
        table = weight_map.list_weights(self.config, parts)
        self.weights = self.weights.select(
            {weight.name: weight.name for weight in table}
        )
        self.parts = parts

    def has(self, part: weight_map.Part) -> bool:
        """Say whether the checkpoint has this part."""
        return part in self.parts

    def count_parameters(self) -> int:
        """Return the number of parameters, the tied output matrix counted once."""
        return sum(math.prod(shape) for shape in self.weights.shapes.values())


def check_vocabulary_size(
    vocabulary: vocab_lib.Vocabulary,
    config: config_lib.BertConfig,
    model: str,
    remedy: str,
) -> None:
    """Check that each row of the word embeddings belongs to a token.

    Args:
        vocabulary: of the text.
        config: of the model.
        model: what the message calls the model.
        remedy: the end of the message.

    Raises:
        ValueError: the vocabulary has another size than the model.
    """
    # A table may have rows after the last token of RoBERTa's and XLM-R's tokenizers.
    is_padded = config.model_type != config_lib.BERT
    if len(vocabulary) != config.vocab_size and not (
        is_padded and len(vocabulary) < config.vocab_size
    ):
        raise ValueError(
            f"Vocabulary {vocabulary.path!r} has {len(vocabulary)} tokens, but {model} "
            f"has {config.vocab_size}: {remedy}"
        )


def check_same_vocabulary(
    there: vocab_lib.Vocabulary, here: vocab_lib.Vocabulary, name: str, remedy: str
) -> None:
    """Check that a checkpoint was trained with the records' vocabulary, of equal size.

    Args:
        there: of the checkpoint.
        here: of the records.
        name: what the message calls the checkpoint.
        remedy: the end of the message.

    Raises:
        ValueError: a token differs; the message says which.
    """
    for index, (old, new) in enumerate(zip(there.tokens, here.tokens, strict=True)):
        if old != new:
            raise ValueError(
                f"{name} was trained with another vocabulary: id {index} is {old!r} "
                f"there and {new!r} in the records. {remedy}"
            )


def guess_lower_case(vocabulary: vocab_lib.Vocabulary) -> bool:
    """Guess do_lower_case: true when no ordinary token holds a capital A to Z.

    Google's uncased and Chinese vocabularies hold none, its cased ones thousands.
    """
    return not any(
        "A" <= char <= "Z"
        for token in vocabulary.tokens
        if token not in vocab_lib.REFERENCE_TOKENS
        and not (token.startswith("[") and token.endswith("]"))
        for char in token
    )
