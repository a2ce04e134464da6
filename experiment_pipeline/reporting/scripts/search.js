/* The page of a search: its pictures, its table, and what is marked in one marked in all.

   In: the JSON of `stages/leaderboard/pictures.py` and the table beside it, row by row the same.
   Nothing is computed here. Pictures are SVG whose colours are the page's variables, so that they
   follow dark mode and print. Names from the data reach the page as texts, never as HTML. */
"use strict";
(() => {
  const TOP = 20;
  const NARROW = 560;
  const MOST_TICKS = 10;
  const TRAINED = "trained";
  const STOPPED = "stopped early";
  const WAITING = "not started";
  const [INK, PAPER, MUTED, LINE, PANEL, BAD] = ["ink", "paper", "muted", "line", "panel", "bad"].map(
    (name) => `var(--${name})`,
  );
  const series = (number) => `var(--series-${(number % 6) + 1})`;
  const SHAPES = ["circle", "rect", "diamond", "roundRect", "pin", "arrow"];

  const counted = (number) => number.toLocaleString("en");
  const short = (value) => String(Number(Number(value).toPrecision(4)));
  const isNumber = (value) => typeof value === "number";

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function search(root) {
    const data = JSON.parse(root.firstElementChild.textContent);
    const table = root.querySelector("table");
    const found = { rows: data.rows, data, table, lines: [...table.tBodies[0].rows] };
    root.classList.add("search");
    // It was for those who see no other.
    root.querySelector(".picture")?.remove();
    const state = { text: "", algorithm: "", status: "", brushed: null, marked: null, all: false, toggled: {} };
    const fits = (row, number) =>
      (!state.algorithm || row.algorithm === state.algorithm) &&
      (!state.status || row.status === state.status) &&
      (!state.brushed || state.brushed(row)) &&
      state.text.split(/\s+/).every((word) => found.texts[number].includes(word));
    const changed = () => {
      found.fits = found.rows.map(fits);
      rows.show();
      pictures.filter();
    };
    const mark = (number, scroll) => {
      state.marked = state.marked === number && !scroll ? null : number;
      rows.show();
      pictures.mark();
      if (scroll) found.lines[number].scrollIntoView({ block: "center" });
    };
    found.texts = found.lines.map((line) =>
      [...line.cells].map((cell) => cell.textContent).join(" ").toLowerCase(),
    );
    found.fits = found.rows.map(() => true);
    const rows = tableOf(found, state, changed, mark, () => pictures.unbrush());
    const pictures = picturesOf(found, state, changed, mark);
    root.firstElementChild.after(pictures.element);
    rows.show();
  }

  /* The table: sorted by its headers, filtered by the controls above it, the first rows first. */
  function tableOf(found, state, changed, mark, unbrush) {
    const { table, lines } = found;
    const body = table.tBodies[0];
    const headers = [...table.tHead.rows[0].cells];
    let order = lines.map((_, number) => number);

    const told = make("p", { class: "shown", role: "status" });
    const more = make("button", { class: "more", type: "button" });
    more.addEventListener("click", () => {
      state.all = !state.all;
      show();
    });

    const columns = headers.map((_, column) => {
      const texts = lines.map((line) => line.cells[column].textContent.trim());
      const values = texts.map((text) => (text ? parseFloat(text.replaceAll(",", "")) : NaN));
      const numeric = texts.every((text, i) => !text || (!isNaN(values[i]) && /^[-\d.,e]+( to|$)/.test(text)));
      return { texts, values, numeric: numeric && texts.some((text) => text) };
    });
    headers.forEach((header, column) => {
      const { texts, values, numeric } = columns[column];
      const button = make("button", { type: "button" }, header.textContent);
      header.replaceChildren(button);
      if (numeric) {
        header.classList.add("number");
        for (const line of lines) line.cells[column].classList.add("number");
      }
      button.addEventListener("click", () => {
        const up = header.getAttribute("aria-sort") !== "ascending";
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        header.setAttribute("aria-sort", up ? "ascending" : "descending");
        const compared = (a, b) =>
          numeric ? values[a] - values[b] : texts[a].localeCompare(texts[b], "en", { numeric: true });
        // Empty cells come last either way; equal ones stay in the order of their rank.
        order = lines
          .map((_, number) => number)
          .sort((a, b) => !texts[a] - !texts[b] || (texts[a] ? (up ? 1 : -1) * compared(a, b) : 0) || a - b);
        show();
      });
    });
    lines.forEach((line, number) => {
      const row = found.rows[number];
      const button = make("button", { type: "button", "aria-pressed": "false" }, row.key);
      line.cells[1].replaceChildren(button);
      line.classList.toggle("not-trained", row.status !== TRAINED);
      line.classList.toggle("failed", row.status === "failed");
      line.classList.toggle("tied", row.tied);
      line.classList.toggle("chosen", row.key === found.data.chosen);
      line.addEventListener("click", () => mark(number));
    });

    function show() {
      const fitting = order.filter((number) => found.fits[number]);
      const upTo = new Set(state.all ? fitting : fitting.slice(0, TOP));
      lines.forEach((line, number) => {
        const marked = number === state.marked;
        line.hidden = !upTo.has(number) && !marked;
        line.classList.toggle("marked", marked);
        line.cells[1].firstChild.setAttribute("aria-pressed", marked);
      });
      body.append(...order.map((number) => lines[number]));
      const which = fitting.length < lines.length ? ` that fit, of ${counted(lines.length)}` : "";
      told.textContent = `${counted(upTo.size)} of ${counted(fitting.length)} configurations${which} are shown.`;
      more.hidden = fitting.length <= TOP;
      more.textContent = state.all ? `Show the first ${TOP}` : `Show all ${counted(fitting.length)}`;
    }

    table.parentElement.before(controls(found, state, changed, unbrush), told);
    table.parentElement.after(more);
    return { show };
  }

  function controls(found, state, changed, unbrush) {
    const text = make("input", { type: "search", placeholder: "e.g. lightgbm 0.05" });
    text.addEventListener("input", () => {
      state.text = text.value.trim().toLowerCase();
      changed();
    });
    const choice = (label, name) => {
      const select = make("select", {}, make("option", { value: "" }, "all"));
      for (const value of new Set(found.rows.map((row) => row[name]))) {
        select.append(make("option", { value }, value));
      }
      select.addEventListener("change", () => {
        state[name] = select.value;
        changed();
      });
      return make("label", {}, label, select);
    };
    const choices = [choice("Algorithm", "algorithm"), choice("Status", "status")];
    const clear = make("button", { type: "button" }, "Clear filters");
    clear.addEventListener("click", () => {
      Object.assign(state, { text: "", algorithm: "", status: "" });
      for (const one of [text, ...choices.map((label) => label.lastChild)]) one.value = "";
      unbrush();
    });
    return make("div", { class: "controls" }, make("label", {}, "Filter all columns", text), ...choices, clear);
  }

  /* The pictures: each builds its options anew from the rows, those that are filtered out pale. */
  function picturesOf(found, state, changed, mark) {
    const { data, rows, table, lines } = found;
    const algorithms = Object.keys(data.axes).filter((name) => data.axes[name].length);
    // What only shows the baseline: a line in the pictures says so already.
    const beside = new Set(data.beside);
    const order = [...new Set(rows.map((row) => row.algorithm))];
    const chosen = rows.findIndex((row) => row.key === data.chosen);
    // The best that was fitted: an ensemble ahead of it has no hyperparameters and no rungs.
    const best = Math.max(0, rows.findIndex((row) => row.path.length));
    let algorithm = algorithms.find((name) => name === rows[best].algorithm) ?? algorithms[0];
    const headers = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);

    const ranked = (row) => row.status === TRAINED && isNumber(row.score);
    const shade = (number) => (found.fits[number] ? 1 : 0.08);
    // Of many, each is paler: those that matter stand out of a cloud.
    const crowd = (count) => Math.max(0.15, Math.min(0.6, 40 / count));
    // Lines may run behind a label.
    const axisText = { color: MUTED, fontSize: 12, textBorderColor: PAPER, textBorderWidth: 3 };
    const cut = (width) => ({ ...axisText, hideOverlap: true, width, overflow: "truncate" });
    const lineStyle = (color) => ({ lineStyle: { color } });
    const still = { itemStyle: { color: "inherit", borderColor: "inherit" } };

    /* What all columns of the table say of a configuration. */
    function hint(number) {
      const list = make("dl");
      [...lines[number].cells].forEach((cell, column) => {
        const text = cell.textContent.trim();
        if (text && column !== 1) list.append(make("dt", {}, headers[column]), make("dd", {}, text));
      });
      return make("div", { class: "hint" }, make("b", {}, rows[number].key), list);
    }

    const common = () => ({
      animation: false,
      textStyle: { fontFamily: "system-ui, sans-serif", color: INK },
      tooltip: {
        confine: true,
        backgroundColor: PANEL,
        borderColor: MUTED,
        textStyle: { color: INK, fontSize: 13 },
        formatter: (one) => (isNumber(one.data?.row) ? hint(one.data.row) : ""),
      },
    });

    function valueAxis(name, more = {}) {
      return {
        type: "value",
        scale: true,
        name,
        nameTextStyle: axisText,
        axisLabel: { ...axisText, hideOverlap: true },
        axisLine: { show: true, ...lineStyle(MUTED) },
        axisTick: lineStyle(MUTED),
        splitLine: lineStyle(LINE),
        boundaryGap: ["3%", "3%"],
        ...more,
      };
    }

    const below = { nameLocation: "middle", nameGap: 28, splitLine: { show: false } };

    /* 1, 2, 5, 10, …: as many as there is room for; finer ones where there are hardly any. */
    function logAxis(values) {
      const low = Math.min(...values) / 1.2;
      const high = Math.max(...values) * 1.2;
      const inside = (steps) => {
        const ticks = [];
        for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1) {
          ticks.push(...steps.map((step) => Number((step * 10 ** power).toPrecision(2))));
        }
        return ticks.filter((tick) => tick >= low && tick <= high);
      };
      const each = Array.from({ length: 90 }, (_, number) => 1 + number / 10);
      const scales = [[1], [1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9], each].map(inside);
      const customValues = scales.find((ticks) => ticks.length > 2) ?? scales.at(-1);
      const label = { ...axisText, customValues, formatter: short, hideOverlap: true };
      return { type: "log", min: low, max: high, axisLabel: label, axisTick: { ...lineStyle(MUTED), customValues } };
    }

    /* From the best score down to where others are worse by far: they would flatten the rest. */
    function scoreRange(numbers, bars = false) {
      const own = numbers.filter((number) => !beside.has(rows[number].algorithm));
      const scores = (own.length ? own : numbers).map((number) => rows[number].score).sort((a, b) => a - b);
      const wide = (number) => {
        const { score, low, high } = rows[number];
        return bars ? [low ?? score, high ?? score] : [score];
      };
      const all = (own.length ? own : numbers).flatMap(wide);
      let [low, high] = [Math.min(...all), Math.max(...all)];
      const middle = scores[Math.floor(scores.length / 2)];
      if (data.higher) low = Math.max(low, middle - 4 * (high - middle));
      else high = Math.min(high, middle + 4 * (middle - low));
      const near = (high - low) / 2;
      if (data.baseline > low - near && data.baseline < high + near) {
        [low, high] = [Math.min(low, data.baseline), Math.max(high, data.baseline)];
      }
      const edge = (high - low || Math.abs(high) || 1) * 0.04;
      return { min: low - edge, max: high + edge };
    }

    /* Who is not in a picture because it would flatten the rest. */
    function outside({ min, max }, numbers) {
      const worse = numbers.filter((number) => rows[number].score < min || rows[number].score > max).length;
      const beyond = isNumber(data.baseline) && (data.baseline < min || data.baseline > max);
      const parts = [
        beyond ? `the baseline, ${short(data.baseline)}` : "",
        worse ? `${counted(worse)} configuration${worse > 1 ? "s" : ""} that score${worse > 1 ? "" : "s"} far worse` : "",
      ].filter((part) => part);
      return parts.length ? `Outside the picture: ${parts.join(" and ")}.` : "";
    }

    const scoreAxis = (range) =>
      valueAxis(data.metric, {
        ...range,
        nameTextStyle: { ...axisText, align: "left" },
        axisLabel: { ...axisText, showMinLabel: false, showMaxLabel: false, formatter: short },
      });

    const baseline = () => ({
      silent: true,
      symbol: "none",
      lineStyle: { color: BAD, type: "dashed", width: 1.5 },
      label: { color: BAD, position: "insideEndTop", formatter: `baseline ${short(data.baseline)}` },
      data: isNumber(data.baseline) ? [{ yAxis: data.baseline }] : [],
    });

    /* A mark per row: filled when tied with the best, a hollow triangle when stopped early. */
    function marks(numbers, place) {
      return numbers.map((number) => {
        const row = rows[number];
        const stopped = row.status !== TRAINED;
        const color = stopped ? MUTED : series(order.indexOf(row.algorithm));
        return {
          value: place(row),
          row: number,
          symbol: stopped ? "triangle" : shape(row.algorithm),
          symbolSize: stopped ? 6 : row.tied ? 10 : 8,
          itemStyle: {
            color: row.tied ? color : PAPER,
            borderColor: color,
            borderWidth: stopped ? 1 : 1.5,
            opacity: (stopped ? 0.5 : 1) * shade(number),
          },
        };
      });
    }

    const ring = (at) => ({
      type: "scatter",
      id: "marked",
      z: 10,
      silent: true,
      symbol: "circle",
      symbolSize: 18,
      itemStyle: { color: "none", borderColor: series(1), borderWidth: 3 },
      data: at,
    });

    const shape = (name) => SHAPES[order.indexOf(name) % SHAPES.length];
    const nameStyle = { color: INK, fontWeight: 600, fontSize: 12, lineHeight: 15 };
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = "600 12px system-ui, sans-serif";

    /* Names above axes that stand so far apart, in lines: none is wider than there is room for.
       Where a word would be cut, every other name stands above its neighbours. The first and the last have half of 140 pixels beside them. */
    function wrapped(names, apart) {
      const pieces = (name) => name.match(/[^_\s.]*[_\s.]*/g);
      const wider = (text, room) => pen.measureText(text).width > room - 8;
      const lines = (name, room) => {
        const found = [""];
        for (const piece of pieces(name)) {
          if (wider(found.at(-1) + piece, room) && found.at(-1)) found.push("");
          for (const letter of piece) {
            if (wider(found.at(-1) + letter, room) && found.at(-1)) found.push("");
            found[found.length - 1] += letter;
          }
        }
        return found;
      };
      if (!names.flatMap(pieces).some((piece) => wider(piece, apart))) return names.map((name) => lines(name, apart));
      const all = names.map((name) => lines(name, Math.min(2 * apart, 140)));
      const low = Math.max(...all.filter((_, place) => place % 2 === 0).map((one) => one.length));
      return all.map((one, place) => (place % 2 ? [...one, ...Array(low).fill("")] : one));
    }

    const label = (text) => ({ show: true, formatter: text, color: INK, position: "top", distance: 8, fontWeight: 600 });

    const numbersOf = (wanted) => rows.map((_, number) => number).filter((number) => wanted(rows[number]));

    /* Score against cost. */
    function cost() {
      const full = numbersOf((row) => ranked(row) && isNumber(row.cpu) && !beside.has(row.algorithm));
      const stopped = numbersOf((row) => row.status === STOPPED && isNumber(row.score));
      const at = (row) => [Math.max(row.cpu, 0.001), row.score];
      const bar = (_, api) => {
        const [low, high] = [1, 2].map((part) => api.coord([api.value(0), api.value(part)]));
        return {
          type: "line",
          shape: { x1: low[0], y1: low[1], x2: high[0], y2: high[1] },
          style: { stroke: MUTED, lineWidth: 1, opacity: 0.5 * shade(api.value(3)) },
        };
      };
      const toggled = { [STOPPED]: false, ...state.toggled };
      const all = toggled[STOPPED] ? [...full, ...stopped] : full;
      const range = scoreRange(all, true);
      const groups = order.filter((name) => full.some((number) => rows[number].algorithm === name));
      return {
        option: {
          ...common(),
          grid: { left: 10, right: 18, top: 64, bottom: 32, containLabel: true },
          legend: {
            top: 0,
            left: 0,
            itemWidth: 13,
            itemHeight: 11,
            textStyle: { color: INK },
            inactiveColor: MUTED,
            inactiveBorderColor: MUTED,
            data: [
              ...groups.map((name) => ({ name, icon: shape(name) })),
              ...(stopped.length ? [{ name: STOPPED, icon: "triangle" }] : []),
            ],
            selected: toggled,
          },
          xAxis: { ...valueAxis("CPU seconds of the fit", below), ...logAxis(all.map((number) => at(rows[number])[0])) },
          yAxis: scoreAxis(range),
          series: [
            {
              type: "custom",
              silent: true,
              clip: true,
              renderItem: bar,
              data: full.filter((n) => isNumber(rows[n].low)).map((n) => [at(rows[n])[0], rows[n].low, rows[n].high, n]),
              markLine: baseline(),
            },
            ...groups.map((name) => ({
              type: "scatter",
              name,
              clip: true,
              color: series(order.indexOf(name)),
              emphasis: { scale: 1.5, ...still },
              data: marks(full.filter((number) => rows[number].algorithm === name), at),
            })),
            { type: "scatter", name: STOPPED, color: MUTED, emphasis: still, data: marks(stopped, at) },
            {
              type: "scatter",
              silent: true,
              symbolSize: 16,
              itemStyle: { color: "none", borderColor: INK, borderWidth: 2 },
              label: label("chosen"),
              data: chosen >= 0 && full.includes(chosen) ? [at(rows[chosen])] : [],
            },
            ring([]),
          ],
        },
        marked: (row) => (isNumber(row.score) && isNumber(row.cpu) ? [at(row)] : []),
        note: outside(range, full),
      };
    }

    /* Parallel coordinates of what was tried: what varies, how far each got, the score on all rows. */
    function together(width) {
      const axes = data.axes[algorithm];
      const all = numbersOf((row) => row.algorithm === algorithm);
      const own = all.filter((number) => rows[number].status !== WAITING);
      const waiting = all.length - own.length;
      const reached = ["failed", ...data.fractions.map((one) => one.label)];
      const got = (row) =>
        row.status === "failed"
          ? row.status
          : data.fractions.find((one) => one.at === row.path.at(-1)?.[0])?.label ?? "all rows";
      const used = reached.filter((name) => own.some((number) => got(rows[number]) === name));
      // Where all got as far, there is nothing to see.
      const steps = used.length > 1 ? [used] : [];
      const scores = own.filter((number) => ranked(rows[number])).map((number) => rows[number].score);
      const sorted = [...scores].sort((a, b) => (data.higher ? a - b : b - a));
      const value = (row) => [
        ...axes.map(({ name, values }) => {
          const one = row.settings[name];
          if (one === undefined) return "-";
          return values.length ? (isNumber(one) ? short(one) : one) : one;
        }),
        ...steps.map(() => got(row)),
        ranked(row) ? row.score : "-",
      ];
      const worst = own.filter((n) => !ranked(rows[n])).concat(
        own.filter((n) => ranked(rows[n])).sort((a, b) => (data.higher ? 1 : -1) * (rows[a].score - rows[b].score)),
      );
      const style = (number) => {
        const row = rows[number];
        if (!ranked(row)) {
          const failed = row.status === "failed";
          const opacity = (failed ? 0.7 : crowd(own.length)) * shade(number);
          return { color: failed ? BAD : MUTED, type: failed ? "dashed" : "dotted", width: 1, opacity };
        }
        const part = row.tied ? 100 : Math.round((100 * sorted.indexOf(row.score)) / sorted.length);
        return {
          color: `color-mix(in oklab, ${series(4)}, ${series(0)} ${part}%)`,
          width: number === chosen ? 4 : 1.6,
          opacity: 0.85 * shade(number),
        };
      };
      const vertical = width < NARROW;
      const side = 70;
      const apart = (width - 2 * side) / (axes.length + steps.length || 1);
      const plain = [...axes.map(({ name }) => name), ...steps.map(() => "got to"), data.metric];
      const names = vertical ? plain.map((name) => [name]) : wrapped(plain, Math.min(apart, 140));
      const above = 15 * Math.max(...names.map((lines) => lines.length)) + 29;
      const dimension = (dim, more) => ({ dim, id: String(dim), name: names[dim].join("\n"), ...more });
      const numeric = axes.map(({ name, log, values }, dim) => {
        const given = own.map((number) => rows[number].settings[name]).filter(isNumber);
        const cells = cut(vertical ? 110 : Math.min(110, apart - 16));
        if (values.length) {
          // Numbers that some configurations lack: of many, a tick here and there.
          const axisLabel = { ...cells, interval: Math.ceil(values.length / MOST_TICKS) - 1 };
          return dimension(dim, { type: "category", data: values, axisLabel });
        }
        return dimension(dim, log && given.length ? logAxis(given) : { type: "value", scale: true });
      });
      return {
        option: {
          ...common(),
          parallel: {
            layout: vertical ? "vertical" : "horizontal",
            left: vertical ? 24 : side,
            right: vertical ? 116 : side,
            top: vertical ? 20 : above,
            bottom: vertical ? 30 : 16,
            axisExpandable: false,
            parallelAxisDefault: {
              nameLocation: "end",
              nameTextStyle: vertical ? { ...nameStyle, fontSize: 11 } : nameStyle,
              nameTruncate: { maxWidth: vertical ? 98 : 2 * apart },
              axisLabel: {
                ...axisText,
                color: INK,
                hideOverlap: true,
                formatter: (text) => (isNumber(text) ? short(text) : text),
              },
              axisLine: { lineStyle: { color: MUTED } },
              axisTick: lineStyle(MUTED),
              areaSelectStyle: { width: 24, borderColor: INK, color: series(5), opacity: 0.35 },
            },
          },
          parallelAxis: [
            ...numeric,
            ...steps.map((step) => dimension(axes.length, { type: "category", data: step })),
            dimension(axes.length + steps.length, { type: "value", scale: true }),
          ],
          series: [
            {
              type: "parallel",
              id: "lines",
              inactiveOpacity: 0.03,
              activeOpacity: 0.85,
              emphasis: { lineStyle: { color: "inherit", width: 4, opacity: 1 } },
              data: worst.map((number) => ({ value: value(rows[number]), row: number, lineStyle: style(number) })),
            },
            { type: "parallel", id: "marked", silent: true, z: 10, lineStyle: { color: series(1), width: 4, opacity: 1 }, data: [] },
          ],
        },
        marked: (row) => (row.algorithm === algorithm && row.status !== WAITING ? [{ value: value(row) }] : []),
        brushed: (intervals) => {
          const entries = Object.entries(intervals).filter(([, parts]) => parts.length);
          if (!entries.length) return null;
          const places = [...axes.map(({ values }) => values), ...steps, []];
          return (row) => {
            if (row.algorithm !== algorithm || row.status === WAITING) return false;
            const at = value(row);
            return entries.every(([dim, parts]) => {
              const one = places[dim].length ? places[dim].indexOf(at[dim]) : at[dim];
              return isNumber(one) && parts.some(([low, high]) => one >= low && one <= high);
            });
          };
        },
        note: waiting ? `Not drawn: ${counted(waiting)} of ${counted(all.length)}, which were not started.` : "",
        height: vertical ? 90 * (axes.length + steps.length + 1) : 336 + above,
      };
    }

    /* Each hyperparameter against the score. */
    function each(width) {
      const axes = data.axes[algorithm];
      const own = numbersOf((row) => row.algorithm === algorithm && isNumber(row.score) && row.status !== "failed");
      const most = width < NARROW ? 1 : width < 900 ? 2 : 4;
      const down = Math.ceil(axes.length / most);
      const across = Math.ceil(axes.length / down);
      const high = 250;
      const range = scoreRange(own);
      const cell = (place) => {
        const wide = width / across;
        return {
          left: (place % across) * wide + 52,
          width: wide - 76,
          top: Math.floor(place / across) * high + 34,
          height: high - 92,
        };
      };
      const has = ({ name, values }, row) => {
        const one = row.settings[name];
        if (one === undefined) return null;
        return [values.length && isNumber(one) ? short(one) : one, row.score];
      };
      return {
        option: {
          ...common(),
          grid: axes.map((_, place) => cell(place)),
          xAxis: axes.map((axis, gridIndex) => {
            const given = own.map((number) => rows[number].settings[axis.name]).filter(isNumber);
            const kind = axis.values.length
              ? { type: "category", data: axis.values, boundaryGap: true, jitter: 16, jitterOverlap: true, axisLabel: cut(70) }
              : axis.log && given.length ? logAxis(given) : {};
            return { ...valueAxis(axis.name, below), ...kind, gridIndex };
          }),
          yAxis: axes.map((_, gridIndex) => ({ ...scoreAxis(range), gridIndex, name: gridIndex % across ? "" : data.metric, splitNumber: 4 })),
          series: [
            ...axes.map((axis, place) => ({
              type: "scatter",
              xAxisIndex: place,
              yAxisIndex: place,
              clip: true,
              emphasis: { scale: 1.5, ...still },
              data: marks(own.filter((number) => has(axis, rows[number])), (row) => has(axis, row)),
            })),
            ...axes.map((_, place) => ({ ...ring([]), id: `marked ${place}`, xAxisIndex: place, yAxisIndex: place })),
          ],
        },
        ids: axes.map((_, place) => `marked ${place}`),
        note: outside(range, own.filter((number) => ranked(rows[number]))),
        marked: (row, id) => {
          const axis = axes[id.split(" ")[1]];
          const at = row.algorithm === algorithm && isNumber(row.score) && has(axis, row);
          return at ? [at] : [];
        },
        height: down * high,
      };
    }

    const shares = () => ({
      ...valueAxis("share of the train rows", below),
      type: "category",
      data: data.fractions.map((one) => one.label),
      boundaryGap: ["4%", "4%"],
    });
    const step = (fraction) => data.fractions.findIndex((one) => one.at === fraction);

    /* Curves through the rungs; a cross where one was stopped. */
    function rungs() {
      const climbed = numbersOf((row) => row.path.some(([, test]) => isNumber(test)));
      const inOrder = [...climbed].reverse();
      const own = climbed.filter((number) => !beside.has(rows[number].algorithm));
      const all = (own.length ? own : climbed).flatMap((n) => rows[n].path.map(([, test]) => test)).filter(isNumber).sort((a, b) => a - b);
      let [low, high] = [all[0], all.at(-1)];
      const middle = all[Math.floor(all.length / 2)];
      if (data.higher) low = Math.max(low, middle - 4 * (high - middle));
      else high = Math.min(high, middle + 4 * (middle - low));
      const edge = (high - low || 1) * 0.05;
      const curve = (fixed) => (one, api) => {
        const number = api.value(0);
        const row = rows[number];
        const points = row.path.filter(([, test]) => isNumber(test)).map(([fraction, test]) => api.coord([step(fraction), test]));
        const [x, y] = points.at(-1);
        const trained = row.status === TRAINED;
        const color = fixed ?? (number === chosen ? INK : trained ? series(0) : row.status === "failed" ? BAD : MUTED);
        const style = {
          stroke: color,
          fill: "none",
          lineWidth: fixed ? 4 : number === chosen ? 3 : 1.2,
          opacity: fixed ? 1 : (trained ? 0.8 : crowd(climbed.length)) * shade(number),
        };
        const end = trained
          ? { type: "circle", shape: { cx: x, cy: y, r: 3 }, style: { fill: color, opacity: style.opacity } }
          : { type: "path", shape: { pathData: `M${x - 4} ${y - 4}L${x + 4} ${y + 4}M${x - 4} ${y + 4}L${x + 4} ${y - 4}` }, style };
        return { type: "group", children: [{ type: "polyline", shape: { points }, style }, end] };
      };
      return {
        option: {
          ...common(),
          grid: { left: 10, right: 18, top: 34, bottom: 32, containLabel: true },
          xAxis: { ...shares(), boundaryGap: true },
          yAxis: scoreAxis({ min: low - edge, max: high + edge }),
          series: [
            { type: "custom", clip: true, renderItem: curve(), data: inOrder.map((number) => ({ value: [number], row: number })) },
            { type: "custom", id: "marked", clip: true, silent: true, z: 10, renderItem: curve(series(1)), data: [] },
          ],
        },
        marked: (row) => (row.path.some(([, test]) => isNumber(test)) ? [{ value: [rows.indexOf(row)] }] : []),
      };
    }

    /* Train and test score of the best and the chosen one. */
    function learning(width) {
      const whom = [...new Set([best, chosen])].filter((number) => number >= 0 && rows[number].path.length);
      const named = (number) => (number === chosen ? (number === best ? "best and chosen" : "chosen") : "best");
      const curve = (number, part, name, type) => ({
        type: "line",
        name: `${named(number)}: ${name}`,
        color: series(number === best ? 0 : 2),
        symbol: part === 1 ? "circle" : "rect",
        symbolSize: 8,
        lineStyle: { type, width: 2.5 },
        emphasis: { disabled: true },
        data: data.fractions.map(({ at }) => {
          const value = rows[number].path.find(([fraction]) => fraction === at)?.[part];
          return isNumber(value) ? { value, row: number } : "-";
        }),
      });
      return {
        option: {
          ...common(),
          grid: { left: 10, right: 18, top: (width < NARROW ? 44 : 20) * whom.length + 44, bottom: 32, containLabel: true },
          legend: { top: 0, left: 0, textStyle: { color: INK }, inactiveColor: MUTED },
          xAxis: { ...shares(), boundaryGap: true },
          yAxis: { ...valueAxis(data.metric, { nameTextStyle: { ...axisText, align: "left" } }) },
          series: whom.flatMap((number) => [
            curve(number, 1, "test score", "solid"),
            curve(number, 2, "train score", "dashed"),
          ]),
        },
      };
    }

    /* The best score so far over what was spent. */
    function spend() {
      const points = data.spend.map(([x, score, best, row]) => ({ x, score, best, row }));
      const at = new Map(points.map((one) => [one.row, [one.x, one.score]]));
      const start = points[0].x - (rows[points[0].row].cpu ?? 0);
      const best = rows.find(ranked);
      const band = { silent: true, label: { color: MUTED, position: "insideBottom" } };
      return {
        option: {
          ...common(),
          grid: { left: 10, right: 18, top: 34, bottom: 32, containLabel: true },
          xAxis: valueAxis("CPU seconds so far", { ...below, scale: false, min: 0 }),
          yAxis: scoreAxis(scoreRange(points.map((one) => one.row), true)),
          series: [
            {
              type: "line",
              silent: true,
              data: [],
              markArea: {
                ...band,
                itemStyle: { color: series(0), opacity: 0.12 },
                label: { ...band.label, position: "insideBottomRight", formatter: "95 % interval of the best" },
                data: isNumber(best.low) ? [[{ yAxis: best.low }, { yAxis: best.high }]] : [],
              },
            },
            {
              type: "line",
              step: "end",
              symbol: "none",
              silent: true,
              lineStyle: { color: INK, width: 2.5 },
              data: points.map((one) => [one.x, one.best]),
              markArea: {
                ...band,
                itemStyle: { color: PANEL },
                label: { ...band.label, position: "insideTop", formatter: "smaller rungs" },
                data: data.fractions.length > 1 ? [[{ xAxis: 0 }, { xAxis: Math.max(start, 0) }]] : [],
              },
            },
            { type: "scatter", clip: true, emphasis: still, data: marks(points.map((one) => one.row), (row) => at.get(rows.indexOf(row))) },
            ring([]),
          ],
        },
        marked: (row) => (at.has(rows.indexOf(row)) ? [at.get(rows.indexOf(row))] : []),
      };
    }

    const drawn = { cost, together, each, rungs, learning, spend };
    const ofOne = new Set(["together", "each"]);
    const element = make("div", { class: "charts" });
    const charts = [];
    for (const caption of data.pictures) {
      if (ofOne.has(caption.name) && !algorithm) continue;
      const canvas = make("div", { role: "img", "aria-label": caption.alt });
      const head = make("figcaption", {}, make("h3", {}, caption.title), make("p", {}, caption.said));
      const note = make("p", { class: "note" });
      element.append(make("figure", { class: ofOne.has(caption.name) ? "chart full" : "chart" }, head, canvas, note));
      charts.push({ name: caption.name, canvas, head, note });
    }

    const chooser = charts.find((one) => one.name === "together");
    if (chooser && algorithms.length > 1) {
      const select = make("select", {}, ...algorithms.map((name) => make("option", { value: name }, name)));
      select.value = algorithm;
      select.addEventListener("change", () => {
        algorithm = select.value;
        unbrush();
      });
      chooser.head.append(make("div", { class: "controls" }, make("label", {}, "Algorithm", select)));
    }

    function draw(one) {
      const width = one.canvas.clientWidth;
      one.built = drawn[one.name](width);
      one.narrow = width < NARROW;
      one.width = width;
      one.note.textContent = one.built.note ?? "";
      one.canvas.style.height = `${one.built.height ?? 340}px`;
      if (!one.chart) {
        one.chart = echarts.init(one.canvas, null, { renderer: "svg" });
        one.chart.on("click", (event) => {
          if (isNumber(event.data?.row)) mark(event.data.row, true);
        });
        one.chart.on("axisareaselected", (event) => brush(one, event));
        one.chart.on("legendselectchanged", (event) => {
          if (one.name !== "cost") return;
          state.toggled = event.selected;
          draw(one);
        });
        new ResizeObserver(() => {
          if (one.canvas.clientWidth && one.canvas.clientWidth !== one.width) draw(one);
        }).observe(one.canvas);
      }
      one.intervals = {};
      one.chart.resize();
      one.chart.setOption(one.built.option, { notMerge: true });
      markIn(one);
    }

    function brush(one, event) {
      one.intervals[event.parallelAxisId] = event.intervals;
      state.brushed = one.built.brushed(one.intervals);
      changed();
    }

    function markIn(one) {
      if (!one.chart || !one.built.marked) return;
      const row = rows[state.marked];
      const ids = one.built.ids ?? ["marked"];
      one.chart.setOption({ series: ids.map((id) => ({ id, data: row ? one.built.marked(row, id) : [] })) });
    }

    function unbrush() {
      state.brushed = null;
      charts.filter((one) => one.chart && ofOne.has(one.name)).forEach(draw);
      changed();
    }

    let waiting = 0;
    /* Pale what does not fit; parallel coordinates pale by themselves what is brushed away. */
    function filter() {
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        for (const one of charts.filter((other) => other.chart)) {
          if (one.name === "together" && state.brushed) continue;
          one.built = drawn[one.name](one.width);
          one.chart.setOption({ series: one.built.option.series });
          markIn(one);
        }
      }, 120);
    }

    // One after the other: the first is there before the last is drawn.
    const next = () => {
      const one = charts.find((other) => !other.chart);
      if (!one) return document.documentElement.setAttribute("data-drawn", "");
      draw(one);
      setTimeout(next);
    };
    setTimeout(next);
    return { element, filter, unbrush, mark: () => charts.forEach(markIn) };
  }

  document.querySelectorAll('[data-script="search"]').forEach(search);
})();
