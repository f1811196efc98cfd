"""What the embeddings of a checkpoint without training have in common.

    python benchmarks/embedding_space.py --checkpoint=out/mini \
        --data_dir=data/zh_sts_b [--task_name=sts-b-zh]

For the checkpoint and for random weights of the same sizes (--seeds of them) it prints,
for each pooling, the mean cosine of random pairs of dev sentences and the Spearman
correlation on dev of the embeddings as they are, without the mean of the training
sentences, and whitened by them (Su et al., 2021, https://arxiv.org/abs/2103.15316).
Two rows without any model come first: characters counted, and weighted by their idf in
the training sentences.
"""

import argparse
import dataclasses

import keras
import numpy as np
import sklearn.feature_extraction.text

from bert_cn.conversion import sentence_modules
from bert_cn.finetuning import metrics, tables, warm_start
from bert_cn.finetuning.classification import tasks
from bert_cn.finetuning.sentences import data, encoding, whitening

POOLINGS = "mean,weighted_mean,first_last_mean"
RANDOM_PAIRS = 10_000


def main() -> None:
    """Measure the checkpoint and random weights, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True, nargs="+")
    parser.add_argument("--data_dir", required=True, help="folder of the task's files")
    parser.add_argument("--task_name", default="sts-b-zh", help="pairs with scores")
    parser.add_argument("--seeds", type=int, default=2, help="of random weights")
    parser.add_argument("--poolings", default=POOLINGS)
    parser.add_argument(
        "--fitted", type=int, default=4000, help="training sentences, drawn"
    )
    args = parser.parse_args()
    task = tasks.find_task(args.task_name)
    splits = data.read_scored(task, args.data_dir, [tables.TRAIN, tables.DEV])
    train, dev = splits[tables.TRAIN].table, splits[tables.DEV].table
    fitted = sorted(set(train.texts + train.pairs))
    fitted = np.random.default_rng(0).permutation(fitted)[: args.fitted].tolist()
    rows = []
    for checkpoint in args.checkpoint:
        start = warm_start.load_starting_point(checkpoint)
        drawn = dataclasses.replace(start, bert=None)
        starts = [(checkpoint, start, 0)]
        starts += [(f"random, seed {seed}", drawn, seed) for seed in range(args.seeds)]
        for name, each, seed in starts:
            for pooling in args.poolings.split(","):
                keras.utils.set_random_seed(seed)
                embedding = sentence_modules.Embedding(pooling, False)
                encoder = encoding.build_encoder(each, embedding, 128)
                vectors = [
                    encoder.encode(texts, "")
                    for texts in (fitted, dev.texts, dev.pairs)
                ]
                rows.append((name, pooling, measure(*vectors, splits[tables.DEV])))
    print("\n| weights | pooling | cosine of random pairs | raw | - mean | whitened |")
    print("|---|---|---|---|---|---|")
    for name, uses_idf in (("counts", False), ("idf", True)):
        found = measure_characters(train, splits[tables.DEV], uses_idf)
        print(f"| characters | {name} | - | {100 * found:.2f} | - | - |")
    for name, pooling, (cosine, *correlations) in rows:
        shown = " | ".join(f"{100 * value:.2f}" for value in correlations)
        print(f"| {name} | {pooling} | {cosine:.3f} | {shown} |")


def measure(fitted, first, second, split) -> tuple[float, ...]:
    """Return the mean cosine of random pairs, and three correlations."""
    rng = np.random.default_rng(0)
    texts = np.concatenate([first, second])
    pairs = rng.integers(len(texts), size=(2, RANDOM_PAIRS))
    mean = fitted.mean(axis=0)
    projection = whitening.fit(fitted)
    correlations = []
    for change in (
        lambda x: x,
        lambda x: x - mean,
        lambda x: x @ projection.kernel + projection.bias,
    ):
        cosines = compute_cosines(change(first), change(second))
        names = (metrics.SPEARMAN,)
        found = metrics.compute(names, names, split.labels, cosines)
        correlations.append(found[metrics.SPEARMAN])
    return float(compute_cosines(*texts[pairs]).mean()), *correlations


def measure_characters(train, split, uses_idf: bool) -> float:
    """Return the correlation of the cosine of two texts' characters."""
    vectorizer = sklearn.feature_extraction.text.TfidfVectorizer(
        analyzer="char", use_idf=uses_idf
    )
    vectorizer.fit(train.texts + train.pairs)
    first, second = map(vectorizer.transform, (split.table.texts, split.table.pairs))
    cosines = np.asarray(first.multiply(second).sum(axis=1)).ravel()  # Of length 1.
    names = (metrics.SPEARMAN,)
    return metrics.compute(names, names, split.labels, cosines)[metrics.SPEARMAN]


def compute_cosines(first, second):
    """Return the cosine of each pair of rows."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / lengths


if __name__ == "__main__":
    main()
