"""The report in a real Chromium: what is seen first, filters, one case by mouse and by keyboard, links, size, who can use it."""

import csv
import io
import json
import re
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from manualbp import Tanh
from oracle.report import Report
from oracle.sweep import sweep
from oracle.tables import table
from oracle.training import Curves

HOSTILE = "<img src=x onerror=alert(1)>\n=cmd|' /C calc'!A0 \U0001f9ee, \"quoted\""
TANH, QUOTED = "notes/float64/Tanh/Sigmoid/BCELoss", "notes/float32/GELU/LogSoftmax/NLLLoss(reduction='sum')"
CURVES = Curves("data/iris/float64", "iris", "float64", 2, "accuracy", 0.9, 1e-16, [1.0, 0.5, 0.4], [1.0, 0.5, 0.4])
MANY = 100_000


@pytest.fixture(scope="module")
def planted():
    """A wrong tanh, a network without it, tanh alone; and somebody's own case of a name that means no good."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tanh, "derivative", lambda self, z: 1 - np.tanh(z))
        found = sweep([TANH, QUOTED, "alone/4x7x3/float32/Tanh/generic"], 0, jobs=1)
    rows = [*found.rows, *(row._replace(case=HOSTILE, note="<b>=1+1</b>") for row in found.rows if row.case == QUOTED)]
    return Report(table(rows), [CURVES], found.diagnoses, seconds=1.0, command="oracle run --out x")


@pytest.fixture(scope="module")
def page(planted, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(planted.to_html(), encoding="utf-8")
    return path


@pytest.fixture
def shown(browser, page):
    browser.open(page)
    ready(browser)
    return browser


def ready(browser):
    until(lambda: browser.run("return document.documentElement.dataset.ready"))


def until(happens, seconds=10):
    """Wait for it."""
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)


def choose(browser, facet, value):
    """Select a value; the events of the driver come a little later."""
    Select(browser.find(f"[name={facet}]")).select_by_visible_text(value)
    until(lambda: f"{facet}=" in browser.run("return location.hash"))


def cells(browser, column):
    return [cell.text for cell in browser.all(f"#rows tbody tr:not(.gap) td:nth-child({column})")]


def opened(browser):
    return browser.find("#case-title").text if browser.find("#case").is_displayed() else ""


def test_the_first_screen_is_the_answer_and_the_picture(shown):
    assert shown.find("h1").text == "Does not agree"
    told = shown.find("main > header").text
    assert "of 86 comparisons in 4 cases fail" in told
    assert "“square forgotten”" in told
    assert "Layer 1, Tanh: delta[1]" in told
    picture = shown.find("table.heat")
    assert picture.rect["y"] < 600
    wrong, right = (
        shown.find(f'a[href*="activation={name}&"][href*="loss={loss}"]')
        for name, loss in (("Tanh", "BCELoss"), ("GELU", "NLLLoss"))
    )
    assert wrong.text.endswith("✗"), "a verdict is seen without colour"
    assert float(right.text) < 16


def test_nothing_leaves_the_page_and_the_console_is_silent(shown):
    shown.find('a[href*="activation=Tanh"]').click()
    until(lambda: opened(shown))
    assert shown.requests() == []
    assert shown.errors() == []


def test_the_checks_above_can_fail(browser, tmp_path):
    (tmp_path / "x.html").write_text(
        "<html lang=en><title>x</title><img src='http://127.0.0.1:9/x.png'><script>nothing()</script>"
    )
    browser.open(tmp_path / "x.html")
    assert browser.requests() == ["http://127.0.0.1:9/x.png"]
    browser.open(tmp_path / "x.html")
    assert any("nothing is not defined" in message for message in browser.errors())
    assert any("image-alt" in found for found in browser.violations())


def test_filters_narrow_and_the_address_keeps_them(shown, page, browser):
    choose(shown, "verdict", "whatever fails")
    choose(shown, "comparison", "layerwise")
    assert cells(shown, 5) == ["✗ differ"]
    assert cells(shown, 3) == ["delta[1]"]
    assert "1 of 86 comparisons, in 1 case." in shown.find("#count").text
    view = shown.run("return location.hash")
    assert view == "#verdict=whatever+fails&comparison=layerwise"
    shown.find("#clear").click()
    assert "All 86 comparisons, in 4 cases." in shown.find("#count").text
    browser.driver.get("about:blank")
    browser.driver.get(page.as_uri() + view)
    ready(browser)
    assert cells(browser, 5) == ["✗ differ"], "a link to a view shows the view"
    browser.find("[name=words]").send_keys("no such words")
    assert "0 of 86 comparisons" in browser.find("#count").text


@pytest.mark.parametrize(
    ("facet", "value", "of"),
    [
        ("activation", "GELU", lambda rows: rows["case"] == QUOTED),
        ("loss", "BCELoss", lambda rows: rows["case"] == TANH),
        ("shape", "4x7x3", lambda rows: rows["case"].str.startswith("alone/")),
        ("dtype", "float64", lambda rows: rows["dtype"] == "float64"),
        ("verdict", "agree", lambda rows: rows["verdict"] == "agree"),
        ("quantity", "dC/dW", lambda rows: rows["quantity"] == "dC/dW"),
    ],
)
def test_each_filter_selects_the_rows_that_pandas_does(shown, planted, facet, value, of):
    choose(shown, facet, value)
    wanted = int(of(planted.table.astype({"case": str})).sum())
    assert 0 < wanted < 86
    assert shown.find("#count").text.startswith(f"{wanted} of 86 ")


def test_columns_sort_both_ways_and_the_worst_stands_first(shown, planted):
    assert cells(shown, 5)[0] == "✗ differ"
    head = '[data-sort="sigmas"]'
    for way in ("descending", "ascending"):
        shown.find(head).click()
        assert shown.find(f"#rows th[aria-sort={way}] {head}")
        values = [float(text.replace("∞", "inf") or "-inf") for text in cells(shown, 6)]
        assert values == sorted(values, reverse=way == "descending")
        assert len(set(values)) > 10


def test_a_click_on_a_cell_opens_the_worst_case_and_back_closes_it(shown, planted):
    shown.find('a[href*="activation=Tanh&"][href*="loss=BCELoss"]').click()
    until(lambda: opened(shown) == TANH)
    told = shown.find("#case-body").text
    assert f"oracle run --case {TANH} --seed 0" in told
    assert "It matches 'square forgotten' in layer 1, Tanh" in told
    layers = {line.find_element("css selector", "th").text: line.text for line in shown.all("#case-body .layers tbody tr")}
    assert "own fault" in layers["1 Tanh"]
    assert "inherited" in layers["1 Linear(3, 3)"], "the layer below got a wrong upstream gradient, and is right"
    assert "agrees" in layers["2 Sigmoid"]
    row = planted.failing[planted.failing["case"] == TANH].iloc[0]
    for exact in (repr(float(row["candidate"])), repr(float(row["reference"])), row["worst_index"]):
        assert exact in told, "where a row does not agree, every digit is there"
    shown.driver.back()
    until(lambda: not opened(shown))


def test_all_of_it_goes_by_keyboard(shown):
    link = shown.find("#rows tbody a")
    shown.run("arguments[0].focus()", link)
    shown.press(Keys.ENTER)
    until(lambda: opened(shown) == TANH)
    assert shown.run("return document.activeElement.id") == "case-close"
    shown.press(Keys.TAB)
    assert shown.run("return document.getElementById('case').contains(document.activeElement)"), "the focus stays inside"
    shown.press(Keys.ESCAPE)
    until(lambda: not opened(shown))
    assert shown.run("return document.activeElement.closest('#rows a') !== null"), "and comes back to where it was"
    cell = shown.find("table.heat a")
    shown.run("arguments[0].focus()", cell)
    shown.press(Keys.ENTER)
    until(lambda: opened(shown))


def test_the_command_of_a_case_is_the_one_of_the_report(shown, planted):
    shown.run("location.hash = new URLSearchParams({case: arguments[0]})", QUOTED)
    until(lambda: opened(shown) == QUOTED)
    assert shown.find("#case-body .copy").text == planted.repeat(QUOTED)
    shown.run("location.hash = new URLSearchParams({case: arguments[0]})", HOSTILE)
    until(lambda: opened(shown).startswith("<img"))
    assert not shown.all("#case-body .copy"), "somebody's own case has no command"
    assert not shown.all("img")


def test_the_csv_is_made_in_the_browser_and_reads_back(shown, planted):
    shown.run(
        "window.made = null; const old = URL.createObjectURL;"
        "URL.createObjectURL = blob => { blob.text().then(text => window.made = text); return old.call(URL, blob); }"
    )
    shown.find("#csv").click()
    until(lambda: shown.run("return window.made"))
    rows = list(csv.DictReader(io.StringIO(shown.run("return window.made"))))
    assert len(rows) == len(planted.table)
    failing = planted.failing.iloc[0]
    same = [
        row
        for row in rows
        if row["case"] == failing["case"] and row["symbol"] == failing["symbol"] and row["verdict"] == "differ"
    ]
    assert failing["candidate"] in [float(row["candidate"]) for row in same]
    assert {row["note"] for row in rows if row["case"] == HOSTILE} == {"<b>=1+1</b>"}
    assert not [
        value for row in rows for name, value in row.items() if name in ("case", "note") and value[:1] in "=+-@" and value
    ]
    want = sorted(f"{value:.3g}" for value in planted.table["sigmas"])
    assert sorted(f"{float(row['sigmas']):.3g}" for row in rows) == want


#: How many lines the longest label of a row of a heatmap takes.
LABELS = """
const lines = [...document.querySelectorAll('.heat tbody th')].map((th) => {
  const text = document.createRange(); text.selectNodeContents(th);
  return new Set([...text.getClientRects()].map((line) => Math.round(line.top))).size;
});
return Math.max(...lines);
"""


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (390, False), (390, True)])
def test_axe_finds_nothing_serious_and_the_page_fits(browser, page, width, dark):
    browser.open(page, width=width, dark=dark)
    ready(browser)
    assert browser.too_wide() <= 0
    assert browser.run(LABELS) <= 2, "the name of a row stands on one line, or two, not letter below letter"
    assert browser.violations() == []
    browser.find("#rows tbody a").click()
    until(lambda: opened(browser))
    assert browser.too_wide() <= 0
    assert browser.violations() == []


def test_in_the_frame_of_a_notebook_it_works_too(browser, planted, tmp_path):
    (tmp_path / "notebook.html").write_text(f"<html lang=en><title>x</title>{planted._repr_html_()}", encoding="utf-8")
    browser.open(tmp_path / "notebook.html")
    browser.driver.switch_to.frame(browser.find("iframe"))
    ready(browser)
    browser.find('a[href*="activation=Tanh&"][href*="loss=BCELoss"]').click()
    until(lambda: opened(browser) == TANH)
    browser.driver.switch_to.default_content()
    assert browser.errors() == []


@pytest.fixture(scope="module")
def many(planted, tmp_path_factory):
    """A report of 100,000 rows with numbers of their own."""
    copies = -(-MANY // len(planted.table))
    whole = pd.concat([planted.table] * copies, ignore_index=True).head(MANY)
    number = np.repeat(np.arange(copies), len(planted.table))[:MANY]
    drawn = np.random.default_rng(0).lognormal(size=(4, MANY))
    names = [f"{3 + n % 50}-{2 + n // 50}-{3}x7/float64/Tanh/Sigmoid/BCELoss" for n in range(copies)]
    whole = whole.assign(
        case=pd.Categorical.from_codes(number, names), sigmas=drawn[0], max_abs=drawn[1], candidate=drawn[2], reference=drawn[2]
    )
    path = tmp_path_factory.mktemp("many") / "report.html"
    path.write_text(replace(planted, table=whole, diagnoses=()).to_html(), encoding="utf-8")
    return path


def test_a_hundred_thousand_rows_open_in_3_seconds_and_filter_in_200_ms(browser, many):
    assert many.stat().st_size < 2.5e6
    browser.open(many)
    ready(browser)
    assert float(browser.run("return document.documentElement.dataset.ready")) < 3000
    assert len(cells(browser, 1)) < 200, "only what can be seen is in the page"
    taken = []
    for view in ("verdict=differ", "words=3-2", "comparison=layerwise&quantity=delta"):
        browser.run("location.hash = arguments[0]", view)
        until(lambda view=view: browser.run("return location.hash").endswith(view))
        until(lambda: not browser.find("#count").text.startswith("All"))
        taken.append(float(browser.find("#rows").get_attribute("data-milliseconds")))
    assert max(taken) < 200, taken
    browser.find("#clear").click()
    assert f"All {MANY:,} comparisons" in browser.find("#count").text
    browser.run("document.getElementById('frame').scrollTop = 1e9")
    until(lambda: browser.all(f'#rows [aria-rowindex="{MANY + 1}"]'))


def test_what_a_page_carries_is_what_the_table_holds(shown, planted):
    """Three digits of what agrees, all of what does not; read back by the page's own code."""
    script = "const done = arguments[0]; readReport(document.getElementById('data').textContent).then(found => done(JSON.stringify({sigmas: [...found.numbers.sigmas].map(String), candidate: [...found.numbers.candidate].map(String)})))"
    found = json.loads(shown.driver.execute_async_script(script))
    for name in ("sigmas", "candidate"):
        wanted, back = (
            planted.table[name].to_numpy(float),
            np.array([float(text.replace("Infinity", "inf")) for text in found[name]]),
        )
        np.testing.assert_allclose(back, wanted, rtol=0.005)
    wrong = (planted.table["verdict"] != "agree").to_numpy()
    back = np.array([float(text) for text in found["candidate"]])
    np.testing.assert_array_equal(back[wrong], planted.table["candidate"].to_numpy()[wrong])


def test_a_page_whose_table_cannot_be_read_says_where_it_is(browser, page, tmp_path):
    broken = re.sub(r'(id="data">)[^<]{40}', r"\1" + "A" * 40, page.read_text(encoding="utf-8"))
    (tmp_path / "broken.html").write_text(broken, encoding="utf-8")
    browser.open(tmp_path / "broken.html")
    until(lambda: browser.find("#explorer-failed").is_displayed())
    assert "discrepancies.parquet" in browser.find("#explorer-failed").text
    assert not browser.find("#explorer").is_displayed()
    assert browser.find("h1").text == "Does not agree"


def test_what_is_printed_fits_the_paper(browser, page):
    browser.open(page, width=794)  # A4 at 96 dots an inch
    ready(browser)
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.too_wide() <= 0
        assert not browser.find("#explorer").is_displayed(), "the table of every comparison is for the screen"
        assert all(found.rect["width"] <= 794 for found in browser.all("main table"))
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
