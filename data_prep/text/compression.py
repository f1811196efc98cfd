"""Compressed files, block by block.

The decompressors are the libraries'. The loop over the streams of a file is our own,
because the libraries' file objects read some damaged files without an error, and text
would be lost silently: `zstandard` returns none of a small file that was cut in half,
and `bz2` and `lzma` ignore everything after the first stream if the second is damaged.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator

import zstandard

_GZIP = 16 + zlib.MAX_WBITS  # tells zlib to expect a gzip header
# Each makes a decompressor of one stream; a file may hold several in a row.
_DECOMPRESSORS: dict[str, Callable] = {
    ".gz": lambda: zlib.decompressobj(_GZIP),
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lzma.LZMADecompressor,
    ".zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
}
SUFFIXES = tuple(_DECOMPRESSORS)
# Text is about this many times as long as its file; the guesses are on the high side.
_EXPANSION = {".gz": 4, ".bz2": 6, ".xz": 6, ".zst": 5}
# A Parquet file is compressed inside.
PARQUET_EXPANSION = 4
_ERRORS = (zlib.error, OSError, EOFError, lzma.LZMAError, zstandard.ZstdError)


def find_suffix(path: str) -> str:
    """Return which of `SUFFIXES` a path ends with, or ""."""
    return next((suffix for suffix in SUFFIXES if path.endswith(suffix)), "")


def estimate_expansion(path: str) -> int:
    """Return how many bytes of text one byte of the file may hold; 1 for text."""
    return _EXPANSION.get(find_suffix(path), 1)


def decompress(path: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress a file according to its ending; yield other files unchanged.

    Args:
        path: the file's name.
        blocks: its bytes; small blocks keep memory small if the text is repetitive.

    Raises:
        ValueError: the bytes are not what the ending says, or end too early.
    """
    suffix = find_suffix(path)
    if not suffix:
        yield from blocks
        return
    try:
        yield from _decompress(_DECOMPRESSORS[suffix], blocks)
    except _ERRORS as error:
        raise ValueError(
            f"--input_file {path!r} cannot be decompressed ({error}): check that the "
            f"file is whole and is what {suffix!r} says."
        ) from error


def _decompress(make: Callable, blocks: Iterable[bytes]) -> Iterator[bytes]:
    decompressor = None
    for block in blocks:
        while block:
            if decompressor is None:
                # Zeros may follow the last stream of a gzip file, to fill a sector.
                block = block.lstrip(b"\0")
                if not block:
                    break
                decompressor = make()
            yield decompressor.decompress(block)
            block = b""
            if decompressor.eof:
                block, decompressor = decompressor.unused_data, None
    if decompressor is not None:
        raise EOFError("it ends before its data do")
