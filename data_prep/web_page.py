"""A Markdown page and its pictures as one HTML file that needs nothing else."""

import base64
import html
import re
import string
from collections.abc import Mapping

# A cell that begins with one of these signs gets its color, too.
GOOD, DOUBTFUL, BAD = "✓", "▲", "✗"
# Such as [predicted ✓] and [true ✗ predicted].
_MARK = re.compile(rf"\[[^\[\]<>]+ ({GOOD}|{BAD})( [^\[\]<>]+)?\]")
_CELL = re.compile(f"<td([^>]*)>({GOOD}|{DOUBTFUL}|{BAD})")
_CLASSES = {GOOD: "good", DOUBTFUL: "doubtful", BAD: "bad"}
_PAGE = string.Template(
    """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", sans-serif;
       max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border-bottom: 1px solid #8884; padding: .25rem .75rem; text-align: left; }
img { max-width: 100%; background: #fff; }
code { overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: .75rem; background: #8882; }
.good { color: #1a7f37; } .doubtful { color: #9a6700; } .bad { color: #cf222e; }
@media (prefers-color-scheme: dark) {
  .good { color: #3fb950; } .doubtful { color: #d29922; } .bad { color: #f85149; } }
</style></head><body>
$body
</body></html>
"""
)


def render(title: str, text: str, images: Mapping[str, bytes]) -> str:
    """Return the page.

    Args:
        title: of the browser's tab.
        text: Markdown with tables. HTML in it is shown, not obeyed: it may quote any
            text.
        images: name in `text` -> PNG, which becomes a part of the page.
    """
    # Imported here because most commands write no page.
    import markdown

    converter = markdown.Markdown(extensions=["tables", "fenced_code"])
    converter.preprocessors.deregister("html_block")
    converter.inlinePatterns.deregister("html")
    converter.ESCAPED_CHARS = [*converter.ESCAPED_CHARS, "<", ">", "|", "~"]
    body = converter.convert(text)
    for name, data in images.items():
        source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        body = body.replace(f'src="{html.escape(name)}"', f'src="{source}"')
    body = _CELL.sub(lambda m: f'<td{m[1]} class="{_CLASSES[m[2]]}">{m[2]}', body)
    body = _MARK.sub(lambda m: f'<b class="{_CLASSES[m[1]]}">{m[0]}</b>', body)
    return _PAGE.substitute(title=html.escape(title), body=body)
