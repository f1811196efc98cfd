"""Text -> WordPiece ids with character offsets, equal to google-research/bert.

The reference is `FullTokenizer` of google-research/bert's tokenization.py: clean, set
Chinese characters apart, split at white space, lower-case and strip accents, split at
punctuation, then greedy longest-match WordPiece with at most 200 characters a word.

Here the same rules run on arrays of code points. A table says what Google's rules make
of each character; a word of one character (all Chinese) gets its id from the same
table; longer words go through WordPiece once and are then remembered. Text that looks
like a special token, such as "[MASK]", stays text. Chinese words of several characters,
which Google's rules never reach, are found before: see `added_words`.

It is our own because of its speed: one thread tokenizes 1 MB of Chinese news (333,563
tokens) in 0.04 s of CPU time. The library `tokenizers` 0.23 needs 0.32 s for the ids
alone and 0.46 s with offsets, and its lower case of a capital sigma that ends a word is
not Google's.

>>> vocabulary = vocab.load_vocabulary("tests/data_prep/golden/vocab.txt")
>>> lines = Tokenizer(vocabulary, True).tokenize(["下一个词的probability。"])
>>> print(*(vocabulary.tokens[token] for token in lines.ids))
下 一 个 词 的 prob ##a ##bility 。
>>> print(*zip(lines.char_starts.tolist(), lines.char_ends.tolist()))
(0, 1) (1, 2) (2, 3) (3, 4) (4, 5) (5, 9) (9, 10) (10, 16) (16, 17)
"""

import dataclasses
import unicodedata
from collections.abc import Sequence

import numpy as np

from data_prep.text import added_words, vocab

MAX_CHARACTERS_PER_WORD = 200
_MAX_REMEMBERED_WORDS = 500_000
_CODE_POINTS = 0x110000

# What a character does, in `_CharacterTable.kinds`. The order matters: from _SINGLE on
# a character makes tokens.
_NEW, _DROPPED, _SPACE, _CONTEXTUAL, _SINGLE, _IN_WORD = range(6)


@dataclasses.dataclass(frozen=True)
class TokenizedLines:
    """Tokens of some lines, one flat array.

    Attributes:
        ids: int32 [tokens].
        line_starts: int64 [lines + 1]; line i has tokens line_starts[i] up to
            line_starts[i + 1].
        char_starts: int32 [tokens], offset of the token's first character in its
            original line.
        char_ends: int32 [tokens], offset after its last character.
        word_starts: bool [tokens], false where the token continues the WordPiece word
            of the token before it.
    """

    ids: np.ndarray
    line_starts: np.ndarray
    char_starts: np.ndarray
    char_ends: np.ndarray
    word_starts: np.ndarray


class Tokenizer:
    """google-research/bert's `FullTokenizer` with offsets, for many lines at once.

    Args:
        vocabulary: the WordPiece vocabulary.
        do_lower_case: lower-case and strip accents, for uncased models.
    """

    def __init__(self, vocabulary: vocab.Vocabulary, do_lower_case: bool):
        self._do_lower_case = do_lower_case
        self._table = _CharacterTable(vocabulary, do_lower_case)
        self._words = _WordPieces(vocabulary)
        self._ids = vocabulary.ids
        self._finder = added_words.WordFinder(
            filter(added_words.is_added_word, vocabulary.tokens)
        )

    def tokenize(self, lines: Sequence[str]) -> TokenizedLines:
        """Tokenize lines, which may be empty; many lines at once are faster."""
        if not self._finder:
            return self._tokenize_as_google(lines)
        cut = added_words.cut_lines(self._finder, lines)
        parts = self._tokenize_as_google(cut.parts)
        part_of = np.repeat(np.arange(len(cut.parts)), np.diff(parts.line_starts))
        shifts = np.array(cut.part_starts, np.int32)[part_of]
        words = [(self._ids[word], *place) for word, *place in cut.words]
        ids, numbers, starts, ends = np.array(words, np.int32).reshape(-1, 4).T
        line_of = np.concatenate([np.array(cut.part_lines, np.int32)[part_of], numbers])
        columns = (
            np.concatenate([parts.ids, ids]),
            np.concatenate([parts.char_starts + shifts, starts]),
            np.concatenate([parts.char_ends + shifts, ends]),
            np.concatenate([parts.word_starts, np.ones(len(ids), bool)]),
            line_of,
        )
        order = np.lexsort((columns[1], line_of))  # Stable: pieces keep their order.
        return _group_by_line([column[order] for column in columns], len(lines))

    def tokenize_words(self, words: Sequence[str]) -> TokenizedLines:
        """Tokenize words of sentences, one by one; which is the same for WordPiece."""
        return self.tokenize(words)

    def _tokenize_as_google(self, lines: Sequence[str]) -> TokenizedLines:
        lengths = np.fromiter(map(len, lines), np.int64, len(lines))
        begins = np.cumsum(lengths + 1) - lengths - 1
        codes = _encode("\n".join(lines))
        kinds = self._table.look_up(codes)
        slow = _lines_with(kinds == _CONTEXTUAL, begins)
        for line in slow:
            kinds[begins[line] : begins[line] + lengths[line]] = _SPACE
        ids, starts, ends, word_starts = self._tokenize_array(codes, kinds)
        line_of = np.searchsorted(begins, starts, "right") - 1
        starts, ends = starts - begins[line_of], ends - begins[line_of]
        columns = [ids, starts, ends, word_starts, line_of]
        if len(slow):
            columns = self._add_slow_lines(columns, lines, slow)
        return _group_by_line(columns, len(lines))

    def _tokenize_array(self, codes: np.ndarray, kinds: np.ndarray):
        """Return ids, starts, ends, word_starts; offsets count in `codes`."""
        kept = np.flatnonzero(kinds != _DROPPED)
        kinds = kinds[kept]
        makes_token = kinds >= _SINGLE
        in_word = kinds == _IN_WORD
        continues = np.zeros(len(kept), bool)
        continues[1:] = in_word[1:] & in_word[:-1]
        begins_word = makes_token & ~continues
        # A word ends where another begins or where white space stands.
        borders = np.flatnonzero(begins_word | ~makes_token)
        which = np.flatnonzero(makes_token[borders])
        words = borders[which]
        ends = np.append(borders, len(kept))[which + 1]
        single_ids = self._table.single_ids[codes[kept[words]]]
        longer = np.flatnonzero(ends - words > 1)
        mapped = _decode(self._table.mapped[codes[kept]])
        spans = zip(words[longer].tolist(), ends[longer].tolist(), strict=True)
        numbers = self._words.number([mapped[start:end] for start, end in spans])

        firsts, counts, pieces = self._words.arrays()
        pieces_of_word = np.ones(len(words), np.int64)
        pieces_of_word[longer] = counts[numbers]
        word_of = np.repeat(np.arange(len(words)), pieces_of_word)
        first_token = np.cumsum(pieces_of_word) - pieces_of_word
        within = np.arange(len(word_of)) - first_token[word_of]
        # Row of `pieces` for the tokens of longer words.
        base = np.full(len(words), -1, np.int64)
        base[longer] = firsts[numbers]
        from_store = np.flatnonzero(base[word_of] >= 0)
        rows = pieces[base[word_of[from_store]] + within[from_store]]
        token_ids = single_ids[word_of]
        token_ids[from_store] = rows[:, 0]
        first, last = words[word_of], words[word_of]
        first[from_store] += rows[:, 1]
        last[from_store] += rows[:, 2] - 1
        return token_ids, kept[first], kept[last] + 1, within == 0

    def _add_slow_lines(self, columns, lines, slow):
        """Merge the tokens of the lines that need `_split_slowly` into flat columns."""
        rows = []
        for line in slow:
            for word, offsets in _split_slowly(lines[line], self._do_lower_case):
                for number, (piece, start, end) in enumerate(self._words.cut(word)):
                    # The end is one after the offset of the last character.
                    rows.append(
                        (piece, offsets[start], offsets[end - 1] + 1, not number, line)
                    )
        if not rows:
            return columns
        merged = [
            np.concatenate([column, np.array(extra)])
            for column, extra in zip(columns, zip(*rows, strict=True), strict=True)
        ]
        order = np.argsort(merged[-1], kind="stable")
        return [column[order] for column in merged]


def _group_by_line(columns: Sequence[np.ndarray], num_lines: int) -> TokenizedLines:
    """Group ids, starts, ends, word starts and the numbers of their lines."""
    ids, starts, ends, word_starts, line_of = columns
    counts = np.bincount(line_of, minlength=num_lines)
    return TokenizedLines(
        ids.astype(np.int32),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        starts.astype(np.int32),
        ends.astype(np.int32),
        word_starts.astype(bool),
    )


class _CharacterTable:
    """What Google's rules make of each character, found when it first occurs.

    Attributes:
        mapped: int32 [code points], the character lower-cased, without its accents.
        single_ids: int32 [code points], id of the word that is this character alone.
    """

    def __init__(self, vocabulary: vocab.Vocabulary, do_lower_case: bool):
        self._vocabulary = vocabulary
        self._do_lower_case = do_lower_case
        self._kinds = np.zeros(_CODE_POINTS, np.uint8)
        self.mapped = np.arange(_CODE_POINTS, dtype=np.int32)
        self.single_ids = np.full(_CODE_POINTS, vocabulary.unk_id, np.int32)

    def look_up(self, codes: np.ndarray) -> np.ndarray:
        """Return each code's kind, uint8; new codes are learned first."""
        kinds = self._kinds[codes]
        for code in np.unique(codes[kinds == _NEW]).tolist():
            self._learn(code)
        return self._kinds[codes]

    def _learn(self, code: int) -> None:
        char = chr(code)
        kind, mapped = _classify(char, self._do_lower_case)
        self._kinds[code] = kind
        if kind >= _SINGLE:
            self.mapped[code] = ord(mapped)
            self.single_ids[code] = self._vocabulary.ids.get(
                mapped, self._vocabulary.unk_id
            )


class _WordPieces:
    """Greedy longest-match WordPiece that cuts each different word once.

    Pieces are rows of (id, first character in the word, end character in the word).
    """

    def __init__(self, vocabulary: vocab.Vocabulary):
        self._ids = vocabulary.ids
        self._unk_id = vocabulary.unk_id
        self._longest = max(map(len, vocabulary.tokens), default=1)
        self._forget()

    def _forget(self) -> None:
        self._numbers: dict[str, int] = {}
        self._rows: list[tuple[int, int, int]] = []
        self._counts: list[int] = []
        self._arrays = None

    def number(self, words: list[str]) -> np.ndarray:
        """Return each word's row in `arrays`, int64; new words are cut first."""
        if len(self._numbers) > _MAX_REMEMBERED_WORDS:
            self._forget()
        known = self._numbers
        for word in dict.fromkeys(words):
            if word not in known:
                pieces = self.cut(word)
                known[word] = len(self._counts)
                self._counts.append(len(pieces))
                self._rows.extend(pieces)
                self._arrays = None
        return np.fromiter(map(known.__getitem__, words), np.int64, len(words))

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (first piece of each word, its number of pieces, pieces [n, 3])."""
        if self._arrays is None:
            counts = np.array(self._counts, np.int64)
            pieces = np.array(self._rows, np.int32).reshape(-1, 3)
            self._arrays = np.cumsum(counts) - counts, counts, pieces
        return self._arrays

    def cut(self, word: str) -> list[tuple[int, int, int]]:
        """Cut one word; return one [UNK] for the whole word if no cut exists."""
        unknown = [(self._unk_id, 0, len(word))]
        if len(word) > MAX_CHARACTERS_PER_WORD:
            return unknown
        pieces = []
        start, prefix = 0, ""
        while start < len(word):
            end = min(len(word), start + self._longest)
            while end > start and prefix + word[start:end] not in self._ids:
                end -= 1
            if end == start:
                return unknown
            pieces.append((self._ids[prefix + word[start:end]], start, end))
            start, prefix = end, vocab.CONTINUATION_PREFIX
        return pieces


def _classify(char: str, do_lower_case: bool) -> tuple[int, str]:
    """Return (kind, mapped character) of one character on its own."""
    if _is_dropped(char):
        return _DROPPED, ""
    if char.isspace():
        return _SPACE, ""
    mapped = char
    if do_lower_case:
        mapped = lower_and_strip(char)
        if not mapped:
            # Google strips it after it has split at white space, so it splits no word.
            return _DROPPED, ""
        # The lower case of capital sigma depends on its neighbours, and marks that
        # stay may change places with others.
        moves = any(unicodedata.combining(part) for part in mapped)
        if len(mapped) > 1 or char == "Σ" or moves or mapped.isspace():
            return _CONTEXTUAL, ""
    if vocab.is_han(char) or vocab.is_punctuation(mapped):
        return _SINGLE, mapped
    return _IN_WORD, mapped


def lower_and_strip(char: str) -> str:
    """Return one character in lower case without accents; it may become empty."""
    parts = unicodedata.normalize("NFD", char.lower())
    return "".join(part for part in parts if unicodedata.category(part) != "Mn")


def _is_dropped(char: str) -> bool:
    if char in "\t\n\r":
        return False
    return char in "\x00\ufffd" or unicodedata.category(char) in ("Cc", "Cf")


def _split_slowly(line: str, do_lower_case: bool):
    """Yield (word, offset of each of its characters), by Google's rules step by step.

    Few lines need it, those whose characters cannot be mapped one by one: Hangul falls
    into letters, and the lower case of capital sigma depends on its neighbours.
    """
    for chunk, offsets in _split_at_spaces(line):
        if do_lower_case:
            chunk, offsets = _strip_accents(chunk, offsets)
        begin = 0
        for place, char in enumerate(chunk):
            alone = vocab.is_punctuation(char)
            if not alone and not char.isspace():
                continue
            if begin < place:
                yield chunk[begin:place], offsets[begin:place]
            if alone:
                yield char, offsets[place : place + 1]
            begin = place + 1
        if begin < len(chunk):
            yield chunk[begin:], offsets[begin:]


def _split_at_spaces(line: str) -> list[tuple[str, list[int]]]:
    chunks: list[tuple[str, list[int]]] = []
    text, offsets = "", []
    for place, char in enumerate(line + " "):
        if _is_dropped(char):
            continue
        han = vocab.is_han(char)
        if (han or char.isspace()) and text:
            chunks.append((text, offsets))
            text, offsets = "", []
        if han:
            chunks.append((char, [place]))
        elif not char.isspace():
            text, offsets = text + char, [*offsets, place]
    return chunks


def _strip_accents(chunk: str, offsets: list[int]) -> tuple[str, list[int]]:
    """Lower-case, apply NFD and drop marks (Mn); keep each character's offset."""
    sources = [o for c, o in zip(chunk, offsets, strict=True) for _ in c.lower()]
    lower = chunk.lower()
    sources = [
        o
        for c, o in zip(lower, sources, strict=True)
        for _ in unicodedata.normalize("NFD", c)
    ]
    parts = unicodedata.normalize("NFD", lower)
    kept = [
        (c, o)
        for c, o in zip(parts, sources, strict=True)
        if unicodedata.category(c) != "Mn"
    ]
    return "".join(c for c, _ in kept), [o for _, o in kept]


def _encode(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _decode(codes: np.ndarray) -> str:
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def _lines_with(flags: np.ndarray, begins: np.ndarray) -> list[int]:
    """Return the numbers of the lines that hold a flagged character."""
    places = np.flatnonzero(flags)
    return np.unique(np.searchsorted(begins, places, "right") - 1).tolist()
