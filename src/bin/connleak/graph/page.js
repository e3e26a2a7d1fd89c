"use strict";
(() => {
  // Points drawn of one line; of more in view, the lowest and the highest of each stretch.
  const MOST_POINTS = 4000;
  const MOST_LINES = 1000;
  const pages = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const wish = window.matchMedia("(prefers-color-scheme: dark)");

  /* Colours are names of the style sheet; owners' areas are paler than their edges. */
  const coloured = (value) => {
    if (typeof value === "string" && value.startsWith("--")) {
      const look = (name) => getComputedStyle(root).getPropertyValue(name).trim();
      return value.endsWith("-fill") ? look(value.slice(0, -5)) + "b0" : look(value);
    }
    if (Array.isArray(value)) return typeof value[0] === "object" ? value.map(coloured) : value;
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, coloured(inner)]));
  };

  /* Rows to draw between two times, by the extremes of `key`. */
  const thinned = (times, key, from, to) => {
    let [begin, end] = [0, times.length];
    if (times.length > MOST_POINTS) {
      const first = times.findIndex((time) => time >= from);
      const after = times.findIndex((time) => time > to);
      // One beyond each edge, so that lines leave the picture.
      begin = first < 0 ? times.length - 1 : Math.max(0, first - 1);
      end = after < 0 ? times.length : after + 1;
    }
    const all = end - begin;
    if (all <= MOST_POINTS) return { rows: Array.from({ length: all }, (_, at) => begin + at), all };
    const width = Math.ceil(all / (MOST_POINTS / 3));
    const rows = [];
    for (let start = begin; start < end; start += width) {
      const stop = Math.min(end, start + width);
      let [low, high, gap] = [-1, -1, -1];
      for (let row = start; row < stop; row += 1) {
        if (key[row] === null) { gap = row; continue; }
        if (low < 0 || key[row] < key[low]) low = row;
        if (high < 0 || key[row] > key[high]) high = row;
      }
      rows.push(...[...new Set([low, high, gap])].filter((row) => row >= 0).sort((a, b) => a - b));
    }
    if (rows[0] !== begin) rows.unshift(begin);
    if (rows[rows.length - 1] !== end - 1) rows.push(end - 1);
    return { rows, all };
  };

  const start = (page, index) => {
    const div = document.getElementById(`chart-${index}`);
    const { times, plot } = page;
    const lines = plot.data.map((trace) => ("x" in trace && trace.x.length ? null : trace.y));
    const owners = plot.data.flatMap((trace, at) => (trace.stackgroup ? [lines[at]] : []));
    // Stacked areas need the same rows: those of their sum.
    const sum = owners.length ? times.map((_, row) => owners.reduce((all, values) => (values[row] === null ? null : all + values[row]), 0)) : null;
    if (!owners.length) div.classList.add("short");
    let range = plot.layout.xaxis.range.slice();
    const visible = plot.data.map((trace) => trace.visible);

    const data = () => {
      let drawn = 0;
      let of = 0;
      const traces = plot.data.map((trace, at) => {
        if (!lines[at]) return coloured(trace);
        const { rows, all } = thinned(times, trace.stackgroup ? sum : lines[at], range[0], range[1]);
        drawn = Math.max(drawn, rows.length);
        of = Math.max(of, all);
        const x = rows.map((row) => times[row]);
        const y = rows.map((row) => lines[at][row]);
        return { ...coloured({ ...trace, x: [], y: [] }), x, y, visible: visible[at] ?? true };
      });
      const said = drawn < of ? ` ${of.toLocaleString("en")} samples in view, drawn as ${drawn.toLocaleString("en")}: the lowest and the highest of each stretch. Zoom in to see each.` : "";
      div.parentElement.querySelector(".thinned").textContent = said;
      return traces;
    };

    const narrow = () => div.clientWidth < 720;
    const layout = () => {
      const made = coloured(plot.layout);
      made.hoversubplots = "axis";
      made.xaxis = { ...made.xaxis, range: range.slice() };
      made.uirevision = "kept";
      // The label above each point names what the legend has no room for.
      if (narrow()) made.showlegend = false;
      return made;
    };
    const config = {
      responsive: true, displaylogo: false, showTips: false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
      toImageButtonOptions: { format: "svg", filename: document.title.replace(/[^\w-]+/g, "-") },
    };
    const draw = () => Plotly.react(div, data(), layout(), config);

    const table = () => {
      const holder = document.getElementById(`numbers-${index}`);
      const names = plot.data.flatMap((trace, at) => (lines[at] ? [at] : []));
      const text = (at) => new DOMParser().parseFromString(plot.data[at].name ?? "", "text/html").body.textContent;
      const rows = (limit) => {
        const found = [];
        for (let row = times.length - 1; row >= 0 && found.length < limit; row -= 1) {
          const known = names.some((at) => lines[at][row] !== null);
          if (known && times[row] >= range[0] && times[row] <= range[1]) found.push(row);
        }
        return found;
      };
      const cell = (tag, content) => Object.assign(document.createElement(tag), { textContent: content });
      const shown = (value) => (value === null ? "" : String(Math.round(value * 10) / 10));
      const fill = () => {
        if (!holder.open) return;
        const head = document.createElement("tr");
        head.append(cell("th", "time (UTC)"), ...names.map((at) => cell("th", text(at))));
        holder.querySelector("thead").replaceChildren(head);
        const found = rows(MOST_LINES + 1);
        const body = found.slice(0, MOST_LINES).map((row) => {
          const line = document.createElement("tr");
          const time = new Date(times[row]).toISOString().replace("T", " ").slice(0, 19);
          line.append(cell("td", time), ...names.map((at) => cell("td", shown(lines[at][row]))));
          return line;
        });
        holder.querySelector("tbody").replaceChildren(...body);
        const more = found.length > MOST_LINES;
        holder.querySelector(".range").textContent = more ? `The last ${MOST_LINES.toLocaleString("en")} samples in view; zoom in to see others.` : `${body.length.toLocaleString("en")} samples in view.`;
      };
      const save = () => {
        const quoted = (field) => (/[",\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field);
        const all = rows(Infinity).reverse();
        const head = ["timestamp", ...names.map((at) => quoted(text(at)))].join(",");
        const body = all.map((row) => [times[row] / 1000, ...names.map((at) => lines[at][row] ?? "")].join(","));
        const link = document.createElement("a");
        link.href = URL.createObjectURL(new Blob([[head, ...body, ""].join("\n")], { type: "text/csv" }));
        link.download = "connleak.csv";
        link.click();
        URL.revokeObjectURL(link.href);
      };
      holder.addEventListener("toggle", fill);
      holder.querySelector(".save").addEventListener("click", save);
      return fill;
    };

    const fill = table();
    draw().then(() => {
      const millis = (value) => (typeof value === "number" ? value : Date.parse(`${String(value).replace(" ", "T")}Z`));
      div.on("plotly_relayout", (change) => {
        let wanted = null;
        if ("xaxis.range[0]" in change) wanted = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
        else if ("xaxis.range" in change) wanted = change["xaxis.range"];
        else if (change["xaxis.autorange"]) wanted = plot.layout.xaxis.range;
        if (!wanted) return;
        range = wanted.map(millis);
        draw();
        fill();
      });
      div.on("plotly_restyle", () => div.data.forEach((trace, at) => { visible[at] = trace.visible; }));
    });
    return draw;
  };

  const themed = (dark) => { root.dataset.theme = dark ? "dark" : "light"; };
  themed(wish.matches);
  const draws = pages.map(start);
  const again = (dark) => { themed(dark); draws.forEach((draw) => draw()); };
  wish.addEventListener("change", (event) => again(event.matches));
  document.getElementById("theme").addEventListener("click", () => again(root.dataset.theme !== "dark"));
})();
