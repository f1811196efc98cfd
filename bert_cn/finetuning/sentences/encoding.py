"""Sentences to vectors, and the nearest of them."""

import contextlib
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from bert_cn.conversion import sentence_modules, sentence_transformer
from bert_cn.finetuning import batches, tables, training, warm_start
from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning.sentences import model as sentences_model
from bert_cn.finetuning.sentences.encoding_flags import EncodingArgs
from data_prep import storage

# Widths of batches are multiples of it; all widths share one trace.
_WIDTH_MULTIPLE = 8


def read_sentences(path: str) -> list[str]:
    """Return the lines of a file; a blank one is a sentence without words.

    Raises:
        ValueError: the file is missing, empty or not UTF-8.
    """
    lines = tables.read_lines(path)
    if not lines[-1]:
        lines.pop()  # What follows the last line's end.
    if not lines:
        raise ValueError(f"{path} is empty: put a sentence on each line.")
    return lines


class Encoder:
    """Makes vectors of sentences.

    Args:
        encoder: with its pooling.
        start: what it was built from; its tokenizer encodes.
        shape: of the batches.
        pools_only: leave out the projection and the length of 1.
        strategy: the encoder was built under it; None for the default one.

    Attributes:
        model: the encoder.
    """

    def __init__(
        self,
        encoder: sentences_model.SentenceEncoder,
        start: warm_start.StartingPoint,
        shape: batches.Shape,
        pools_only: bool = False,
        strategy: tf.distribute.Strategy | None = None,
    ):
        self._pools_only = pools_only
        self.model, self._start, self._shape = encoder, start, shape
        learner = training.Learner(encoder.model, _refuse_losses, self._compute_outputs)
        self._trainer = training.Trainer(
            strategy or tf.distribute.get_strategy(), learner
        )

    def encode(
        self, sentences: Sequence[str], source: str, description: str = ""
    ) -> np.ndarray:
        """Return a vector for each sentence, in their order.

        Sentences of similar length are computed together.

        Args:
            sentences: at least one.
            source: where they come from, for messages.
            description: for the progress bar.

        Returns:
            float32 [sentences, dimensions].

        Raises:
            ValueError: the vocabulary does not know most of the tokens.
        """
        start, length = self._start, self._shape.max_seq_length
        sequences, cut = features_lib.encode_texts(
            sentences, None, start.tokenizer, start.vocabulary, length
        )
        ids = [sequences.tokens[features_lib.TOKEN_IDS]]
        unknown = features_lib.describe_unknown(source, ids, start.vocabulary)
        if description:
            print(
                f"{source}: {len(sentences)} lines, {cut} of them cut to {length} "
                f"tokens; {unknown}.",
                flush=True,
            )
        features = features_lib.Features({sentences_model.FIRST: sequences})
        outputs = training.predict(self._trainer, features, self._shape, description)
        return outputs[sentences_model.EMBEDDING]

    def _compute_outputs(self, batch) -> dict[str, tf.Tensor]:
        prefixes = (sentences_model.FIRST,)
        (embeddings,) = self.model.embed(batch, prefixes, False, self._pools_only)
        return {sentences_model.EMBEDDING: embeddings}


def _refuse_losses(batch):
    raise NotImplementedError("This encoder is not trained.")


def build_encoder(
    start: warm_start.StartingPoint,
    embedding: sentence_modules.Embedding,
    max_seq_length: int,
    batch_size: int = 32,
) -> Encoder:
    """Build an encoder of its own.

    Args:
        start: its weights.
        embedding: how token states become a vector.
        max_seq_length: longer sentences are cut; in tokens, [CLS] and [SEP] counted.
        batch_size: sentences computed together.
    """
    encoder = sentences_model.SentenceEncoder(start, embedding, None, max_seq_length)
    shape = batches.Shape(batch_size, max_seq_length, _WIDTH_MULTIPLE)
    return Encoder(encoder, start, shape)


def find_length(
    checkpoint: str, max_seq_length: int, start: warm_start.StartingPoint
) -> int:
    """Return the length that sentences are cut to.

    Args:
        checkpoint: its folder may say it.
        max_seq_length: 0 to do as the folder says.
        start: the model has so many positions.

    Raises:
        ValueError: the model has fewer positions.
    """
    if not max_seq_length and sentence_transformer.is_sentence_transformer(checkpoint):
        max_seq_length = sentence_transformer.read_max_seq_length(checkpoint)
    max_seq_length = max_seq_length or start.config.max_length
    start.check_length(max_seq_length)
    return max_seq_length


def write_vectors(path: str, vectors: np.ndarray) -> None:
    """Write vectors as a .npy file, under a temporary name until it is whole.

    Raises:
        OSError: it cannot be written; an earlier file at `path` is still there.
    """
    partial = f"{path}.{os.getpid()}.partial"
    try:
        with storage.open(partial, "wb") as file:
            np.lib.format.write_array(file, vectors, allow_pickle=False)
    except BaseException:
        with contextlib.suppress(Exception):
            storage.remove(partial)
        raise
    storage.rename(partial, path, overwrite=True)


def find_nearest(
    vectors: np.ndarray, query: np.ndarray, count: int
) -> list[tuple[int, float]]:
    """Return the vectors with the largest cosines to a query.

    Args:
        vectors: float [rows, hidden].
        query: float [hidden].
        count: how many; fewer if there are fewer rows.

    Returns:
        (row, cosine), the largest first; equal ones in the order of the rows.
    """
    vectors, query = vectors.astype(np.float32), query.astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    cosines = vectors @ query / np.maximum(lengths, np.finfo(np.float32).tiny)
    order = np.argsort(-cosines, kind="stable")[:count]
    return [(int(row), float(cosines[row])) for row in order]


def encode(args: EncodingArgs) -> None:
    """Encode the lines of a file; write the vectors and print neighbours.

    Raises:
        ValueError: a file or the checkpoint cannot be read, or the folder for the
            vectors does not exist.
    """
    sentences = read_sentences(args.input_file)
    folder = os.path.dirname(args.output_file)
    # Found before the work and not after it.
    if folder and not storage.is_remote(folder) and not storage.isdir(folder):
        raise ValueError(
            f"--output_file={args.output_file}: there is no folder {folder!r}; make "
            "it, or name another."
        )
    embedding = sentences_model.choose_embedding(
        args.checkpoint, args.pooling, args.normalize
    )
    start = warm_start.load_starting_point(
        args.checkpoint, args.bert_config_file, args.vocab_file, args.do_lower_case
    )
    length = find_length(args.checkpoint, args.max_seq_length, start)
    encoder = build_encoder(start, embedding, length, args.batch_size)
    vectors = encoder.encode(sentences, args.input_file, "Encoding")
    if args.output_file:
        write_vectors(args.output_file, vectors.astype(args.dtype))
        print(
            f"Vectors: {args.output_file}, {args.dtype} {list(vectors.shape)}",
            flush=True,
        )
    if args.query:
        queries = encoder.encode(args.query, "--query")
        for text, query in zip(args.query, queries, strict=True):
            print(text)
            for row, cosine in find_nearest(vectors, query, args.nearest):
                print(f"  {cosine:.4f}  {sentences[row]}  (line {row + 1})", flush=True)
