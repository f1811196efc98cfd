import json
import pathlib
import shutil
import subprocess

import pytest
import tensorflow as tf

from bert_cn.pretraining import losses, run_report
from bert_cn.training import reporting

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# Reports to the page's title, which --dump-dom prints, whether all pictures are there.
PROBE = """<script>
addEventListener("load", () => document.title = "pictures: " + [...document.images]
  .map(image => image.complete && image.naturalWidth > 100));
addEventListener("error", () => document.title = "error");
</script>"""


@pytest.fixture
def folder(tmp_path):
    """What a run leaves, as far as the page reads it."""
    folder = tmp_path / "a run"
    folder.mkdir()
    for name, steps in (("train", (1, 100, 200)), ("eval", (100, 200))):
        writer = tf.summary.create_file_writer(reporting.log_dir(str(folder), name))
        for step in steps:
            scalars = {losses.LOSS: 9 - step / 100, losses.MASKED_LM_ACCURACY: 0.3}
            if name == "eval":
                scalars[losses.MASKED_LM_MAJORITY] = 0.14
            reporting.write_scalars(writer, scalars, step)
    metrics = {losses.MASKED_LM_ACCURACY: 0.3456, "masked_lm_loss": 3.21}
    reporting.write_eval_results(str(folder), metrics, 1200)
    table = "| | text | right |\n|--:|---|--:|\n| 1 | 语\\[言 ✓\\] | 1/1 |"
    writer = tf.summary.create_file_writer(reporting.log_dir(str(folder), "eval"))
    reporting.write_samples(writer, str(folder), table, 1200)
    (folder / "fingerprint.json").write_text('{"learning_rate": 0.005, "seed": null}')
    manifest = {"counts": {"tokens": 12345}, "settings": {"packing": "chunks"}}
    (folder / "data_manifest.json").write_text(json.dumps(manifest))
    return folder


def write(folder) -> str:
    reporting.draw_run(str(folder), losses.PANELS)
    path = run_report.write_report(str(folder), "Finished.", ["python -m a 'b c'"])
    return pathlib.Path(path).read_text(encoding="utf-8")


def test_page_says_what_was_run_and_how_it_went(folder):
    page = write(folder)
    for text in ("<h1>Pretraining: <code>a run</code>", "34.56 %", "1,200", "3.2100"):
        assert text in page
    assert '<b class="good">[言 ✓]</b>' in page
    assert "--learning_rate=0.005" in page
    assert "12,345" in page
    assert "<code>chunks</code>" in page
    assert "python -m a 'b c'" in page
    assert tf.__version__ in page
    assert page.count("data:image/png;base64,") == 1


def test_what_a_folder_lacks_is_left_out(tmp_path):
    path = run_report.write_report(str(tmp_path), "Stopped at step 0.", ["x"])
    page = pathlib.Path(path).read_text(encoding="utf-8")
    assert "Stopped at step 0." in page
    for heading in ("Last evaluation", "Curves", "Samples", "Recipe", "Data"):
        assert f"<h2>{heading}" not in page


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="needs chromium: apt-get install chromium")
def test_browser_shows_the_page_and_its_pictures(folder, tmp_path):
    copy = tmp_path / "copy.html"
    copy.write_text(write(folder).replace("</body>", PROBE + "</body>"))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"]
    command += ["--disable-background-networking", f"--user-data-dir={tmp_path}/user"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom"]
    done = subprocess.run(
        [*command, copy.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "<title>pictures: true</title>" in done.stdout
    assert "CONSOLE" not in done.stderr
