"""Time encode_sentences beside SentenceTransformer.encode on the same core, in turns.

    taskset -c 1 python benchmarks/encode_sentences.py --checkpoint=out/sentences/best \
        --input_file=lines.txt

Both embed all lines in batches of 64, sorted by length, in float32, weights loaded and
one batch done before. Times are CPU seconds of the process, which other programs on the
machine disturb less than minutes; the embeddings must agree to 1e-3.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main() -> None:
    """Measure, and print a line for each round and the ratio."""
    arguments = parse_arguments()
    import numpy as np
    import torch
    from sentence_transformers import SentenceTransformer

    from bert_cn.finetuning.sentences import encode_flags, encoding

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with open(arguments.input_file, encoding="utf-8") as file:
        texts = [line.rstrip("\n") for line in file][: arguments.lines]
    ours = encoding.LineEncoder(
        encode_flags.EncodeArgs(
            checkpoint=arguments.checkpoint,
            input_file="",
            output_file="",
            dtype="float32",
            query=[],
            nearest=0,
            batch_size=64,
            max_seq_length=0,
            pooling=None,
            normalize=None,
            overwrite=False,
        )
    )
    theirs = SentenceTransformer(arguments.checkpoint, device="cpu")
    rows = np.empty((len(texts), ours.width), np.float32)

    def encode_ours():
        ours.encode(texts, rows)
        return rows

    def encode_theirs():
        return theirs.encode(texts, batch_size=64, show_progress_bar=False)

    ours.encode(texts[:64], rows[:64])
    theirs.encode(texts[:64], batch_size=64)
    ratios = []
    for _ in range(arguments.rounds):
        seconds, found = zip(*map(measure, (encode_ours, encode_theirs)), strict=True)
        difference = np.abs(found[0] - found[1]).max()
        assert difference < 1e-3, difference
        ratios.append(seconds[1] / seconds[0])
        print(
            f"bert_cn {len(texts) / seconds[0]:,.0f} lines per CPU s, "
            f"sentence-transformers {len(texts) / seconds[1]:,.0f}, ratio "
            f"{ratios[-1]:.2f}, largest difference {difference:.1e}"
        )
    print(f"ratio, median of {len(ratios)}: {statistics.median(ratios):.2f}")


def measure(encode) -> tuple[float, object]:
    """Return CPU seconds and the result."""
    begin = time.process_time()
    result = encode()
    return time.process_time() - begin, result


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--input_file", required=True)
    parser.add_argument("--lines", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
