"use strict";
const page = JSON.parse(document.getElementById("specs").textContent);
const NARROW = 760;
// A finger that moves over a chart scrolls the page: no zoom there.
const touch = matchMedia("(pointer: coarse)").matches;

// Vega-Lite fits a single view to its container; rows and grids of views are fitted here.
function fit(spec, width) {
  const fitted = structuredClone(spec);
  const share = (columns) => Math.max(180, Math.floor(width / columns) - 90);
  const narrow = width < NARROW;
  if (fitted.facet && fitted.spec) {
    if (fitted.facet.row || fitted.facet.column) return fitted;
    fitted.columns = narrow ? 1 : fitted.columns || 1;
    fitted.spec.width = share(fitted.columns);
  } else if (fitted.hconcat || fitted.vconcat || fitted.concat) {
    const views = fitted.hconcat || fitted.vconcat || fitted.concat;
    const columns = fitted.hconcat ? views.length : fitted.vconcat ? 1 : fitted.columns || views.length;
    if (fitted.vconcat && views.some((view) => view.vconcat)) return stretch(fitted, share(1));
    if (views.some((view) => !view.mark && !view.layer)) return fitted;
    delete fitted.hconcat;
    delete fitted.vconcat;
    fitted.columns = narrow ? 1 : columns;
    fitted.concat = views;
    for (const view of views) view.width = share(fitted.columns);
  } else if (!(fitted.encoding && (fitted.encoding.row || fitted.encoding.column || fitted.encoding.facet))) {
    fitted.width = "container";
    fitted.autosize = { type: "fit-x", contains: "padding" };
  }
  return fitted;
}

// A stack of stacks of views: all of them as wide as the page.
function stretch(view, width) {
  if (view.vconcat) for (const one of view.vconcat) stretch(one, width);
  else view.width = width;
  return view;
}

function still(view) {
  if (Array.isArray(view)) view.forEach(still);
  else if (view && typeof view === "object") {
    if (view.params) view.params = view.params.filter((param) => param.bind !== "scales");
    for (const key of ["spec", "layer", "hconcat", "vconcat", "concat"]) still(view[key]);
  }
  return view;
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
    const place = document.getElementById("chart-" + name);
    vegaEmbed(place, touch ? still(fit(spec, width)) : fit(spec, width), options)
      .then(() => { place.dataset.drawn = width; });
  }
}

let waiting;
addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 200); });
draw();
