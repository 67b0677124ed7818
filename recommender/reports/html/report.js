"use strict";
// Sort a table by a column; nothing has to be sorted to be read.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const column = head.cellIndex, up = head.getAttribute("aria-sort") !== "ascending";
    const value = (row) => {
      const cell = row.cells[column], given = cell.dataset.value ?? cell.textContent.trim(), number = Number(given);
      return given === "" || Number.isNaN(number) ? given : number;
    };
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      const order = typeof x === typeof y ? (x < y ? -1 : x > y ? 1 : 0) : typeof x === "number" ? -1 : 1;
      return up ? order : -order;
    });
    body.append(...rows);
  });
}
// Show the name and the thumbnail of an image on the map.
const tip = document.getElementById("tip"), map = document.getElementById("map");
if (tip && map) {
  const shots = JSON.parse(document.getElementById("shots").textContent);
  for (const mark of map.querySelectorAll("[data-row]")) mark.dataset.words = mark.querySelector("title").textContent;
  for (const title of map.querySelectorAll("[data-row] title")) title.remove();
  map.addEventListener("pointerover", (event) => {
    const mark = event.target.closest("[data-row]");
    tip.hidden = !mark;
    if (!mark) return;
    const parts = [document.createTextNode(mark.dataset.words)], uri = shots[mark.dataset.row];
    if (uri) {
      const image = new Image();
      image.src = uri;
      image.alt = "";
      parts.unshift(image);
    }
    tip.replaceChildren(...parts);
    const left = Math.min(event.clientX + 14, innerWidth - 270), below = event.clientY + 14;
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${below + 170 > innerHeight ? event.clientY - 170 : below}px`;
  });
  map.addEventListener("pointerleave", () => { tip.hidden = true; });
}
