"""What `import bert_cn` offers: a checkpoint to use, whole-word masks, records.

    import bert_cn

    bert = bert_cn.load("bert-base-chinese")
    bert.fill_mask("中国的首都是[MASK]京。")
    bert.encode(["今天天气很好。", "天气真好。"])
    bert.save("out/tf1", "tf1")

TensorFlow is imported when one of these is used first.
"""

import contextlib
import functools
import io
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from bert_cn.conversion import (
    formats,
    mask_filling,
    pretrained,
    tokenizer_files,
)
from bert_cn.finetuning import warm_start
from bert_cn.finetuning.sentences import encoding
from bert_cn.finetuning.sentences import model as sentences_model
from bert_cn.pretraining import input_pipeline, record_files
from data_prep.records import masking as masking_lib
from data_prep.records import packing
from data_prep.records import sequences as sequences_lib
from data_prep.text import documents, segmentation
from data_prep.text import vocab as vocab_lib

_BATCH_SIZE = 32


class Bert:
    """A checkpoint, read once; its models are built when they are asked for.

    Args:
        checkpoint: anything that convert_checkpoint reads.
        vocab_file: for a checkpoint without a vocabulary, or of another one of the same
            size; "" for its own.
        do_lower_case: None to do as the checkpoint says.

    Attributes:
        checkpoint: as it was named.

    Raises:
        ValueError: there is no checkpoint, or it is damaged.
    """

    def __init__(
        self,
        checkpoint: str,
        vocab_file: str = "",
        do_lower_case: bool | None = None,
    ):
        self.checkpoint = checkpoint
        self._vocab_file = vocab_file
        options = pretrained.ReadOptions(
            allow_partial=True, any_vocabulary=bool(vocab_file)
        )
        self._bert = formats.read_checkpoint(checkpoint, options=options)
        if vocab_file:
            self._bert.set_vocabulary(vocab_lib.load_vocabulary(vocab_file))
        if do_lower_case is not None:
            self._bert.do_lower_case = do_lower_case

    def __repr__(self) -> str:
        config = self._bert.config
        return (
            f"Bert({self.checkpoint!r}: {config.num_hidden_layers} layers, "
            f"hidden {config.hidden_size}, vocabulary {config.vocab_size}, "
            f"{', '.join(self._bert.parts)})"
        )

    @functools.cached_property
    def model(self) -> keras.Model:
        """The Keras model with its heads, as `pretraining_model` describes it."""
        return mask_filling.build_model(self._bert)

    def tokens(self, text: str) -> list[str]:
        """Return the tokens of a text, without [CLS] and [SEP].

        Raises:
            ValueError: the checkpoint has no vocabulary.
        """
        mask_filling.check_vocabulary(self._bert)
        tokenizer = tokenizer_files.build_tokenizer(
            self._bert.vocabulary, tokenizer_files.lower_case(self._bert)
        )
        names = self._bert.vocabulary.tokens
        return [names[token] for token in tokenizer.tokenize([text]).ids]

    def fill_mask(
        self, text: str, top_k: int = 5, joint: bool = False
    ) -> list[list[tuple[str, float]]]:
        """Return the likeliest tokens for each [MASK] of a text.

        Args:
            text: with [MASK] in it.
            top_k: tokens for each.
            joint: fill several [MASK] one after the other, the surest first, each with
                those before it in place; else each alone.

        Returns:
            For each [MASK], (token, probability), the likeliest first.

        Raises:
            ValueError: the text has no [MASK] or too many tokens, or the checkpoint has
                no masked-LM head or no vocabulary.
        """
        token_ids = self.check_text(text)
        fill = mask_filling.fill_jointly if joint else mask_filling.fill
        filled = fill(self.model, token_ids, self._bert, top_k)
        show = self._bert.vocabulary.show
        return [[(show(token), share) for token, share in each] for each in filled]

    def check_text(self, text: str) -> np.ndarray:
        """Return the ids of a text, int32 [tokens]; raise as `fill_mask` does."""
        if vocab_lib.MASK not in text:
            raise ValueError(
                f"No {vocab_lib.MASK} in {text!r}: write {vocab_lib.MASK} for each "
                "token to be filled in."
            )
        mask_filling.check_checkpoint(self._bert)
        return mask_filling.encode_text(text, self._bert)

    def encode(
        self,
        texts: Sequence[str],
        pooling: str | None = None,
        normalize: bool | None = None,
        max_seq_length: int = 0,
    ) -> np.ndarray:
        """Return a vector for each text.

        Args:
            texts: at least one.
            pooling: one of `format_names.POOLINGS`; None as the folder says, or mean.
            normalize: whether vectors have length 1; None as the folder says, or not.
            max_seq_length: longer texts are cut; 0 as the folder or the model says.

        Returns:
            float32 [texts, dimensions].

        Raises:
            ValueError: the checkpoint has no vocabulary, or the texts are not for it.
        """
        key = (pooling, normalize, max_seq_length)
        if key not in self._encoders:
            self._encoders[key] = self._build_encoder(*key)
        return self._encoders[key].encode(list(texts), "texts")

    @functools.cached_property
    def _encoders(self) -> dict:
        return {}

    def _build_encoder(self, pooling, normalize, max_seq_length) -> encoding.Encoder:
        mask_filling.check_vocabulary(self._bert)
        start = warm_start.StartingPoint(
            self._bert.config,
            self._bert.vocabulary,
            tokenizer_files.lower_case(self._bert),
            self._bert,
            self.checkpoint,
        )
        length = encoding.find_length(self.checkpoint, max_seq_length, start)
        # What commands print on the way.
        with contextlib.redirect_stdout(io.StringIO()):
            embedding = sentences_model.choose_embedding(
                self.checkpoint, pooling, normalize
            )
            return encoding.build_encoder(start, embedding, length, _BATCH_SIZE)

    def save(self, folder: str, output_format: str = "pt", overwrite=False) -> None:
        """Write the checkpoint in another format.

        Args:
            folder: to make; local or remote.
            output_format: one of `format_names.OUTPUT_FORMATS`.
            overwrite: replace an older conversion.

        Raises:
            ValueError: the format cannot hold the model, or the folder is not empty.
        """
        formats.write_checkpoint(self._bert, output_format, folder, overwrite)


def load(
    checkpoint: str, vocab_file: str = "", do_lower_case: bool | None = None
) -> Bert:
    """Read a checkpoint of any format; see `Bert`."""
    return Bert(checkpoint, vocab_file, do_lower_case)


def mask(
    text: str,
    segmenter: str = "rjieba",
    masking: str = "wwm",
    vocab_file: str = "",
    masked_lm_prob: float = 0.15,
    random_seed: int = 12345,
) -> list[str]:
    """Mask one line of text as the data stage does, and return its tokens.

    Args:
        text: one line.
        segmenter: what finds the words, as --segmenter.
        masking: what is masked together, as --masking: "wwm", "token" or "ngram".
        vocab_file: the vocabulary; "" for one with the characters of the text.
        masked_lm_prob: share of the tokens that is chosen. Of these 80 % become [MASK],
            10 % another token, and 10 % stay.
        random_seed: decides the choice.

    Returns:
        The tokens between [CLS] and [SEP].

    Raises:
        ValueError: the text has no token, or an argument is unknown.
    """
    if masking not in masking_lib.MASKINGS:
        raise ValueError(
            f"masking must be one of {', '.join(masking_lib.MASKINGS)}. Received: "
            f"{masking!r}."
        )
    vocabulary = (
        vocab_lib.load_vocabulary(vocab_file) if vocab_file else _characters_of(text)
    )
    length = 2 + 4 * len(text)
    tokenized = documents.DocumentTokenizer(
        vocabulary,
        do_lower_case=vocab_file == "" or pretrained.guess_lower_case(vocabulary),
        segmenter=segmentation.build_segmenter(segmenter),
        max_segment_tokens=length,
    ).tokenize([text])
    if not len(tokenized.tokens):
        raise ValueError(f"{text!r} has no token: pass a line of text.")
    sequences = sequences_lib.build_sequences(
        tokenized,
        spans=packing.make_lines(tokenized).spans,
        known=sequences_lib.mark_known_words(
            tokenized.tokens, tokenized.word_starts, vocabulary
        ),
        max_seq_length=length,
        vocabulary=vocabulary,
    )
    if masking == "token":
        sequences = sequences_lib.split_words(sequences, vocabulary)
    rules = masking_lib.MaskingRules(
        masked_lm_prob, max_predictions_per_seq=length, masking=masking
    )
    rng = np.random.default_rng(random_seed)
    masked = masking_lib.mask_sequences(sequences, rules, vocabulary, rng)
    count = int(sequences.lengths[0])
    return [vocabulary.tokens[token] for token in masked.input_ids[0, 1 : count - 1]]


def _characters_of(text: str) -> vocab_lib.Vocabulary:
    """Return a vocabulary in which each character of a text is a token."""
    characters = sorted({char for char in text.lower() if not char.isspace()})
    pieces = [f"##{char}" for char in characters if char.isalnum() and char.isascii()]
    tokens = (*vocab_lib.REQUIRED_TOKENS, *characters, *pieces)
    data = "".join(f"{token}\n" for token in tokens).encode()
    return vocab_lib.Vocabulary(tokens, "the text's characters", data)


def dataset(pattern: str, batch_size: int, random_seed: int = 12345) -> tf.data.Dataset:
    """Return records as training reads them: endless, shuffled, masked.

    Args:
        pattern: files or globs of records, with commas between, each with a weight or
            none.
        batch_size: records of a batch.
        random_seed: decides order and masks.

    Returns:
        Batches of Google's seven features, int32 and float32 [batch, ...].

    Raises:
        ValueError: no file matches, or the files do not go together.
    """
    groups = record_files.find_files(pattern, "pattern")
    files = record_files.check_files(groups, None, None)
    return input_pipeline.build_train_dataset(files, batch_size, random_seed)
