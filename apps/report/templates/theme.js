"use strict";
// The system's colours unless the reader chose others; a choice that equals them is forgotten.
// Charts are drawn in the colour of the text and follow by themselves.
(() => {
  const root = document.documentElement;
  const system = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const kept = (work) => { try { return work(localStorage); } catch { return null; } };
  const apply = (theme) => { if (theme) root.dataset.theme = theme; else delete root.dataset.theme; };
  apply(kept((store) => store.getItem("theme")));
  addEventListener("DOMContentLoaded", () => document.getElementById("theme").addEventListener("click", () => {
    const next = (root.dataset.theme || system()) === "dark" ? "light" : "dark";
    apply(next === system() ? "" : next);
    kept((store) => (root.dataset.theme ? store.setItem("theme", next) : store.removeItem("theme")));
  }));
})();
