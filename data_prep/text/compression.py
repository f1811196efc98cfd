"""Compressed files, block by block."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator

import zstandard

_GZIP = 16 + zlib.MAX_WBITS  # zlib's way of saying that a gzip header is expected
# Each makes a decompressor of one stream; a file may hold several, one after another.
_DECOMPRESSORS: dict[str, Callable] = {
    ".gz": lambda: zlib.decompressobj(_GZIP),
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lzma.LZMADecompressor,
    ".zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
}
SUFFIXES = tuple(_DECOMPRESSORS)
# How much longer text is than its file, at a guess that is rather too high.
_EXPANSION = {".gz": 4, ".bz2": 6, ".xz": 6, ".zst": 5}
_ERRORS = (zlib.error, OSError, EOFError, lzma.LZMAError, zstandard.ZstdError)


def find_suffix(path: str) -> str:
    """Return the one of `SUFFIXES` that a path ends with, or ""."""
    return next((suffix for suffix in SUFFIXES if path.endswith(suffix)), "")


def estimate_expansion(path: str) -> int:
    """Return how many bytes of text a byte of the file may stand for; 1 for text."""
    return _EXPANSION.get(find_suffix(path), 1)


def decompress(path: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress a file by its name's ending; other files come as they are.

    Args:
        path: the file's name.
        blocks: its bytes; small blocks keep memory small where text is repetitive.

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
                # Behind the last stream of a gzip file zeros may fill up a sector.
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
