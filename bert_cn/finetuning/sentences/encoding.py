"""Embed the lines of a file, write them as .npy, find the nearest of a sentence."""

import io
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tqdm

from bert_cn.conversion import sentence_transformer
from bert_cn.finetuning import batches, warm_start
from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning.sentences import model as sentences_model
from bert_cn.finetuning.sentences.encode_flags import EncodeArgs
from data_prep import storage
from data_prep.text import lines as lines_lib

# Batches are as wide as their longest line, rounded up to a multiple of this.
_WIDTH_MULTIPLE = 8
# The fewest tokens: [CLS], one of the text, [SEP].
_FEWEST_TOKENS = 3


class LineEncoder:
    """A checkpoint that embeds lines.

    Args:
        args: of the command.

    Raises:
        ValueError: the checkpoint cannot be read, or has too few positions.
    """

    def __init__(self, args: EncodeArgs):
        embedding = sentences_model.choose_embedding(
            args.checkpoint, args.pooling, args.normalize
        )
        self._start = warm_start.load_starting_point(args.checkpoint)
        self._length = args.max_seq_length or (
            sentence_transformer.read_max_seq_length(args.checkpoint)
            or self._start.config.max_position_embeddings
        )
        if self._length < _FEWEST_TOKENS:
            raise ValueError(
                f"--max_seq_length={self._length} leaves no room for text between "
                f"[CLS] and [SEP]: it must be {_FEWEST_TOKENS} or more."
            )
        self._start.check_length(self._length)
        self._batch_size = args.batch_size
        encoder = sentences_model.SentenceEncoder(
            self._start, embedding, None, self._length
        )
        spec = tf.TensorSpec([None, None], tf.int32)
        self._embed = tf.function(
            lambda batch: encoder.embed(batch, ("",), training=False)[0],
            input_signature=[dict.fromkeys(features_lib.INPUTS, spec)],
        )

    @property
    def width(self) -> int:
        """Numbers in an embedding."""
        return self._start.config.hidden_size

    def encode(self, texts: Sequence[str], rows: np.ndarray) -> None:
        """Embed texts.

        Args:
            texts: to embed.
            rows: float [texts, width], which is filled in the order of the texts.
        """
        sequences, cut = features_lib.encode_texts(
            texts, None, self._start.tokenizer, self._start.vocabulary, self._length
        )
        if cut:
            print(f"{cut:,} of {len(texts):,} lines are cut to {self._length} tokens.")
        features = features_lib.Features({"": sequences})
        shape = batches.Shape(
            min(self._batch_size, len(texts)), self._length, _WIDTH_MULTIPLE
        )
        with tqdm.tqdm(total=len(texts), unit=" lines", disable=None) as progress:
            for batch in batches.iterate_eval_batches(features, shape):
                inputs = {
                    name: tf.constant(batch.arrays[name])
                    for name in features_lib.INPUTS
                }
                embeddings = self._embed(inputs).numpy()
                rows[batch.examples] = embeddings[: len(batch.examples)]
                progress.update(len(batch.examples))


def encode_file(args: EncodeArgs) -> None:
    """Embed the lines of a file as the flags say.

    Raises:
        ValueError: the file holds no line or is not UTF-8, the output exists, or the
            checkpoint cannot be read.
    """
    if args.output_file and storage.exists(args.output_file) and not args.overwrite:
        raise ValueError(
            f"--output_file={args.output_file} exists: name another, or pass "
            "--overwrite."
        )
    texts = _read_lines(args.input_file)
    encoder = LineEncoder(args)
    rows = np.empty((len(texts), encoder.width), args.dtype)
    encoder.encode(texts, rows)
    if args.output_file:
        _write(rows, args.output_file)
        print(f"{args.output_file}: {rows.shape[0]:,} x {rows.shape[1]}, {rows.dtype}.")
    if args.query:
        _print_nearest(args, encoder, texts, rows)


def _read_lines(path: str) -> list[str]:
    text, _ = lines_lib.read_whole(path, "input_file")
    # Not splitlines(), which also splits at U+2028 and others.
    texts = [line.removesuffix("\r") for line in text.split("\n")]
    if texts[-1] == "":
        texts.pop()
    if not texts:
        raise ValueError(
            f"--input_file={path} holds no line: write one sentence a line."
        )
    return texts


def _write(rows: np.ndarray, path: str) -> None:
    storage.makedirs(os.path.dirname(path) or ".")
    if storage.is_remote(path):
        content = io.BytesIO()
        np.save(content, rows)
        storage.write_whole(path, content.getvalue())
        return
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            np.save(file, rows)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def _print_nearest(
    args: EncodeArgs, encoder: LineEncoder, texts: list[str], rows: np.ndarray
) -> None:
    queries = np.empty((len(args.query), encoder.width), np.float32)
    encoder.encode(args.query, queries)
    unit_rows, unit_queries = (
        each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-12)
        for each in (rows.astype(np.float32), queries)
    )
    for query, cosines in zip(args.query, unit_queries @ unit_rows.T, strict=True):
        print(f"{query}")
        for row in np.argsort(-cosines, kind="stable")[: args.nearest].tolist():
            print(f"  {cosines[row]:.4f}  line {row + 1}: {texts[row]}")
