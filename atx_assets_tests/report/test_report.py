"""The report as it is written: what it says, and nothing of others'. See `system/pages/`."""

import base64
import hashlib
import re

import numpy as np
import pytest

from atx_assets.errors import AtxError, DamagedError
from atx_assets.learning.scoring import blind_probabilities
from atx_assets.models.bundle import Bundle
from atx_assets.models.bundles import Bundles
from atx_assets.report import page as module
from atx_assets.report.figures import numbers_of
from atx_assets.report.scored_films import read_scored
from atx_assets.report.since_last import since_last
from atx_assets.storage.parts import parts_of

pytestmark = pytest.mark.slow

#: As large as it may be, in bytes.
LARGEST = 5_000_000


def page_of(place) -> str:
    return place.files.read_text("analysis_report")


def relabelled(place, status: str, to: str, number: int) -> None:
    """Let a person say something else of the first titles of a status."""
    with place.connect() as connection:
        connection.execute(
            "UPDATE atp.media SET rejection_status = %s, rejection_reason = NULL WHERE imdb_id IN "
            "(SELECT DISTINCT imdb_id FROM atp.media WHERE rejection_status = %s "
            "ORDER BY imdb_id LIMIT %s)",
            (to, status, number),
        )


def test_the_headline_says_how_good_it_is_beside_the_rule(finished):
    page = page_of(finished)
    quality = Bundles(finished.files).champion().about["quality"]
    nested, rule = quality["nested"], quality["rule"]["all"]["pr_auc"]
    assert f"<b>{nested['pr_auc']['mean']:.3f}</b>" in page
    assert f"<b>{rule['mean']:.3f}</b>" in page
    precision, recall = (100 * nested[name]["mean"] for name in ("precision", "recall"))
    words = f"Of 100 films that it would keep, {precision:.0f} are keeps; of 100 keeps it finds "
    assert f"{words}{recall:.0f}." in page
    assert "The viewer is made up" in page


def test_the_confusion_matrix_counts_the_lists(finished):
    page = page_of(finished)
    for asset, words in (
        ("false_positives", "false positives"),
        ("false_negatives", "false negatives"),
    ):
        number = len(finished.files.read_records(asset))
        assert re.search(rf'<span class="wrong">{number:,}</span> {words}', page)


def test_each_mistake_is_in_the_page_with_its_reasons(finished):
    text = re.sub(r"\s+", " ", page_of(finished))
    for asset in ("false_positives", "false_negatives"):
        for record in finished.files.read_records(asset)[:20]:
            assert f"title/{record['imdb_id']}/" in text
            assert "".join(f"<li><bdi>{_escaped(why)}</bdi></li>" for why in record["why"]) in text


def _escaped(text: str) -> str:
    from markupsafe import escape

    return str(escape(text))


def test_every_figure_has_words_for_who_cannot_see_it(finished):
    page = page_of(finished)
    figures = re.findall(r'<figure[^>]*><div role="img" aria-label="([^"]{20,})"><svg', page)
    numbers = numbers_of(read_scored(finished.files))
    # Of a number that no film knows there is nothing to see.
    assert "imdb_votes" not in numbers
    # Three curves, the probabilities, importances, three shares, correlations, and the numbers.
    assert len(figures) == page.count("<svg") == 9 + len(numbers)
    assert len(set(figures)) == len(figures)


def test_nothing_is_fetched_and_only_its_own_script_runs(finished):
    page = page_of(finished)
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src "
    assert f"{policy}'sha256-{digest}'" in page
    addresses = re.findall(r'(?:src|href|action|poster|srcset)="([^"#][^"]*)"', page)
    assert all(
        a.startswith(("https://www.imdb.com/title/tt", "data:image/png;")) for a in addresses
    )
    assert not re.search(r"@import|url\((?!#)", page)
    assert len(page.encode()) < LARGEST


def test_the_page_says_nothing_of_a_champion_before_the_first(finished):
    page = page_of(finished)
    assert "the first model" in page
    assert "What changed" not in page
    assert since_last(finished.files, read_scored(finished.files)) is None


def test_a_damaged_record_of_the_champion_is_no_first_model(copied):
    """Kept out: a report that leaves out what changed, as if no model had been there before."""
    scored = read_scored(copied.files)
    (copied.files.folder / "models" / "champion.json").write_text("{")
    with pytest.raises(DamagedError, match=r"champion\.json is damaged"):
        since_last(copied.files, scored)


def test_the_next_report_says_which_labels_and_verdicts_changed(copied):
    before = Bundles(copied.files).champion()
    relabelled(copied, "rejected", "override", 40)
    assert copied.run("refresh").success
    scored = read_scored(copied.files)
    since = since_last(copied.files, scored)
    assert since is not None
    assert since.version == before.version
    assert (since.labels.added, since.labels.changed, since.labels.removed) == (0, 40, 0)
    was = blind_probabilities(scored.titles, before) >= before.threshold
    now = scored.results["predicted"].to_numpy()
    assert since.flipped == np.count_nonzero(was != now) > 0
    moved = [abs(film["now"] - film["was"]) for film in since.films]
    assert moved == sorted(moved, reverse=True)
    for film in since.films:
        assert (film["now"] >= scored.bundle.threshold) == film["predicted"]
        assert (film["was"] >= before.threshold) != film["predicted"]
    page = " ".join(page_of(copied).split())
    assert f"Before version {scored.bundle.version}, version {before.version} was champion." in page
    assert "0 added, 40 changed, 0 removed" in page
    assert "skip by a rule" in page
    assert "keep by a person" in page


def test_skips_for_the_release_alone_have_a_table_of_their_own(copied):
    with copied.connect() as connection:
        connection.execute(
            "UPDATE atp.media SET rejection_reason = 'resolution 720p is not in allowed_values' "
            "WHERE rejection_status = 'rejected'"
        )
    assert copied.run("score").success
    records = copied.files.read_records("false_positives")
    assert records
    assert all(record["about_release"] for record in records)
    page = page_of(copied)
    head, _, rest = page.partition("Predicted keep, skipped for the release alone")
    assert f"title/{records[0]['imdb_id']}/" in rest.partition('id="false-negatives"')[0]
    assert "<p>None.</p>" in head.partition('id="false-positives"')[2]


def test_lists_of_another_scoring_are_refused(copied):
    """Kept out: a page that counts the mistakes of one model and names those of another."""
    records = copied.files.read_records("false_positives")
    assert module._read_list(copied.files, "false_positives") == records
    results = copied.files.read_table("scored_results")
    parts = parts_of(results)
    copied.files.write_table("scored_results", results.slice(1), parts)
    with pytest.raises(AtxError, match=r"^false_positives\.json was made from another scored_resu"):
        module._read_list(copied.files, "false_positives")
    copied.files.write_table("scored_results", results, parts)
    copied.files.write_records("false_positives", records)  # as an earlier atx wrote it
    with pytest.raises(AtxError, match="does not say which scored_results it was made from"):
        module._read_list(copied.files, "false_positives")


def test_why_a_version_is_champion_is_said_as_it_is(copied):
    """Kept out: "is champion: worse than the one before", of one that a person promoted."""
    bundles = Bundles(copied.files)
    champion = bundles.champion()
    assert module._place(copied.files, champion) == (
        "Version 1 is champion: the first model for these films."
    )
    bundles.judge(champion, {"promoted": False, "reason": "worse"})
    assert module._place(copied.files, champion) == ("Version 1 is champion: a person promoted it.")
    other = Bundle(champion.folder, 7)
    assert "version 1 is champion now" in module._place(copied.files, other)


def test_a_long_list_is_cut_and_says_so():
    records = [{"about_release": n % 3 == 0} for n in range(3 * module.MOST_ROWS)]
    cut = module._shortened(records)
    assert len(cut["film"]) == len(cut["release"]) == module.MOST_ROWS
    assert cut["more"]
    assert not module._shortened(records[:9])["more"]
    assert module._shortened([{"about_release": True}] * (module.MOST_ROWS + 1))["more"]


def test_names_that_are_formulas_or_markup_do_not_stop_it(copied):
    """Kept out: a genre that matplotlib takes for mathematics, and cannot draw."""
    with copied.connect() as connection:
        connection.execute(
            "UPDATE atp.media SET genre = ARRAY['$x_{$', '<b>bold</b>', 'درام', '喜剧', '🎬']"
        )
    assert copied.run("score").success
    page = page_of(copied)
    assert "<b>bold</b>" not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "$x_{$" in page
