"""Counts that add up: of a group, a shard, a corpus.

A tally maps names to a number, to a list of numbers (a histogram: places are added one
by one) or to a dictionary of numbers. It is JSON as it stands.
"""

Tally = dict[str, int | list[int] | dict[str, int]]


def add(total: Tally, more: Tally) -> None:
    """Add every count of `more` to `total`, in place."""
    for name, value in more.items():
        if isinstance(value, dict):
            mine = total.setdefault(name, {})
            for key, number in value.items():
                mine[key] = mine.get(key, 0) + number
        elif isinstance(value, list):
            mine = total.setdefault(name, [])
            mine.extend([0] * (len(value) - len(mine)))
            for place, number in enumerate(value):
                mine[place] += number
        else:
            total[name] = total.get(name, 0) + value


def split(tally: Tally) -> tuple[dict[str, int], Tally]:
    """Return (the plain numbers, the histograms and dictionaries)."""
    numbers = {name: value for name, value in tally.items() if isinstance(value, int)}
    return numbers, {n: value for n, value in tally.items() if n not in numbers}
