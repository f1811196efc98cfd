"""Sentences per second of encode_sentences, beside SentenceTransformer.encode.

    pip install 'bert_cn[torch]'
    taskset -c 0 python benchmarks/sentence_encoding.py \
        --checkpoint=out/sentences/best --input_file=lines.txt

Both encode the same lines by the same folder in one process, in turn, on the cores that
the process may use. Loading and a first pass (tracing, warming up) are not measured;
tokenization is. The largest difference of the vectors is printed, too.
"""

import argparse
import os
import statistics
import time

import numpy as np


def main() -> None:
    """Measure both in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="best/")
    parser.add_argument("--input_file", required=True, help="a sentence on each line")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))

    import sentence_transformers
    import torch

    from bert_cn.finetuning import warm_start
    from bert_cn.finetuning.sentences import encoding
    from bert_cn.finetuning.sentences import model as sentences_model

    torch.set_num_threads(cores)
    lines = encoding.read_sentences(args.input_file)
    embedding = sentences_model.choose_embedding(args.checkpoint, None, None)
    start = warm_start.load_starting_point(args.checkpoint)
    length = encoding.find_length(args.checkpoint, 0, start)
    ours = encoding.build_encoder(start, embedding, length, args.batch_size)
    theirs = sentence_transformers.SentenceTransformer(args.checkpoint, device="cpu")
    sides = {
        "encode_sentences": lambda: ours.encode(lines, args.input_file),
        "SentenceTransformer.encode": lambda: theirs.encode(
            lines, batch_size=args.batch_size
        ),
    }
    first, second = (encode() for encode in sides.values())
    seconds = {name: [] for name in sides}
    for _ in range(args.repeats):
        for name, encode in sides.items():
            begin = time.perf_counter()
            encode()
            seconds[name].append(time.perf_counter() - begin)
    print(f"{len(lines)} lines, {cores} core(s), batches of {args.batch_size}")
    print("| | lines/s (all runs) | median |\n|---|---|---|")
    for name, each in seconds.items():
        rates = [len(lines) / value for value in each]
        shown = ", ".join(f"{rate:.0f}" for rate in rates)
        print(f"| {name} | {shown} | {statistics.median(rates):.0f} |")
    print(f"Largest absolute difference: {np.abs(first - second).max():.1e}")


if __name__ == "__main__":
    main()
