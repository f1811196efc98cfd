"""The data report as a page to read: Markdown, and plots as one PNG."""

import io
from typing import Any

from data_prep.records import verdicts

_LONGEST_WORD_SHOWN = 12
_UNKNOWN_CHARACTERS_DRAWN = 20


def write_markdown(report: dict[str, Any], name: str, image: str) -> str:
    """Return the page.

    Args:
        report: see `report.build_report`.
        name: of the records, for the title.
        image: file name of the plots.
    """
    parts = [f"# Data report: {name}\n"]
    parts += [f"**Warning:** {_escape(warning)}\n" for warning in report["warnings"]]
    parts += [
        _verdict_table(report),
        _text_table(report["counts"]),
        _record_table(report),
        f"![Sequence lengths, pick rate, unknown characters]({image})\n",
        _word_table(report),
        _unknown_table(report),
        _groups_table(report["statistics"].get("largest_near_duplicates", {})),
        _filter_table(report["statistics"].get("filtered_by_rule", {})),
    ]
    return "\n".join(parts)


def draw_plots(report: dict[str, Any]) -> bytes:
    """Return a PNG: sequence lengths, pick rate by word length, most frequent [UNK]."""
    # Not pyplot: it takes longer to import and keeps state. No Han in labels: most
    # machines have no font for it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    lengths, rates, unknown = figure.subplots(1, 3)
    histogram = report["statistics"]["length_histogram"]
    lengths.bar(range(len(histogram)), histogram, width=1.0)
    lengths.set(title="Sequence length", xlabel="tokens", ylabel="sequences")
    rows = _word_rows(report)
    rates.bar([row[0] for row in rows], [row[3] for row in rows])
    rates.set(
        title="Words masked whole",
        xlabel="tokens of the word",
        ylabel="% of such words",
        xticks=[row[0] for row in rows],
    )
    places = report["unknown_characters"][:_UNKNOWN_CHARACTERS_DRAWN]
    unknown.set(title="Most frequent unknown characters")
    if places:
        unknown.barh([p["code_point"] for p in places], [p["times"] for p in places])
        unknown.invert_yaxis()
        unknown.set(xscale="log", xlabel="times (log)")
        unknown.tick_params(axis="y", labelsize=6)
    else:
        # An axis without a bar cannot be logarithmic.
        unknown.set_axis_off()
        unknown.text(0.5, 0.5, "none", ha="center", transform=unknown.transAxes)
    image = io.BytesIO()
    # Without the date and version, the same counts give the same bytes.
    figure.savefig(image, format="png", dpi=110, metadata={"Software": None})
    return image.getvalue()


def _verdict_table(report: dict[str, Any]) -> str:
    rows = [
        (f"{v.sign} {_escape(v.what)}", _percent(v.share), v.remedy)
        for v in verdicts.list_verdicts(report)
    ]
    return "## At a glance\n\n" + _table(("", "", "what helps"), rows, "-:-")


def _groups_table(groups: dict[str, int]) -> str:
    if not groups:
        return ""
    rows = sorted(groups.items(), key=lambda group: (-group[1], group[0]))
    return (
        "## Largest groups of similar documents\n\n"
        "Of each the longest document was used; this is its beginning.\n\n"
        + _table(
            ("document", "similar ones, itself included"),
            [(_escape(text), size) for text, size in rows],
        )
    )


def _filter_table(problems: dict[str, int]) -> str:
    if not problems:
        return ""
    rows = sorted(problems.items(), key=lambda row: (-row[1], row[0]))
    head = ("threshold that a document fails first", "documents")
    return "## Documents left out by `--filter`\n\n" + _table(head, rows)


def _list_dropped(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Return rows of what was dropped because it is elsewhere, too."""
    rows = (
        ("near_duplicates_dropped", "Similar documents dropped (`--deduplicate=near`)"),
        ("documents_filtered", "Documents left out (`--filter`)"),
        ("repeated_lines_dropped", "Lines dropped (`--drop_repeated_lines`)"),
    )
    return [(words, counts[name]) for name, words in rows if name in counts]


def _text_table(counts: dict[str, int]) -> str:
    rows = (
        ("Files", counts["files"]),
        ("Documents used", counts["documents"]),
        ("Documents equal to an earlier one", counts["duplicate_documents"]),
        ("Duplicates dropped (`--deduplicate`)", counts["duplicates_dropped"]),
        *_list_dropped(counts),
        ("Documents of traditional text", counts["traditional_documents"]),
        ("Sentences", counts["sentences"]),
        ("Sentences too long for a sequence, split", counts["sentences_cut"]),
        ("Words longer than a quarter of a sequence, split", counts["words_cut"]),
        ("Characters", counts["characters"]),
        ("Punctuation marks replaced", counts["punctuation_fixed"]),
        ("U+FFFD, which makes no token", counts["replacement_characters"]),
        ("Tokens", counts["tokens"]),
        ("[UNK]", _with_share(counts, "unknown_tokens", "tokens")),
    )
    return "## Text\n\n" + _table(("", "count"), rows)


def _record_table(report: dict[str, Any]) -> str:
    counts, shares = report["counts"], report["shares"]
    sequences = max(1, counts["sequences"])
    rows = (
        ("Sequences", counts["sequences"]),
        ("Tokens per sequence, mean", f"{counts['sequence_tokens'] / sequences:.1f}"),
        ("Padding", _percent(shares["padding"])),
        ("Tokens truncated (all copies)", counts["truncated_tokens"]),
        ("Tokens without a partner, left out", counts["dropped_tokens"]),
        *_mask_rows(report),
        *_label_rows(report),
    )
    return "## Records\n\n" + _table(("", ""), rows)


def _mask_rows(report: dict[str, Any]) -> list[tuple[str, Any]]:
    counts = report["counts"]
    if report["masking_time"] == "dynamic":
        return [("Masked tokens", "masked while training")]
    mean = counts["masked_tokens"] / max(1, counts["sequences"])
    return [
        ("Masked tokens per sequence, mean", f"{mean:.2f}"),
        ("Masking budget filled", _percent(report["shares"]["budgets_filled"])),
        ("Words masked in part", counts["words_masked_in_part"]),
    ]


def _label_rows(report: dict[str, Any]) -> list[tuple[str, Any]]:
    shares, task = report["shares"], report["sentence_task"]
    if task == "sop":
        return [("Sentences swapped", _percent(shares["swapped"]))]
    if task != "nsp":
        return []
    same = report["counts"]["random_next_same_text"]
    return [
        ("Random next sentences", _percent(shares["random_next"])),
        ("Random next from a document of the same text", same),
    ]


def _word_table(report: dict[str, Any]) -> str:
    rows = [
        (length, words, whole, f"{rate:.2f} %")
        for length, words, whole, rate in _word_rows(report)
    ]
    masking = report["masking"]
    if report["masking_time"] == "dynamic":
        rows = [row[:2] for row in _word_rows(report)]
        return "## Words\n\n" + _table(("tokens of the word", "words"), rows)
    return (
        "## Words masked whole\n\n"
        f"`--masking={masking}`. Words in all sequences, except those that hold [UNK]. "
        "A word is masked whole if all of its tokens are masked.\n\n"
        + _table(("tokens of the word", "words", "masked whole", ""), rows)
    )


def _word_rows(report: dict[str, Any]) -> list[tuple[int, int, int, float]]:
    """Return (tokens, words, masked whole, per cent) for each length of word."""
    words = report["statistics"]["words_by_length"]
    whole = report["statistics"]["words_masked_whole"]
    whole = whole + [0] * (len(words) - len(whole))
    return [
        (length, words[length], whole[length], 100 * whole[length] / words[length])
        for length in range(1, min(len(words), _LONGEST_WORD_SHOWN + 1))
        if words[length]
    ]


def _unknown_table(report: dict[str, Any]) -> str:
    shown = report["unknown_characters"]
    rows = [
        (_show_character(row["character"]), row["code_point"], row["times"])
        for row in shown
    ]
    if not rows:
        return "## Unknown characters\n\nNone.\n"
    return (
        "## Unknown characters\n\n"
        f"{len(rows)} of {report['different_unknown_characters']} characters that the "
        "vocabulary lacks, those first that made [UNK] most often.\n\n"
        + _table(("character", "code point", "times"), rows)
    )


def _table(head: tuple[str, ...], rows, align: str = "") -> str:
    """Return a table; `align` has "-" (left) or ":" (right) for each column."""
    align = align or "-" + ":" * (len(head) - 1)
    align = ["---:" if each == ":" else "---" for each in align]
    lines = [head, align, *rows]
    return (
        "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines) + "\n"
    )


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _show_character(char: str) -> str:
    return _escape(char) if char.isprintable() else ""


def _escape(text: str) -> str:
    return "".join("\\" + c if c in "\\`*_{}[]<>#|~" else c for c in text)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _with_share(counts: dict[str, int], part: str, whole: str) -> str:
    share = counts[part] / max(1, counts[whole])
    return f"{counts[part]:,} ({_percent(share)})"
