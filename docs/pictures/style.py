"""The look of the pictures, light and dark."""

import pathlib

import matplotlib.pyplot as plt

IMAGES = pathlib.Path(__file__).resolve().parents[1] / "images"
# Text and axes, lines of the grid; the background is transparent.
_THEMES = {"light": ("#1f2328", "#d1d9e0"), "dark": ("#e6edf3", "#3d444d")}


def save_in_both_themes(name: str, size: tuple[float, float], draw) -> None:
    """Draw a picture twice and save NAME-light.svg and NAME-dark.svg.

    Args:
        name: of the picture.
        size: width and height in inches.
        draw: draws into a figure that it gets.
    """
    for theme, (text, grid) in _THEMES.items():
        names = ("text.color", "axes.edgecolor", "axes.labelcolor")
        settings = dict.fromkeys((*names, "xtick.color", "ytick.color"), text)
        settings |= {
            "grid.color": grid,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            # The same bytes each time.
            "svg.hashsalt": name,
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "axes.facecolor": "none",
        }
        with plt.rc_context(settings):
            figure = plt.figure(figsize=size, layout="constrained")
            draw(figure)
            path = IMAGES / f"{name}-{theme}.svg"
            figure.savefig(path, transparent=True, metadata={"Date": None})
            plt.close(figure)
            print(path)
