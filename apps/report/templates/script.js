"use strict";
const page = JSON.parse(document.getElementById("specs").textContent);
const NARROW = 760;

// Vega-Lite fits a single view to its container; rows and grids of views are fitted here.
function fit(spec, width) {
  const fitted = structuredClone(spec);
  const share = (columns) => Math.max(180, Math.floor(width / columns) - 72);
  if (fitted.facet && fitted.spec) {
    if (fitted.facet.row || fitted.facet.column) return fitted;
    fitted.columns = width < NARROW ? 1 : fitted.columns || 1;
    fitted.spec.width = share(fitted.columns);
  } else if (fitted.hconcat || fitted.vconcat || fitted.concat) {
    const views = fitted.hconcat || fitted.vconcat || fitted.concat;
    const columns = fitted.hconcat ? views.length : fitted.vconcat ? 1 : fitted.columns || views.length;
    if (views.some((view) => !view.mark && !view.layer)) return fitted;
    delete fitted.hconcat;
    delete fitted.vconcat;
    fitted.columns = width < NARROW ? 1 : columns;
    fitted.concat = views;
    for (const view of views) view.width = share(fitted.columns);
  } else if (!(fitted.encoding && (fitted.encoding.row || fitted.encoding.column || fitted.encoding.facet))) {
    fitted.width = "container";
    fitted.autosize = { type: "fit-x", contains: "padding" };
  }
  return fitted;
}

let drawn = 0;
function draw() {
  const width = document.querySelector("main").clientWidth - 40;
  if (width === drawn) return;
  drawn = width;
  const config = structuredClone(page.config);
  if (width < 500) config.legend.columns = 2;
  for (const [name, spec] of Object.entries(page.charts)) {
    const options = { mode: "vega-lite", renderer: "svg", actions: false, config };
    vegaEmbed(document.getElementById("chart-" + name), fit(spec, width), options);
  }
}

let waiting;
addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 200); });
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
draw();

// A click on a column head sorts within each group; missing values stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((head, column) => head.addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.sort;
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (!x || !y) return !x - !y;
      return sign * (isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y);
    };
    for (const body of table.tBodies) {
      const rows = [...body.querySelectorAll("tr:not(.group)")];
      body.append(...rows.sort(compare));
    }
  }));
}
