"""What stands between sentence embeddings and scores, without any training.

    python benchmarks/embedding_geometry.py --pairs=sts-b-dev.txt out/mini/weights \
        out/random

For each checkpoint: the mean cosine of random sentences, and Spearman's correlation of
the cosine with the scores, for mean-pooled embeddings as they are, with their common
mean removed, and whitened (Su et al., 2021, "Whitening Sentence Representations for
Better Semantics and Faster Retrieval", arXiv:2103.15316), all fitted on the sentences
of the file itself. The file has lines of first text, second text and score, tabs
between.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import scipy.stats

_RANDOM_PAIRS = 20_000


def main() -> None:
    """Embed the sentences with each checkpoint, and print a table."""
    arguments = parse_arguments()
    first, second, scores = read_pairs(arguments.pairs)
    print("| checkpoint | embeddings | cosine of random sentences | Spearman |")
    print("|---|---|--:|--:|")
    for checkpoint in arguments.checkpoints:
        rows = embed(checkpoint, first + second)
        centered = rows - rows.mean(0)
        for name, changed in (
            ("mean of the tokens", rows),
            ("less their common mean", centered),
            ("whitened", whiten(centered)),
        ):
            random, spearman = measure(changed, scores)
            print(f"| {checkpoint} | {name} | {random:.3f} | {spearman:.1f} |")


def read_pairs(path: str) -> tuple[list[str], list[str], np.ndarray]:
    """Return first texts, second texts and scores."""
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file if line.strip()]
    return (
        [row[0] for row in rows],
        [row[1] for row in rows],
        np.array([float(row[2]) for row in rows]),
    )


def embed(checkpoint: str, texts: list[str]) -> np.ndarray:
    """Return float32 [texts, hidden], the mean over the tokens of each."""
    from bert_cn.finetuning.sentences import encode_flags, encoding

    encoder = encoding.LineEncoder(
        encode_flags.EncodeArgs(
            checkpoint=checkpoint,
            input_file="",
            output_file="",
            dtype="float32",
            query=[],
            nearest=0,
            batch_size=64,
            max_seq_length=128,
            pooling="mean",
            normalize=False,
            overwrite=False,
        )
    )
    rows = np.empty((len(texts), encoder.width), np.float32)
    encoder.encode(texts, rows)
    return rows


def whiten(centered: np.ndarray) -> np.ndarray:
    """Return rows whose covariance is the identity."""
    directions, variances, _ = np.linalg.svd(np.cov(centered.T))
    return centered @ (directions / np.sqrt(variances + 1e-6))


def measure(rows: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Return the mean cosine of random rows, and Spearman's correlation in percent."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    left, right = np.random.default_rng(0).integers(0, len(unit), (2, _RANDOM_PAIRS))
    random = (unit[left] * unit[right]).sum(1).mean()
    cosines = (unit[: len(scores)] * unit[len(scores) :]).sum(1)
    return random, 100 * scipy.stats.spearmanr(cosines, scores)[0]


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", required=True)
    parser.add_argument("checkpoints", nargs="+")
    return parser.parse_args()


if __name__ == "__main__":
    main()
