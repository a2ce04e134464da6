/* The charts of a page, drawn with ECharts from the data beside them (`charts.py`).

   A mark of a chart may have a `tip`, the text that is shown when it is pointed at, or a `row`, the
   number of a row of the page's table (`table.js`). Pointing at such an item shows the cells of its
   row, a click marks the row and its items in every chart, and items of rows that a filter excludes
   are pale. Nothing is computed here. Texts from the data become text nodes, never HTML. Without the library, as in
   a copy of the page alone, a chart is its sentence. */
"use strict";
(() => {
  const [INK, PAPER, PANEL, MUTED, LINE, MARK] = ["ink", "paper", "panel", "muted", "line", "series-2"].map((name) => `var(--${name})`);
  const short = (value) => String(Number(Number(value).toPrecision(4)));
  const isRound = (value) => value === undefined || short(value).length < 4;
  const table = pageTables[0];
  const lines = table?.lines ?? [];
  let charts = [];

  /* ---- from shapes to options of ECharts ---- */

  // Lines may run behind a label.
  const text = { color: MUTED, fontSize: 12, textBorderColor: PAPER, textBorderWidth: 3 };
  const dashed = (color, width) => ({ type: "dashed", color, width });

  const item = ({ x, y, tip, row, color, label }) => ({
    value: [x, y],
    tip,
    row,
    itemStyle: color ? { color } : {},
    label: label ? { show: true, formatter: label, color: INK } : {},
  });

  function segment(api, from, to) {
    const [x1, y1] = api.coord(from);
    const [x2, y2] = api.coord(to);
    const { fill, opacity } = api.style();
    return { type: "line", shape: { x1, y1, x2, y2 }, style: { stroke: fill, lineWidth: 2, opacity } };
  }

  const shapes = {
    Points: ({ marks, color, name, symbol, size, filled, opacity }) => ({
      type: "scatter",
      name,
      color,
      symbol,
      symbolSize: size,
      itemStyle: { color: filled ? color : PAPER, borderColor: color, borderWidth: 1.5, opacity },
      label: { position: "top" },
      data: marks.map(item),
    }),
    Line: ({ marks, color, name, size, step }) => ({
      type: "line",
      name,
      color,
      symbol: "circle",
      symbolSize: size,
      step: step && "end",
      lineStyle: { width: 2 },
      data: marks.map(item),
    }),
    Intervals: ({ spans, color, upright, opacity }) => ({
      type: "custom",
      silent: true,
      itemStyle: { color, opacity },
      encode: upright ? { x: [0], y: [1, 2] } : { y: [0], x: [1, 2] },
      renderItem: (_, api) => {
        const [at, low, high] = [0, 1, 2].map((dimension) => api.value(dimension));
        return upright ? segment(api, [at, low], [at, high]) : segment(api, [low, at], [high, at]);
      },
      data: spans.map(({ at, low, high, row }) => ({ value: [at, low, high], row })),
    }),
    Bars: ({ marks }) => ({ type: "bar", data: marks.map(item) }),
    // A cell without a value is not drawn.
    Heatmap: ({ marks }) => ({ type: "heatmap", data: marks.map((mark) => ({ ...item(mark), value: [mark.x, mark.y, 1] })) }),
    Level: ({ axis, at, label, color }) => ({
      type: "line",
      data: [],
      markLine: {
        silent: true,
        symbol: "none",
        lineStyle: dashed(color, 1.5),
        label: { formatter: label || "", color, position: axis === "x" ? "end" : "insideEndTop" },
        data: [{ [`${axis}Axis`]: at }],
      },
    }),
    Diagonal: ({ low, high }) => ({
      type: "line",
      symbol: "none",
      silent: true,
      lineStyle: dashed(MUTED, 1),
      data: [[low, low], [high, high]],
    }),
  };

  function axis({ title, low, high, ticks, names, downwards, rotated, jitter }, { across, allNames, small }) {
    const byName = names.length > 0;
    const log = ticks.length > 0; // all its ticks are round
    const customValues = log ? ticks : undefined;
    const ofNames = { data: names, axisLabel: { width: across ? 90 : 190, overflow: "break", rotate: rotated ? 60 : 0, interval: allNames ? 0 : "auto" } };
    const ofNumbers = { axisLabel: { formatter: short, customValues, showMinLabel: log || isRound(low), showMaxLabel: log || isRound(high) } };
    const { axisLabel, ...scale } = byName ? ofNames : ofNumbers;
    return {
      type: byName ? "category" : log ? "log" : "value",
      scale: true,
      min: low,
      max: high,
      inverse: downwards,
      jitter,
      jitterOverlap: true,
      splitNumber: small && !across ? 4 : 5,
      name: title,
      nameLocation: across ? "middle" : downwards ? "start" : "end",
      nameGap: rotated ? 84 : across ? 28 : 15,
      nameTextStyle: { ...text, align: across ? "center" : "left" },
      axisLine: { show: true, onZero: false, lineStyle: { color: MUTED } },
      axisTick: { show: !byName, lineStyle: { color: MUTED }, customValues },
      splitLine: { show: !across && !byName, lineStyle: { color: LINE } },
      axisLabel: { ...text, hideOverlap: !allNames, ...axisLabel },
      ...scale,
    };
  }

  /* What the table holds of a configuration. */
  function cellsOf(row) {
    const cells = make("dl");
    [...lines[row].cells].forEach((cell, column) => {
      const content = cell.textContent.trim();
      if (content && column !== 1) cells.append(make("dt", {}, table.names[column]), make("dd", {}, content));
    });
    return make("div", { class: "hint" }, make("b", {}, lines[row].cells[1].textContent), cells);
  }

  function hint({ data }) {
    if (data?.row !== undefined && lines[data.row]) return cellsOf(data.row);
    return data?.tip ? make("div", { class: "hint" }, data.tip) : "";
  }

  function complete({ x, y, series, legend }, { width, small }) {
    const distinct = [...new Set(series.filter(({ marks }) => marks?.length).map(({ name }) => name).filter(Boolean))];
    const named = legend && distinct.length > 1;
    // A legend of long names takes several lines.
    const letters = distinct.reduce((sum, name) => sum + 8 * name.length + 40, 0);
    const top = (named ? 6 + 20 * Math.ceil(letters / width) : 0) + (y.title ? 34 : 10);
    const allNames = series.some(({ shape }) => shape === "Heatmap");
    const emphasis = { scale: 1.5, itemStyle: { color: "inherit", borderColor: "inherit" }, lineStyle: { color: "inherit" } };
    return {
      animation: false,
      textStyle: { fontFamily: "system-ui, sans-serif", color: INK },
      tooltip: { confine: true, backgroundColor: PANEL, borderColor: MUTED, textStyle: { color: INK, fontSize: 13 }, formatter: hint },
      legend: named ? { data: distinct, top: 0, left: 0, itemWidth: 18, textStyle: { color: INK }, inactiveColor: MUTED } : undefined,
      grid: { left: 10, right: 18, top, bottom: x.title ? 32 : 10, containLabel: true },
      xAxis: axis(x, { across: true, allNames, small }),
      yAxis: axis(y, { across: false, allNames, small }),
      series: series.map(({ shape, ...drawn }) => ({ clip: true, emphasis, ...shapes[shape](drawn) })),
    };
  }

  /* ---- charts ---- */

  /* The items as filters and the mark have them: pale, or in the colour of the mark and last. */
  function styled(items) {
    const over = (item, lineStyle, itemStyle, more) => ({
      ...item,
      ...more,
      lineStyle: { ...item.lineStyle, ...lineStyle },
      itemStyle: { ...item.itemStyle, ...itemStyle },
    });
    const shown = items.map((item) =>
      item?.row === undefined || !table || table.fits[item.row] ? item : over(item, { opacity: 0.04 }, { opacity: 0.08 }),
    );
    const isMarked = (item) => item?.row !== undefined && item.row === table?.marked;
    const mark = { color: MARK, borderColor: MARK, borderWidth: 3, opacity: 1 };
    return [
      ...shown.filter((item) => !isMarked(item)),
      ...items.filter(isMarked).map((item) => over(item, { color: MARK, width: 4, opacity: 1 }, mark, { symbolSize: 14 })),
    ];
  }

  function restyle() {
    for (const { drawn, option } of charts.filter((chart) => chart.drawn)) {
      drawn.setOption({ series: option.series.map(({ data }) => (data ? { data: styled(data) } : {})) });
    }
  }

  function draw(chart) {
    if (chart.drawn) return chart.drawn.resize();
    chart.drawn = echarts.init(chart.canvas, null, { renderer: "svg" });
    chart.drawn.setOption(chart.option);
    chart.drawn.on("click", ({ data }) => data?.row !== undefined && table?.mark(data.row, true));
  }

  if (table) table.changed = restyle;
  const figures = [...document.querySelectorAll("figure.chart")];
  const drawable = "echarts" in window ? figures : [];
  for (const figure of figures.slice(drawable.length)) {
    const canvas = figure.querySelector("[role=img]");
    canvas.replaceWith(make("p", {}, canvas.ariaLabel));
  }
  charts = drawable.map((figure) => {
    const canvas = figure.querySelector("[role=img]");
    const plot = JSON.parse(figure.querySelector("script").textContent);
    const small = figure.classList.contains("small");
    return { canvas, option: complete(plot, { width: canvas.clientWidth || 500, small }) };
  });
  // One after the other: the first is there before the last is drawn.
  let waiting = [];
  function next() {
    const chart = waiting.shift();
    if (!chart) return document.documentElement.setAttribute("data-drawn", "");
    draw(chart);
    setTimeout(next);
  }
  const resized = new ResizeObserver((entries) => {
    const idle = !waiting.length;
    // What is folded away has no width yet.
    const visible = entries.filter((entry) => entry.contentRect.width);
    waiting.push(...visible.map((entry) => charts.find(({ canvas }) => canvas === entry.target)));
    if (idle) setTimeout(next);
  });
  charts.forEach(({ canvas }) => resized.observe(canvas));
})();
