"""Arrays -> serialized tf.train.Example records, and record files.

All records of a file have the same features in the same order, so they are encoded
column by column for many records at a time: protocol buffer bytes are laid out in a
matrix, varints in as many columns as the longest takes, and the unused bytes are then
dropped. `tf.train.Example.SerializeToString` could write the same bytes: canonical
varints, packed lists, features sorted by name.
"""

import dataclasses
import zlib
from collections.abc import Iterable, Iterator

import google_crc32c
import numpy as np

from data_prep import storage
from data_prep.records import schema

# Tags of tf.train.Example's protocol buffers: field number << 3 | wire type 2.
_FEATURES, _ENTRY, _KEY, _VALUE, _LIST = 0x0A, 0x0A, 0x0A, 0x12, 0x0A
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 0x0A, 0x12, 0x1A
# Bytes before a record: its length and the checksum of that.
_HEAD_BYTES = 12
# zlib's numbers for the two file formats.
_WINDOW_BITS = {"GZIP": 16 + zlib.MAX_WBITS, "ZLIB": zlib.MAX_WBITS}
# How a whole record file is compressed -> compression_type of tf.data.TFRecordDataset.
COMPRESSIONS = {"none": "", "GZIP": "GZIP", "ZLIB": "ZLIB"}


@dataclasses.dataclass(frozen=True)
class ByteRows:
    """A matrix of bytes; each row uses only the marked ones.

    It is kept as parts side by side, which are joined once, at the end.

    Attributes:
        parts: (uint8 [rows, width], bool [rows, width] or None where all are used).
        lengths: int64 [rows], used bytes.
    """

    parts: list[tuple[np.ndarray, np.ndarray | None]]
    lengths: np.ndarray

    def pack(self) -> bytes:
        """Return the used bytes, row after row."""
        rows = len(self.lengths)
        width = sum(data.shape[1] for data, _ in self.parts)
        all_data = np.empty((rows, width), np.uint8)
        all_used = np.ones((rows, width), bool)
        begin = 0
        for data, used in self.parts:
            end = begin + data.shape[1]
            all_data[:, begin:end] = data
            if used is not None:
                all_used[:, begin:end] = used
            begin = end
        return all_data[all_used].tobytes()


def use_all(data: np.ndarray) -> ByteRows:
    """Return all bytes of a matrix, uint8 [rows, width]."""
    return ByteRows([(data, None)], np.full(len(data), data.shape[1]))


def use_some(data: np.ndarray, used: np.ndarray) -> ByteRows:
    """Return those bytes of a matrix, uint8 [rows, width], that are marked."""
    return ByteRows([(data, used)], np.count_nonzero(used, axis=1))


def join(parts: list[ByteRows]) -> ByteRows:
    """Put bytes of the same rows side by side."""
    return ByteRows(
        [part for content in parts for part in content.parts],
        sum(content.lengths for content in parts),
    )


def encode_examples(features: dict[str, np.ndarray], feature_names: str) -> list[bytes]:
    """Serialize records.

    Args:
        features: our name -> array [records, values]; unsigned or non-negative
            integers, or float32 for `schema.FLOAT_FEATURES`; or bytes, one value each.
        feature_names: key of `schema.RECORD_NAMES`.

    Returns:
        One serialized tf.train.Example for each record.
    """
    names = schema.RECORD_NAMES[feature_names]
    entries = []
    for name in sorted(features, key=names.__getitem__):
        values = features[name]
        if isinstance(values, ByteRows):
            packed, kind = values, _BYTES_LIST
        elif name in schema.FLOAT_FEATURES:
            raw = np.ascontiguousarray(values, "<f4").view(np.uint8)
            packed, kind = use_all(raw), _FLOAT_LIST
        else:
            packed, kind = _encode_varints(values), _INT64_LIST
        feature = _wrap(kind, _wrap(_LIST, packed))
        key = names[name].encode()
        head = _repeat(bytes([_KEY, len(key)]) + key, len(packed.lengths))
        entries.append(_wrap(_ENTRY, join([head, _wrap(_VALUE, feature)])))
    record = _wrap(_FEATURES, join(entries))
    flat = record.pack()
    ends = np.cumsum(record.lengths)
    starts = ends - record.lengths
    return [flat[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]


def write_records(path: str, batches) -> int:
    """Write an iterable of lists of serialized records; return their number.

    The frame of a record is TFRecord's: its length in 8 bytes, their checksum, the
    record, its checksum.
    """
    written = 0
    heads: dict[int, bytes] = {}
    with storage.open(path, "wb") as file:
        file.write(b"")  # GFile makes no file before the first write.
        for batch in batches:
            parts = []
            for record in batch:
                length = len(record)
                if length not in heads:
                    head = length.to_bytes(8, "little")
                    heads[length] = head + _mask_checksum(head)
                parts += (heads[length], record, _mask_checksum(record))
            file.write(b"".join(parts))
            written += len(batch)
    return written


def compress(blocks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """Compress a whole record file as one stream.

    One, because TensorFlow reads a ZLIB file up to the end of its first stream.

    Args:
        blocks: the file's bytes.
        compression: key of `COMPRESSIONS`.
    """
    if compression == "none":
        yield from blocks
        return
    compressor = zlib.compressobj(wbits=_WINDOW_BITS[compression])
    for block in blocks:
        yield compressor.compress(block)
    yield compressor.flush()


def find_compression(path: str) -> str:
    """Return which key of `COMPRESSIONS` a record file has, by its first bytes."""
    with storage.open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"\x1f\x8b"):
        return "GZIP"
    if len(head) == _HEAD_BYTES and _mask_checksum(head[:8]) == head[8:]:
        return "none"
    # RFC 1950: the method is 8, and the first two bytes are a multiple of 31.
    is_zlib = (
        head[:1] and head[0] & 15 == 8 and not int.from_bytes(head[:2], "big") % 31
    )
    return "ZLIB" if is_zlib else "none"


def _mask_checksum(data: bytes) -> bytes:
    """Return the four bytes that TFRecord has for a checksum: CRC-32C, rotated."""
    value = google_crc32c.value(data)
    masked = ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return masked.to_bytes(4, "little")


def _encode_varints(values: np.ndarray) -> ByteRows:
    """Encode non-negative integers [rows, n], seven bits a byte, low bits first."""
    values = np.asarray(values)
    assert values.size == 0 or values.min() >= 0, "varints here are non-negative"
    width = max(1, -(-int(values.max(initial=0)).bit_length() // 7))
    if width == 1:
        return use_all(values.astype(np.uint8))
    values = values.astype(np.uint64 if width > 4 else np.uint32)
    data = np.empty((*values.shape, width), np.uint8)
    used = np.empty(data.shape, bool)
    used[..., 0] = True
    for place in range(width):
        rest = values >> values.dtype.type(7 * (place + 1))
        more = rest > 0
        data[..., place] = (values >> values.dtype.type(7 * place)) & 0x7F
        data[..., place] |= more.astype(np.uint8) << 7
        if place + 1 < width:
            used[..., place + 1] = more
    rows = len(values)
    return use_some(data.reshape(rows, -1), used.reshape(rows, -1))


def _wrap(tag: int, content: ByteRows) -> ByteRows:
    """Put a tag and the content's length in front."""
    lengths = _encode_varints(content.lengths[:, None])
    return join([_repeat(bytes([tag]), len(content.lengths)), lengths, content])


def _repeat(text: bytes, rows: int) -> ByteRows:
    data = np.broadcast_to(np.frombuffer(text, np.uint8), (rows, len(text)))
    return use_all(data)
