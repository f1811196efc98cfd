"""Records -> sequences to read: words, masked pieces with their labels, A and B."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator

import tensorflow as tf

from data_prep.records import compact, compact_parsing, schema, tfrecords
from data_prep.text import segmentation, vocab

# The fates of a chosen piece.
MASKED, REPLACED, KEPT = "masked", "replaced", "kept"
# What next_sentence_labels 0 and 1 mean in each task.
_LABELS = {"nsp": ("next", "random next"), "sop": ("in order", "swapped")}


@dataclasses.dataclass(frozen=True)
class Piece:
    """One token of a sequence.

    Attributes:
        text: the token before masking, without `##`.
        seen: the token that the model sees.
        fate: `MASKED`, `REPLACED`, `KEPT`, or "" if it was not chosen.
    """

    text: str
    seen: str
    fate: str


@dataclasses.dataclass(frozen=True)
class Sequence:
    """One record.

    Attributes:
        sides: ("A" or "B", its words); a word is a list of pieces, and [CLS] and [SEP]
            are words of their own. A record that holds several sequences has their
            sides one after the other.
        num_tokens: with special tokens, without padding.
        num_masked: masked pieces.
        next_sentence_labels: of each sequence; none if the record has none.
        label_names: what the labels 0 and 1 mean.
    """

    sides: list[tuple[str, list[list[Piece]]]]
    num_tokens: int
    num_masked: int
    next_sentence_labels: list[int]
    label_names: tuple[str, str] = _LABELS["nsp"]

    def count_fates(self) -> Counter[str]:
        """Count the chosen pieces by their fate."""
        return Counter(
            piece.fate
            for _, words in self.sides
            for word in words
            for piece in word
            if piece.fate
        )


def read_sequences(
    path: str,
    num_records: int,
    vocabulary: vocab.Vocabulary,
    segmenter: segmentation.Segmenter,
    first_record: int = 1,
    sentence_task: str = "nsp",
) -> Iterator[Sequence]:
    """Yield some of a record file's sequences.

    Args:
        path: a TFRecord file of ours, google-research/bert's or Model Garden's.
        num_records: at most this many.
        vocabulary: that of the records.
        segmenter: finds the words again, because records do not hold them.
        first_record: number of the first, counted from 1.
        sentence_task: of the records: nsp or sop; others have no labels.

    Raises:
        ValueError: the file holds no pretraining records, or its vocabulary is
            another one.
    """
    begin = first_record - 1
    records = _read_records(path, begin, num_records)
    label_names = _LABELS.get(sentence_task, _LABELS["nsp"])
    for record in records:
        values = _parse(record, path, vocabulary)
        sequence = _view(values, path, vocabulary, segmenter)
        yield dataclasses.replace(sequence, label_names=label_names)
    if not records:
        which = f"record {first_record}" if begin else "record"
        raise ValueError(f"Record file {path!r} holds no {which}: name another one.")


def _read_records(path: str, begin: int, count: int) -> list[bytes]:
    compression = tfrecords.COMPRESSIONS[tfrecords.find_compression(path)]
    records = tf.data.TFRecordDataset(path, compression).skip(begin).take(count)
    try:
        return list(records.as_numpy_iterator())
    except tf.errors.DataLossError as error:
        raise ValueError(
            f"{path!r} is not a TFRecord file, or is cut off: name a file that "
            "create_pretraining_data wrote."
        ) from error


def _parse(
    data: bytes, path: str, vocabulary: vocab.Vocabulary
) -> dict[str, list[int]]:
    """Return a record's values under our names."""
    try:
        features = tf.train.Example.FromString(data).features.feature
    # protobuf's DecodeError has moved between modules.
    except Exception as error:
        raise ValueError(
            f"{path!r} holds records that are not tf.train.Example: name a file that "
            "create_pretraining_data wrote."
        ) from error
    if schema.SEQUENCES in features:
        content = features[schema.SEQUENCES].bytes_list.value[0]
        num_parts = compact.count_parts(content)
        longest = len(content)  # Each token has two bytes or more.
        parsed = compact_parsing.parse(
            tf.constant([data]), longest, len(vocabulary), num_parts
        )
        return {name: values[0].numpy().tolist() for name, values in parsed.items()}
    for names in schema.RECORD_NAMES.values():
        if names[schema.INPUT_IDS] in features:
            break
    else:
        raise ValueError(
            f"{path!r} holds records without {schema.INPUT_IDS} (found: "
            f"{', '.join(sorted(features)) or 'nothing'}): name a file of pretraining "
            "records."
        )
    values = {}
    for name, on_disk in names.items():
        if on_disk in features:
            kind = features[on_disk].WhichOneof("kind")
            values[name] = list(getattr(features[on_disk], kind).value) if kind else []
    return values


def _view(values, path, vocabulary, segmenter) -> Sequence:
    ids = values[schema.INPUT_IDS]
    mask = values.get(schema.INPUT_MASK, [int(i != vocabulary.pad_id) for i in ids])
    segments = values.get(schema.SEGMENT_IDS, [0] * len(ids))
    labels = dict(
        (position, label)
        for position, label, weight in zip(
            values.get(schema.MASKED_LM_POSITIONS, []),
            values.get(schema.MASKED_LM_IDS, []),
            values.get(schema.MASKED_LM_WEIGHTS, []),
            strict=False,
        )
        if weight
    )
    largest = max([*ids, *labels.values()], default=0)
    if largest >= len(vocabulary):
        raise ValueError(
            f"{path!r} holds id {largest}, but {vocabulary.path!r} has "
            f"{len(vocabulary)} tokens: name the records' own vocabulary with "
            "--vocab_file."
        )
    parts = values.get(schema.PART_IDS, [0] * len(ids))
    sides: dict[tuple[int, int], list[tuple[str, Piece]]] = {}
    length = sum(mask)
    for position in range(length):
        token = vocabulary.tokens[labels.get(position, ids[position])]
        piece = _make_piece(token, ids[position], position in labels, vocabulary)
        side = (parts[position], segments[position])
        sides.setdefault(side, []).append((token, piece))
    named = [
        ("AB"[segment], _find_words(side, segmenter))
        for (_, segment), side in sides.items()
    ]
    next_sentence_labels = values.get(schema.NEXT_SENTENCE_LABELS, [])
    return Sequence(named, length, len(labels), next_sentence_labels)


def _make_piece(token: str, seen_id: int, chosen: bool, vocabulary) -> Piece:
    text = token
    if len(token) > 2:
        text = token.removeprefix(vocab.CONTINUATION_PREFIX)
    seen = vocabulary.tokens[seen_id]
    if not chosen:
        return Piece(text, seen, "")
    if seen_id == vocabulary.mask_id:
        return Piece(text, seen, MASKED)
    return Piece(text, seen, KEPT if seen == token else REPLACED)


def _find_words(side: list[tuple[str, Piece]], segmenter) -> list[list[Piece]]:
    """Return the words of one side of a pair, [CLS] and [SEP] among them."""
    words: list[list[Piece]] = []
    for is_special, run in itertools.groupby(
        side, key=lambda each: each[0] in (vocab.CLS, vocab.SEP) and not each[1].fate
    ):
        if is_special:
            words += [[piece] for _, piece in run]
        else:
            words += _segment_text(list(run), segmenter)
    return words


def _segment_text(side: list[tuple[str, Piece]], segmenter) -> list[list[Piece]]:
    text, begins = "", []
    for token, piece in side:
        continues = token.startswith(vocab.CONTINUATION_PREFIX) and len(token) > 2
        if text and not continues and _is_latin(text[-1]) and _is_latin(piece.text[0]):
            text += " "
        begins.append((len(text), continues))
        # [UNK] stands for one character, which no word contains.
        text += "\ufffd" if token == vocab.UNK else piece.text
    starts = segmenter(text)
    words: list[list[Piece]] = []
    for (_, piece), (begin, continues) in zip(side, begins, strict=True):
        if not words or (starts[begin] and not continues):
            words.append([])
        words[-1].append(piece)
    return words


def _is_latin(char: str) -> bool:
    return char.isalnum() and not vocab.is_han(char)
