"""Where sentences, clauses and words begin: looked up for many places at once.

Whatever takes a place takes an array of them, and answers for each. The counts of
borders up to every token make each answer a look-up in place of a search.
"""

import dataclasses

import numpy as np

from data_prep.text import documents as documents_lib


class Borders:
    """Places between tokens, in order.

    Args:
        is_border: bool [tokens + 1], true where a border is before the token; the last
            one is after all tokens.

    Attributes:
        places: int64 [borders], the tokens that they are before.
    """

    def __init__(self, is_border: np.ndarray):
        self.places = np.flatnonzero(is_border)
        self._is_border = is_border
        self._counts = np.cumsum(is_border, dtype=np.int32)

    def is_at(self, places: np.ndarray) -> np.ndarray:
        """Say for each place whether it is a border, bool."""
        return self._is_border[places]

    def count_until(self, places: np.ndarray) -> np.ndarray:
        """Return how many borders are at each place or before it."""
        return self._counts[places]

    def count_before(self, places: np.ndarray) -> np.ndarray:
        """Return how many borders are before each place."""
        return self._counts[places] - self._is_border[places]

    def last_until(self, places: np.ndarray) -> np.ndarray:
        """Return the last border at each place or before it; there must be one."""
        return self.places[self._counts[places] - 1]

    def move(self, places: np.ndarray, borders: int) -> np.ndarray:
        """Return the border that is this many after the first one at each place."""
        moved = self.count_before(places) + borders
        return self.places[np.minimum(moved, len(self.places) - 1)]


@dataclasses.dataclass(frozen=True)
class TextBorders:
    """The borders of some documents.

    Attributes:
        sentences: one before each segment.
        clauses: one before each clause; there is one at 0.
        words: one before each word.
        document_starts: int64 [documents], tokens.
        document_ends: int64 [documents], tokens.
    """

    sentences: Borders
    clauses: Borders
    words: Borders
    document_starts: np.ndarray
    document_ends: np.ndarray

    @classmethod
    def find(
        cls, documents: documents_lib.TokenizedDocuments, clause_ends: np.ndarray
    ) -> "TextBorders":
        """List the borders; `clause_ends` as in `pairs.make_pairs`."""
        words = documents.word_starts
        sentences, clauses = np.zeros((2, len(words)), bool)
        sentences[documents.segment_starts] = True
        # Clauses end with words.
        clauses[1:] = clause_ends & words[1:]
        clauses[0] = True
        ends = documents.segment_starts[documents.document_starts]
        return cls(
            *(Borders(sentences), Borders(clauses), Borders(words)), ends[:-1], ends[1:]
        )

    def find_end(
        self,
        start: np.ndarray,
        last: np.ndarray,
        room: np.ndarray,
        most: np.ndarray,
        num_words: int,
    ) -> np.ndarray:
        """Return the ends of stretches that have room for some tokens.

        An end is the document's, if that fits, or a place in the last quarter of the
        room: the last end of a sentence there, else of a clause, else of a word. Where
        the room is small by choice, a whole sentence is taken all the same.

        Args:
            start: the first token of each.
            last: the end of its document.
            room: tokens to aim at.
            most: tokens that there is room for.
            num_words: the fewest words of a stretch, whatever the room, if there are
                as many up to the end of the document.
        """
        limit = np.minimum(start + np.maximum(room, 0), last)
        sentence = self.sentences.last_until(limit)
        nearest = limit - room // 4
        end = self._fall_back(sentence, nearest, self.clauses, limit)
        end = self._fall_back(end, nearest, self.words, limit)
        end = np.maximum(end, self.words.move(start, num_words))
        whole = self.sentences.places[
            np.minimum(
                self.sentences.count_until(limit), len(self.sentences.places) - 1
            )
        ]
        takes_whole = (sentence <= start) & (room < most) & (whole <= start + most)
        end = np.where(takes_whole, whole, end)
        return np.where(limit == last, last, np.minimum(end, last))

    @staticmethod
    def _fall_back(end, nearest, borders: Borders, limit) -> np.ndarray:
        return np.where(end < nearest, borders.last_until(limit), end)

    def draw_inside(
        self,
        start: np.ndarray,
        end: np.ndarray,
        kinds: tuple[Borders, ...],
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Draw a border inside each stretch, of the first kind that it has one of.

        Args:
            start: the first token of each.
            end: its end.
            kinds: of borders, the best one first.
            rng: the source of the draws.

        Returns:
            int64, -1 where there is none.
        """
        uniform = rng.random(len(start))
        drawn = np.full(len(start), -1)
        for borders in kinds:
            first = borders.count_until(start)
            count = borders.count_before(end) - first
            chosen = first + (uniform * count).astype(np.int64)
            todo = (drawn < 0) & (count > 0)
            drawn[todo] = borders.places[chosen[todo]]
        return drawn
