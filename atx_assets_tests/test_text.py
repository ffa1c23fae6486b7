"""The normal form of texts, held to Unicode's own equivalences."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atx_assets.text import key_in_normal_form, key_without_id, normal_form
from atx_assets_tests.builders.scale import times

FORMS = ("NFC", "NFD", "NFKC", "NFKD")
#: Spellings of one name: Unicode forms, characters that nobody sees, blanks of other kinds.
SPELLINGS = (
    "Amélie Poulain",
    unicodedata.normalize("NFD", "Amélie Poulain"),
    "AMÉLIE POULAIN",
    "  Amélie \t Poulain ",
    "Amélie\u00a0Poulain",
    "Amélie\u3000\u2009Poulain",
    "\ufeffAmé\u200blie Pou\u00adlain\u200e",
    "Ａｍéｌｉｅ Poulain",
)

texts = st.text(st.characters(codec="utf-8"), max_size=8)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_name_has_one_form_however_it_is_spelled(spelling):
    assert normal_form(spelling) == "amélie poulain"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("", ""),
        (" \u200b\u00a0", ""),
        ("Die große Stille", "die grosse stille"),
        ("ALIEN³", "alien3"),
        ("The  Thing", "the thing"),
        ("Ǌ", "nj"),
        ("Ленин", "ленин"),
        ("千と千尋", "千と千尋"),
    ],
)
def test_the_form_is_casefolded_and_compatible(text, form):
    assert normal_form(text) == form


@given(texts, st.integers(0, 8), st.sampled_from("\u200b\u200d\u2060\ufeff\u00ad\u061c"))
def test_unicode_forms_and_format_characters_make_no_other_form(text, at, hidden):
    form = normal_form(text)
    assert normal_form(form) == form
    for name in FORMS:
        assert normal_form(unicodedata.normalize(name, text)) == form
    assert normal_form(text[:at] + hidden + text[at:]) == form


def test_each_character_of_unicode_keeps_the_laws():
    for point in range(0, sys.maxunicode + 1, times(7, 1)):
        character = chr(point)
        form = normal_form(character)
        assert normal_form(form) == form, hex(point)
        assert normal_form(character.casefold()) == form, hex(point)
        assert all(normal_form(unicodedata.normalize(f, character)) == form for f in FORMS)


@pytest.mark.parametrize(
    ("title", "year", "key"),
    [("Straße", 2001, "strasse|2001"), ("A|B ", None, "a|b|"), (SPELLINGS[1], 2001, None)],
)
def test_a_key_is_name_and_year_and_its_normal_form_is_itself(title, year, key):
    made = key_without_id(title, year)
    assert made == (key or "amélie poulain|2001")
    assert key_in_normal_form(made) == made


def test_keys_of_earlier_releases_become_those_of_now():
    assert key_in_normal_form("tt0133093") == "tt0133093"
    assert key_in_normal_form(f"{SPELLINGS[6].casefold()}|2001") == "amélie poulain|2001"
