"""Documents -> one flat array of tokens with words, sentences and documents marked.

The golden sentence: its tokens, the offset of each in the text, and where words start.

>>> sentence = "使用语言模型来预测下一个词的probability。"
>>> vocabulary = vocab.load_vocabulary("tests/data_prep/golden/vocab.txt")
>>> segmenter = segmentation.build_segmenter("rjieba")
>>> tokenizer = DocumentTokenizer(vocabulary, True, segmenter, max_segment_tokens=125)
>>> tokenized = tokenizer.tokenize([sentence])
>>> print(*(vocabulary.tokens[token] for token in tokenized.tokens))
使 用 语 言 模 型 来 预 测 下 一 个 词 的 prob ##a ##bility 。
>>> print(*tokenization.Tokenizer(vocabulary, True).tokenize([sentence]).char_starts)
0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 18 19 25
>>> print(*tokenized.word_starts.astype(int))  # the last one closes the last word
1 0 1 0 1 0 1 1 0 1 1 0 1 1 1 0 0 1 1
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from data_prep.text import (
    corpus,
    punctuation,
    segmentation,
    tokenization,
    traditional,
    vocab,
)
from data_prep.text import counts as counts_lib

_COUNTS = (
    *("documents", "sentences", "characters", "sentences_cut", "words_cut"),
    *("traditional_documents", "punctuation_fixed", "replacement_characters"),
)
_BATCH_CHARACTERS = 1 << 19
_SENTENCE_ENDS = frozenset("。！？；!?;…")
_CLAUSE_ENDS = frozenset("，,、：:.)）」』”】》")


@dataclasses.dataclass(frozen=True)
class TokenizedDocuments:
    """Documents of one bucket, in arrays.

    A segment is a sentence, or a part of a sentence that alone would overflow a
    sequence. No segment is empty, and each document has at least one.

    Attributes:
        tokens: int32 [tokens].
        word_starts: bool [tokens + 1], true where a whole word begins; the last entry
            closes the last word.
        segment_starts: int64 [segments + 1], offsets into tokens.
        document_starts: int64 [documents + 1], offsets into segments.
        contents: int64 [documents], equal for documents of equal text.
        counts: documents, sentences, characters, tokens, unknown_tokens, sentences_cut,
            words_cut, traditional_documents, punctuation_fixed, replacement_characters
            (U+FFFD), and unknown_characters by character.
    """

    tokens: np.ndarray
    word_starts: np.ndarray
    segment_starts: np.ndarray
    document_starts: np.ndarray
    contents: np.ndarray
    counts: counts_lib.Counts


class DocumentTokenizer:
    """Tokenizes documents and marks their words.

    Args:
        vocabulary: the WordPiece vocabulary.
        do_lower_case: as google-research/bert's flag.
        segmenter: finds the words.
        max_segment_tokens: longer sentences are cut, at punctuation if they have some.
        simplifier: makes the simplified text that the segmenter sees; None to let it
            see the text itself.
        substitutes: characters that replace others before anything else happens; see
            `punctuation.choose_substitutes`.
    """

    def __init__(
        self,
        vocabulary: vocab.Vocabulary,
        do_lower_case: bool,
        segmenter: segmentation.Segmenter,
        max_segment_tokens: int,
        simplifier: traditional.Simplifier | None = None,
        substitutes: Mapping[str, str] | None = None,
    ):
        self._simplifier = simplifier
        self._substitutes = substitutes or {}
        self._vocabulary = vocabulary
        self._do_lower_case = do_lower_case
        self._tokenizer = tokenization.Tokenizer(vocabulary, do_lower_case)
        self._segmenter = segmenter
        self._max_segment_tokens = max_segment_tokens
        # A word longer than a quarter of a sequence's text falls into its pieces, so
        # that cutting at words always leaves something.
        self._max_word_tokens = max(1, max_segment_tokens // 4)
        self._ends_sentence = _mark_tokens(vocabulary, _SENTENCE_ENDS)
        self._ends_clause = _mark_tokens(vocabulary, _SENTENCE_ENDS | _CLAUSE_ENDS)

    def ends_clause(self, tokens: np.ndarray) -> np.ndarray:
        """Say for each token id whether a clause may end after it, bool."""
        return self._ends_clause[tokens]

    def tokenize(self, documents: Sequence[str]) -> TokenizedDocuments:
        """Tokenize documents; one without any token is counted but left out."""
        counts = dict.fromkeys(_COUNTS, 0)
        counts["documents"] = len(documents)
        unknown: list[str] = []
        tokens, word_starts, line_tokens, document_of = [], [], [], []
        for first, batch in _batches(documents):
            lines, seen_lines = [], []
            for number, document in enumerate(batch, first):
                sentences, seen = self._split_document(document, counts)
                lines += sentences
                seen_lines += seen
                document_of += [number] * len(sentences)
            counts["sentences"] += len(lines)
            counts["characters"] += sum(map(len, lines))
            result = self._tokenizer.tokenize(lines)
            tokens.append(result.ids)
            unknown += _texts_of(lines, result, result.ids == self._vocabulary.unk_id)
            word_starts.append(self._mark_words(lines, seen_lines, result, counts))
            line_tokens.append(np.diff(result.line_starts))
        counts["unknown_characters"] = counts_lib.count_unknown_characters(
            unknown, self._vocabulary, self._do_lower_case
        )
        if not tokens:
            return _no_documents(counts)
        return self._build(
            np.concatenate(tokens),
            np.append(np.concatenate(word_starts), True),
            np.concatenate(line_tokens),
            np.array(document_of, np.int64),
            _number_contents(documents),
            counts,
        )

    def _split_document(self, document: str, counts) -> tuple[list[str], list[str]]:
        """Return (sentences, the text of each that the segmenter sees)."""
        counts["replacement_characters"] += document.count("\ufffd")
        document, replaced = punctuation.fix_punctuation(document, self._substitutes)
        counts["punctuation_fixed"] += replaced
        sentences = corpus.split_sentences(document)
        if self._simplifier is None or not self._simplifier.applies(document):
            return sentences, sentences
        counts["traditional_documents"] += 1
        return sentences, self._simplifier.simplify(sentences)

    def _mark_words(self, lines, seen_lines, result, counts) -> np.ndarray:
        """Return bool [tokens], true where a whole word begins.

        A token belongs to the word that holds its offset. If the segmenter cuts inside
        a WordPiece piece, the two words on both sides of the cut become one.
        """
        starts = self._segmenter("\n".join(seen_lines))
        word_of = np.cumsum(starts)
        lengths = np.fromiter(map(len, lines), np.int64, len(lines))
        begins = np.cumsum(lengths + 1) - lengths - 1
        shift = np.repeat(begins, np.diff(result.line_starts))
        first_word = word_of[shift + result.char_starts]
        last_word = word_of[shift + result.char_ends - 1]
        marks = np.ones(len(result.ids), bool)
        marks[1:] = result.word_starts[1:] & (first_word[1:] != last_word[:-1])
        marks[result.line_starts[:-1][np.diff(result.line_starts) > 0]] = True
        return self._cut_long_words(marks, result.word_starts, counts)

    def _cut_long_words(self, marks, pieces, counts) -> np.ndarray:
        for finer in (pieces, np.ones_like(marks)):
            begins = np.flatnonzero(marks)
            lengths = np.diff(np.append(begins, len(marks)))
            long = lengths > self._max_word_tokens
            if not long.any():
                break
            if finer is pieces:
                counts["words_cut"] += int(long.sum())
            marks = marks | (finer & np.repeat(long, lengths))
        return marks

    def _build(self, tokens, word_starts, line_tokens, document_of, contents, counts):
        ends = np.cumsum(line_tokens)
        full = line_tokens > 0
        segment_starts, segment_documents = (
            ends[full] - line_tokens[full],
            document_of[full],
        )
        too_long = np.flatnonzero(line_tokens[full] > self._max_segment_tokens)
        counts["sentences_cut"] = len(too_long)
        counts["tokens"] = len(tokens)
        counts["unknown_tokens"] = int((tokens == self._vocabulary.unk_id).sum())
        if len(too_long):
            borders = np.append(segment_starts, len(tokens))
            cuts = [
                self._cut_segment(tokens, word_starts, *borders[number : number + 2])
                for number in too_long.tolist()
            ]
            segment_documents = np.insert(
                segment_documents,
                np.repeat(too_long + 1, [len(cut) for cut in cuts]),
                np.repeat(segment_documents[too_long], [len(cut) for cut in cuts]),
            )
            segment_starts = np.sort(np.concatenate([segment_starts, *cuts]))
        kept, first_segments = np.unique(segment_documents, return_index=True)
        return TokenizedDocuments(
            tokens,
            word_starts,
            np.append(segment_starts, len(tokens)).astype(np.int64),
            np.append(first_segments, len(segment_starts)).astype(np.int64),
            contents[kept],
            counts,
        )

    def _cut_segment(self, tokens, word_starts, start: int, end: int) -> np.ndarray:
        """Return where to cut a sentence that is too long, int64 token offsets."""
        words = start + np.flatnonzero(word_starts[start:end])
        after = tokens[words - 1]  # words[0] is never a choice: see `low` below.
        sentences = words[self._ends_sentence[after]]
        clauses = words[self._ends_clause[after]]
        cuts = []
        while end - start > self._max_segment_tokens:
            high = start + self._max_segment_tokens
            low = start + self._max_segment_tokens // 2
            start = (
                _last_within(sentences, low, high)
                or _last_within(clauses, low, high)
                or _last_within(words, start, high)
            )
            cuts.append(start)
        return np.array(cuts, np.int64)


def _last_within(places: np.ndarray, low: int, high: int) -> int | None:
    """Return the last of the sorted places in (low, high], if any."""
    index = int(np.searchsorted(places, high, "right")) - 1
    if index < 0 or places[index] <= low:
        return None
    return int(places[index])


def _texts_of(lines, result, marks: np.ndarray) -> list[str]:
    """Return the text under each marked token."""
    tokens = np.flatnonzero(marks)
    line_of = np.searchsorted(result.line_starts, tokens, "right") - 1
    places = (line_of, result.char_starts[tokens], result.char_ends[tokens])
    columns = [column.tolist() for column in places]
    return [lines[line][start:end] for line, start, end in zip(*columns, strict=True)]


def _mark_tokens(vocabulary: vocab.Vocabulary, chosen: frozenset[str]) -> np.ndarray:
    return np.array([token in chosen for token in vocabulary.tokens], bool)


def _batches(documents: Sequence[str]):
    """Yield (number of the first document, documents) of about `_BATCH_CHARACTERS`."""
    first, size = 0, 0
    for number, document in enumerate(documents):
        size += len(document)
        if size >= _BATCH_CHARACTERS or number == len(documents) - 1:
            yield first, documents[first : number + 1]
            first, size = number + 1, 0


def _number_contents(documents: Sequence[str]) -> np.ndarray:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(d, len(numbers)) for d in documents], np.int64)


def _no_documents(counts: dict[str, int]) -> TokenizedDocuments:
    return TokenizedDocuments(
        np.zeros(0, np.int32),
        np.ones(1, bool),
        np.zeros(1, np.int64),
        np.zeros(1, np.int64),
        np.zeros(0, np.int64),
        {**counts, "tokens": 0, "unknown_tokens": 0},
    )
