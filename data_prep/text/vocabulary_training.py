"""Text -> a WordPiece vocabulary."""

import os
import sys
from collections import Counter
from collections.abc import Iterator

from data_prep import storage
from data_prep.text import corpus, vocab

SPECIAL_TOKENS = (*vocab.REQUIRED_TOKENS, *vocab.REFERENCE_TOKENS)
# Single characters, the most frequent ones, take at most this share of the vocabulary;
# longer pieces take the rest. The library's own limit of 1,000 characters would leave
# one Chinese character in ten unknown.
_ALPHABET_SHARE = 0.75


def check_output(path: str, overwrite: bool) -> None:
    """Raise ValueError if the output exists and is not to be overwritten."""
    if storage.exists(path) and not overwrite:
        raise ValueError(
            f"--output_file {path!r} exists: name another, or pass --overwrite."
        )


def train_vocabulary(
    files: list[corpus.InputFile],
    vocab_size: int,
    min_frequency: int,
    do_lower_case: bool,
    rules: corpus.ReadingRules = corpus.DEFAULT_RULES,
) -> list[str]:
    """Train WordPiece on text files.

    Args:
        files: the corpus.
        vocab_size: largest number of tokens, special tokens included.
        min_frequency: join a pair of pieces only if it occurs at least this often.
        do_lower_case: lower-case and strip accents first.
        rules: how the files are read.

    Returns:
        The tokens in the order of their ids: `SPECIAL_TOKENS`, characters, characters
        inside words, then longer pieces in the order in which they were learned. The
        same text always gives the same list.

    Raises:
        ValueError: vocab_size is too small for the special tokens.
    """
    import tokenizers  # Here, because no other command needs it.

    _check_sizes(vocab_size, min_frequency)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    trainer = tokenizers.BertWordPieceTokenizer(
        clean_text=True,
        handle_chinese_chars=True,
        strip_accents=do_lower_case,
        lowercase=do_lower_case,
    )
    words = _count_words(files, rules, trainer)
    ranked = _rank_characters(words)
    limit = int(_ALPHABET_SHARE * vocab_size)
    alphabet = set(ranked[:limit])
    # The library numbers "##x" tokens in the order of a hash table, which differs from
    # run to run, and breaks ties by these numbers. Special tokens have fixed numbers,
    # so we pass "##x" tokens as such. The alphabet is chosen here for the same reason.
    inside = sorted(
        {vocab.CONTINUATION_PREFIX + c for w in words for c in w[1:] if c in alphabet}
    )
    trainer.train_from_iterator(
        _lines(files, rules),
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        initial_alphabet=sorted(alphabet),
        limit_alphabet=len(alphabet),
        special_tokens=[*SPECIAL_TOKENS, *inside],
        show_progress=sys.stderr.isatty(),
    )
    ids = trainer.get_vocab()
    learned = sorted(
        set(ids) - {*SPECIAL_TOKENS, *inside, *alphabet}, key=ids.__getitem__
    )
    # If the text has too few pieces to fill the vocabulary, rare characters fill it.
    tokens = [*SPECIAL_TOKENS, *sorted(alphabet), *inside, *learned, *ranked[limit:]]
    return tokens[:vocab_size]


def write_vocabulary(tokens: list[str], path: str) -> None:
    """Write a vocab.txt, one token a line, and the folder above it if needed."""
    folder = os.path.dirname(path)
    if folder:
        storage.makedirs(folder)
    storage.write_whole(path, "".join(token + "\n" for token in tokens))


def _check_sizes(vocab_size: int, min_frequency: int) -> None:
    if vocab_size <= len(SPECIAL_TOKENS):
        raise ValueError(
            f"--vocab_size={vocab_size} leaves no room after the "
            f"{len(SPECIAL_TOKENS)} special tokens: ask for more, such as 21128."
        )
    if min_frequency < 0:
        raise ValueError(
            f"--min_frequency={min_frequency} cannot work: it must be 0 or more."
        )


def _count_words(
    files: list[corpus.InputFile], rules: corpus.ReadingRules, trainer
) -> Counter[str]:
    """Count the words that WordPiece will cut, found by the library."""
    words: Counter[str] = Counter()
    for line in _lines(files, rules):
        text = trainer.normalizer.normalize_str(line)
        words.update(word for word, _ in trainer.pre_tokenizer.pre_tokenize_str(text))
    return words


def _rank_characters(words: Counter[str]) -> list[str]:
    """Return all characters, frequent ones first, ties in the order of Unicode."""
    characters: Counter[str] = Counter()
    for word, count in words.items():
        for char in word:
            characters[char] += count
    return sorted(characters, key=lambda char: (-characters[char], char))


def _lines(files: list[corpus.InputFile], rules: corpus.ReadingRules) -> Iterator[str]:
    for file in files:
        for document, _ in corpus.read_documents(file.path, rules=rules):
            yield from corpus.split_sentences(document)
