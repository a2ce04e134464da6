"""Every page in a browser: for eyes, fingers, a keyboard and a screen reader, wide and
narrow, light and dark.

The rules are WCAG 2 A and AA as axe-core knows them.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.base import AxeResults
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from experiment_pipeline.reporting.outcome import Outcome
from experiment_pipeline.reporting.run_record import ReportRow
from experiment_pipeline.stages.data_analysis.analysis import analyse
from experiment_pipeline.stages.data_analysis.page import report_html
from experiment_pipeline.stages.leaderboard import page as leaderboard_page
from experiment_pipeline.storage.entries import linked_page
from experiment_pipeline.storage.files import STORAGE_VARIABLE, location, storage_root
from experiment_pipeline.tracking import run_pages
from experiment_pipeline.tracking.comparison import compare
from experiment_pipeline.tracking.database.connection import VARIABLE, opened
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.outcomes import record_outcome, write_pages
from experiment_pipeline_tests.stages.data_analysis import tables
from experiment_pipeline_tests.stages.leaderboard.search_examples import finished_search
from experiment_pipeline_tests.stages.validation_report.checked import checked
from experiment_pipeline_tests.tracking.history import FAILED, write_history, write_run
from experiment_pipeline_tests.tracking.test_comparison import judged, keep_of
from experiment_pipeline_tests.tracking.test_record import NO_GO

pytestmark = pytest.mark.slow
EXPERIMENT, RUNS = "flight_delay", 22
# The pages that stages store, of which each run has copies with its header.
STORED = {
    "data analysis": f"{EXPERIMENT}/data_analysis/a1/report.html",
    "leaderboard": f"{EXPERIMENT}/leaderboard/b2/leaderboard.html",
    "accepted": f"{EXPERIMENT}/validation_report/c3/report.html",
    "refused": f"{EXPERIMENT}/validation_report/d4/report.html",
}
RUN, REFUSED = (
    f"{EXPERIMENT}/runs/{number:08x}-{EXPERIMENT}" for number in (RUNS - 2, RUNS - 1)
)
PAGES = {
    "data analysis": f"{RUN}/data_analysis.html",
    "leaderboard": f"{RUN}/leaderboard.html",
    "accepted": f"{RUN}/validation_report.html",
    "overview": "overview.html",
    "runs": f"{EXPERIMENT}/runs.html",
    "record of a refused run": f"{REFUSED}/index.html",
    "comparison": "comparison.html",
}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
LOOKS = (("light", 1400), ("dark", 390))
JUDGED = """rules => axe.run(document, {resultTypes: ['violations'],
    runOnly: {type: 'tag', values: rules}})"""
# What a keyboard has to reach, and what it does reach.
CONTROLS = """() => [...document.querySelectorAll(
    'a[href], button, input, select, textarea, summary, [tabindex="0"]')]
  .filter(one => one.checkVisibility() && !one.disabled)
  .map((one, number) => (one.dataset.number = number, one.outerHTML.slice(0, 80)))"""
FOCUSED = "() => document.activeElement.dataset.number ?? null"
# Pictures without a text: named by nothing, and not declared to be mere decoration.
NAMELESS = """() => [...document.querySelectorAll('img, svg, canvas')]
  .filter(one => !one.closest('[aria-hidden=true]')
     && !one.closest('[role=img][aria-label]:not([aria-label=""])')
     && !(one.alt || '').trim())
  .map(one => one.outerHTML.slice(0, 80))"""


# A4 within usual margins, in pixels of CSS.
WIDTH_OF_PAPER, WHITE = 718, "rgb(255, 255, 255)"
FOLDED = """async () => {
  await new Promise(shown => requestAnimationFrame(() => requestAnimationFrame(shown)));
  return [...document.querySelectorAll('details > :not(summary)')]
    .filter(one => !one.closest('[hidden]'))
    .filter(one => !one.checkVisibility({contentVisibilityAuto: true}))
    .map(one => one.outerHTML.slice(0, 80)); }"""
CUT = """() => [...document.querySelectorAll('.wide')]
  .filter(one => one.scrollWidth > one.clientWidth).map(one => one.ariaLabel)"""


def write_all(root: Path) -> None:
    """Write every kind of page that the project makes into a storage."""
    frame, spec = tables.table(outcome=tables.table()["y"]), tables.experiment()
    features = tables.features_of(frame, spec)
    analysis = analyse(frame, tables.sets_of(frame), features, spec)
    board = leaderboard_page.page_html(finished_search(16), "flights")
    texts = {
        "data analysis": report_html(analysis, frame, spec),
        "leaderboard": board.decode(),
        "accepted": checked("binary", costs=True).page,
        "refused": checked("binary", refused=True).page,
    }
    for name, text in texts.items():
        place = root / STORED[name]
        place.parent.mkdir(parents=True)
        place.write_bytes(linked_page(text.encode(), location(str(place.parent))))


def write_memory(root: Path) -> None:
    """Write the pages of some weeks of runs, and the records of three."""
    *_, accepted, refused = write_history(runs=RUNS)
    decision = "no go: the target is constant\nask who delivers it"
    write_run("stopped", **NO_GO, data_digest="9" * 64, decision=decision)
    stages = {"data_analysis": "data analysis"}
    ranked = stages | {"leaderboard": "leaderboard"}
    reports = {
        accepted: ranked | {"validation_report": "accepted"},
        refused: ranked | {"validation_report": "refused"},
        "stopped": stages,
    }
    for run_id, pages in reports.items():
        run = RunRecord(EXPERIMENT, run_id)
        for stage, page in pages.items():
            place = str(location(str(root)) / STORED[page])
            record_outcome(
                run, Outcome({}, record=[ReportRow(name=stage, place=place)]), print
            )
        run.record(run_pages.write(run, storage_root()).rows)
    write_pages(storage_root(), EXPERIMENT)
    keep_of(accepted, judged(0.5), root)
    keep_of(refused, judged(0.8), root)
    (root / PAGES["comparison"]).write_text(compare(accepted, refused).page())


@pytest.fixture(scope="module")
def storage(empty_database: Path, tmp_path_factory) -> Iterator[Path]:
    """A storage with every page in it."""
    folder = tmp_path_factory.mktemp("pages")
    database = shutil.copy(empty_database, folder / "memory.sqlite")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, f"sqlite:///{database}")
        patch.setenv(STORAGE_VARIABLE, str(folder / "storage"))
        write_all(folder / "storage")
        write_memory(folder / "storage")
        yield folder / "storage"
    opened.cache_clear()


@dataclass
class Viewed:
    """A page, and what it said and asked for while it was looked at."""

    page: Page
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def look(self, width: int = 1400, **media: str) -> Page:
        """Look at it on a screen of that width, in pixels; or with other media."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(**{"media": "screen", "color_scheme": "light", **media})
        return self.page


@pytest.fixture(scope="module", params=PAGES)
def viewed(browser: Browser, storage: Path, request) -> Iterator[Viewed]:
    """Each of the pages, opened from its file."""
    page = browser.new_page()
    viewed = Viewed(page)
    page.goto(f"file://{storage / PAGES[request.param]}")
    yield viewed
    page.close()


def test_a_page_fits_the_screen_and_asks_for_what_pages_share(
    viewed: Viewed, storage: Path
):
    """From a desk to the smallest phone; it says nothing, and nothing comes from
    elsewhere.
    """
    for width in (1400, 390, 320):
        page = viewed.look(width)
        # Pictures are drawn anew once the screen has changed.
        page.wait_for_function(f"document.documentElement.scrollWidth <= {width}")
    assert viewed.messages == []
    inside = ("data:", "blob:", f"file://{storage}/page_files/")
    assert [url for url in viewed.requests if not url.startswith(inside)] == [
        viewed.page.url
    ]


def test_two_ticked_runs_are_shown_together_with_the_command_that_compares_them(
    browser: Browser, storage: Path
):
    """The earlier one first, in whatever order they are ticked."""
    page = browser.new_page()
    page.goto(f"file://{storage / PAGES['runs']}")
    boxes = page.get_by_role("checkbox")
    boxes.nth(1).check()
    boxes.nth(3).check()
    runs = [boxes.nth(place).get_attribute("value")[:8] for place in (3, 1)]
    command = page.locator(".comparer pre").inner_text()
    assert (
        command == f"experiment-pipeline compare {' '.join(runs)} --html compare.html"
    )
    assert page.locator(".comparer tr").count() == 2
    boxes.nth(1).uncheck()
    assert page.locator(".comparer").inner_text() == "Tick two runs to compare them."
    page.close()


def test_eight_questions_are_answered_by_clicks_from_the_overview(
    browser: Browser, storage: Path
):
    """Which model is live, why the last run was refused, what next, a simpler model,
    what mattered, what changed, whether two runs differ, and the cost.
    """
    page = browser.new_page()
    page.set_default_timeout(20_000)

    def click(name: str) -> None:
        page.get_by_role("link", name=name, exact=True).first.click()

    page.goto(f"file://{storage / PAGES['overview']}")
    row = page.locator("tr", has_text=EXPERIMENT)
    live = row.locator('[data-label="champion"]').inner_text()
    assert re.search(r"v00\d\d.*old.*\(0\.\d+ to 0\.\d+\)", live, re.DOTALL)
    assert re.search(r"\d", row.locator('[data-label="cost of 30 days"]').inner_text())
    click(EXPERIMENT)
    refused = page.locator(".explore tr", has_text="not accepted").first
    assert FAILED in refused.inner_text()
    changes = page.locator(".explore details").first
    changes.locator("summary").click()
    assert "→" in changes.inner_text()
    boxes = page.get_by_role("checkbox")
    newer, older = REFUSED.rpartition("/")[2], RUN.rpartition("/")[2]
    for run in (newer, older):
        boxes.and_(page.locator(f'[value="{run}"]')).check()
    assert "intervals" in page.locator(".comparer").inner_text()
    click("All differences, row by row")
    assert page.locator(".verdict").inner_text()
    click("Decision")
    gates = page.locator(".gates li")
    assert gates.first.inner_text().startswith("failed")
    simpler = page.get_by_text(re.compile("simpler", re.IGNORECASE))
    assert simpler.first.is_visible()
    assert page.locator(".next").inner_text().startswith("What next")
    click("Leaderboard")
    mattered = page.locator("section", has_text="What mattered in").first.inner_text()
    assert re.search("explains|Without a visible effect", mattered)
    page.close()


def test_every_picture_has_a_text(viewed: Viewed):
    """Who does not see it is told what it shows, or that it is decoration."""
    assert viewed.look().evaluate(NAMELESS) == []


def test_the_keyboard_reaches_every_control(viewed: Viewed):
    """Links, buttons, folded sections, and whatever scrolls."""
    controls = viewed.look().evaluate(CONTROLS)
    reached = set()
    for _ in range(3 * len(controls) + 40):
        viewed.page.keyboard.press("Tab")
        reached.add(viewed.page.evaluate(FOCUSED))
        if len(reached - {None}) == len(controls):
            break
    missed = {str(number) for number in range(len(controls))} - reached
    assert [controls[int(number)] for number in missed] == []


def test_paper_shows_what_is_folded_and_cuts_nothing(viewed: Viewed):
    """Nobody can unfold or scroll it there, and it is always light."""
    viewed.look(WIDTH_OF_PAPER, media="print", color_scheme="dark")
    assert viewed.page.evaluate(FOLDED) == []
    assert viewed.page.evaluate(CUT) == []
    assert (
        viewed.page.evaluate("getComputedStyle(document.body).backgroundColor") == WHITE
    )


def test_every_link_leads_somewhere(viewed: Viewed, storage: Path):
    """From one page of the storage to the next, without a server."""
    targets = viewed.page.evaluate(
        "[...document.querySelectorAll('main a, nav a')].map(a => a.href)"
    )
    # A comparison may lie anywhere; a run's copy of a stage's page has the links.
    alone = {"comparison", "data analysis", "leaderboard", "accepted"}
    assert targets or viewed.page.url.endswith(tuple(PAGES[name] for name in alone))
    files = [Path(url.removeprefix("file://").partition("#")[0]) for url in targets]
    assert [str(file) for file in files if not file.is_file()] == []


def test_a_page_breaks_no_rule_of_accessibility(viewed: Viewed):
    """Contrast, names, roles, order: wide and light, on a phone and dark."""
    viewed.page.evaluate(Axe().axe_script)
    for scheme, width in LOOKS:
        viewed.look(width, color_scheme=scheme)
        results = AxeResults(viewed.page.evaluate(JUDGED, RULES))
        assert results.violations_count == 0, results.generate_report()
