"""The teaching page in a real Chromium, with the mouse and without it."""

from dataclasses import replace

import pytest

from oracle.case import Spec
from oracle.explain import notes_case
from oracle.inputs import build
from oracle.mistakes import AssemblyMistake
from oracle.teach import lesson, mathml


@pytest.fixture(scope="module")
def notes():
    return lesson()


@pytest.fixture(scope="module")
def page(notes, tmp_path_factory):
    path = tmp_path_factory.mktemp("teach") / "teach.html"
    path.write_text(notes.to_html())
    return path


@pytest.fixture
def shown(browser, page):
    """The page, opened; at the end nothing has been asked for and nothing complained."""
    browser.open(page)
    yield browser
    assert browser.errors() == []
    assert browser.requests() == []


def visible(browser, kind):
    """The texts of this kind in the drawing that are to be seen."""
    return [text.text for text in browser.all(f".net .{kind}") if text.is_displayed()]


def click(browser, go):
    browser.find(f'[data-go="{go}"]').click()


def choose(browser, which, text):
    """Choose in a list, as its own events do it."""
    browser.run(
        "const list = document.getElementById(arguments[0]);"
        "list.value = [...list.options].find((option) => option.text === arguments[1]).value;"
        "list.dispatchEvent(new Event('change', {bubbles: true}));",
        which,
        text,
    )


def test_values_flow_forward_and_errors_back(shown, notes):
    seen = [(len(visible(shown, "value")), len(visible(shown, "error")))]
    captions = [shown.find(".captions li:not(.waits)").text]
    while shown.find('[data-go="next"]').is_enabled():
        click(shown, "next")
        seen.append((len(visible(shown, "value")), len(visible(shown, "error"))))
        captions.append(shown.find(".captions li:not(.waits)").text)
    assert seen == [(3, 0), (6, 0), (9, 0), (9, 0), (9, 3), (9, 3), (9, 6), (9, 6), (9, 6)]
    assert [step.title for step in notes.drawing.steps] == [caption.partition(".")[0] for caption in captions]
    assert visible(shown, "error")[-3] == f"δ {mathml.digits(notes.bench.reference['delta[2]'][0, 0])}"
    assert shown.find("#count").text == "step 9 of 9"
    click(shown, "first")
    assert visible(shown, "error") == []
    assert not shown.find('[data-go="back"]').is_enabled()


def test_what_flows_stands_out(shown):
    click(shown, "next")
    assert {wire.get_attribute("data-forward") for wire in shown.all(".wire.now")} == {"1"}
    assert len(shown.all(".wire.now")) == 9
    for _ in range(5):
        click(shown, "next")
    assert len(shown.all(".wire.now.back")) == 9
    assert len(shown.all("circle.now")) == 3


def test_a_weight_pointed_at_shows_its_formula(shown, notes):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    ActionChains(shown.driver).move_to_element(shown.find('[data-fact="n7"] circle')).perform()
    assert "Node 7" in shown.find("#fact").text
    middle = shown.run(
        "const place = document.querySelector('[data-fact=w47]').getBoundingClientRect();"
        "return [place.x + place.width / 2, place.y + place.height / 2]"
    )
    mouse = ActionBuilder(shown.driver)
    mouse.pointer_action.move_to_location(*map(int, middle)).click()
    mouse.perform()
    fact = shown.find("#fact")
    assert "from node 4 to node 7" in fact.text
    full = [number.get_attribute("data-full") for number in fact.find_elements("css selector", "data")]
    assert repr(notes.nodes.weight_gradient(4, 7).by_hand) in full


def test_the_keyboard_alone(shown):
    from selenium.webdriver import Keys

    shown.find('[data-go="next"]').send_keys(Keys.ENTER)
    assert shown.find("#count").text == "step 2 of 9"
    shown.run("document.querySelector('[data-fact=n1]').focus()")
    reached = []
    for key in (Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT):
        shown.press(key)
        reached.append(shown.run("return document.activeElement.dataset.fact"))
    assert reached[:2] == ["n2", "n3"]
    assert reached[2].startswith("w")
    assert reached[3] in ("n4", "n5", "n6")
    shown.press(Keys.TAB)
    assert shown.run("return document.activeElement.closest('.net')") is None, "the drawing is one stop of the tab key"
    shown.run("document.getElementById('mistake').focus()")
    shown.press("W", " ", "n", "o", "t")
    assert "It matches 'W not transposed'" in shown.find("#advice").text


def test_stops_of_the_tab_key_are_few(browser, page):
    counted = "return document.querySelectorAll('a, button:enabled, select:enabled, input, summary, [tabindex=\"0\"]').length"
    for width, most in ((1200, 25), (390, 60)):
        browser.open(page, width)
        assert 10 < browser.run(counted) < most


def test_all_of_the_drawing_is_reached_by_arrows(shown):
    """From anywhere, by some way: breadth first over the four keys."""
    reached = shown.run(
        """
        const keys = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"], found = new Set(["n1"]), waiting = ["n1"];
        while (waiting.length) {
          const from = document.querySelector(`[data-fact="${waiting.pop()}"]`);
          for (const key of keys) {
            from.focus();
            from.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
            const at = document.activeElement.dataset.fact;
            if (!found.has(at)) { found.add(at); waiting.push(at); }
          }
        }
        return [found.size, document.querySelectorAll(".net [data-fact]").length];
        """
    )
    assert reached[0] == reached[1]


def test_break_it_shows_who_fails_and_what_the_oracle_says(shown, notes):
    assert len(shown.all("#picture .fails")) == 0
    assert "Nothing is wrong" in shown.find("#advice").text
    for choice in notes.breaking.choices[::6]:
        choose(shown, "mistake", choice.mistake.name)
        for broken in choice.places:
            choose(shown, "place", broken.name)
            columns = [len(shown.all(f"#picture td:nth-last-child({2 - side}).fails")) for side in (0, 1)]
            assert tuple(columns) == broken.failing
            assert all(line.text in shown.find("#advice").text for line in broken.lines if line.kind == "what")
            if not isinstance(choice.mistake, AssemblyMistake):
                rows = shown.run(
                    "let head; return [...document.querySelectorAll('#picture tr')].map((row) => "
                    "[head = row.querySelector('th')?.textContent ?? head, row.lastChild.className])"
                )
                assert {name for name, kind in rows if kind == "fails"} == {broken.name}


def test_formulas_in_the_advice_are_formulas(shown):
    choose(shown, "mistake", "dW averaged")
    assert len(shown.all("#advice .formula mfrac")) == 1


def test_all_digits_on_demand(shown, notes):
    a7 = float(notes.bench.honest["a[2]"][0, 0])
    assert repr(a7) not in shown.find("#version1").text
    shown.find("#full").click()
    assert repr(a7) in shown.find("#version1").text
    assert f"a {a7!r}" in shown.run("return document.querySelector('[data-fact=n7]').textContent")
    shown.find("#full").click()
    assert repr(a7) not in shown.find("#version1").text


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_nobody_is_shut_out(browser, page, width, dark):
    browser.open(page, width, dark=dark)
    assert browser.too_wide() <= 0
    browser.run("document.querySelector('details').open = true")
    choose(browser, "mistake", "W not transposed")
    click(browser, "last")
    assert browser.violations() == []


def test_the_check_for_who_is_shut_out_can_fail(browser, tmp_path):
    (tmp_path / "bad.html").write_text(
        "<html><body><img src='data:,'><p style='color:#ccc;background:#fff'>pale</p></body></html>"
    )
    browser.open(tmp_path / "bad.html")
    found = " ".join(browser.violations())
    assert "image-alt" in found
    assert "color-contrast" in found


def test_the_check_for_requests_and_errors_can_fail(browser, tmp_path):
    (tmp_path / "bad.html").write_text("<script src='gone.js'></script><script>throw new Error('wrong')</script>")
    browser.open(tmp_path / "bad.html")
    assert any("wrong" in message for message in browser.errors())
    assert any(url.endswith("gone.js") for url in browser.requests())


def test_a_hostile_name_runs_nothing(browser, tmp_path):
    name = "</script><script>document.title = 'gone'</script><img src=x onerror=\"document.title='gone'\">"
    (tmp_path / "page.html").write_text(lesson(replace(notes_case(), name=name)).to_html())
    browser.open(tmp_path / "page.html")
    assert "gone" not in browser.driver.title.split("Backpropagation")[0]
    assert browser.run("return document.images.length") == 0
    assert browser.errors() == browser.requests() == []


def test_a_large_network_and_one_that_is_not_drawn(browser, tmp_path):
    for text in ("9-12-9-7x3/float64/Tanh/Softmax/CrossEntropyLoss", "3-4-2x5x6/float32/SwiGLU/Identity/MSELoss"):
        (tmp_path / "page.html").write_text(lesson(build(Spec.parse(text))).to_html())
        browser.open(tmp_path / "page.html", 390)
        assert browser.too_wide() <= 0
        assert browser.errors() == browser.requests() == []
        assert len(browser.all("#picture tr")) > 5


def test_printed_all_of_it_is_there(browser, page):
    browser.open(page)
    browser._command("Emulation.setEmulatedMedia", media="print")
    try:
        assert len(visible(browser, "error")) == 6
        assert all(caption.is_displayed() for caption in browser.all(".captions li"))
        assert not browser.find(".steps").is_displayed()
    finally:
        browser._command("Emulation.setEmulatedMedia", media="")
