import base64

from data_prep import web_page

TEXT = r"""# 标题

| | 句 |
|--:|---|
| ✗ bad | 语\[言 ✓\]\[型 ✗ \#\#ba\]\[MASK\] <script>alert(1)</script> a\|b \<i\> |

![Curves](a.png)

```
python -m a '<b>' --x=*
```
"""


def test_page_needs_no_other_file():
    page = web_page.render("<标题>", TEXT, {"a.png": b"picture"})
    assert "<title>&lt;标题&gt;</title>" in page
    assert "<h1>标题</h1>" in page
    assert f"data:image/png;base64,{base64.b64encode(b'picture').decode()}" in page
    assert "http" not in page.replace("<!DOCTYPE html>", "")
    assert page.count("<img") == 1
    assert "a.png" not in page


def test_text_is_shown_and_never_obeyed():
    page = web_page.render("t", TEXT, {})
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a|b &lt;i&gt;" in page
    assert "python -m a '&lt;b&gt;' --x=*" in page


def test_signs_have_colors():
    page = web_page.render("t", TEXT, {})
    assert '<b class="good">[言 ✓]</b><b class="bad">[型 ✗ ##ba]</b>[MASK]' in page
    assert '<td style="text-align: right;" class="bad">✗ bad' in page
