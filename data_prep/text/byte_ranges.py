"""Parts of large text files, so that several processes read one file.

A range is planned by its size alone, and reads the documents that begin in it: whoever
reads it looks for the first border at its begin and at its end. So neighbors agree
without reading each other's part, and the ranges of a file do not depend on who reads
them.
"""

import dataclasses
import re
from collections.abc import Iterator

from data_prep import storage

RANGE_BYTES = 64 << 20
_SEARCH_BYTES = 1 << 16
# Between documents of a text file; other blank lines are borders, too, but not of
# ranges. The longest white space that is looked for is short.
BLANK_LINE = re.compile(rb"\n[ \t\r]{0,64}\n")
LINE_END = re.compile(rb"\n")


@dataclasses.dataclass(frozen=True)
class ByteRange:
    """Some bytes of a file, up to the first border at its end or after it.

    Attributes:
        begin: the border at it or after it is where reading begins; 0 for the file's.
        end: as `begin`; None for the end of the file.
    """

    begin: int = 0
    end: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the file."""
        return self.begin == 0 and self.end is None


WHOLE = ByteRange()


def plan(num_bytes: int) -> list[ByteRange]:
    """Return the ranges of a file that may be read in parts."""
    begins = [*range(0, max(1, num_bytes - RANGE_BYTES // 2), RANGE_BYTES)]
    return [
        ByteRange(begin, end)
        for begin, end in zip(begins, [*begins[1:], None], strict=True)
    ]


def find_border(path: str, place: int, border: re.Pattern) -> int:
    """Return the end of the first border that begins at `place` or after it.

    Args:
        path: a file that is not compressed.
        place: in bytes.
        border: `BLANK_LINE` or `LINE_END`.

    Returns:
        The file's size if there is none.
    """
    waiting = b""
    with storage.open(path, "rb") as file:
        file.seek(place)
        while block := file.read(_SEARCH_BYTES):
            waiting += block
            if found := border.search(waiting):
                return place + found.end()
            # A border may have begun in what was read.
            kept = waiting[-_SEARCH_BYTES // 2 :]
            place += len(waiting) - len(kept)
            waiting = kept
    return place + len(waiting)


def read_blocks(path: str, begin: int, end: int | None, size: int) -> Iterator[bytes]:
    """Yield the bytes of a file from `begin` to `end`, None for its end."""
    with storage.open(path, "rb") as file:
        if begin:
            file.seek(begin)
        while end is None or begin < end:
            block = file.read(size if end is None else min(size, end - begin))
            if not block:
                return
            begin += len(block)
            yield block


def count_lines(path: str, end: int) -> int:
    """Return the number of line ends before a place in a file."""
    blocks = read_blocks(path, 0, end, _SEARCH_BYTES)
    return sum(block.count(b"\n") for block in blocks)
