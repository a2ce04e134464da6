"""The page of a search in a browser: it draws, sorts, filters, and marks the same one everywhere."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Locator, Page

from experiment_pipeline.stages.leaderboard.page import to_html
from experiment_pipeline.stages.leaderboard.pictures import SearchShown
from experiment_pipeline.tracking.server import _HEADERS
from experiment_pipeline_tests.stages.leaderboard.search_examples import finished_search

pytestmark = pytest.mark.slow
SMALL, LARGE = 32, 1_000
MOST_BYTES = 3_000_000
# Of the browser's main thread; an idle desk needs half of it.
MOST_CPU_SECONDS = 6
ADDRESS = "http://reports.test/leaderboard.html"
PICTURES = (
    *("Score against cost", "What more search has bought", "Hyperparameters together"),
    *("Each hyperparameter alone", "Who was stopped where", "Learning curve"),
)
# Where on the screen a configuration is, in the picture of scores against cost.
PLACE = """row => {
  const canvas = document.querySelector('.chart [role=img]');
  canvas.scrollIntoView({block: 'center'});
  const chart = echarts.getInstanceByDom(canvas), {series} = chart.getOption();
  for (const [seriesIndex, one] of series.entries()) for (const item of one.data)
    if (item.row === row) {
      const [x, y] = chart.convertToPixel({seriesIndex}, item.value);
      const box = canvas.getBoundingClientRect();
      return [box.x + x, box.y + y];
    }
}"""

# Where the lines of the names of the axes are, in the picture of hyperparameters together.
NAMES = """canvas => [...canvas.querySelectorAll('text')].filter(one => one.style.fontWeight === '600')
  .map(one => one.getBoundingClientRect()).map(box => [box.left, box.top, box.right, box.bottom])"""
LONG = (
    *("bagging_fraction", "cat_smooth", "lambda_l2", "max_cat_to_onehot", "min_data_in_leaf"),
    *("min_data_per_group", "min_sum_hessian_in_leaf", "features__estimator__max_leaf_nodes"),
)


@dataclass
class Opened:
    """The page of a search, with all that it says to the console and asks the network for."""

    page: Page
    content: bytes
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    cpu_seconds: float = 0.0

    def open(self, scheme: str = "light", width: int = 1400) -> None:
        """Open it anew, with the headers of the server of reports, until all is drawn."""
        page = self.page
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(ADDRESS)
        page.wait_for_selector("html[data-drawn]", timeout=60_000)

    def rows(self) -> list[list[str]]:
        """The rows that are shown, cell by cell."""
        texts: list[list[str]] = self.page.evaluate(
            "[...document.querySelectorAll('.search tbody tr')].filter(row => !row.hidden)"
            ".map(row => [...row.cells].map(cell => cell.textContent))"
        )
        return texts

    def header(self, name: str) -> Locator:
        """The button of a column."""
        return self.page.locator(".search th").get_by_role("button", name=name, exact=True)


def opened(browser: Browser, search: SearchShown) -> Iterator[Opened]:
    """Open the page of a search."""
    page = browser.new_page()
    found = Opened(page, to_html(search, "flights").encode())
    page.on("console", lambda message: found.said.append(message.text))
    page.on("pageerror", lambda error: found.said.append(str(error)))
    page.on("request", lambda request: found.asked.append(request.url))
    headers = {**_HEADERS, "Content-Type": "text/html; charset=utf-8"}
    page.route("**/*", lambda route: route.fulfill(body=found.content, headers=headers))
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    found.open()
    metrics = session.send("Performance.getMetrics")["metrics"]
    found.cpu_seconds = {one["name"]: one["value"] for one in metrics}["TaskDuration"]
    yield found
    page.close()


@pytest.fixture(scope="module")
def small(browser: Browser) -> Iterator[Opened]:
    yield from opened(browser, finished_search(SMALL))


@pytest.fixture(scope="module")
def large(browser: Browser) -> Iterator[Opened]:
    yield from opened(browser, finished_search(LARGE))


@pytest.fixture(scope="module")
def wide(browser: Browser) -> Iterator[Opened]:
    """Of many hyperparameters, most of whose configurations were not started."""
    yield from opened(browser, finished_search(209, unstarted=150, more=LONG))


@pytest.fixture
def fresh(small: Opened) -> Opened:
    """The small page as it was opened first."""
    small.open()
    return small


def test_a_thousand_configurations_are_small_quick_and_quiet(large: Opened) -> None:
    """No error, no request but its own, under the server's policy; and it stays below its limits."""
    assert (large.said, large.asked) == ([], [ADDRESS])
    assert len(large.content) <= MOST_BYTES
    assert large.cpu_seconds <= MOST_CPU_SECONDS
    assert len(large.rows()) == 20
    large.page.get_by_role("button", name="Show all 1,000").click()
    assert len(large.rows()) == LARGE


def test_every_picture_is_drawn_and_says_its_numbers(small: Opened) -> None:
    """Six pictures, each with a title, a sentence, and a text that has the numbers."""
    assert small.said == []
    assert tuple(small.page.locator(".chart h3").all_inner_texts()) == PICTURES
    for canvas in small.page.locator(".chart [role=img]").all():
        assert canvas.locator("svg path").count() > 5
        assert any(letter.isdigit() for letter in canvas.get_attribute("aria-label") or "")


def test_headers_sort_both_ways_with_the_keyboard_too(fresh: Opened) -> None:
    """Numbers as numbers, empty cells last; the header says which way."""
    column = [cell.inner_text() for cell in fresh.page.locator(".search th").all()].index("CPU s")
    button = fresh.header("CPU s")
    for way, press in (("ascending", button.click), ("descending", lambda: button.press("Enter"))):
        press()
        assert fresh.page.locator(".search th").nth(column).get_attribute("aria-sort") == way
        costs = [float(row[column].replace(",", "")) for row in fresh.rows() if row[column]]
        assert costs == sorted(costs, reverse=way == "descending")
        assert len(set(costs)) > 5


def test_rows_are_filtered_by_text_algorithm_and_status(fresh: Opened) -> None:
    """Words may stand in any column; what fits is counted."""
    fresh.page.get_by_label("Status").select_option("stopped early")
    assert {row[3] for row in fresh.rows()} == {"stopped early"}
    fresh.page.get_by_label("Filter all columns").fill("linear rung")
    assert {row[2] for row in fresh.rows()} == {"linear"}
    fresh.page.locator(".search > .controls").get_by_label("Algorithm").select_option("lightgbm")
    assert fresh.rows() == []
    assert "0 of 0 configurations that fit, of 32" in fresh.page.locator(".shown").inner_text()


def test_a_mark_in_a_picture_and_its_row_belong_together(fresh: Opened) -> None:
    """Clicked in the picture, a configuration is marked and shown in the table; and back."""
    x, y = fresh.page.evaluate(PLACE, 2)
    fresh.page.mouse.move(x, y)
    key = fresh.rows()[2][1]
    assert key in fresh.page.locator(".hint").first.inner_text()
    fresh.page.mouse.click(x, y)
    marked = fresh.page.locator("tr.marked")
    assert marked.locator("td").nth(1).inner_text() == key
    assert fresh.page.evaluate(
        "() => {const box = document.querySelector('tr.marked').getBoundingClientRect();"
        "return box.top >= 0 && box.bottom <= innerHeight}"
    )
    rings = '.chart path[stroke="var(--series-2)"], .chart polyline[stroke="var(--series-2)"]'
    assert fresh.page.locator(rings).count() >= 6
    fresh.page.get_by_role("button", name=key, exact=True).press("Enter")
    assert fresh.page.locator("tr.marked").count() == 0
    assert fresh.page.locator(rings).count() == 0


def test_a_brush_along_an_axis_filters_the_table(fresh: Opened) -> None:
    """Only configurations through that part of the axis stay; here, who got to all rows."""
    canvas = fresh.page.locator(".chart [role=img]").nth(2)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    x = box["x"] + 70 + (box["width"] - 140)
    fresh.page.mouse.move(x, box["y"] + 46)
    fresh.page.mouse.down()
    fresh.page.mouse.move(x, box["y"] + 200, steps=4)
    fresh.page.mouse.move(x, box["y"] + 362, steps=4)
    fresh.page.mouse.up()
    assert {row[3] for row in fresh.rows()} == {"trained"}
    assert {row[2] for row in fresh.rows()} == {"lightgbm"}
    assert "that fit, of 32" in fresh.page.locator(".shown").inner_text()
    fresh.page.get_by_role("button", name="Clear filters").click()
    assert len(fresh.rows()) == 20
    assert fresh.said == []


def test_what_was_not_started_is_counted_and_not_drawn(wide: Opened) -> None:
    """Lines are of what was tried; the sentence below counts the others."""
    canvas = wide.page.locator(".chart [role=img]").nth(2)
    drawn = "canvas => echarts.getInstanceByDom(canvas).getOption().series[0].data.length"
    assert canvas.evaluate(drawn) == 58
    assert wide.page.get_by_text("Not drawn: 124 of 182, which were not started.").is_visible()


@pytest.mark.parametrize("width", [900, 1400, 2000])
def test_names_of_axes_do_not_overlap(wide: Opened, width: int) -> None:
    """Long names stand in several lines, and in turn above each other where axes stand close."""
    wide.open(width=width)
    canvas = wide.page.locator(".chart [role=img]").nth(2)
    boxes = canvas.evaluate(NAMES)
    assert len(boxes) >= len(LONG) + 6
    frame = canvas.evaluate(
        "one => [one.getBoundingClientRect().left, one.getBoundingClientRect().right]"
    )
    assert all(frame[0] <= left and right <= frame[1] for left, _, right, _ in boxes)
    for place, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[place + 1 :]:
            beside = right <= other[0] or other[2] <= left
            assert beside or bottom <= other[1] + 3 or other[3] <= top + 3


def test_a_phone_in_the_dark_sees_all_of_it(small: Opened) -> None:
    """Nothing is wider than the screen, and pictures take the colours of the page."""
    small.open("dark", 390)
    widths = "[document.documentElement, ...document.querySelectorAll('.chart svg')]"
    assert max(small.page.evaluate(f"{widths}.map(one => one.clientWidth)")) <= 390
    assert small.page.evaluate("document.documentElement.scrollWidth") <= 390
    dark = "getComputedStyle(document.body).backgroundColor"
    assert small.page.evaluate(dark) == "rgb(17, 22, 29)"
    ink = "getComputedStyle(document.querySelector('.chart text[fill=\"var(--muted)\"]')).fill"
    assert small.page.evaluate(ink) == "rgb(163, 174, 189)"
    small.page.emulate_media(color_scheme="light")
    assert small.page.evaluate(ink) == "rgb(86, 97, 113)"


def test_without_scripts_there_is_a_table_of_all(browser: Browser, small: Opened) -> None:
    """Whoever runs no scripts reads every row."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(small.content.decode())
    assert page.locator("tbody tr").filter(has_text="lightgbm").count() >= SMALL // 2
    assert page.get_by_text("Chosen: lightgbm").is_visible()
    context.close()
