"""Words that replace chosen words instead of [MASK], as MacBERT does.

Cui et al., 2020 (https://arxiv.org/abs/2004.13922, section 3): fine-tuning never sees
[MASK], so pretraining shows similar words in its place.
"""

import itertools

import numpy as np

from data_prep.text import lines, tokenization, vocab


class SimilarWords:
    """A table of words and similar ones of as many tokens.

    Args:
        table: token ids of a word -> int32 [similar words, tokens].
    """

    def __init__(self, table: dict[tuple[int, ...], np.ndarray]):
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    def replace(
        self, words: list[tuple[int, ...]], rng: np.random.Generator
    ) -> list[np.ndarray | None]:
        """Return a similar word for each word, int32 [tokens]; None where none is.

        Args:
            words: token ids of each.
            rng: one draw for each word, whether it is in the table or not.
        """
        draws = rng.random(len(words))
        found = []
        for word, draw in zip(words, draws.tolist(), strict=True):
            similar = self._table.get(word)
            found.append(None if similar is None else similar[int(draw * len(similar))])
        return found

    def replace_tokens(
        self,
        labels: np.ndarray,
        begins: np.ndarray,
        others: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Return similar words in the place of words, int64 [tokens].

        Args:
            labels: int32 [tokens], the words, one after the other.
            begins: bool [tokens], true where a word begins.
            others: int32 [tokens], what takes the place of words without a similar one.
            rng: draws among the similar words.
        """
        borders = np.append(np.flatnonzero(begins), len(labels)).tolist()
        tokens = labels.tolist()
        spans = list(itertools.pairwise(borders))
        words = [tuple(tokens[start:end]) for start, end in spans]
        replaced = others.astype(np.int64)
        found = self.replace(words, rng)
        for (start, end), word in zip(spans, found, strict=True):
            if word is not None:
                replaced[start:end] = word
        return replaced


def read_file(path: str) -> tuple[dict[str, list[str]], str]:
    """Read a file of similar words: each line a word, a tab, similar words.

    Args:
        path: UTF-8; similar words are separated by spaces or tabs.

    Returns:
        (word -> similar words, sha256 of the file in hexadecimal).

    Raises:
        ValueError: the file cannot be read, or a line has another format.
    """
    text, sha256 = lines.read_whole(path, "similar_words")
    words: dict[str, list[str]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        word, tab, others = line.strip().partition("\t")
        if not word:
            continue
        if not tab or not others.split():
            raise ValueError(
                f"--similar_words={path} line {number} has no similar words: a line is "
                "a word, a tab, and words separated by spaces."
            )
        words.setdefault(word, []).extend(others.split())
    if not words:
        raise ValueError(f"--similar_words={path} holds no word: leave it out.")
    return words, sha256


def build(
    path: str, sha256: str, vocabulary: vocab.Vocabulary, do_lower_case: bool
) -> SimilarWords:
    """Build the table of a file; similar words of another length are left out.

    A word and the one in its place have as many tokens, since labels stand where the
    tokens stood.

    Args:
        path: of the file.
        sha256: that it must still have.
        vocabulary: words that hold [UNK] are left out.
        do_lower_case: of the records.

    Raises:
        ValueError: the file has changed, or no word of it is left.
    """
    words, found = read_file(path)
    if found != sha256:
        raise ValueError(
            f"--similar_words={path} has changed since the run began: run the command "
            "again."
        )
    tokenizer = tokenization.Tokenizer(vocabulary, do_lower_case)
    names = list(words)
    ids = _tokenize(tokenizer, names)
    table = {}
    for word, word_ids in zip(names, ids, strict=True):
        others = {
            other: None
            for other in _tokenize(tokenizer, words[word])
            if len(other) == len(word_ids) and other != word_ids
        }
        usable = [other for other in others if vocabulary.unk_id not in other]
        if word_ids and usable and vocabulary.unk_id not in word_ids:
            table[word_ids] = np.array(usable, np.int32)
    if not table:
        raise ValueError(
            f"--similar_words={path} has no word with a similar one of as many tokens "
            "under --vocab_file: check file and vocabulary."
        )
    return SimilarWords(table)


def _tokenize(tokenizer: tokenization.Tokenizer, words: list[str]):
    found = tokenizer.tokenize(words)
    borders = found.line_starts.tolist()
    return [
        tuple(found.ids[start:end].tolist())
        for start, end in zip(borders, borders[1:], strict=False)
    ]
