"""How figures are saved: the same bytes each time, in the page's colours, without clashes."""

import re
import xml.etree.ElementTree as ET

from atx_assets.report.drawing import KEEP, SKIP, canvas, png, svg


def figure(text: str = "axis"):
    drawn, axes = canvas(1, 1, (3, 2))
    axes.flat[0].plot([0, 1], [0, 1], color=KEEP)
    axes.flat[0].plot([0, 1], [1, 0], color=SKIP)
    axes.flat[0].set_yticks([0], [text], parse_math=False)
    return drawn


def test_the_same_figure_gives_the_same_bytes():
    assert png(figure()) == png(figure())
    assert svg(figure(), "one") == svg(figure(), "one")


def test_an_svg_takes_its_colours_from_the_page():
    text = svg(figure(), "one")
    assert "var(--keep)" in text
    assert "var(--skip)" in text
    assert "currentColor" in text
    assert not re.search("#000000|" + KEEP + "|" + SKIP, text)
    assert not re.search(r"<svg[^>]* (width|height)=", text)


def test_two_figures_of_a_page_share_no_id_and_find_their_own():
    one, other = svg(figure(), "one"), svg(figure(), "other")
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, other)]
    assert ids[0]
    assert ids[1]
    assert not ids[0] & ids[1]
    for text, known in zip((one, other), ids, strict=True):
        used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', text))
        assert used
        assert used <= known


def test_a_category_of_strangers_stays_text():
    """Kept out: a genre that is markup in the page, or a formula that cannot be drawn."""
    text = svg(figure('<script>alert(1)</script> $x_{$ & "q" id="b #000000 url(#z'), "one")
    assert "<script" not in text
    assert '&lt;script&gt;alert(1)&lt;/script&gt; $x_{$ &amp; "q" id="b #000000 url(#z' in text
    ET.fromstring(text.replace("xlink:", ""))
