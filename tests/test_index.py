"""The page that joins the reports: up to date with what is committed, complete, escaped; and how much all pages weigh."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner

from oracle.case import SpecError
from oracle.cli import app
from oracle.report.index import entries, index_page, write_index

REPORTS = Path(__file__).parents[1] / "reports"


def made(folder, **files):
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")


class Links(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found += [
            value.partition("#")[0] for name, value in attrs if name in ("href", "src") and not value.startswith("data:")
        ]


def without_style(page):
    return re.sub("<style>.*?</style>", "", page, flags=re.DOTALL)


def test_the_committed_page_is_up_to_date():
    committed = (REPORTS / "index.html").read_text(encoding="utf-8")
    assert without_style(committed) == without_style(index_page(REPORTS)), "oracle index writes it again"


def test_a_page_that_is_out_of_date_is_noticed(tmp_path):
    made(tmp_path / "sweep", report_html="x", report_md="# Agree\n\nAll 5 agree.", summary_json='{"ok": true}')
    written = write_index(tmp_path).read_text()
    assert written == index_page(tmp_path)
    (tmp_path / "sweep" / "report.md").write_text("# Does not agree\n\n1 of 5 fails.")
    assert without_style(written) != without_style(index_page(tmp_path))


def test_everything_committed_is_there_and_no_link_is_dead():
    page = index_page(REPORTS)
    links = Links(page).found
    assert {entry.folder for entry in entries(REPORTS)} >= {"sweep", "accuracy", "mutants", "calibration"}
    assert len(links) > 50
    assert [link for link in links if not (REPORTS / unquote(link)).is_file()] == []


def test_all_pages_weigh_under_six_megabytes():
    pages = [path for path in REPORTS.glob("*/*.html") if not path.parent.name.startswith("latest")] + [REPORTS / "index.html"]
    assert len(pages) > 4
    assert sum(path.stat().st_size for path in pages) < 6e6


def test_an_entry_says_what_the_report_says(tmp_path):
    made(tmp_path / "zoo", zoo_html="<title>The &lt;zoo&gt;</title>")
    made(
        tmp_path / "sweep",
        report_html="x",
        report_md="# Agree\n\nAll `5` of\n2 \\* 3 [agree](x.md).\n\n| a |",
        summary_json='{"ok": true}',
    )
    made(
        tmp_path / "accuracy",
        accuracy_html="x",
        README_md="# The atlas\n\nWords.",
        accuracy_json='{"summary": {"ok": false}}',
        GELU_svg="",
    )
    made(tmp_path / "words", README_md="# Words\n\nOnly words.")
    made(tmp_path / "latest-sweep", report_html="mine")
    made(tmp_path / "data", x_csv="no page")
    sweep, accuracy, words, zoo = entries(tmp_path)
    assert (sweep.title, sweep.answer, sweep.ok, sweep.page) == ("Agree", "All 5 of 2 * 3 agree.", True, "report.html")
    assert (accuracy.title, accuracy.answer, accuracy.ok, accuracy.pictures) == ("The atlas", "Words.", False, ("GELU.svg",))
    assert (words.title, words.page, words.others) == ("Words", "README.md", ())
    assert (zoo.title, zoo.answer, zoo.ok) == ("The <zoo>", "", None)


def test_names_and_texts_do_no_harm(tmp_path):
    made(tmp_path / "a'b\"<i>&", report_html="x", report_md="# <script>alert(1)</script>\n\n<img src=x>" + "y" * 1_000_000)
    page = index_page(tmp_path)
    assert "<script>" not in page
    assert "<img src=x>" not in page
    assert len(page) < 20_000
    assert [link for link in Links(page).found if not (tmp_path / unquote(link)).is_file()] == []


def test_the_command_writes_it_and_refuses_what_holds_no_reports(tmp_path):
    made(tmp_path / "r" / "sweep", report_html="x", report_md="# Agree\n\nAll agree.", summary_json='{"ok": true}')
    found = CliRunner().invoke(app, ["index", str(tmp_path / "r"), "--json"])
    assert found.exit_code == 0
    assert [report["answer"] for report in json.loads(found.stdout)["reports"]] == ["All agree."]
    assert "All agree." in CliRunner().invoke(app, ["index", str(tmp_path / "r")]).stdout
    assert (tmp_path / "r" / "index.html").is_file()
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "nowhere"):
        refused = CliRunner().invoke(app, ["index", str(tmp_path / folder)])
        assert refused.exit_code == 2
        assert "oracle index takes a folder with reports" in refused.stderr
        with pytest.raises(SpecError):
            entries(tmp_path / folder)
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_the_page_in_a_browser(browser, width, dark):
    browser.open(REPORTS / "index.html", width=width, dark=dark)
    assert browser.find("h1").text == "The reports"
    assert len(browser.all(".entry")) == len(entries(REPORTS))
    assert browser.too_wide() <= 0
    assert browser.violations() == []
    browser.find("summary").click()
    assert browser.find(".gallery img").is_displayed()
    assert [url for url in browser.requests() if not url.startswith("file:")] == []
    assert browser.errors() == []
