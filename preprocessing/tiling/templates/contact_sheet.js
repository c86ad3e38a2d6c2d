"use strict";
const body = document.getElementById("rows"), flag = document.getElementById("flag"), text = document.getElementById("text");
const all = Array.from(body.rows), found = all.map(row => row.textContent.toLowerCase());
const collator = new Intl.Collator("en", {numeric: true});
function filter() {
  const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  all.forEach((row, index) => {
    const names = row.dataset.names ? row.dataset.names.split("|") : [];
    const flagged = !flag.value || (flag.value === "*" ? names.length > 0 : names.includes(flag.value));
    row.hidden = !(flagged && words.every(word => found[index].includes(word)));
    if (!row.hidden) shown += 1;
  });
  document.getElementById("shown").textContent = shown + " shown";
}
function sort(button) {
  const key = button.dataset.key, head = button.closest("th"), isText = key === "slide_id";
  const before = head.getAttribute("aria-sort");
  const first = key === "n_flags" || key === "n_out" ? "descending" : "ascending";
  const other = {ascending: "descending", descending: "ascending"};
  const now = before === "none" ? first : other[before], sign = now === "ascending" ? 1 : -1;
  document.querySelectorAll("th[aria-sort]").forEach(each => each.setAttribute("aria-sort", "none"));
  head.setAttribute("aria-sort", now);
  const value = row => row.getAttribute("data-" + key);
  const rows = Array.from(body.rows).sort((a, b) => {
    const x = value(a), y = value(b);
    if (x === null || y === null) return (x === null) - (y === null);  // what was not measured stays last
    return sign * (isText ? collator.compare(x, y) : x - y)
      || collator.compare(value2(a), value2(b));
  });
  const part = document.createDocumentFragment();
  rows.forEach(row => part.append(row));
  body.append(part);
}
function value2(row) { return row.getAttribute("data-slide_id"); }
function move(step) {
  const rows = Array.from(body.rows).filter(row => !row.hidden);
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement.closest ? document.activeElement.closest("#rows tr") : null);
  const next = rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
  next.focus();
  next.scrollIntoView({block: "center"});
}
document.querySelectorAll("th button").forEach(button => button.addEventListener("click", () => sort(button)));
flag.addEventListener("change", filter);
text.addEventListener("input", filter);
document.getElementById("list").addEventListener("change", event => {
  document.body.classList.toggle("cards", !event.target.checked);
});
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (["INPUT", "SELECT"].includes(event.target.tagName)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "/") { event.preventDefault(); text.focus(); }
  else if (event.key === "j" || event.key === "k") move(event.key === "j" ? 1 : -1);
  else if (event.key === "Enter" && event.target.tagName === "TR") {
    const link = event.target.querySelector("a");
    if (link) link.click();
  }
});
window.addEventListener("beforeprint", () => document.querySelectorAll("img").forEach(image => { image.loading = "eager"; }));
filter();
