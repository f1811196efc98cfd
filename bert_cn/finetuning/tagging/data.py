"""Words with tags: CoNLL's columns, one word a line, a blank line between sentences.

For Chinese a word is one character. If a line has a tab, tabs separate its columns, or
else spaces do: both BIO as TSV and CoNLL's files are read.
"""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning import tables, warm_start
from bert_cn.finetuning.tagging import flags
from data_prep import storage

OUTSIDE = "O"
_BEGIN, _INSIDE = "B-", "I-"
# E- ends a span, and S- is a span of one word (BIOES); BMES calls I- M-.
_PREFIXES = (_BEGIN, _INSIDE, "E-", "S-")
_MIDDLE = "M-"
# CoNLL-2003 puts this before each document.
_DOCUMENT = "-DOCSTART-"
# For each token of a sequence: if it is the first of a word, the word's class plus 1; 0
# if it is not, or the file has no tags.
TAG = "tag_plus_1"
# For each token: if it is the first of a word, the word's index plus 1; else 0.
WORD = "word_plus_1"


@dataclasses.dataclass(frozen=True)
class Sentences:
    """The sentences of one file.

    Attributes:
        path: of the file.
        words: the words of each sentence.
        tags: the tags of each sentence, one for each word; None if the file has no
            column of tags.
        lines: the line of each sentence's first word, from 1.
    """

    path: str
    words: list[list[str]]
    tags: list[list[str]] | None
    lines: list[int]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def has_labels(self) -> bool:
        """Whether the right tags are known."""
        return self.tags is not None


def read_split(args: flags.TaggerArgs, split: str) -> Sentences:
    """Read the file of a split; only test may lack tags.

    Raises:
        ValueError: there is no file, or see `read_sentences`.
    """
    return read_sentences(
        _find_file(args, split),
        args.word_column,
        args.tag_column,
        needs_tags=split != tables.TEST,
    )


def _find_file(args: flags.TaggerArgs, split: str) -> str:
    if name := getattr(args, f"{split}_file"):
        return os.path.join(args.data_dir, name)
    first, *others = flags.ENDINGS
    for ending in flags.ENDINGS:
        path = os.path.join(args.data_dir, split + ending)
        if storage.exists(path):
            return path
    raise ValueError(
        f"{args.data_dir!r} holds no {split}{first} (nor {', '.join(others)}): name "
        f"the file by --{split}_file, or another folder by --data_dir."
    )


def read_sentences(
    path: str, word_column: int, tag_column: int, needs_tags: bool
) -> Sentences:
    """Read one file.

    Args:
        path: local or any that `tf.io.gfile` opens.
        word_column: from 0; negative from the end.
        tag_column: from 0; negative from the end.
        needs_tags: whether a file is refused if its first line has a single column.

    Raises:
        ValueError: the file is missing, empty or not UTF-8, or a line lacks a column or
            has an unknown kind of tag.
    """
    rows = list(_iterate_rows(path))
    first = next((cells for _, cells in rows if cells), None)
    if first is None:
        raise ValueError(
            f"{path} is empty: put one word and its tag on each line, and a blank line "
            "between sentences."
        )
    has_tags = needs_tags or len(first) > 1
    words, tags, lines = [], [], []
    is_new = True
    for line, cells in rows:
        if not cells:
            is_new = True
            continue
        if is_new:
            words.append([])
            tags.append([])
            lines.append(line)
            is_new = False
        words[-1].append(_cell(path, line, cells, word_column, "word"))
        if has_tags:
            # Unlike a word, a tag is never a space.
            tag = _cell(path, line, cells, tag_column, "tag").strip()
            tags[-1].append(_check_tag(path, line, tag))
    return Sentences(path, words, tags if has_tags else None, lines)


def _iterate_rows(path: str):
    """Yield (line from 1, cells); no cells where a sentence ends."""
    # Not plain strip(): a word may be a wide space, or a space before a tab.
    for number, line in enumerate(tables.read_lines(path), 1):
        if not line.strip(" \t") or line.startswith(_DOCUMENT):
            yield number, []
        elif "\t" in line:
            yield number, line.split("\t")
        else:
            yield number, [cell for cell in line.split(" ") if cell]


def _cell(path: str, line: int, cells: list[str], column: int, name: str) -> str:
    if not -len(cells) <= column < len(cells) or (name == "tag" and len(cells) < 2):
        raise ValueError(
            f"{path}, line {line}: there is no {name} in column {column}, the line has "
            f"{len(cells)} ({' '.join(cells)!r}): repair it, or name the column by "
            f"--{name}_column."
        )
    return cells[column]


def _check_tag(path: str, line: int, tag: str) -> str:
    if tag.startswith(_MIDDLE):
        tag = _INSIDE + tag.removeprefix(_MIDDLE)
    if tag != OUTSIDE and not (tag.startswith(_PREFIXES) and len(tag) > 2):
        raise ValueError(
            f"{path}, line {line}: {tag!r} is no tag: write O, or B- or I- (E-, S-) "
            "and the type of the span; check --tag_column."
        )
    return tag


def find_labels(sentences: Sentences) -> tuple[str, ...]:
    """Return the tags of a training file, O first.

    Every type gets B- and I-, and also E- and S- if some type has them: the S- of a
    rare type may occur in the test file only.

    Raises:
        ValueError: there are no spans.
    """
    found = {tag for tags in sentences.tags for tag in tags} - {OUTSIDE}
    if not found:
        raise ValueError(
            f"{sentences.path} has no tag but {OUTSIDE}, and nothing can be learned "
            "from it: check --tag_column."
        )
    kinds = {tag[2:] for tag in found}
    prefixes = {tag[:2] for tag in found} | {_BEGIN, _INSIDE}
    found = {prefix + kind for kind in kinds for prefix in prefixes}
    order = sorted(found, key=lambda tag: (tag[2:], _PREFIXES.index(tag[:2])))
    return (OUTSIDE, *order)


def number_tags(sentences: Sentences, labels: Sequence[str]) -> list[np.ndarray] | None:
    """Return the class of each word, int32 [words] for each sentence.

    Raises:
        ValueError: a tag is no class.
    """
    if sentences.tags is None:
        return None
    ids = {label: index for index, label in enumerate(labels)}
    for tags, line in zip(sentences.tags, sentences.lines, strict=True):
        for offset, tag in enumerate(tags):
            if tag not in ids:
                raise ValueError(
                    f"{sentences.path}, line {line + offset}: the tag {tag!r} is "
                    f"unknown; the tags are {', '.join(labels)}. Correct the line, or "
                    "train on a file that has it."
                )
    return [np.array([ids[tag] for tag in tags], np.int32) for tags in sentences.tags]


def encode_split(
    args: flags.TaggerArgs,
    split: str,
    sentences: Sentences,
    classes: list[np.ndarray] | None,
    labels: Sequence[str],
    start: warm_start.StartingPoint,
) -> features_lib.Features:
    """Return the features of a split, from the cache if it has them.

    Args:
        args: length and cache.
        split: its name.
        sentences: what to encode.
        classes: from `number_tags`.
        labels: names of the classes.
        start: its tokenizer encodes.
    """
    fingerprint = features_lib.compute_fingerprint(
        storage.read_bytes(sentences.path),
        columns=[args.word_column, args.tag_column],
        labels=labels if classes is not None else [],
        max_seq_length=args.max_seq_length,
        task="tagging",
        **start.settings,
    )
    return features_lib.load_or_encode(
        args.cache_dir,
        f"{split}-tagging",
        fingerprint,
        lambda: encode_sentences(sentences, classes, start, args.max_seq_length),
    )


def encode_sentences(
    sentences: Sentences,
    classes: list[np.ndarray] | None,
    start: warm_start.StartingPoint,
    max_seq_length: int,
) -> features_lib.Features:
    """Return the features of sentences: [CLS], the tokens of each word, [SEP].

    Only the first token of a word is trained on and predicts (Devlin et al., 2018,
    section 5.3; transformers' token classification does the same). Words whose first
    token comes after the cut, and words without any token (white space, control
    characters), predict nothing.

    Args:
        sentences: what to encode.
        classes: from `number_tags`.
        start: its tokenizer encodes.
        max_seq_length: in tokens, [CLS] and [SEP] counted.
    """
    flat = [word for words in sentences.words for word in words]
    tokens = start.tokenizer.tokenize_words(flat)
    first_words = np.cumsum([0, *map(len, sentences.words)])
    begins = tokens.line_starts  # [words + 1], the first token of each word.
    vocabulary = start.vocabulary
    rows, cut, silent = [], 0, 0
    for index in range(len(sentences)):
        words = np.arange(first_words[index], first_words[index + 1])
        low, high = begins[words[0]], begins[words[-1] + 1]
        kept = min(high - low, max_seq_length - 2)
        has_token = begins[words + 1] > begins[words]
        is_kept = has_token & (begins[words] < low + kept)
        cut += int((has_token & ~is_kept).any())
        silent += int((~has_token).sum())
        places = begins[words[is_kept]] - low + 1  # [CLS] comes first.
        ids = np.full(kept + 2, vocabulary.sep_id, np.int32)
        ids[0] = vocabulary.cls_id
        ids[1:-1] = tokens.ids[low : low + kept]
        word, tag = np.zeros((2, kept + 2), np.int32)
        word[places] = np.flatnonzero(is_kept) + 1
        if classes is not None:
            tag[places] = classes[index][is_kept] + 1
        rows.append(
            {
                features_lib.TOKEN_IDS: ids,
                features_lib.SEGMENT_IDS: np.zeros_like(ids),
                WORD: word,
                TAG: tag,
            }
        )
    _print_counts(sentences, tokens.ids, vocabulary, max_seq_length, cut, silent)
    return features_lib.Features({"": features_lib.join_sequences(rows)})


def _print_counts(sentences, ids, vocabulary, max_seq_length, cut, silent) -> None:
    rest = f", whose other words count as {OUTSIDE}" if cut else ""
    nothing = ""
    if silent:
        nothing = f" {silent} words have no token and count as {OUTSIDE}."
    print(
        f"{sentences.path}: {len(sentences)} sentences, {cut} of them cut to "
        f"{max_seq_length} tokens{rest}; "
        f"{features_lib.describe_unknown(sentences.path, [ids], vocabulary)}."
        f"{nothing}",
        flush=True,
    )


def decode_tags(
    features: features_lib.Features,
    predictions: Sequence[np.ndarray],
    words: Sequence[Sequence[str]],
    labels: Sequence[str],
) -> list[list[str]]:
    """Return a tag for each word; O if nothing was predicted.

    Args:
        features: from `encode_sentences`.
        predictions: for each sentence the class of each of its tokens, int [tokens].
        words: the words of each sentence.
        labels: names of the classes.
    """
    sequences = features.sequences[""]
    found = []
    for index, sentence in enumerate(words):
        part = slice(sequences.starts[index], sequences.starts[index + 1])
        word = sequences.tokens[WORD][part]
        tags = [OUTSIDE] * len(sentence)
        for place in np.flatnonzero(word):
            tags[word[place] - 1] = labels[predictions[index][place]]
        found.append(tags)
    return found
