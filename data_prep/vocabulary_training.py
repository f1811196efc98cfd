"""Text -> a WordPiece vocabulary."""

import os
from collections.abc import Iterator

import tensorflow as tf

from data_prep import corpus, vocab

SPECIAL_TOKENS = (*vocab.REQUIRED_TOKENS, *vocab.SEED_TOKENS)


def check_output(path: str, overwrite: bool) -> None:
    """Raise ValueError if a vocabulary would be lost."""
    if tf.io.gfile.exists(path) and not overwrite:
        raise ValueError(
            f"--output_file {path!r} exists: name another, or pass --overwrite."
        )


def train_vocabulary(
    files: list[corpus.InputFile],
    vocab_size: int,
    min_frequency: int,
    do_lower_case: bool,
) -> list[str]:
    """Train WordPiece on text files.

    Args:
        files: the corpus.
        vocab_size: most tokens, special tokens included.
        min_frequency: least occurrences of a pair that is joined.
        do_lower_case: lower-case and strip accents first.

    Returns:
        The tokens in the order of their ids, `SPECIAL_TOKENS` first; the same text
        always gives the same list.

    Raises:
        ValueError: vocab_size is too small for the special tokens.
    """
    import tokenizers  # Late: this is the only command that needs it.

    if vocab_size <= len(SPECIAL_TOKENS):
        raise ValueError(
            f"--vocab_size={vocab_size} leaves no room beside the "
            f"{len(SPECIAL_TOKENS)} special tokens: ask for more, such as 21128."
        )
    if min_frequency < 0:
        raise ValueError(
            f"--min_frequency={min_frequency} cannot work: it must be 0 or more."
        )
    # One thread: ties between pairs are then always broken alike.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    trainer = tokenizers.BertWordPieceTokenizer(
        clean_text=True,
        handle_chinese_chars=True,
        strip_accents=do_lower_case,
        lowercase=do_lower_case,
    )
    trainer.train_from_iterator(
        _lines(files),
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
    )
    ids = trainer.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def write_vocabulary(tokens: list[str], path: str) -> None:
    """Write a vocab.txt, one token a line: temporary name, then rename."""
    folder = os.path.dirname(path)
    if folder:
        tf.io.gfile.makedirs(folder)
    with tf.io.gfile.GFile(path + ".partial", "wb") as file:
        file.write("".join(token + "\n" for token in tokens).encode("utf-8"))
    tf.io.gfile.rename(path + ".partial", path, overwrite=True)


def _lines(files: list[corpus.InputFile]) -> Iterator[str]:
    for file in files:
        for document, _ in corpus.read_documents(file.path):
            yield from corpus.split_sentences(document)
