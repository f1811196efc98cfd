r"""Measure segmenters against words that people marked.

    pip install -e '.[pkuseg,thulac]'
    python -m benchmarks.segmenters --gold_file=WORDS.txt --num_lines=6000

The file has a sentence a line, its words with a blank between. Precision, recall and F
are over words of two characters and more, since those are what whole-word masking masks
together. MB/s are of CPU time on one core.
"""

import time

import numpy as np
from absl import app, flags

from data_prep.text import segmentation

_GOLD_FILE = flags.DEFINE_string("gold_file", None, "The words.", required=True)
_NUM_LINES = flags.DEFINE_integer(
    "num_lines", 6000, "Lines to measure, from the first."
)
_SEGMENTERS = flags.DEFINE_list(
    "segmenters", ["rjieba", "jieba", *segmentation.EXTRAS], "What to measure."
)


def main(_) -> None:
    with open(_GOLD_FILE.value, encoding="utf-8") as file:
        gold = [line.split() for line in file.read().splitlines()[: _NUM_LINES.value]]
    texts = ["".join(words) for words in gold]
    expected = [find_words(mark_starts(words)) for words in gold]
    size = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts)} lines, {size:.2f} MB")
    print("| segmenter | precision | recall | F | MB/s |\n|---|--:|--:|--:|--:|")
    for name in _SEGMENTERS.value:
        segmentation.check_installed(name)
        segment = segmentation.build_segmenter(name)
        segment(texts[0])
        begin = time.process_time()
        found = [find_words(segment(text)) for text in texts]
        seconds = time.process_time() - begin
        right = sum(len(a & b) for a, b in zip(found, expected, strict=True))
        precision = right / sum(map(len, found))
        recall = right / sum(map(len, expected))
        f1 = 2 * precision * recall / (precision + recall)
        print(
            f"| {name} | {precision:.3f} | {recall:.3f} | {f1:.3f} | "
            f"{size / seconds:.2f} |",
            flush=True,
        )


def mark_starts(words: list[str]) -> np.ndarray:
    """Return bool [characters], true where a word begins."""
    return np.concatenate([np.arange(len(word)) == 0 for word in words] or [[]])


def find_words(starts: np.ndarray) -> set[tuple[int, int]]:
    """Return begin and end of each word of two characters and more."""
    places = np.append(np.flatnonzero(starts), len(starts)).tolist()
    return {(a, b) for a, b in zip(places, places[1:], strict=False) if b - a > 1}


if __name__ == "__main__":
    app.run(main)
