"""Sequences as lines for a terminal or as a page for a browser."""

import html
import unicodedata
from collections import Counter
from collections.abc import Iterable

from data_prep.records.viewer import KEPT, MASKED, REPLACED, Piece, Sequence

_COLOURS = {MASKED: "31", REPLACED: "33", KEPT: "32"}  # ANSI: red, yellow, green
_INDENT = 4
_STYLE = """
body { font: 17px/2.2 "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
h1 { font-size: 1.3rem } h2 { font-size: 1rem; margin: 1.5rem 0 0; color: #666 }
p { margin: .2rem 0 } .side { color: #888; margin-right: .6rem; font-weight: bold }
.word { margin-right: .45em; display: inline-block } rt { font-size: .65em }
.masked { background: #fbd5d5; color: #a11 }
.replaced { background: #fdedc4; color: #850 }
.kept { background: #d8f0d8; color: #262 } ruby { border-radius: 3px; padding: 0 1px }
"""


def write_lines(
    sequence: Sequence, number: int, width: int, colour: bool
) -> Iterable[str]:
    """Yield a sequence's lines.

    A masked piece is shown by its label: {label} if the model sees [MASK],
    {label|seen} if it sees another token, {label=} if it sees the label itself.

    Args:
        sequence: to show.
        number: of the record, from 1.
        width: columns of the terminal; a Han character takes two.
        colour: make them red, yellow and green, too, by ANSI codes.
    """
    yield f"{number}  {describe(sequence)}"
    for name, words in sequence.sides:
        line, used = f"  {name} ", _INDENT
        for word in words:
            shown = [_show_piece(piece, colour) for piece in word]
            needed = sum(columns for _, columns in shown)
            if used > _INDENT and used + needed > width:
                yield line.rstrip()
                line, used = " " * _INDENT, _INDENT
            for text, columns in shown:
                if used > _INDENT and used + columns > width:
                    yield line.rstrip()
                    line, used = " " * _INDENT, _INDENT
                line, used = line + text, used + columns
            line, used = line + " ", used + 1
        yield line.rstrip()


def write_all(
    sequences: Iterable[Sequence], first_number: int, width: int, colour: bool
) -> Iterable[str]:
    """Yield the lines of all sequences, between what the marks mean and their counts.

    Args:
        sequences: to show.
        first_number: of the sequences, which are numbered.
        width: see `write_lines`.
        colour: see `write_lines`.
    """
    fates: Counter[str] = Counter()
    for number, sequence in enumerate(sequences, first_number):
        if number == first_number:
            yield describe_marks(colour)
        yield ""
        yield from write_lines(sequence, number, width, colour)
        fates += sequence.count_fates()
    if fates:
        yield ""
        yield describe_fates(fates)


def describe_fates(fates: Counter[str]) -> str:
    """Return a line on how the chosen pieces fared; BERT's rule is 80, 10 and 10 %."""
    total = fates.total()
    shares = (f"{100 * fates[fate] / total:.1f} %" for fate in _COLOURS)
    return "{} masked pieces: {} [MASK], {} another token, {} the label itself".format(
        f"{total:,}", *shares
    )


def describe_marks(colour: bool) -> str:
    """Return a line that explains the marks of masked pieces."""
    marks = [
        _show_piece(Piece("label", "[MASK]", MASKED), colour)[0] + " [MASK] is seen",
        _show_piece(Piece("label", "other", REPLACED), colour)[0] + " another token",
        _show_piece(Piece("label", "label", KEPT), colour)[0] + " the label itself",
    ]
    return "masked pieces: " + ", ".join(marks)


def describe(sequence: Sequence) -> str:
    """Return a sequence's numbers as one line."""
    labels = sequence.next_sentence_labels
    ending = ""
    if labels:
        named = (f"{label} ({sequence.label_names[label]})" for label in labels)
        ending = f", next_sentence_labels {', '.join(named)}"
    return f"{sequence.num_tokens} tokens, {sequence.num_masked} masked{ending}"


def write_html(sequences: Iterable[Sequence], title: str, first_number: int = 1) -> str:
    """Return a page that needs no other file.

    The line shows the piece that the model sees; its label stands above it.

    Args:
        sequences: to show.
        title: of the page.
        first_number: of the sequences, which are numbered.
    """
    parts = [
        '<!DOCTYPE html>\n<html lang="zh">\n<meta charset="utf-8">',
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>",
        f"<h1>{html.escape(title)}</h1>",
        '<p><span class="masked">[MASK] is seen</span>, '
        '<span class="replaced">another token is seen</span>, '
        '<span class="kept">the label itself is seen</span>; the label stands above. '
        "Words are the segmenter's on the text of the sequence.</p>",
    ]
    fates: Counter[str] = Counter()
    for number, sequence in enumerate(sequences, first_number):
        fates += sequence.count_fates()
        parts.append(f"<h2>{number}: {html.escape(describe(sequence))}</h2>")
        for name, words in sequence.sides:
            body = "".join(
                f'<span class="word">{"".join(map(_mark_piece, word))}</span>'
                for word in words
            )
            parts.append(f'<p><span class="side">{name}</span>{body}</p>')
    if fates:
        parts.append(f"<h2>{html.escape(describe_fates(fates))}</h2>")
    return "\n".join(parts) + "\n</html>\n"


def count_columns(text: str) -> int:
    """Return the number of columns that a text takes in a terminal."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    marks = sum(unicodedata.combining(char) > 0 for char in text)
    return len(text) + wide - marks


def _show_piece(piece: Piece, colour: bool) -> tuple[str, int]:
    """Return (text with marks, columns)."""
    if not piece.fate:
        return piece.text, count_columns(piece.text)
    text = f"{piece.text}|{piece.seen}" if piece.fate == REPLACED else piece.text
    text = "{" + text + ("=" if piece.fate == KEPT else "") + "}"
    columns = count_columns(text)
    # Beside the marks, not in their place: not everybody tells red from green.
    return f"\033[{_COLOURS[piece.fate]}m{text}\033[0m" if colour else text, columns


def _mark_piece(piece: Piece) -> str:
    if not piece.fate:
        return html.escape(piece.text)
    seen = "[M]" if piece.fate == MASKED else piece.seen
    return (
        f'<ruby class="{piece.fate}">{html.escape(seen)}'
        f"<rt>{html.escape(piece.text)}</rt></ruby>"
    )
