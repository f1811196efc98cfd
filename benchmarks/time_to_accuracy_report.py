"""The table and the plot of `time_to_accuracy`.

A result is what `time_to_accuracy.find_or_run` returns.
"""

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib import ticker

# Percent. 22.74 and 33.54 are what the reference collection's BERT-tiny and BERT-mini
# have on held-out text of their own.
TARGETS = (20.0, 22.74, 33.54, 40.0, 45.0)
OURS, PEER = "bert_cn", "transformers"


def find_target(result: dict, target: float) -> tuple[float, float, bool] | None:
    """Return when a target was reached: step, minutes, and whether maybe before."""
    accuracy = 100 * np.array(result["accuracy"])
    reached = np.flatnonzero(accuracy >= target)
    if not len(reached):
        return None
    place = int(reached[0])
    if place == 0:
        return result["steps"][0], result["minutes"][0], True
    around = slice(place - 1, place + 1)
    step, minutes = (
        float(np.interp(target, accuracy[around], result[name][around]))
        for name in ("steps", "minutes")
    )
    return step, minutes, False


def measure_step(result: dict) -> float:
    """Return the milliseconds of a step: the median over the parts between evaluations.

    The first part, which holds tracing and compiling, counts if there is no other.
    """
    steps, minutes = ([0, *result[name]] for name in ("steps", "minutes"))
    cost = 60_000 * np.diff(minutes) / np.diff(steps)
    return float(np.median(cost[1:] if len(cost) > 1 else cost))


def print_table(results: list[dict]) -> None:
    """Print a line for each run, and how much sooner ours is than the best peer."""
    titles = " | ".join(f"{target:g} %: minutes, step" for target in TARGETS)
    print(f"\n| run | settings | ms a step | whole, min | best | {titles} |")
    print("|---|---|---:|---:|---:|" + "---:|" * len(TARGETS))
    for result in results:
        cells = []
        for target in TARGETS:
            found = find_target(result, target)
            step, minutes, is_bound = found or (0, 0, False)
            mark = "< " if is_bound else ""
            cells.append(f"{mark}{minutes:.2f}, {step:,.0f}" if found else "-")
        print(
            f"| {result['name']} | {result['label']} | {measure_step(result):.0f} "
            f"| {result['whole_minutes']:.1f} | {100 * max(result['accuracy']):.2f} % "
            f"| {' | '.join(cells)} |"
        )
    ours = [result for result in results if result["name"] == OURS]
    peers = [result for result in results if result["name"] == PEER]
    if ours and peers:
        cells = [compare(ours[0], peers, target) for target in TARGETS]
        print(f"| best peer's minutes / ours | | | | | {' | '.join(cells)} |")


def compare(ours: dict, peers: list[dict], target: float) -> str:
    """Return how many times as long as ours the fastest peer took; "-" if unknown."""
    mine = find_target(ours, target)
    found = [find_target(peer, target) for peer in peers]
    found = [one for one in found if one]
    if mine is None or not found:
        return "-"
    best = min(found, key=lambda one: one[1])
    # A minute that is itself "at most" makes the ratio a bound, or, twice, a guess.
    mark = {(True, False): "> ", (False, True): "< ", (True, True): "about "}
    return f"{mark.get((mine[2], best[2]), '')}{best[1] / mine[1]:.1f}"


def draw(results: list[dict], title: str, path: str) -> None:
    """Draw accuracy over minutes into a PNG."""
    figure, axis = plt.subplots(figsize=(11, 8), constrained_layout=True)
    for result in results:
        is_ours = result["name"] == OURS
        axis.plot(
            result["minutes"],
            100 * np.array(result["accuracy"]),
            marker="o",
            markersize=4 if is_ours else 2.5,
            color="black" if is_ours else None,
            linewidth=3 if is_ours else 1.5,
            label=f"{result['name']}: {result['label']}",
        )
    for target in TARGETS:
        axis.axhline(target, color="0.6", linestyle="--", linewidth=0.8, zorder=0)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(ticker.NullFormatter())
    heights = (0, 10, *TARGETS, 50, 60)
    axis.set_yticks(heights, [f"{height:g}" for height in heights])
    axis.set_ylim(bottom=0)
    axis.tick_params(labelsize=12)
    axis.set_xlabel("minutes of training, evaluations left out", fontsize=13)
    axis.set_ylabel("masked_lm_accuracy on held-out text, %", fontsize=13)
    axis.set_title(title, fontsize=14)
    figure.legend(loc="outside lower center", ncols=2, fontsize=10)
    figure.savefig(path, dpi=120)
