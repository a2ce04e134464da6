/* Tables that sort by a click on a header, filter, and show their first rows: a static table is
   enhanced, so that without scripts all of it is there. Rows in a body before the last are pinned.
   Charts of the page follow the first of these tables (`page.js`). */
"use strict";
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const pageTables = [...document.querySelectorAll("table.explore")].map((element) => {
  const FIRST = 20;
  const body = [...element.tBodies].at(-1);
  const lines = [...body.rows];
  const headers = [...element.tHead.rows[0].cells];
  const names = headers.map((header) => header.textContent);
  const contents = lines.map((line) => [...line.cells].map((cell) => cell.textContent.trim()));
  const table = { lines, names, fits: lines.map(() => true), marked: null, changed: () => {}, mark };
  const status = make("p", { class: "shown", role: "status" });
  const more = make("button", { class: "more", type: "button" });
  const search = make("input", { type: "search" });
  const selects = JSON.parse(element.dataset.filters).map((name) => {
    const values = [...new Set(contents.map((cells) => cells[names.indexOf(name)]))].filter(Boolean);
    const options = ["", ...values].map((value) => make("option", { value }, value || "all"));
    return { column: names.indexOf(name), name, control: make("select", {}, ...options) };
  });
  let order = lines.map((_, row) => row);
  let [all, pending] = [false, 0];

  function show() {
    const fitting = order.filter((row) => table.fits[row]);
    const shown = new Set(all ? fitting : fitting.slice(0, FIRST));
    lines.forEach((line, row) => {
      line.hidden = !shown.has(row) && row !== table.marked;
      line.classList.toggle("marked", row === table.marked);
      line.cells[1].firstChild.setAttribute("aria-pressed", row === table.marked);
    });
    body.append(...order.map((row) => lines[row]));
    status.textContent = `${shown.size} of ${fitting.length} rows are shown${fitting.length < lines.length ? `; ${lines.length} without the filter` : ""}.`;
    more.hidden = fitting.length <= FIRST;
    more.textContent = all ? `Show the first ${FIRST}` : `Show all ${fitting.length}`;
  }
  function filter() {
    const words = search.value.trim().toLowerCase().split(/\s+/);
    table.fits = contents.map((cells) => words.every((word) => cells.join(" ").toLowerCase().includes(word))
      && selects.every(({ column, control }) => !control.value || cells[column] === control.value));
    show();
    clearTimeout(pending);
    pending = setTimeout(() => table.changed(), 120);
  }
  function mark(row, scroll) {
    table.marked = table.marked === row && !scroll ? null : row;
    show();
    table.changed();
    if (scroll) lines[row].scrollIntoView({ block: "center" });
  }
  headers.forEach((header, column) => {
    const texts = contents.map((cells) => cells[column]);
    const values = texts.map((text) => parseFloat(text.replaceAll(",", "")));
    const numeric = texts.some(Boolean) && texts.every((text) => !text || /^-?[\d.,]+(e-?\d+)?( |$)/.test(text));
    const cells = [...element.rows].map((row) => row.cells[column]).filter(Boolean);
    if (numeric && !cells.some((cell) => cell.querySelector(".interval"))) cells.forEach((cell) => cell.classList.add("number"));
    header.replaceChildren(make("button", { type: "button" }, names[column]));
    header.firstChild.addEventListener("click", () => {
      const sign = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      headers.forEach((cell) => cell.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const compared = (a, b) => (numeric ? values[a] - values[b] : texts[a].localeCompare(texts[b], "en", { numeric: true }));
      // Empty cells come last either way; equal ones stay in the order of the table.
      order.sort((a, b) => !texts[a] - !texts[b] || (texts[a] ? sign * compared(a, b) : 0) || a - b);
      show();
    });
  });
  lines.forEach((line, row) => {
    line.cells[1].replaceChildren(make("button", { type: "button" }, ...line.cells[1].childNodes));
    line.addEventListener("click", ({ target }) => target.closest("a, label, details") || mark(row));
  });
  more.addEventListener("click", () => show((all = !all)));
  const controls = [{ name: "Filter all columns", control: search }, ...selects];
  const labels = controls.map(({ name, control }) => make("label", {}, name, control));
  controls.forEach(({ control }) => control.addEventListener("input", filter));
  if (lines.length > 5) element.parentElement.before(make("div", { class: "controls" }, ...labels, status));
  element.parentElement.after(more);
  show();
  return table;
});

/* Two ticked runs of a history are shown below each other, the newer one first, with the page that
   compares them row by row; where there is none, as pages have no server, with the command for it. */
const comparer = document.querySelector(".comparer");
const HINT = "Tick two runs to compare them.";
function percents(line) {
  const style = line.querySelector(".interval")?.style;
  return ["--a", "--b"].map((name) => parseFloat(style?.getPropertyValue(name)));
}
function overlap(newer, older) {
  const [[low, high], [from, to]] = [newer, older].map(percents);
  if ([low, high, from, to].some(isNaN)) return "";
  return low <= to && from <= high
    ? "Their intervals overlap: the scores may be equal. "
    : "Their intervals do not overlap: the scores differ. ";
}
comparer?.parentElement.addEventListener("change", () => {
  const ticked = pageTables[0].lines.filter((line) => line.querySelector("input:checked"));
  if (ticked.length !== 2) return comparer.replaceChildren(make("p", {}, HINT));
  const [newer, older] = ticked.map((line) => line.querySelector("input"));
  const page = JSON.parse(newer.dataset.compared)[older.value];
  const command = comparer.dataset.command.replace("{}", older.value.slice(0, 8)).replace("{}", newer.value.slice(0, 8));
  const rows = ticked.map((line) => line.cloneNode(true));
  for (const row of rows) {
    row.querySelectorAll("input").forEach((box) => box.remove());
    row.querySelectorAll("button").forEach((button) => button.replaceWith(...button.childNodes));
  }
  comparer.replaceChildren(
    make("p", {}, overlap(...ticked), page ? make("a", { href: page }, "All differences, row by row") : "All differences, row by row:"),
    ...(page ? [] : [make("pre", {}, command)]),
    make("div", { class: "wide" }, make("table", {}, make("tbody", {}, ...rows))),
  );
});
