// Names the cells of wide tables, so that a phone can show a row as a list (site.css, `data-stacked`).
const COLUMNS = 4; // with fewer a table fits a phone
const PROSE = 60; // characters in a cell of text; figures are shorter

function nameCells(table) {
  const titles = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent.trim());
  const cells = [...table.querySelectorAll("tbody td")];
  const prose = cells.some((cell) => cell.textContent.length > PROSE);
  if (titles.length < COLUMNS && !prose) return;
  table.dataset.stacked = prose ? "prose" : "figures";
  for (const row of table.querySelectorAll("tbody tr"))
    [...row.cells].forEach((cell, place) => (cell.dataset.label = titles[place] || ""));
}

function start() {
  document.querySelectorAll(".md-typeset table").forEach(nameCells);
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
