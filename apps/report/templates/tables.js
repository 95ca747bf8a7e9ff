// A click on a column head sorts within each group; missing values stay last.
function sortable(table) {
  const heads = [...table.querySelectorAll("thead th")];
  heads.forEach((head, column) => head.addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.sort;
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (!x || !y) return !x - !y;
      return sign * (isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y);
    };
    for (const body of table.tBodies) {
      body.append(...[...body.querySelectorAll("tr:not(.group)")].sort(compare));
    }
  }));
}

// Rows stay that contain every word of the filter, in a cell or in the title of their group.
function filterable(box) {
  const input = box.querySelector("input");
  if (!input) return;
  const bodies = [...box.querySelector("table").tBodies];
  const rows = bodies.flatMap((body) => [...body.querySelectorAll("tr:not(.group)")]);
  const text = (row) => (row.parentNode.dataset.title + " " + [...row.cells].map((cell) => cell.textContent).join(" ")).toLowerCase();
  const texts = new Map(rows.map((row) => [row, text(row)]));
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !words.every((word) => texts.get(row).includes(word));
    for (const body of bodies) body.hidden = !body.querySelector("tr:not(.group):not([hidden])");
    const shown = rows.filter((row) => !row.hidden).length;
    box.querySelector("output").textContent = shown < rows.length ? shown + " of " + rows.length + " rows" : "";
  });
  suggest(input, rows);
}

// Offers the words that tell rows apart: strategies, optimizers, how runs ended.
function suggest(input, rows) {
  const cells = rows.flatMap((row) => [...row.querySelectorAll("td.words")].map((cell) => cell.textContent));
  const words = [...new Set(cells)].filter((word) => cells.indexOf(word) !== cells.lastIndexOf(word));
  const list = document.createElement("datalist");
  list.id = input.getAttribute("list");
  list.append(...words.sort().map((word) => new Option(word)));
  input.after(list);
}

// Paper does not scroll: what is wider than a page is printed smaller. An A4 page is 690 wide; type
// and borders do not shrink evenly, which the rest is for.
function printable(table) {
  const PAGE = 650, SMALLER = 0.8;
  table.style.setProperty("--fit", Math.min(1, PAGE / (SMALLER * table.scrollWidth)).toFixed(3));
}

for (const box of document.querySelectorAll(".table")) {
  sortable(box.querySelector("table"));
  filterable(box);
  printable(box.querySelector("table"));
}
