"""The figure and the table of what `plateau` measured."""

import io
from collections.abc import Callable

import matplotlib
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

# The accuracy of a model on the plateau, and one that it has only after it.
PLATEAU, LEFT = (0.12, 0.15), 0.16
# Colors that color-blind readers can tell apart (Okabe and Ito, 2008,
# https://jfly.uni-koeln.de/color/), and a dash for each.
_LOOKS = (
    ("#000000", "-"),
    ("#D55E00", "-"),
    ("#E69F00", "--"),
    ("#009E73", "-"),
    ("#0072B2", "-"),
    ("#56B4E9", "--"),
)
_TITLES = {
    "a_bert": "a: BERT's start, 1e-3",
    "b_bias": "b: bias, embeddings 0.05, 4e-3",
    "c_kernels": "c: b and kernels by fan-in",
    "d_neighbors": "d: c and neighbors",
    "e_muon": "e: Muon without neighbors",
    "f_muon_neighbors": "f: Muon with neighbors",
}
_PNG_DPI, _NUM_COLORS = 80, 64


def draw(results: list[dict], path: str) -> None:
    """Draw all starts into one PNG.

    Args:
        results: of the starts, as `plateau` writes them.
        path: where the PNG goes.
    """
    figure, axes = plt.subplots(3, 3, figsize=(15, 12), constrained_layout=True)
    first = results[0]
    frequent = first["most_frequent_share_at_mask"]
    token = first["most_frequent_token"]
    panels: list[tuple[str, Callable[[dict], float], float | None]] = [
        ("accuracy, all masked positions", lambda m: m["accuracy"], None),
        (
            "accuracy where [MASK] is shown",
            lambda m: m["accuracy_by_kind"]["mask"],
            frequent,
        ),
        (
            "accuracy where the token was kept",
            lambda m: m["accuracy_by_kind"]["kept"],
            1.0,
        ),
        (
            f"share of {token!r} among answers".replace("，", ","),
            lambda m: m["frequent_share"],
            frequent,
        ),
        ("mean cosine of token embeddings", lambda m: m["embedding_cosine"], None),
        (
            "attention on 4 nearest tokens, best head",
            read_neighbor_attention,
            first["uniform_attention_on"]["neighbors"],
        ),
        (
            "loss at [MASK]: rise when neighbors are exchanged",
            lambda m: m["loss_rise"]["near"],
            None,
        ),
        (
            "loss at [MASK]: rise when the others are",
            lambda m: m["loss_rise"]["far"],
            None,
        ),
        (
            "gradient norm, queries and keys of layer 0",
            lambda m: m["gradient_norms"]["layer 0 query and key"],
            None,
        ),
    ]
    for axis, (title, read, reference) in zip(axes.flat, panels, strict=True):
        _draw_panel(axis, results, read)
        axis.set_title(title)
        if reference is not None:
            axis.axhline(reference, color="gray", linestyle=":", linewidth=1)
    for axis in axes[2]:
        axis.set_yscale("log")
    for axis in axes[2, :2]:
        axis.set_ylim(1e-3, 10)  # What is below is noise.
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=3,
        fontsize=12,
    )
    with io.BytesIO() as drawn:
        figure.savefig(drawn, format="png", dpi=_PNG_DPI)
        # Few colors make a third of the file.
        image = Image.open(drawn).convert("RGB").quantize(_NUM_COLORS, dither=0)
    image.save(path, format="png", optimize=True)
    plt.close(figure)


def _draw_panel(axis, results: list[dict], read: Callable[[dict], float]) -> None:
    for result, (color, dash) in zip(results, _LOOKS, strict=False):
        steps = [m["step"] for m in result["measurements"]]
        points = [read(m) for m in result["measurements"]]
        axis.plot(
            steps,
            points,
            dash,
            color=color,
            linewidth=1.8,
            label=_TITLES[result["name"]],
        )
    axis.set_xlabel("step")
    axis.grid(alpha=0.3)


def find_leaving_step(result: dict) -> int | None:
    """Return the first measured step from which on the accuracy is above `LEFT`."""
    leaving = None
    for measurement in reversed(result["measurements"]):
        if measurement["accuracy"] <= LEFT:
            break
        leaving = measurement["step"]
    return leaving


def find_plateau(result: dict) -> list[dict]:
    """Return the measurements on the plateau, which all come before it is left."""
    leaving = find_leaving_step(result)
    low, high = PLATEAU
    return [
        m
        for m in result["measurements"]
        if low <= m["accuracy"] <= high and (leaving is None or m["step"] < leaving)
    ]


def write_table(results: list[dict]) -> str:
    """Return one Markdown row per start: the plateau's averages, and both ends.

    The attention on neighbors is that at the start, from the first to the last look at
    the plateau, and at the end.
    """
    token = results[0]["most_frequent_token"]
    lines = [
        f"| start | on the plateau | leaves it | [MASK] / kept / random | {token} at "
        "[MASK] | cosine | neighbors: start, plateau, end | accuracy at the end |",
        "|---|---|--:|---|--:|--:|---|--:|",
    ]
    for result in results:
        plateau = find_plateau(result)
        first, last = result["measurements"][0], result["measurements"][-1]
        steps, middle = "never", ["—"] * 4
        if plateau:
            steps = f"{plateau[0]['step']} to {plateau[-1]['step']}"
            kinds = (
                _average(plateau, lambda m, kind=kind: m["accuracy_by_kind"][kind])
                for kind in first["accuracy_by_kind"]
            )
            middle = [
                " / ".join(f"{value:.1%}" for value in kinds),
                f"{_average(plateau, lambda m: m['frequent_share_at_mask']):.1%}",
                f"{_average(plateau, lambda m: m['embedding_cosine']):.2f}",
                " to ".join(
                    f"{read_neighbor_attention(m):.1%}"
                    for m in plateau[:: len(plateau) - 1 or 1]
                ),
            ]
        ends = [f"{read_neighbor_attention(m):.1%}" for m in (first, last)]
        cells = [
            result["name"],
            steps,
            str(find_leaving_step(result) or "not yet"),
            *middle[:3],
            f"{ends[0]}, {middle[3]}, {ends[1]}",
            f"{last['accuracy']:.1%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def read_neighbor_attention(measurement: dict) -> float:
    """Return the largest share that a head has on the four nearest tokens."""
    return float(np.max(measurement["attention_on"]["neighbors"]))


def _average(measurements: list[dict], read: Callable[[dict], float]) -> float:
    return float(np.mean([read(measurement) for measurement in measurements]))
