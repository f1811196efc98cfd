"""run_report.html: what a run was, how it went, and what comes next, on one page."""

import contextlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence
from typing import Any

from bert_cn.training import reporting, run_files
from data_prep import storage, web_page

_PACKAGES = ("bert_cn", "tensorflow", "keras", "keras-hub", "numpy")
# Settings of the records that decide what a model learns.
_DATA_SETTINGS = (
    *("max_seq_length", "packing", "sentence_task", "masking", "masking_time"),
    *("masked_lm_prob", "dupe_factor", "do_lower_case", "segmenter"),
)


def write_report(output_dir: str, state: str, next_commands: Sequence[str]) -> str:
    """Write the page of a run into its folder.

    Args:
        output_dir: the run's folder; what it lacks yet is left out.
        state: one sentence on where the run stands.
        next_commands: what the reader may copy.

    Returns:
        The page's path.
    """
    curves = os.path.join(output_dir, run_files.CURVES_FILE)
    images = {}
    if storage.exists(curves):
        images[run_files.CURVES_FILE] = storage.read_bytes(curves)
    name = os.path.basename(os.path.abspath(output_dir))
    parts = [
        f"# Pretraining: {_code(name)}",
        state,
        _describe_results(output_dir),
        f"## Curves\n\n![Curves]({run_files.CURVES_FILE})" if images else "",
        _describe_samples(output_dir),
        _describe_recipe(output_dir),
        _describe_data(output_dir),
        _describe_environment(),
        "## Next\n\n```\n" + "\n".join(next_commands) + "\n```",
    ]
    text = "\n\n".join(filter(None, parts))
    path = os.path.join(output_dir, run_files.REPORT_FILE)
    storage.write_whole(path, web_page.render(f"Pretraining: {name}", text, images))
    return path


def _describe_results(output_dir: str) -> str:
    results = reporting.read_eval_results(output_dir)
    if not results:
        return ""
    rows = [(name, _number(name, value)) for name, value in results.items()]
    return "## Last evaluation\n\n" + _table(("", ""), rows)


def _number(name: str, value: float) -> str:
    if name == "global_step":
        return f"{int(value):,}"
    is_share = "accuracy" in name or "majority" in name
    return f"{100 * value:.2f} %" if is_share else f"{value:.4f}"


def _describe_samples(output_dir: str) -> str:
    path = os.path.join(output_dir, run_files.SAMPLES_FILE)
    if not storage.exists(path):
        return ""
    return "## Samples\n\n" + storage.read_bytes(path).decode("utf-8")


def _describe_recipe(output_dir: str) -> str:
    values = run_files.read_fingerprint(output_dir)
    if not values:
        return ""
    return f"## Recipe\n\n{_code(run_files.describe_settings(values))}"


def _describe_data(output_dir: str) -> str:
    path = os.path.join(output_dir, run_files.MANIFEST_FILE)
    if not storage.exists(path):
        return ""
    manifest = storage.read_json(path)
    counts, settings = manifest.get("counts", {}), manifest.get("settings", {})
    rows = [
        (name, f"{counts[name]:,}")
        for name in ("documents", "tokens", "sequences")
        if isinstance(counts.get(name), int)
    ]
    rows += [
        (f"--{name}", _code(settings[name]))
        for name in _DATA_SETTINGS
        if name in settings
    ]
    return "## Data\n\n" + _table(("", ""), rows)


def _describe_environment() -> str:
    import tensorflow as tf

    devices = [device.device_type for device in tf.config.list_logical_devices()]
    rows = [("python", platform.python_version()), ("machine", platform.machine())]
    rows += [("devices", ", ".join(devices))]
    for package in _PACKAGES:
        # A copy that is run from its folder is imported without being installed.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            if package.replace("-", "_") in sys.modules:
                rows.append((package, importlib.metadata.version(package)))
    return "## Environment\n\n" + _table(("", ""), rows)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, Any]]) -> str:
    lines = [head, ("---", *["---:"] * (len(head) - 1)), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _code(value: Any) -> str:
    text = str(value).replace("`", "'").replace("|", "/").replace("\n", " ")
    return f"`{text}`"
