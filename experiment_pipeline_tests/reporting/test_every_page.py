"""Every page in a browser: for eyes, fingers, a keyboard and a screen reader, wide and
narrow, light and dark.

The rules are WCAG 2 A and AA as axe-core knows them.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.base import AxeResults
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from experiment_pipeline.reporting.run_record import ReportRow
from experiment_pipeline.stages.data_analysis.analysis import analyse
from experiment_pipeline.stages.data_analysis.page import report_html
from experiment_pipeline.stages.leaderboard import page as leaderboard_page
from experiment_pipeline.storage.entries import linked_page
from experiment_pipeline.storage.files import STORAGE_VARIABLE, location, storage_root
from experiment_pipeline.tracking.comparison import compare
from experiment_pipeline.tracking.database.connection import VARIABLE, opened
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.outcomes import write_pages, write_record
from experiment_pipeline_tests.stages.data_analysis import tables
from experiment_pipeline_tests.stages.leaderboard.search_examples import finished_search
from experiment_pipeline_tests.stages.validation_report.checked import checked
from experiment_pipeline_tests.tracking.history import write_history, write_run
from experiment_pipeline_tests.tracking.test_comparison import judged, keep_of
from experiment_pipeline_tests.tracking.test_record import NO_GO

pytestmark = pytest.mark.slow
EXPERIMENT, RUNS = "flight_delay", 22
PAGES = {
    "data analysis": f"{EXPERIMENT}/data_analysis/a1/report.html",
    "leaderboard": f"{EXPERIMENT}/leaderboard/b2/leaderboard.html",
    "accepted": f"{EXPERIMENT}/validation_report/c3/report.html",
    "refused": f"{EXPERIMENT}/validation_report/d4/report.html",
    "overview": "overview.html",
    "runs": f"{EXPERIMENT}/runs.html",
    "record of a refused run": f"{EXPERIMENT}/runs/{RUNS - 1:08x}-{EXPERIMENT}.record.html",
    "comparison": "comparison.html",
    "record of a no go": f"{EXPERIMENT}/runs/stopped.record.html",
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
        place = root / PAGES[name]
        place.parent.mkdir(parents=True)
        place.write_bytes(linked_page(text.encode(), location(str(place.parent))))


def write_memory(root: Path) -> None:
    """Write the pages of the memory, of some weeks of runs, and the records
    of three.
    """
    *_, accepted, refused = write_history(runs=RUNS)
    decision = "no go: the target is constant\nask who delivers it"
    write_run("stopped", **NO_GO, data_digest="9" * 64, decision=decision)
    for run_id, report in (
        (accepted, "accepted"),
        (refused, "refused"),
        ("stopped", None),
    ):
        stages = {"data_analysis": "data analysis"}
        if report:
            stages |= {"leaderboard": "leaderboard", "validation_report": report}
        places = {
            stage: str(location(str(root)) / PAGES[page])
            for stage, page in stages.items()
        }
        run = RunRecord(EXPERIMENT, run_id)
        run.record(
            [ReportRow(name=name, place=place) for name, place in places.items()]
        )
        run.record(write_record(EXPERIMENT, run_id, storage_root()))
    write_pages(EXPERIMENT, storage_root())
    keep_of(accepted, judged(0.5), root)
    keep_of(refused, judged(0.8), root)
    (root / PAGES["comparison"]).write_text(compare(accepted, refused).page())


@pytest.fixture(scope="module")
def storage(
    empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
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
class Seen:
    """A page, and what it said and asked for while it was looked at."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def look(self, width: int = 1400, **media: str) -> Page:
        """Look at it on a screen of that width, in pixels; or with other media."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(**{"media": "screen", "color_scheme": "light", **media})
        return self.page


@pytest.fixture(scope="module", params=PAGES)
def seen(
    browser: Browser, storage: Path, request: pytest.FixtureRequest
) -> Iterator[Seen]:
    """Each of the pages, opened from its file."""
    found = Seen(browser.new_page())
    found.page.goto(f"file://{storage / PAGES[request.param]}")
    yield found
    found.page.close()


def test_a_page_fits_the_screen_and_asks_for_what_pages_share(
    seen: Seen, storage: Path
) -> None:
    """From a desk to the smallest phone; it says nothing, and nothing comes from
    elsewhere.
    """
    for width in (1400, 390, 320):
        page = seen.look(width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert seen.said == []
    inside = ("data:", "blob:", f"file://{storage}/page_files/")
    assert [url for url in seen.asked if not url.startswith(inside)] == [seen.page.url]


def test_every_picture_has_a_text(seen: Seen) -> None:
    """Who does not see it is told what it shows, or that it is decoration."""
    assert seen.look().evaluate(NAMELESS) == []


def test_the_keyboard_reaches_every_control(seen: Seen) -> None:
    """Links, buttons, folded sections, and whatever scrolls."""
    controls = seen.look().evaluate(CONTROLS)
    reached = set()
    for _ in range(3 * len(controls) + 40):
        seen.page.keyboard.press("Tab")
        reached.add(seen.page.evaluate(FOCUSED))
        if len(reached - {None}) == len(controls):
            break
    assert [
        what for number, what in enumerate(controls) if str(number) not in reached
    ] == []


def test_paper_shows_what_is_folded_and_cuts_nothing(seen: Seen) -> None:
    """Nobody can unfold or scroll it there, and it is always light."""
    seen.look(WIDTH_OF_PAPER, media="print", color_scheme="dark")
    assert seen.page.evaluate(FOLDED) == []
    assert seen.page.evaluate(CUT) == []
    assert (
        seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == WHITE
    )


def test_every_link_leads_somewhere(seen: Seen, storage: Path) -> None:
    """From one page of the storage to the next, without a server."""
    targets = seen.page.evaluate(
        "[...document.querySelectorAll('main a, nav a')].map(a => a.href)"
    )
    assert targets or seen.page.url.endswith(PAGES["comparison"])  # it may lie anywhere
    files = [Path(url.removeprefix("file://").partition("#")[0]) for url in targets]
    assert [str(file) for file in files if not file.is_file()] == []


def test_a_page_breaks_no_rule_of_accessibility(seen: Seen) -> None:
    """Contrast, names, roles, order: wide and light, on a phone and dark."""
    seen.page.evaluate(Axe().axe_script)
    for scheme, width in LOOKS:
        seen.look(width, color_scheme=scheme)
        found = AxeResults(seen.page.evaluate(JUDGED, RULES))
        assert found.violations_count == 0, (scheme, width, found.generate_report())
