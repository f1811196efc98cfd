"""Draw one sentence as words, masked by token and masked by whole word.

    python docs/pictures/masking.py

Words and choices are the data stage's own: the default segmenter, and `choose_words`
with as many tokens for both rows. The sentence is chosen, and so is the seed: one whose
token masks cut words of two characters.
"""

import html
import pathlib

import numpy as np

from data_prep.records import masking
from data_prep.text import segmentation

SENTENCE = "他们用语言模型来预测句子里的下一个词语。"
SEED = 16
MASKED_SHARE = 0.25
IMAGES = pathlib.Path(__file__).resolve().parents[1] / "images"
FONTS = "'Noto Sans CJK SC','PingFang SC','Microsoft YaHei',sans-serif"
CELL, GAP, ROW, LEFT, TOP = 30, 8, 58, 150, 18
# Text, lines, background of a word, of a mask, text on a mask.
COLORS = {
    "light": ("#1f2328", "#8c959f", "#eaeef2", "#0969da", "#ffffff"),
    "dark": ("#e6edf3", "#6e7681", "#21262d", "#388bfd", "#ffffff"),
}


def main() -> None:
    """Write masking-light.svg and masking-dark.svg."""
    word_starts = segmentation.build_segmenter("rjieba")(SENTENCE)
    rows = [
        ("words", np.zeros(len(SENTENCE), bool)),
        ("masked by token", choose(np.ones_like(word_starts))),
        ("masked by word", choose(word_starts)),
    ]
    for theme in COLORS:
        path = IMAGES / f"masking-{theme}.svg"
        path.write_text(draw(rows, word_starts, theme), encoding="utf-8")
        print(path)


def choose(starts: np.ndarray) -> np.ndarray:
    """Return which characters are masked, bool [characters].

    Args:
        starts: bool [characters], where what is masked together begins.
    """
    starts = starts[None].astype(bool)
    budget = np.array([round(MASKED_SHARE * len(SENTENCE))])
    maskable = np.array([[character != "。" for character in SENTENCE]])
    rng = np.random.default_rng(SEED)
    return masking.choose_words(starts, maskable, budget, starts, rng)[0]


def draw(rows, word_starts: np.ndarray, theme: str) -> str:
    """Return the picture as SVG."""
    text, line, box, mask, on_mask = COLORS[theme]
    numbers = np.cumsum(word_starts) - 1
    lefts = [LEFT + CELL * i + GAP * number for i, number in enumerate(numbers)]
    width, height = lefts[-1] + CELL + 12, TOP + ROW * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="{FONTS}" font-size="18">'
    ]
    for number, (name, masked) in enumerate(rows):
        top = TOP + ROW * number
        parts.append(
            f'<text x="12" y="{top + 23}" font-size="14" fill="{line}">{name}</text>'
        )
        for i, character in enumerate(SENTENCE):
            fill, color = (mask, on_mask) if masked[i] else (box, text)
            shown = "?" if masked[i] else html.escape(character)
            parts.append(
                f'<rect x="{lefts[i]}" y="{top}" width="{CELL - 1}" height="34" '
                f'rx="4" fill="{fill}"/><text x="{lefts[i] + CELL / 2}" '
                f'y="{top + 24}" text-anchor="middle" fill="{color}">{shown}</text>'
            )
        parts += underline(lefts, word_starts, top + 40, line)
    return "\n".join([*parts, "</svg>\n"])


def underline(lefts, word_starts: np.ndarray, y: int, color: str) -> list[str]:
    """Return a line under each word."""
    begins = np.flatnonzero(word_starts)
    ends = [*(begins[1:] - 1), len(lefts) - 1]
    return [
        f'<line x1="{lefts[begin]}" x2="{lefts[end] + CELL - 1}" y1="{y}" y2="{y}" '
        f'stroke="{color}" stroke-width="2"/>'
        for begin, end in zip(begins, ends, strict=True)
    ]


if __name__ == "__main__":
    main()
