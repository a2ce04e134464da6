"""The page of a search in a browser: it draws, sorts, filters, and marks the same one
everywhere.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from experiment_pipeline.stages.leaderboard.page import page_html
from experiment_pipeline.stages.leaderboard.pictures import SearchShown
from experiment_pipeline.tracking.server import _HEADERS
from experiment_pipeline_tests.stages.leaderboard.search_examples import finished_search

pytestmark = pytest.mark.slow
SMALL, LARGE = 32, 600
MOST_BYTES = 300_000  # without the script, which all pages share
# Of the browser's main thread; an idle desk needs three, a busy machine some more.
MOST_CPU_SECONDS = 30
ADDRESS = "http://reports.test/leaderboard.html"
CHARTS = ("Score against cost",)
# Where on the screen a configuration is, in the chart of scores against cost.
PLACE = """row => {
  const canvas = document.querySelector('.chart [role=img]');
  canvas.scrollIntoView({block: 'center'});
  const chart = echarts.getInstanceByDom(canvas), {series} = chart.getOption();
  for (const [seriesIndex, one] of series.entries()) for (const item of one.data)
    if (item.row === row && one.type === 'scatter') {
      const [x, y] = chart.convertToPixel({seriesIndex}, item.value);
      const box = canvas.getBoundingClientRect();
      return [box.x + x, box.y + y];
    }
}"""
# Items in the colour of the mark, over all charts.
MARKED = """() => [...document.querySelectorAll('.chart [role=img]')].flatMap(canvas =>
  (echarts.getInstanceByDom(canvas)?.getOption().series ?? [])
  .flatMap(one => one.data ?? []))
  .filter(item => item?.lineStyle?.width === 4)
  .filter(item => item.itemStyle?.borderWidth === 3).length"""


@dataclass
class Opened:
    """The page of a search, with its messages to the console and its requests."""

    page: Page
    content: bytes
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    cpu_seconds: float = 0.0

    def open(self, scheme: str = "light", width: int = 1400) -> None:
        """Open it anew, with the headers of the server of reports, until all
        is drawn.
        """
        page = self.page
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(ADDRESS)
        page.wait_for_selector("html[data-drawn]", timeout=60_000)

    def rows(self) -> list[list[str]]:
        """The rows that are shown, cell by cell."""
        texts: list[list[str]] = self.page.evaluate(
            "[...document.querySelectorAll('.explore tbody:last-of-type tr')]"
            ".filter(row => !row.hidden)"
            ".map(row => [...row.cells].map(cell => cell.textContent))"
        )
        return texts

    def header(self, name: str) -> Locator:
        """The button of a column."""
        return self.page.locator(".explore th").get_by_role(
            "button", name=name, exact=True
        )


def opened(browser: Browser, search: SearchShown) -> Iterator[Opened]:
    """Open the page of a search."""
    page = browser.new_page()
    shown = Opened(page, page_html(search, "flights"))
    page.on("console", lambda message: shown.messages.append(message.text))
    page.on("pageerror", lambda error: shown.messages.append(str(error)))
    page.on("request", lambda request: shown.requests.append(request.url))
    headers = {**_HEADERS, "Content-Type": "text/html; charset=utf-8"}
    page.route("**/*", lambda route: route.fulfill(body=shown.content, headers=headers))
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    shown.open()
    metrics = session.send("Performance.getMetrics")["metrics"]
    shown.cpu_seconds = {metric["name"]: metric["value"] for metric in metrics}[
        "TaskDuration"
    ]
    yield shown
    page.close()


@pytest.fixture(scope="module")
def small(browser: Browser) -> Iterator[Opened]:
    yield from opened(browser, finished_search(SMALL))


@pytest.fixture(scope="module")
def large(browser: Browser) -> Iterator[Opened]:
    yield from opened(browser, finished_search(LARGE))


@pytest.fixture
def fresh(small: Opened) -> Opened:
    """The small page as it was opened first."""
    small.open()
    return small


def test_hundreds_of_configurations_are_small_quick_and_quiet(large: Opened):
    """No error, no request but its own, under the server's policy; and it stays below
    its limits.
    """
    assert (large.messages, large.requests) == ([], [ADDRESS])
    content, _, _ = large.content.partition(b"<script data-shared>")
    assert len(content) <= MOST_BYTES
    assert large.cpu_seconds <= MOST_CPU_SECONDS
    assert len(large.rows()) == 20
    large.page.get_by_role("button", name="Show all 600").click()
    assert len(large.rows()) == LARGE


def test_every_chart_is_drawn_and_states_its_numbers(small: Opened):
    """Each with a title and a text that has the numbers."""
    assert small.messages == []
    charts = small.page.locator(".chart").all()
    visible = [chart for chart in charts if chart.is_visible()]
    assert tuple(chart.locator("h3").inner_text() for chart in visible) == CHARTS
    for chart in charts:
        canvas = chart.locator("[role=img]")
        canvas.locator("svg path").nth(5).wait_for(state="attached")
        assert re.search(r"\d", canvas.get_attribute("aria-label") or "")


@pytest.mark.parametrize("way", ["ascending", "descending"])
def test_headers_sort_both_ways_with_the_keyboard_too(fresh: Opened, way: str):
    """Numbers as numbers, empty cells last; the header says which way."""
    button = fresh.header("train CPU s")
    button.click()
    if way == "descending":
        button.press("Enter")
    headers = fresh.page.locator(".explore th")
    column = headers.all_inner_texts().index("train CPU s")
    assert headers.nth(column).get_attribute("aria-sort") == way
    cells = [row[column].replace(",", "") for row in fresh.rows()]
    costs = [float(cell) for cell in cells if cell]
    assert costs == sorted(costs, reverse=way == "descending")
    assert len(set(costs)) > 5


def test_rows_are_filtered_by_text_and_status(fresh: Opened):
    """Words may stand in any column; what fits is counted, and the baseline stays."""
    fresh.page.get_by_label("status").select_option("stopped early")
    assert {row[-2] for row in fresh.rows()} == {"stopped early"}
    fresh.page.get_by_label("Filter all columns").fill("linear rows")
    assert {row[1][:6] for row in fresh.rows()} == {"linear"}
    fresh.page.get_by_label("status").select_option("failed")
    assert fresh.rows() == []
    counted = fresh.page.locator(".shown").inner_text()
    assert counted == "0 of 0 rows are shown; 32 without the filter."
    assert fresh.page.locator("tr", has_text="baseline (no features)").is_visible()


def test_a_mark_in_a_picture_and_its_row_belong_together(fresh: Opened):
    """Clicked in the picture, a configuration is marked and shown in the table; and
    back.
    """
    x, y = fresh.page.evaluate(PLACE, 2)
    fresh.page.mouse.move(x, y)
    key = fresh.rows()[2][1]
    expect(fresh.page.locator(".hint").first).to_contain_text(key)
    fresh.page.mouse.click(x, y)
    assert fresh.page.locator("tr.marked").locator("td").nth(1).inner_text() == key
    assert fresh.page.evaluate(
        "() => {"
        "const box = document.querySelector('tr.marked').getBoundingClientRect();"
        "return box.top >= 0 && box.bottom <= innerHeight}"
    )
    assert fresh.page.evaluate(MARKED) >= 2
    fresh.page.get_by_role("button", name=key, exact=True).press("Enter")
    expect(fresh.page.locator("tr.marked")).to_have_count(0)
    assert fresh.page.evaluate(MARKED) == 0


def test_without_scripts_there_is_a_table_of_all(browser: Browser, small: Opened):
    """Whoever runs no scripts reads every row."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(small.content.decode())
    assert page.locator("tbody tr").filter(has_text="lightgbm").count() >= SMALL // 2
    assert page.get_by_text("Chosen: lightgbm").is_visible()
    context.close()
