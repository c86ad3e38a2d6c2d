// The page around the slide: list, layers, what is known of a tile, survival curves, and the link that carries the view.

import { SlideView, colourOf } from "/files/viewer.js";

const byId = (id) => document.getElementById(id);
const N_TOP = 8;
const COLOURS = ["#0b4a8f", "#8a1c00", "#3f6b1f", "#6b3fa0"]; // of risk groups: told apart without colour by their words beside
let known = null; // the catalogue
let slide = null; // the slide shown, with the places and values fetched so far
let sorted = { column: "slide", rising: true };
let turn = 0; // answers to an earlier choice are dropped

function make(name, attributes = {}, ...inside) {
  const one = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) one.addEventListener(key.slice(2), value);
    else if (value !== null) one.setAttribute(key, value);
  }
  one.append(...inside);
  return one;
}

const number = (value) => (typeof value !== "number" ? String(value ?? "") : Number.isInteger(value) ? String(value) : value.toPrecision(3));

async function ask(address, kind = "json") {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(await answer.text());
  return kind === "json" ? answer.json() : new Float32Array(await answer.arrayBuffer());
}

const view = new SlideView(byId("slide"), {
  moved() { showBar(); writeLink(); document.body.dataset.idle = "no"; },
  idle() { document.body.dataset.idle = "yes"; },
  picked: pick,
  trouble,
});

function trouble(text) {
  byId("trouble").textContent = text;
  byId("trouble").hidden = !text;
}

// The list ----------------------------------------------------------------------------------------------------------------

const patientOf = (one) => known.patients[known.patientAt.get(one.patient)];
const columns = () => ["patient", "slide", ...known.columns, "tiles", "flags"];

function cell(one, column) {
  if (column === "patient") return one.patient;
  if (column === "slide") return one.id;
  if (column === "tiles") return one.n_tiles === "" ? "" : Number(one.n_tiles);
  if (column === "flags") return [one.fault && "failed", !one.has_file && "no file", ...one.flags].filter(Boolean).join("; ");
  return patientOf(one).values[column] ?? "";
}

function showList() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (one) => columns().map((column) => String(cell(one, column))).join(" ").toLowerCase();
  const rows = known.slides.filter((one) => { const all = text(one); return words.every((word) => all.includes(word)); });
  const rank = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  rows.sort((a, b) => (sorted.rising ? 1 : -1) * rank(cell(a, sorted.column), cell(b, sorted.column)) || a.number - b.number);
  byId("count").textContent = `${rows.length} of ${known.slides.length} slides, ${known.patients.length} patients`;
  const head = columns().map((column) => make("th", {
    scope: "col", "aria-sort": sorted.column === column ? (sorted.rising ? "ascending" : "descending") : "none",
  }, make("button", { type: "button", onclick: () => {
    sorted = { column, rising: sorted.column === column ? !sorted.rising : true };
    showList();
    byId("list").querySelectorAll("th button")[columns().indexOf(column)].focus();
  } }, column)));
  byId("list").tHead.replaceChildren(make("tr", {}, ...head));
  byId("list").tBodies[0].replaceChildren(...rows.map(row));
}

function row(one) {
  const cells = columns().map((column) => {
    const value = cell(one, column);
    if (column === "slide") return make("td", {}, make("button", { type: "button", onclick: () => open(one.number) }, value));
    const kind = typeof value === "number" ? "number" : column === "flags" ? "flags" : column === "agrees" && value === "no" ? "differs" : null;
    return make("td", { class: kind }, number(value));
  });
  return make("tr", { class: slide?.number === one.number ? "chosen" : null, "data-slide": one.number }, ...cells);
}

// A slide -----------------------------------------------------------------------------------------------------------------

async function open(wanted, link = null) {
  const mine = ++turn;
  trouble("");
  document.body.dataset.idle = "no";
  const told = await ask(`/slides/${wanted}`);
  if (mine !== turn) return;
  slide = { ...told, fetched: new Map() };
  byId("title").textContent = `${told.id} (patient ${told.patient})`;
  byId("slide").setAttribute("aria-label", `slide ${told.id}; arrow keys move, plus and minus zoom, 0 shows all, Enter picks the tile in the middle`);
  byId("list").querySelectorAll("tr.chosen").forEach((old) => old.classList.remove("chosen"));
  byId("list").querySelector(`tr[data-slide="${wanted}"]`)?.classList.add("chosen");
  byId("notes").replaceChildren(...[...known.notes, ...told.notes].map((note) => make("li", {}, note)));
  byId("tile").textContent = "Click a tile."; byId("near").replaceChildren(); byId("top").replaceChildren();
  view.show(slide);
  if (told.fault) trouble(told.fault);
  showPatient(told.patient);
  const names = told.layers.map((layer) => `${layer.group}: ${layer.name}`);
  byId("layer").replaceChildren(make("option", { value: "" }, "none"), ...names.map((name) => make("option", { value: name }, name)));
  const preferred = names.indexOf(`contribution: ${told.told}`);
  const chosen = link?.layer !== undefined ? names.indexOf(link.layer) : preferred;
  byId("layer").value = names[chosen] ?? "";
  if (link?.scale) view.goTo(link.x, link.y, link.scale);
  await showLayer();
  if (!told.geometry) document.body.dataset.idle = "yes";
}

async function fetchedLayer(at) {
  const own = slide, layer = own.layers[at];
  const once = (key, get) => { if (!own.fetched.has(key)) own.fetched.set(key, get()); return own.fetched.get(key); };
  const [corners, values] = await Promise.all([
    once(`places ${layer.of}`, () => ask(`/slides/${own.number}/places/${layer.of}`, "numbers")),
    once(`values ${at}`, () => ask(`/slides/${own.number}/values/${at}`, "numbers")),
  ]);
  const [low, high] = layer.limits;
  return { ...layer, values, places: { ...own.places[layer.of], corners }, share: (i) => (values[i] - low) / (high - low) };
}

async function showLayer() {
  const mine = turn, at = slide ? slide.layers.findIndex((layer) => `${layer.group}: ${layer.name}` === byId("layer").value) : -1;
  writeLink();
  const layer = at < 0 ? null : await fetchedLayer(at);
  if (mine !== turn) return;
  view.setLayer(layer);
  byId("legend").hidden = !layer;
  document.body.dataset.layer = byId("layer").value;
  if (!layer) { byId("top").replaceChildren(); return; }
  const pen = byId("scale").getContext("2d");
  pen.clearRect(0, 0, 180, 12);
  for (let x = 0; x < 180; x++) {
    const [r, g, b, a] = colourOf(x / 179, layer.is_signed);
    pen.fillStyle = `rgb(${r} ${g} ${b} / ${a / 255})`; pen.fillRect(x, 0, 1, 12);
  }
  byId("limits").textContent = layer.is_signed
    ? `${number(layer.limits[0])} (against) … 0 … ${number(layer.limits[1])} (for ${layer.name})`
    : `${number(layer.limits[0])} … ${number(layer.limits[1])} ${layer.name}`;
  showTop(layer);
}

function showTop(layer) {
  const order = [...layer.values.keys()].filter((i) => Number.isFinite(layer.values[i])).sort((a, b) => layer.values[b] - layer.values[a]);
  const least = layer.is_signed ? order.slice(-N_TOP).reverse().filter((i) => layer.values[i] < 0) : [];
  byId("top").replaceChildren(
    make("p", {}, `most ${layer.name}`), tiles(order.slice(0, N_TOP).map((i) => [slide.number, layer.of, i, number(layer.values[i])])),
    ...(least.length ? [make("p", {}, "most against"), tiles(least.map((i) => [slide.number, layer.of, i, number(layer.values[i])]))] : []),
  );
}

function tiles(wanted) {
  return make("div", { class: "tiles" }, ...wanted.map(([of, places, i, words]) => make(
    "button", { type: "button", onclick: () => jump(of, places, i) },
    make("img", { src: `/slides/${of}/tiles/${places}/${i}.jpg`, alt: `tile ${i} of ${known.slides[of].id}`, loading: "lazy" }),
    make("span", {}, words),
  )));
}

async function jump(of, places, i) {
  if (of !== slide.number) await open(of);
  const { tile_um: side, corners } = await placesOf(places);
  if (!corners) return;
  const [x, y] = [corners[2 * i], corners[2 * i + 1]];
  view.goTo(x + side / 2, y + side / 2, Math.min(view.scale, side / 120));
  await pick(x + side / 2, y + side / 2);
}

async function placesOf(name) {
  const own = slide;
  if (!own.places[name]) return {};
  const key = `places ${name}`;
  if (!own.fetched.has(key)) own.fetched.set(key, ask(`/slides/${own.number}/places/${name}`, "numbers"));
  return { ...own.places[name], corners: await own.fetched.get(key) };
}

function tileAt(places, x, y) {
  const { corners, tile_um: side } = places;
  let best = -1, nearest = Infinity;
  for (let i = 0; corners && i < corners.length / 2; i++) {
    const dx = x - corners[2 * i], dy = y - corners[2 * i + 1];
    if (dx < 0 || dy < 0 || dx >= side || dy >= side) continue;
    const away = Math.hypot(dx - side / 2, dy - side / 2);
    if (away < nearest) [best, nearest] = [i, away];
  }
  return best;
}

async function pick(x, y) {
  const mine = turn, facts = [["place, µm", `${x.toFixed(0)}, ${y.toFixed(0)}`]];
  let mark = null, mapped = -1;
  for (const [name, head] of Object.entries(slide.places)) {
    const places = { ...head, ...(await placesOf(name)) }, i = tileAt(places, x, y);
    if (i < 0) continue;
    if (name === "map") mapped = i;
    mark ??= { x: places.corners[2 * i], y: places.corners[2 * i + 1], side: places.tile_um };
    for (let at = 0; at < slide.layers.length; at++) {
      const layer = slide.layers[at], label = layer.group === "contribution" ? `for ${layer.name}` : layer.name;
      if (layer.of === name) facts.push([label, number((await fetchedLayer(at)).values[i])]);
    }
  }
  if (mine !== turn) return;
  view.marks = mark ? [mark] : [];
  view.draw();
  byId("tile").replaceChildren(mark ? list(facts) : make("p", {}, "No tile lies here."));
  byId("near").replaceChildren();
  if (mapped < 0) return;
  try {
    const near = await ask(`/slides/${slide.number}/near/${mapped}`);
    if (mine !== turn) return;
    byId("near").replaceChildren(make("p", {}, `most like it, among ${near.searched} slides`),
      tiles(near.found.map((one) => [one.slide, "map", one.tile, number(one.likeness)])));
  } catch (error) { byId("near").replaceChildren(make("p", {}, error.message)); }
}

const list = (facts) => make("dl", {}, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));

// A patient ---------------------------------------------------------------------------------------------------------------

async function showPatient(id) {
  const mine = turn, patient = known.patients[known.patientAt.get(id)];
  const others = patient.slides.map((other) => make("button", { type: "button", onclick: () => open(other) }, known.slides[other].id));
  byId("patient").replaceChildren(make("p", {}, id), list(Object.entries(patient.values).map(([name, value]) => [name, number(value)])), ...others);
  byId("survival").replaceChildren();
  if (!known.is_survival) return;
  const curves = await ask(`/survival?patient=${encodeURIComponent(id)}`);
  if (mine === turn) byId("survival").replaceChildren(survivalPicture(curves));
}

function survivalPicture(curves) {
  const draw = (name, attributes, text = "") => {
    const one = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
    one.textContent = text;
    return one;
  };
  const end = Math.max(...curves.times, 1), px = (t) => 34 + (t / end) * 250, py = (s) => 10 + (1 - s) * 130;
  const words = curves.groups.map((group) => `${group.name} (n ${group.n})`);
  const svg = draw("svg", { viewBox: `0 0 300 ${Math.max(190, 172 + 11 * curves.groups.length)}`, role: "img", "aria-label": `survival of ${words.join(" and ")}, and predicted for ${curves.patient}` });
  for (const s of [0, 0.5, 1]) svg.append(draw("text", { x: 4, y: py(s) + 4, "font-size": 10 }, String(s)), draw("path", { d: `M34 ${py(s)}H284`, stroke: "#ddd" }));
  svg.append(draw("text", { x: 284, y: 155, "font-size": 10, "text-anchor": "end" }, `${number(end)} ${curves.unit}`));
  curves.groups.forEach((group, g) => {
    const step = group.times.map((t, i) => `${i ? `H${px(t)}V` : `M${px(t)} `}${py(group.survival[i])}`).join("");
    svg.append(draw("path", { d: step, fill: "none", stroke: COLOURS[g % COLOURS.length], "stroke-width": 1.5 }),
      draw("text", { x: 36, y: 166 + 11 * g, "font-size": 10, fill: COLOURS[g % COLOURS.length] }, words[g]));
  });
  if (curves.survival) {
    const own = curves.times.map((t, i) => `${i ? "L" : "M"}${px(t)} ${py(curves.survival[i])}`).join("");
    svg.append(draw("path", { d: own, fill: "none", stroke: "#000", "stroke-width": 2, "stroke-dasharray": "5 3" }),
      draw("text", { x: 160, y: 166, "font-size": 10 }, "dashed: predicted for this patient"));
  }
  return svg;
}

// The link ----------------------------------------------------------------------------------------------------------------

function showBar() {
  const most = 160 * view.scale, power = 10 ** Math.floor(Math.log10(most));
  const um = [5, 2, 1].map((k) => k * power).find((length) => length <= most) ?? power;
  byId("bar-line").style.width = `${um / view.scale}px`;
  byId("bar-text").textContent = um >= 1000 ? `${um / 1000} mm` : `${um} µm`;
}

function writeLink() {
  if (!slide) return;
  const words = new URLSearchParams({ slide: slide.id, x: view.x.toFixed(1), y: view.y.toFixed(1), scale: view.scale.toPrecision(5), layer: byId("layer").value });
  history.replaceState(null, "", `#${words}`);
}

function readLink() {
  const words = new URLSearchParams(location.hash.slice(1)), found = known.slides.find((one) => one.id === words.get("slide"));
  const [x, y, scale] = ["x", "y", "scale"].map((name) => Number(words.get(name)));
  if (!found) return false;
  open(found.number, { layer: words.get("layer") ?? undefined, ...([x, y, scale].every(Number.isFinite) && scale > 0 ? { x, y, scale } : {}) });
  return true;
}

async function start() {
  known = await ask("/catalogue");
  known.patientAt = new Map(known.patients.map((patient, at) => [patient.id, at]));
  byId("run").textContent = `run ${known.run}`;
  byId("synthetic").hidden = !known.is_synthetic;
  byId("report").hidden = !known.has_report;
  byId("search").addEventListener("input", showList);
  byId("layer").addEventListener("change", showLayer);
  byId("whole").addEventListener("click", () => view.fit());
  byId("opacity").addEventListener("input", (event) => { view.opacity = event.target.value / 100; view.draw(); });
  byId("outline").addEventListener("change", (event) => { view.shows.outline = event.target.checked; view.draw(); });
  byId("excluded").addEventListener("change", (event) => { view.shows.excluded = event.target.checked; view.draw(); });
  addEventListener("hashchange", readLink);
  byId("notes").replaceChildren(...known.notes.map((note) => make("li", {}, note)));
  showList();
  if (!readLink()) {
    const first = known.slides.find((one) => one.has_map && one.has_file) ?? known.slides.find((one) => one.has_file) ?? known.slides[0];
    if (first) await open(first.number);
  }
  document.body.dataset.ready = "yes";
}

start().catch((error) => trouble(error.message));
