"""Data for sentence embeddings: pairs with scores, and pairs or triples to learn from.

The sets are those of `classification.tasks`.
"""

import collections
import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning import tables, warm_start
from bert_cn.finetuning.classification import data, model, tasks
from bert_cn.finetuning.sentences import model as sentences_model
from data_prep import storage

# The classes of pairs that the objective `ranking` learns from, takes negatives from,
# and leaves out.
_POSITIVE, _NEGATIVE = frozenset({"entailment", "1"}), frozenset({"contradiction", "0"})
_LEFT_OUT = frozenset({"neutral"})
# GLUE's test.tsv has no scores. The benchmark's own file has (genre, file, year, index,
# score, sentence, sentence); these are its usual names beside GLUE's files.
_GOLD_FILES = ("sts-test_gold.csv", "sts-test.csv", "original/sts-test.tsv")
_GOLD_COLUMNS = tables.Columns(5, 6, 4)
_GOLD_FORMAT = tables.Format()


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs to learn from.

    Attributes:
        table: first and second texts.
        columns: what the objective needs, arrays [rows].
        negatives: for `ranking`, a text for each row that means another thing, or None
            if none is known; None if no row has one.
    """

    table: tables.Table
    columns: dict[str, np.ndarray]
    negatives: list[str | None] | None = None


def read_scored(
    task: tasks.Task, data_dir: str, names: Sequence[str]
) -> dict[str, data.Split]:
    """Read pairs and their scores.

    Args:
        task: one of `objectives.MAX_SCORES` or a user's own.
        data_dir: its folder.
        names: of `tables.SPLITS`.

    Raises:
        ValueError: see `tables.read_table`; or a score is no number.
    """
    gold = _find_gold(task, data_dir) if tables.TEST in names else None
    plain = [name for name in names if gold is None or name != tables.TEST]
    found = data.read_tables(task, data_dir, plain)
    if gold is not None:
        found[tables.TEST] = tables.read_table(gold, _GOLD_COLUMNS, _GOLD_FORMAT)
    return {
        name: data.number_labels(name, table, model.Labels(()))
        for name, table in found.items()
    }


def _find_gold(task: tasks.Task, data_dir: str) -> str | None:
    if task.name != "sts-b":
        return None
    paths = [os.path.join(data_dir, name) for name in _GOLD_FILES]
    return next((path for path in paths if storage.exists(path)), None)


def scale_scores(split: data.Split, max_score: float) -> Pairs:
    """Return pairs with the cosines that they should have.

    Args:
        split: with scores.
        max_score: the score that becomes the cosine 1; the score 0 becomes 0.

    Raises:
        ValueError: the absolute value of a score is larger.
    """
    table = split.table
    far = np.flatnonzero(np.abs(split.labels) > max_score)
    if len(far):
        raise ValueError(
            f"{table.path}, line {table.lines[far[0]]}: the score "
            f"{table.labels[far[0]]} is over --max_score={max_score:g}, which a cosine "
            "of 1 stands for: correct the line, or raise --max_score."
        )
    scores = (split.labels / max_score).astype(np.float32)
    return Pairs(table, {sentences_model.SCORE: scores})


def keep_scores(split: data.Split) -> Pairs:
    """Return pairs with their scores, of which only the order matters."""
    return Pairs(split.table, {sentences_model.SCORE: split.labels})


def read_lines(path: str) -> Pairs:
    """Read lines, each of which is paired with itself; blank ones are left out.

    Raises:
        ValueError: the file is missing, is not UTF-8 or has a single line, which has
            no other to be told from.
    """
    found = [
        (number, line)
        for number, line in enumerate(tables.read_lines(path), 1)
        if line.strip()
    ]
    if len(found) < 2:
        raise ValueError(
            f"--train_lines={path} has {len(found)} line(s) with text, and "
            "--objective=simcse tells lines from each other: put two or more there."
        )
    numbers, lines = (list(each) for each in zip(*found, strict=True))
    table = tables.Table(path, lines, lines, None, numbers, list(range(len(lines))))
    return Pairs(table, {})


def number_classes(task: tasks.Task, table: tables.Table) -> tuple[Pairs, int]:
    """Return pairs with class ids, and how many classes there are.

    Raises:
        ValueError: there is a single class.
    """
    labels = data.find_labels(task, {tables.TRAIN: table})
    split = data.number_labels(tables.TRAIN, table, labels)
    return Pairs(table, {sentences_model.LABEL: split.labels}), labels.num_outputs


def select_positives(table: tables.Table) -> Pairs:
    """Keep the pairs that mean the same; the others become negatives.

    A pair of class "entailment" or "1" is kept. If its first text also has a pair of
    class "contradiction" or "0", the second text of that pair is its negative; if there
    are several, they take turns.

    Args:
        table: pairs with classes; all pairs are kept if there are no classes.

    Raises:
        ValueError: a class is unknown, or no pair is kept.
    """
    if table.labels is None:
        return Pairs(table, {})
    others: dict[str, list[str]] = collections.defaultdict(list)
    kept = []
    for row, label in enumerate(table.labels):
        if label in _POSITIVE:
            kept.append(row)
        elif label in _NEGATIVE:
            others[table.texts[row]].append(table.pairs[row])
        elif label not in _LEFT_OUT:
            known = sorted(_POSITIVE | _NEGATIVE | _LEFT_OUT)
            raise ValueError(
                f"{table.path}, line {table.lines[row]}: the label {label!r} is "
                f"unknown to --objective=ranking, which knows {', '.join(known)}: "
                "correct the line, or leave the label's column out if every pair means "
                "the same."
            )
    if not kept:
        raise ValueError(
            f"{table.path} has no pair of class {' or '.join(sorted(_POSITIVE))}, and "
            "--objective=ranking learns from those: check the label's column."
        )
    negatives, used = [], collections.Counter()
    for row in kept:
        texts = others.get(table.texts[row])
        used[table.texts[row]] += 1
        negatives.append(
            texts[(used[table.texts[row]] - 1) % len(texts)] if texts else None
        )
    chosen = dataclasses.replace(
        table,
        texts=[table.texts[row] for row in kept],
        pairs=[table.pairs[row] for row in kept],
        labels=None,
        lines=[table.lines[row] for row in kept],
        indices=[table.indices[row] for row in kept],
    )
    known = sum(text is not None for text in negatives)
    print(
        f"{table.path}: {len(kept)} of {len(table)} pairs mean the same; {known} of "
        "them have a negative.",
        flush=True,
    )
    return Pairs(chosen, {}, negatives if known else None)


def take_triples(table: tables.Table) -> Pairs:
    """Return the pairs and negatives of a table that has negatives as its labels."""
    return Pairs(dataclasses.replace(table, labels=None), {}, table.labels)


def encode_pairs(
    pairs: Pairs,
    name: str,
    start: warm_start.StartingPoint,
    max_seq_length: int,
    cache_dir: str,
) -> features_lib.Features:
    """Return the features of pairs, with token ids from the cache if it has them.

    Args:
        pairs: what to encode, each text by itself.
        name: of the split.
        start: its tokenizer encodes.
        max_seq_length: in tokens of one text, [CLS] and [SEP] counted.
        cache_dir: "" for none.
    """
    texts = {
        sentences_model.FIRST: pairs.table.texts,
        sentences_model.SECOND: pairs.table.pairs,
    }
    columns = dict(pairs.columns)
    if pairs.negatives is not None:
        has = [text is not None for text in pairs.negatives]
        columns[sentences_model.HAS_NEGATIVE] = np.array(has, np.float32)
        texts[sentences_model.NEGATIVE] = [text or "" for text in pairs.negatives]
    numbers: dict[str, int] = {}
    for prefix, each in texts.items():
        columns[prefix + sentences_model.NUMBER] = np.array(
            [numbers.setdefault(text, len(numbers)) for text in each], np.int32
        )

    def encode() -> features_lib.Features:
        sequences, cut = {}, 0
        for prefix, each in texts.items():
            sequences[prefix], cut_here = features_lib.encode_texts(
                each, None, start.tokenizer, start.vocabulary, max_seq_length
            )
            cut += cut_here
        ids = [each.tokens[features_lib.TOKEN_IDS] for each in sequences.values()]
        path = pairs.table.path
        unknown = features_lib.describe_unknown(path, ids, start.vocabulary)
        print(
            f"{path}: {len(pairs.table)} pairs, {cut} texts cut to "
            f"{max_seq_length} tokens; {unknown}.",
            flush=True,
        )
        return features_lib.Features(sequences)

    fingerprint = features_lib.compute_fingerprint(
        features_lib.to_bytes("\1".join(each) for each in texts.values()),
        texts=list(texts),
        max_seq_length=max_seq_length,
        **start.settings,
    )
    features = features_lib.load_or_encode(
        cache_dir, f"{name}-sentences", fingerprint, encode
    )
    return features.with_columns(**columns)
