// A slide on a canvas: squares of its pixels at the level that fits the screen, one layer of values above them, outlines, marks.
// All places are micrometres from the slide's top left corner; `scale` is micrometres a screen pixel.

const SQUARE_PX = 256;
const MOST_SQUARES = 400; // pictures kept
const AT_ONCE = 6; // pictures fetched side by side
const ORANGE = [[84, 39, 136], [153, 142, 195], [247, 247, 247], [241, 163, 64], [179, 88, 6]]; // below 0, 0, above 0
const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

export function colourOf(share, isSigned) {
  const anchors = isSigned ? ORANGE : VIRIDIS;
  const at = Math.min(Math.max(share, 0), 1) * (anchors.length - 1);
  const low = Math.min(Math.floor(at), anchors.length - 2);
  const rgb = [0, 1, 2].map((c) => Math.round(anchors[low][c] + (at - low) * (anchors[low + 1][c] - anchors[low][c])));
  const alpha = isSigned ? Math.min(1, 0.1 + 1.8 * Math.abs(share - 0.5) * 2) : 1; // near 0 the slide shows through
  return [...rgb, Math.round(255 * alpha)];
}

// One pixel a tile where the tiles lie on a grid without gaps; else null, and squares are drawn one by one.
function rasterOf(places, layer) {
  const { corners, tile_um: tile, stride_um: stride } = places;
  const n = corners.length / 2;
  if (!n || stride > tile * 1.001) return null;
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < n; i++) {
    x0 = Math.min(x0, corners[2 * i]); x1 = Math.max(x1, corners[2 * i]);
    y0 = Math.min(y0, corners[2 * i + 1]); y1 = Math.max(y1, corners[2 * i + 1]);
  }
  const columns = Math.round((x1 - x0) / stride) + 1, rows = Math.round((y1 - y0) / stride) + 1;
  if (columns * rows > 16e6) return null;
  const slack = Math.max(0.02 * stride, 1);
  const pixels = new ImageData(columns, rows);
  for (let i = 0; i < n; i++) {
    const column = Math.round((corners[2 * i] - x0) / stride), row = Math.round((corners[2 * i + 1] - y0) / stride);
    if (Math.abs(x0 + column * stride - corners[2 * i]) > slack || Math.abs(y0 + row * stride - corners[2 * i + 1]) > slack) return null;
    if (Number.isFinite(layer.values[i])) pixels.data.set(colourOf(layer.share(i), layer.is_signed), 4 * (row * columns + column));
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [columns, rows];
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  const shift = (tile - stride) / 2; // of an overlapping grid the middle of each tile is drawn
  return { canvas, x: x0 + shift, y: y0 + shift, width: columns * stride, height: rows * stride };
}

export class SlideView {
  constructor(canvas, told) {
    this.canvas = canvas;
    this.told = told; // {moved(), picked(x, y), trouble(text), idle()}
    this.slide = null; this.layer = null; this.raster = null; this.opacity = 0.6;
    this.shows = { outline: true, excluded: false };
    this.marks = [];
    this.pictures = new Map(); this.loading = new Map(); this.broken = new Set();
    this.x = 0; this.y = 0; this.scale = 1;
    new ResizeObserver(() => this.draw()).observe(canvas);
    this.listen();
  }

  show(slide) {
    for (const control of this.loading.values()) control.abort();
    this.loading.clear(); this.pictures.clear(); this.broken.clear();
    this.slide = slide; this.layer = null; this.raster = null; this.marks = [];
    this.fit();
  }

  fit() {
    const geometry = this.slide?.geometry;
    if (!geometry) { this.draw(); return; }
    const [left, top, width, height] = geometry.scanned_um;
    const box = this.canvas.getBoundingClientRect();
    this.x = left + width / 2; this.y = top + height / 2;
    this.scale = 1.04 * Math.max(width / Math.max(box.width, 1), height / Math.max(box.height, 1));
    this.moved();
  }

  goTo(x, y, scale) {
    this.x = x; this.y = y;
    if (scale) this.scale = Math.min(Math.max(scale, this.finest / 16), 1e4);
    this.moved();
  }

  get finest() { return this.slide?.geometry?.finest_um ?? 0.25; }

  setLayer(layer) {
    this.layer = layer;
    this.raster = layer ? rasterOf(layer.places, layer) : null;
    this.draw();
  }

  moved() { this.told.moved(); this.draw(); }

  zoom(factor, px, py) { // the place under the pointer stays
    const box = this.canvas.getBoundingClientRect();
    const dx = (px ?? box.width / 2) - box.width / 2, dy = (py ?? box.height / 2) - box.height / 2;
    const scale = Math.min(Math.max(this.scale * factor, this.finest / 16), 1e4);
    this.x += dx * (this.scale - scale); this.y += dy * (this.scale - scale);
    this.scale = scale;
    this.moved();
  }

  place(px, py) {
    const box = this.canvas.getBoundingClientRect();
    return [this.x + (px - box.width / 2) * this.scale, this.y + (py - box.height / 2) * this.scale];
  }

  draw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => { this.frame = 0; this.paint(); });
  }

  paint() {
    const box = this.canvas.getBoundingClientRect(), dense = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(box.width * dense), Math.round(box.height * dense)];
    if (this.canvas.width !== width || this.canvas.height !== height) [this.canvas.width, this.canvas.height] = [width, height];
    const pen = this.canvas.getContext("2d");
    pen.fillStyle = "#f2f2f4"; pen.fillRect(0, 0, width, height);
    if (!this.slide?.geometry) return;
    const px = this.scale / dense; // micrometres a device pixel
    const screen = (x, y) => [(x - this.x) / px + width / 2, (y - this.y) / px + height / 2];
    const [wide, high] = this.slide.geometry.size_um, [left, top] = screen(0, 0), [right, bottom] = screen(wide, high);
    pen.save();
    pen.beginPath(); pen.rect(Math.round(left), Math.round(top), Math.round(right) - Math.round(left), Math.round(bottom) - Math.round(top)); pen.clip();
    pen.fillStyle = "#fff"; pen.fillRect(left, top, right - left, bottom - top);
    this.paintSquares(pen, screen, px, width, height);
    pen.restore();
    this.paintLayer(pen, screen);
    this.paintLines(pen, screen);
  }

  paintSquares(pen, screen, px, width, height) {
    const { n_levels: n, finest_um: finest, size_um: size } = this.slide.geometry;
    const level = Math.min(Math.max(Math.ceil(n - 1 - Math.log2(px / finest) - 0.05), 0), n - 1);
    const wanted = [];
    for (let l = 0; l <= level; l++) {
      const side = SQUARE_PX * finest * 2 ** (n - 1 - l);
      const first = (at, half) => Math.max(0, Math.floor((at - half) / side));
      const last = (at, half, end) => Math.min(Math.ceil(end / side) - 1, Math.floor((at + half) / side));
      const [halfX, halfY] = [(width / 2) * px, (height / 2) * px];
      for (let row = first(this.y, halfY); row <= last(this.y, halfY, size[1]); row++) {
        for (let column = first(this.x, halfX); column <= last(this.x, halfX, size[0]); column++) {
          const key = `${l}/${column}/${row}`;
          const [x0, y0] = screen(column * side, row * side).map(Math.round);
          const [x1, y1] = screen((column + 1) * side, (row + 1) * side).map(Math.round);
          const picture = this.pictures.get(key);
          if (picture) {
            this.pictures.delete(key); this.pictures.set(key, picture); // used last
            pen.imageSmoothingEnabled = x1 - x0 < 4 * SQUARE_PX;
            pen.drawImage(picture, x0, y0, x1 - x0, y1 - y0);
          } else if (this.broken.has(key)) {
            if (l === level) { pen.fillStyle = "#f6d9d0"; pen.fillRect(x0, y0, x1 - x0, y1 - y0); }
          } else if (l === level || l === 0) {
            wanted.push([Math.hypot((column + 0.5) * side - this.x, (row + 0.5) * side - this.y), key]);
          }
        }
      }
    }
    this.load(wanted.sort((a, b) => a[0] - b[0]).map((one) => one[1]));
  }

  load(wanted) { // the nearest first; what is no longer wanted is given up
    const needed = new Set(wanted);
    for (const [key, control] of this.loading) if (!needed.has(key)) { control.abort(); this.loading.delete(key); }
    for (const key of wanted) {
      if (this.loading.size >= AT_ONCE) break;
      if (!this.loading.has(key)) this.fetchSquare(key);
    }
    if (!wanted.length) this.told.idle();
  }

  async fetchSquare(key) {
    const control = new AbortController(), number = this.slide.number;
    this.loading.set(key, control);
    try {
      const answer = await fetch(`/slides/${number}/squares/${key}.jpg`, { signal: control.signal });
      if (!answer.ok) throw new Error(await answer.text());
      const picture = await createImageBitmap(await answer.blob());
      if (this.slide.number !== number) return;
      this.pictures.set(key, picture);
      while (this.pictures.size > MOST_SQUARES) {
        const oldest = this.pictures.keys().next().value;
        this.pictures.get(oldest).close(); this.pictures.delete(oldest);
      }
    } catch (error) {
      if (error.name === "AbortError" || this.slide.number !== number) return;
      this.broken.add(key);
      this.told.trouble(error.message);
    } finally {
      if (this.loading.get(key) === control) this.loading.delete(key);
    }
    this.draw();
  }

  paintLayer(pen, screen) {
    if (!this.layer) return;
    pen.save();
    pen.globalAlpha = this.opacity; pen.imageSmoothingEnabled = false;
    if (this.raster) {
      const { canvas, x, y, width, height } = this.raster;
      const [x0, y0] = screen(x, y), [x1, y1] = screen(x + width, y + height);
      pen.drawImage(canvas, x0, y0, x1 - x0, y1 - y0);
    } else {
      const { corners, tile_um: tile } = this.layer.places;
      for (let i = 0; i < corners.length / 2; i++) {
        const [x0, y0] = screen(corners[2 * i], corners[2 * i + 1]);
        const [x1, y1] = screen(corners[2 * i] + tile, corners[2 * i + 1] + tile);
        if (x1 < 0 || y1 < 0 || x0 > this.canvas.width || y0 > this.canvas.height || !Number.isFinite(this.layer.values[i])) continue;
        const [r, g, b, a] = colourOf(this.layer.share(i), this.layer.is_signed);
        pen.fillStyle = `rgb(${r} ${g} ${b} / ${a / 255})`;
        pen.fillRect(x0, y0, x1 - x0, y1 - y0);
      }
    }
    pen.restore();
  }

  paintLines(pen, screen) {
    const path = (ring) => { ring.forEach(([x, y], i) => { const at = screen(x, y); if (i) pen.lineTo(...at); else pen.moveTo(...at); }); };
    if (this.shows.outline) {
      pen.beginPath(); this.slide.tissue.forEach(path);
      pen.lineWidth = 1.5; pen.strokeStyle = "#006d5b"; pen.stroke();
    }
    const tile = Object.values(this.slide.places)[0]?.tile_um ?? 0;
    const square = ([x, y], side) => path([[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]);
    if (this.shows.excluded) {
      pen.beginPath(); this.slide.left_out.forEach((corner) => square(corner, tile));
      pen.lineWidth = 1; pen.strokeStyle = "#8a1c00"; pen.stroke();
    }
    for (const mark of this.marks) {
      for (const [width, colour] of [[5, "#fff"], [2.5, "#000"]]) {
        pen.beginPath(); square([mark.x, mark.y], mark.side);
        pen.lineWidth = width; pen.strokeStyle = colour; pen.stroke();
      }
    }
  }

  listen() {
    const pointers = new Map();
    let travelled = 0;
    const at = (event) => { const box = this.canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, at(event));
      if (pointers.size === 1) travelled = 0;
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before || !this.slide) return;
      const now = at(event), others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      pointers.set(event.pointerId, now);
      travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
      if (others.length === 1) { // two fingers
        const spread = (place) => Math.max(Math.hypot(place[0] - others[0][0], place[1] - others[0][1]), 1);
        this.zoom(spread(before) / spread(now), (now[0] + others[0][0]) / 2, (now[1] + others[0][1]) / 2);
      } else {
        this.goTo(this.x - (now[0] - before[0]) * this.scale, this.y - (now[1] - before[1]) * this.scale);
      }
    });
    const up = (event) => {
      const was = pointers.delete(event.pointerId);
      if (was && event.type === "pointerup" && travelled < 5 && !pointers.size && this.slide) this.told.picked(...this.place(...at(event)));
    };
    this.canvas.addEventListener("pointerup", up);
    this.canvas.addEventListener("pointercancel", up);
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (this.slide) this.zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY / 300))), ...at(event));
    }, { passive: false });
    this.canvas.addEventListener("keydown", (event) => {
      const step = 80 * this.scale;
      const deeds = {
        ArrowLeft: () => this.goTo(this.x - step, this.y), ArrowRight: () => this.goTo(this.x + step, this.y),
        ArrowUp: () => this.goTo(this.x, this.y - step), ArrowDown: () => this.goTo(this.x, this.y + step),
        "+": () => this.zoom(0.7), "=": () => this.zoom(0.7), "-": () => this.zoom(1 / 0.7), 0: () => this.fit(),
        Enter: () => this.told.picked(this.x, this.y),
      };
      if (!this.slide || event.ctrlKey || event.metaKey || event.altKey || !deeds[event.key]) return;
      event.preventDefault();
      deeds[event.key]();
    });
  }
}
