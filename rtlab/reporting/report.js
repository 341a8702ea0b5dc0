"use strict";
// The report's moving parts: filter and sort, two plots, the classes of a run, and the comparison of two runs. All data are in #data and in
// the page's own tables. They come from records, which anyone may have written: text is only ever set as text
// (`textContent`, `append` of a string), never parsed as HTML.

const data = JSON.parse(document.getElementById("data").textContent);
for (const run of data.runs) run.name = data.table[0].texts[run.run];
const byId = (id) => document.getElementById(id);
const range = (count) => [...Array(count).keys()];

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function number(value, digits = 4) {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : value.toFixed(digits);
}
const percent = (share) => (100 * share).toFixed(1) + " %";

function words(input) {
  return input.value.toLowerCase().split(/\s+/).filter(Boolean);
}

// Runs: a search field, a menu for each column that tells runs apart, and headers that sort. Of many runs the first ones
// are drawn, and more when asked for. A run is a `tbody`, so that its error stays below it.
const PAGE = 200;

// A column comes as `texts`, as `values` (numbers), or as `codes`, indices into its `known` texts.
function column({ title, texts, values, digits, codes, known, menu, number: numeric }) {
  const text = texts ? (row) => texts[row]
    : values ? (row) => (values[row] === null ? "" : values[row].toFixed(digits))
    : (row) => known[codes[row]] ?? "";
  const value = values ? (row) => values[row] : numeric ? (row) => (codes[row] < 0 ? null : Number(known[codes[row]])) : (row) => text(row) || null;
  return { title, text, value, menu: menu && known.length > 1 ? known : null, number: Boolean(values || numeric) };
}

function runTable() {
  const { errors } = data.table.at(-1);
  const columns = data.table.slice(0, -1).map(column);
  const count = data.table[0].texts.length;
  const searched = range(count).map((row) => [...columns.map(({ text }) => text(row)), errors[row] ?? ""].join(" ").toLowerCase());
  const order = new Intl.Collator("en", { numeric: true }).compare;
  const find = byId("runs-find");
  const more = byId("runs-more");
  const menus = [];
  let rows = range(count);
  let shown = PAGE;

  const heads = columns.map(({ title, number }, at) => {
    const button = html("button", { type: "button" }, title);
    button.addEventListener("click", () => sort(at));
    return html("th", number ? { scope: "col", class: "number" } : { scope: "col" }, button);
  });
  const table = html("table", {},
    html("caption", {}, html("span", {}, "Accuracy and F1 are of the test split; the interval is 95 %, over its sentences alone, as in the tables.")),
    html("thead", {}, html("tr", {}, ...heads)));
  byId("runs-table").append(table);

  function body(row) {
    const cells = columns.map(({ title, text, number }, at) => {
      if (at === 0) return html("th", { scope: "row" }, text(row));
      const kind = number ? "number" : title === "status" && text(row) !== "ok" ? "bad" : "";
      const link = title === "environment" && byId(`environment-${text(row)}`);
      const content = link ? html("a", { href: `#environment-${text(row)}` }, text(row)) : text(row);
      return html("td", kind ? { class: kind } : {}, content);
    });
    const error = errors[row] === undefined ? []
      : [html("tr", { class: "error" }, html("td", { colspan: columns.length }, html("span", {}, errors[row])))];
    return html("tbody", {}, html("tr", {}, ...cells), ...error);
  }

  function show() {
    const wanted = words(find);
    const chosen = menus.filter(({ menu }) => menu.selectedIndex > 0);
    const found = rows.filter((row) =>
      wanted.every((word) => searched[row].includes(word)) && chosen.every(({ at, menu }) => columns[at].text(row) === menu.value));
    table.replaceChildren(table.caption, table.tHead, ...found.slice(0, shown).map(body));
    byId("runs-count").textContent = `${found.length} of ${count} runs`;
    more.hidden = found.length <= shown;
    more.textContent = `Show ${Math.min(PAGE, found.length - shown)} more`;
  }

  function sort(at) {
    const up = heads[at].getAttribute("aria-sort") !== "ascending";
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[at].setAttribute("aria-sort", up ? "ascending" : "descending");
    const { value, number } = columns[at];
    rows.sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      if (left === null || right === null) return (left === null) - (right === null); // what is not there comes last
      return (up ? 1 : -1) * (number ? left - right : order(left, right));
    });
    show();
  }

  columns.forEach(({ title, menu: known }, at) => {
    if (!known) return;
    const menu = html("select", {}, new Option("all", ""), ...[...known].sort(order).map((value) => new Option(value)));
    menu.addEventListener("change", show);
    menus.push({ at, menu });
    byId("runs-reset").before(html("label", {}, title, menu));
  });
  find.addEventListener("input", show);
  more.addEventListener("click", () => {
    shown += PAGE;
    show();
  });
  byId("runs-reset").addEventListener("click", () => {
    find.value = "";
    menus.forEach(({ menu }) => (menu.selectedIndex = 0));
    shown = PAGE;
    show();
  });
  show();
}

// Plots. An axis maps values to pixels and knows its ticks, at 1, 2 and 5 times powers of ten.
function axis(values, from, to, { log = false, margin = 0.05 } = {}) {
  const map = log ? Math.log10 : (value) => value;
  let [low, high] = [Math.min(...values), Math.max(...values)].map(map);
  if (low === high) [low, high] = [low - 0.5 * (Math.abs(low) || 1), high + 0.5 * (Math.abs(high) || 1)];
  const pad = margin * (high - low);
  [low, high] = [low - pad, high + pad];
  const place = (value) => from + ((map(value) - low) / (high - low)) * (to - from);
  const ticks = log ? logTicks(low, high, Math.abs(to - from)) : linearTicks(low, high);
  return { place, ticks };
}
function linearTicks(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const first = Math.ceil(low / step);
  const count = Math.max(0, Math.floor(high / step) - first + 1);
  return range(count).map((i) => ({ at: (first + i) * step, text: tickText((first + i) * step, digits) }));
}
function logTicks(low, high, pixels) {
  const powers = range(Math.ceil(high) - Math.floor(low) + 1).map((i) => 10 ** (Math.floor(low) + i));
  const factors = pixels / (high - low) > 150 ? [1, 2, 5] : [1];
  const inside = (at) => Math.log10(at) >= low && Math.log10(at) <= high;
  const ticks = powers.flatMap((power) => factors.map((factor) => factor * power)).filter(inside);
  if (ticks.length < 3) return linearTicks(10 ** low, 10 ** high); // a narrow range holds no powers
  return ticks.map((at) => ({ at, text: String(Number(at.toPrecision(3))) }));
}
const tickText = (value, digits) =>
  Math.abs(value) >= 1e6 ? value.toExponential() : value.toFixed(Math.min(digits, 12)).replace("-", "−");

const EDGE = { top: 14, right: 18, bottom: 46, left: 62 };

// Draws into `place` whenever its width changes, so that text keeps its size on narrow screens.
function plot(place, label, draw) {
  const redraw = () => {
    for (const tip of place.querySelectorAll(".tip")) tip.hidden = true;
    const width = Math.max(300, Math.min(1024, place.clientWidth));
    const height = Math.round(Math.max(280, Math.min(440, width * 0.5)));
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label });
    const drawn = draw(picture, {
      left: EDGE.left, right: width - EDGE.right, top: EDGE.top, bottom: height - EDGE.bottom,
    });
    place.firstElementChild?.remove();
    place.prepend(drawn ? picture : html("p", { class: "note" }, "Nothing to draw."));
  };
  let before = 0;
  new ResizeObserver(() => {
    if (place.clientWidth !== before) redraw();
    before = place.clientWidth;
  }).observe(place);
  redraw();
  return redraw;
}

function frame(picture, box, x, y, titleX, titleY) {
  for (const { at, text } of y.ticks) {
    const height = y.place(at);
    picture.append(
      svg("line", { class: "grid", x1: box.left, x2: box.right, y1: height, y2: height }),
      svg("text", { x: box.left - 8, y: height + 4, "text-anchor": "end" }, text),
    );
  }
  for (const { at, text } of x.ticks) {
    const across = x.place(at);
    picture.append(
      svg("line", { class: "grid", x1: across, x2: across, y1: box.bottom, y2: box.bottom + 5 }),
      svg("text", { x: across, y: box.bottom + 19, "text-anchor": "middle" }, text),
    );
  }
  const middle = (box.top + box.bottom) / 2;
  picture.append(
    svg("line", { class: "grid", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    svg("text", { x: (box.left + box.right) / 2, y: box.bottom + 38, "text-anchor": "middle" }, titleX),
    svg("text", { transform: `translate(14 ${middle}) rotate(-90)`, "text-anchor": "middle" }, titleY),
  );
}

// Accuracy against time: method by colour and shape, the reference engine hollow.
const METHODS = data.methods.map(([name]) => name);
function mark(method, x, y, size = 6) {
  const paths = [
    `M${x - size} ${y - size}h${2 * size}v${2 * size}h${-2 * size}z`,
    `M${x - size} ${y}a${size} ${size} 0 1 0 ${2 * size} 0a${size} ${size} 0 1 0 ${-2 * size} 0z`,
    `M${x} ${y - 1.2 * size}l${1.2 * size} ${2.1 * size}h${-2.4 * size}z`,
    `M${x} ${y - 1.3 * size}l${1.3 * size} ${1.3 * size}l${-1.3 * size} ${1.3 * size}l${-1.3 * size} ${-1.3 * size}z`,
  ];
  return svg("path", { class: "dot", d: paths[METHODS.indexOf(method) % paths.length] });
}

function pareto() {
  const menu = byId("pareto-place");
  menu.append(...data.places.map((place) => new Option(place)));
  const points = data.places.map((_, at) => data.points.filter(({ place }) => place === at).length);
  menu.selectedIndex = points.indexOf(Math.max(...points)); // where there is most to see
  const shown = byId("pareto-shown");
  shown.append(new Option("methods compared"), new Option("all setups"));
  const tip = html("div", { class: "tip", hidden: "" });
  const redraw = plot(byId("pareto-plot"), "Test accuracy over training time", (picture, box) => {
    const here = data.points.filter(({ place, seconds }) => place === menu.selectedIndex && seconds > 0);
    const compared = here.filter(({ recipe }) => recipe !== null);
    const points = shown.selectedIndex || compared.length < 2 ? here : compared;
    byId("pareto-legend").replaceChildren(
      ...METHODS.filter((method) => points.some((point) => point.method === method)).map((method) =>
        html("li", { class: `series-${METHODS.indexOf(method) % COLOURS}` }, svg("svg", { width: 16, height: 16, "aria-hidden": "true" }, mark(method, 8, 8)), html("span", {}, data.methods[METHODS.indexOf(method)][1]))),
    );
    if (!points.length) return false;
    const seeds = points.flatMap((point) => point.seeds.filter(([seconds]) => seconds > 0));
    const times = points.flatMap((point) => (point.secondsSpan ? drawnSpan(point) : []));
    const accuracies = points.flatMap((point) => point.accuracySpan ?? []);
    const x = axis([...seeds.map(([seconds]) => seconds), ...times], box.left, box.right, { log: true });
    const y = axis([...seeds.map(([, accuracy]) => accuracy), ...accuracies], box.bottom, box.top);
    frame(picture, box, x, y, "training time (s, logarithmic)", "test accuracy");
    const front = frontOf(points);
    // Steps: between two points of the front, the best that can be had in that time is the faster one.
    const steps = front.map((point, i) => (i ? "H" + x.place(point.seconds) + "V" : "M" + x.place(point.seconds) + " ") + y.place(point.accuracy));
    picture.append(svg("path", { class: "front", d: steps.join("") }));
    for (const recipe of new Set(compared.map(({ recipe }) => recipe))) {
      const [a, b] = points.filter((point) => point.recipe === recipe);
      if (b) picture.append(svg("line", { class: `join series-${METHODS.indexOf(a.method) % COLOURS}`, x1: x.place(a.seconds), y1: y.place(a.accuracy), x2: x.place(b.seconds), y2: y.place(b.accuracy) }));
    }
    for (const point of points) picture.append(drawPoint(point, x, y, box, tip));
    return true;
  });
  byId("pareto-plot").append(tip);
  for (const one of [menu, shown]) one.addEventListener("change", redraw);
}

// The points that no other is both as fast and as accurate as, from the fastest to the slowest.
function frontOf(points) {
  const front = [];
  for (const point of points.toSorted((a, b) => a.seconds - b.seconds || b.accuracy - a.accuracy)) {
    if (!front.length || point.accuracy > front.at(-1).accuracy) front.push(point);
  }
  return front;
}

// An interval of time may reach to 0 and below, for which a logarithmic axis has no place: it ends at a tenth.
const drawnSpan = ({ seconds, secondsSpan: [low, high] }) => [Math.max(low, seconds / 10), high];

// The 95 % intervals of a point, as bars that end in caps.
function interval(point, x, y) {
  const { seconds, accuracy, accuracySpan } = point;
  const lines = [];
  const cap = 4;
  if (accuracySpan) {
    const at = x.place(seconds);
    const [low, high] = accuracySpan.map(y.place);
    lines.push(`M${at} ${low}V${high}M${at - cap} ${low}h${2 * cap}M${at - cap} ${high}h${2 * cap}`);
  }
  if (point.secondsSpan) {
    const at = y.place(accuracy);
    const [low, high] = drawnSpan(point).map(x.place);
    lines.push(`M${low} ${at}H${high}M${low} ${at - cap}v${2 * cap}M${high} ${at - cap}v${2 * cap}`);
  }
  return lines.map((d) => svg("path", { class: "interval", d }));
}

function drawPoint(point, x, y, box, tip) {
  const [across, height] = [x.place(point.seconds), y.place(point.accuracy)];
  const count = point.seeds.length;
  const figures = `${number(point.accuracy)} in ${number(point.seconds, 1)} s (${count} seed${count > 1 ? "s" : ""})`;
  const label = `${point.name}: ${figures}`;
  const group = svg("g", { class: `point series-${METHODS.indexOf(point.method) % COLOURS}`, tabindex: 0, role: "img", "aria-label": label });
  for (const [seconds, accuracy] of count > 1 ? point.seeds : []) {
    if (seconds > 0) group.append(svg("circle", { class: "seed", cx: x.place(seconds), cy: y.place(accuracy), r: 3 }));
  }
  const shape = mark(point.method, across, height);
  if (point.reference) shape.classList.add("hollow");
  group.append(...interval(point, x, y), shape);
  const say = () => {
    const width = box.right + EDGE.right;
    const leftwards = across > width / 2; // the tip stands where there is more room
    tip.style.left = leftwards ? "auto" : `${across + 14}px`;
    tip.style.right = leftwards ? `calc(100% - ${across - 14}px)` : "auto";
    tip.style.maxWidth = `${(leftwards ? across : width - across) - 16}px`;
    tip.style.top = `${height + 8}px`;
    tip.replaceChildren(html("b", {}, point.name), figures);
    tip.hidden = false;
  };
  group.addEventListener("pointerenter", say);
  group.addEventListener("focus", say);
  for (const event of ["pointerleave", "blur"]) group.addEventListener(event, () => (tip.hidden = true));
  return group;
}

// Loss curves: a run keeps its colour until it is taken out; beyond six, dashes tell equal colours apart.
const COLOURS = 6;
const DASHES = ["", "7 4", "2 3", "9 3 2 3"];
const style = (slot) => ({ class: `series-${slot % COLOURS}`, dash: DASHES[Math.floor(slot / COLOURS) % DASHES.length] });

function lossCurves() {
  const runs = data.runs.filter((run) => run.loss.length > 0);
  const slots = new Map(); // run -> its colour and dash
  let at = null; // the step that is pointed at

  const steps = () => [...new Set([...slots.keys()].flatMap((run) => run.loss.map(([step]) => step)))].sort((a, b) => a - b);
  const valueAt = (run) => run.loss.find(([step]) => step === at)?.[1];

  const redraw = plot(byId("loss-plot"), "Training loss over steps", (picture, box) => {
    const points = [...slots.keys()].flatMap((run) => [...run.loss, ...run.validated]);
    if (!points.length) return false;
    const x = axis([0, ...points.map(([step]) => step)], box.left, box.right, { margin: 0 });
    const y = axis([0, ...points.map(([, loss]) => loss)], box.bottom, box.top, { margin: 0.03 });
    frame(picture, box, x, y, "step", "training loss");
    for (const [run, slot] of slots) {
      const d = run.loss.map(([step, loss], i) => `${i ? "L" : "M"}${x.place(step).toFixed(1)} ${y.place(loss).toFixed(1)}`).join("");
      const curve = svg("path", { class: `curve ${style(slot).class}`, d, "stroke-dasharray": style(slot).dash || "none" });
      picture.append(curve);
      for (const [step, loss] of run.validated) {
        picture.append(svg("circle", { class: `hollow ${style(slot).class}`, cx: x.place(step), cy: y.place(loss), r: step === run.kept ? 6 : 3 }));
      }
      if (run.loss.length === 1) picture.append(svg("circle", { class: `dot ${style(slot).class}`, cx: x.place(run.loss[0][0]), cy: y.place(run.loss[0][1]), r: 4 }));
    }
    follow(picture, box, x, y);
    return true;
  });

  function follow(picture, box, x, y) {
    const cursor = svg("g", { visibility: "hidden" });
    picture.append(cursor, svg("rect", { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top, "fill-opacity": 0 }));
    const known = steps();
    const read = (step) => {
      at = step;
      cursor.setAttribute("visibility", step === null ? "hidden" : "visible");
      if (step !== null) {
        const dots = [...slots].filter(([run]) => valueAt(run) !== undefined);
        cursor.replaceChildren(
          svg("line", { class: "cursor", x1: x.place(step), x2: x.place(step), y1: box.top, y2: box.bottom }),
          ...dots.map(([run, slot]) => svg("circle", { class: `dot ${style(slot).class}`, cx: x.place(step), cy: y.place(valueAt(run)), r: 4 })),
        );
      }
      legend();
    };
    picture.setAttribute("tabindex", 0);
    picture.addEventListener("pointermove", (event) => {
      const bounds = picture.getBoundingClientRect();
      const across = ((event.clientX - bounds.left) / bounds.width) * picture.viewBox.baseVal.width;
      const distance = (step) => Math.abs(x.place(step) - across);
      read(known.reduce((best, step) => (distance(step) < distance(best) ? step : best)));
    });
    picture.addEventListener("pointerleave", () => read(null));
    picture.addEventListener("blur", () => read(null));
    picture.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move) return;
      event.preventDefault();
      const now = at === null ? (move > 0 ? -1 : known.length) : known.indexOf(at);
      read(known[Math.max(0, Math.min(known.length - 1, now + move))]);
    });
  }

  function legend() {
    byId("loss-step").textContent = at === null ? "" : `Step ${at}`;
    byId("loss-legend").replaceChildren(...[...slots].map(([run, slot]) => {
      const line = svg("line", { class: "mark", x1: 0, x2: 26, y1: 6, y2: 6, "stroke-dasharray": style(slot).dash || "none" });
      const picture = svg("svg", { width: 26, height: 12, class: style(slot).class, "aria-hidden": "true" }, line);
      const value = at === null ? run.loss.at(-1)[1] : valueAt(run);
      return html("li", {}, picture, html("span", {}, run.name), html("b", {}, value === undefined ? "–" : number(value)));
    }));
  }

  function choose(run, chosen) {
    if (!chosen) slots.delete(run);
    else if (!slots.has(run)) {
      const taken = new Set(slots.values());
      slots.set(run, range(runs.length).find((slot) => !taken.has(slot)));
    }
  }

  const boxes = runs.map((run) => {
    const box = html("input", { type: "checkbox" });
    box.addEventListener("change", () => {
      choose(run, box.checked);
      update();
    });
    const label = html("label", {}, box, run.name);
    byId("loss-runs").append(label);
    return { run, box, label };
  });
  const update = () => {
    at = null;
    redraw();
    legend();
  };
  const find = byId("loss-find");
  find.addEventListener("input", () => {
    for (const { run, label } of boxes) label.hidden = !words(find).every((word) => run.name.toLowerCase().includes(word));
  });
  byId("loss-none").addEventListener("click", () => {
    slots.clear();
    boxes.forEach(({ box }) => (box.checked = false));
    update();
  });
  const setups = boxes.map(({ run }) => setupOf(run));
  boxes.filter(({ run }, i) => setups.indexOf(setupOf(run)) === i).slice(0, COLOURS).forEach(({ run, box }) => {
    box.checked = true;
    choose(run, true);
  });
  update();
}

// Disagreements. Classes are one character a sentence, counted from "0" to "~", then from U+4E00 on; logits are 16-bit
// steps of the largest one.
const classAt = (text, row) => text.charCodeAt(row) - (text.charCodeAt(row) < 127 ? 48 : 0x4e00);

function logitsAt(split, row) {
  if (!split.logits) return "–";
  split.bytes ??= new DataView(Uint8Array.from(atob(split.logits), (c) => c.charCodeAt(0)).buffer);
  const count = split.bytes.byteLength / 2 / split.predicted.length;
  const values = range(count).map((i) => (split.bytes.getInt16(2 * (row * count + i), true) / 32767) * split.largest);
  return values.map((value) => number(value, 2)).join(" / ").replaceAll("-", "−");
}

// A side is a run, or all seeds of a setup, which are right or wrong where every one of them is.
const KINDS = {
  "predictions that differ": (a, b) => a.predicted !== null && b.predicted !== null && a.predicted !== b.predicted,
  "only A right": (a, b) => a.right && b.wrong,
  "only B right": (a, b) => a.wrong && b.right,
  "both wrong": (a, b) => a.wrong && b.wrong,
  "both right": (a, b) => a.right && b.right,
  "seeds of one disagree": (a, b) => !(a.right || a.wrong) || !(b.right || b.wrong),
};
const setupOf = (run) => run.name.replace(/, seed -?\d+/, "");

function allSides() {
  const setups = new Map();
  for (const run of data.runs) {
    const key = JSON.stringify([setupOf(run), run.dataset]);
    setups.set(key, [...(setups.get(key) ?? []), run]);
  }
  const several = [...setups.values()].filter((runs) => runs.length > 1);
  return [
    ...several.map((runs) => ({ name: `${setupOf(runs[0])}, all ${runs.length} seeds`, runs })).sort((a, b) => (a.name < b.name ? -1 : 1)),
    ...data.runs.map((run) => ({ name: run.name, runs: [run] })),
  ];
}
const AT_FIRST = 50;

function disagreements() {
  const [splits, first, second, kinds, more] = ["pair-split", "pair-a", "pair-b", "pair-kind", "pair-more"].map(byId);
  const names = [...new Set(data.runs.flatMap((run) => Object.keys(run.splits)))].sort();
  splits.append(...names.map((name) => new Option(name)));
  kinds.append(...Object.keys(KINDS).map((name) => new Option(name)));

  const sides = allSides();
  const labelsOf = ({ runs }) => runs[0].splits[splits.value].labels;
  const withSplit = () =>
    sides.filter((side) => side.runs.every((run) => splits.value in run.splits && run.splits[splits.value].labels === labelsOf(side)));
  const comparable = (a) =>
    withSplit().filter((b) => b !== a && b.runs[0].dataset === a.runs[0].dataset && labelsOf(b) === labelsOf(a));
  const keep = (menu, found) => {
    const before = menu.value;
    menu.replaceChildren(...found.map((side) => new Option(side.name, sides.indexOf(side))));
    if (found.some((side) => String(sides.indexOf(side)) === before)) menu.value = before;
  };

  function offer() {
    keep(first, withSplit().filter((side) => comparable(side).length));
    const a = sides[first.value];
    keep(second, a ? comparable(a) : []);
    compare();
  }

  function judged({ runs }, row) {
    const label = classAt(data.labels[labelsOf({ runs })], row);
    const said = runs.map((run) => classAt(run.splits[splits.value].predicted, row));
    const right = said.filter((one) => one === label).length;
    const predicted = new Set(said).size === 1 ? said[0] : null;
    return { predicted, right: right === runs.length, wrong: right === 0, text: predicted ?? `${right} of ${runs.length}` };
  }

  function compare(limit = AT_FIRST) {
    const [a, b] = [sides[first.value], sides[second.value]];
    const counts = byId("pair-counts");
    const rows = byId("pair-rows");
    if (!a || !b) {
      counts.replaceChildren(html("p", { class: "note" }, "No two runs have predictions for the same sentences."));
      rows.replaceChildren();
      more.hidden = true;
      return;
    }
    const count = a.runs[0].splits[splits.value].predicted.length;
    const pairs = range(count).map((row) => ({ row, a: judged(a, row), b: judged(b, row) }));
    const found = pairs.filter((pair) => KINDS[kinds.value](pair.a, pair.b));
    counts.replaceChildren(countTable(pairs, Math.max(a.runs.length, b.runs.length) > 1));
    rows.replaceChildren(rowTable(found.slice(0, limit), a, b));
    more.hidden = found.length <= limit;
    more.textContent = `Show all ${found.length}`;
  }

  function countTable(pairs, several) {
    const count = (kind) => pairs.filter((pair) => KINDS[kind](pair.a, pair.b)).length;
    const line = (head, ...kinds) =>
      html("tr", {}, html("th", { scope: "row" }, head), ...kinds.map((kind) =>
        html("td", { class: "number", "data-kind": kind }, `${count(kind)} (${percent(count(kind) / pairs.length)})`)));
    const heads = ["", "B right", "B wrong"].map((text) => html("th", { scope: "col", class: "number" }, text));
    return html("table", {},
      html("caption", {}, html("span", {}, `${pairs.length} sentences of ${splits.value}`)),
      html("thead", {}, html("tr", {}, ...heads)),
      html("tbody", {}, line("A right", "both right", "only A right"), line("A wrong", "only B right", "both wrong"),
        ...(several ? [line("seeds disagree", "seeds of one disagree")] : [])));
  }

  function rowTable(pairs, a, b) {
    const texts = data.texts[a.runs[0].dataset]?.[splits.value];
    const heads = ["row", "label", "A says", "A logits", "B says", "B logits", ...(texts ? ["sentence"] : [])];
    const says = ({ text, right, wrong }) =>
      html("td", { class: `number ${right ? "good" : wrong ? "bad" : ""}` }, `${text} ${right || !wrong ? "✓" : "✗"}`);
    const logits = ({ runs }, row) => (runs.length > 1 ? "–" : logitsAt(runs[0].splits[splits.value], row));
    const cell = (value) => html("td", { class: "number" }, String(value));
    const label = data.labels[labelsOf(a)];
    return html("table", {},
      html("caption", {}, html("span", {}, `${kinds.value}: rows of ${splits.value}, counted from 0; classes by number; logits in class order`)),
      html("thead", {}, html("tr", {}, ...heads.map((text) => html("th", { scope: "col", class: text === "sentence" ? "wide" : "number" }, text)))),
      html("tbody", {}, ...pairs.map((pair) =>
        html("tr", {}, cell(pair.row), cell(classAt(label, pair.row)),
          says(pair.a), cell(logits(a, pair.row)),
          says(pair.b), cell(logits(b, pair.row)),
          ...(texts ? [html("td", { class: "wide" }, texts[pair.row])] : [])))));
  }

  splits.addEventListener("change", offer);
  first.addEventListener("change", offer);
  for (const menu of [second, kinds]) menu.addEventListener("change", () => compare());
  more.addEventListener("click", () => compare(Infinity));
  if (names.includes("test")) splits.value = "test";
  offer();
}

// Classes of a run: precision, recall and F1 of each, and what was taken for what; of many, the worst ones first.
const FEW = 20;

function classes() {
  const [splits, menu, more] = ["classes-split", "classes-run", "classes-more"].map(byId);
  const names = [...new Set(data.runs.flatMap((run) => Object.keys(run.splits)))].sort();
  splits.append(...names.map((name) => new Option(name)));
  const ratio = (a, b) => (b ? a / b : 0);
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const head = (texts) => html("thead", {}, html("tr", {}, ...texts.map((text, i) => html("th", { scope: "col", ...(i ? { class: "number" } : {}) }, text))));
  const caption = (text) => html("caption", {}, html("span", {}, text));
  const line = (name, cells) => html("tr", {}, html("th", { scope: "row" }, name), ...cells);
  const cell = (text) => html("td", { class: "number" }, text);

  function offer() {
    const before = menu.value;
    const runs = data.runs.filter((run) => splits.value in run.splits);
    menu.replaceChildren(...runs.map((run) => new Option(run.name, data.runs.indexOf(run))));
    if (runs.some((run) => String(data.runs.indexOf(run)) === before)) menu.value = before;
    show();
  }

  // Rows are the true classes, columns what they were taken for.
  function counted(run) {
    const { labels, predicted } = run.splits[splits.value];
    const count = data.classes[run.classes].length;
    const counts = range(count).map(() => Array(count).fill(0));
    for (const row of range(predicted.length)) counts[classAt(data.labels[labels], row)][classAt(predicted, row)] += 1;
    return counts;
  }

  function show(limit = FEW) {
    const run = data.runs[menu.value];
    for (const id of ["classes-scores", "classes-confusion", "classes-words", "classes-note"]) byId(id).replaceChildren();
    more.hidden = true;
    if (!run) {
      byId("classes-note").textContent = "No run has predictions.";
      return;
    }
    const counts = counted(run);
    const titles = data.classes[run.classes];
    const scores = counts.map((row, at) => {
      const [right, support, said] = [row[at], sum(row), sum(counts.map((other) => other[at]))];
      return { at, support, precision: ratio(right, said), recall: ratio(right, support), f1: ratio(2 * right, support + said) };
    });
    const total = sum(scores.map(({ support }) => support));
    const accuracy = sum(scores.map(({ at }) => counts[at][at])) / total;
    const largest = scores.reduce((best, score) => (score.support > best.support ? score : best));
    const share = largest.support / total;
    byId("classes-note").textContent =
      `Accuracy ${number(accuracy)}, macro-F1 ${number(sum(scores.map(({ f1 }) => f1)) / scores.length)}; the largest class, ${titles[largest.at]}, has ${percent(share)} of the sentences` +
      (accuracy > share ? "." : ", so saying it every time would do as well.");
    const many = scores.length > FEW;
    const worst = many ? scores.toSorted((a, b) => (a.support === 0) - (b.support === 0) || a.f1 - b.f1) : scores;
    byId("classes-scores").append(html("table", {},
      caption(`${total} sentences of ${splits.value}${many ? "; the worst classes first" : ""}`),
      head(["class", "sentences", "precision", "recall", "F1"]),
      html("tbody", {}, ...worst.slice(0, limit).map(({ at, support, precision, recall, f1 }) =>
        line(titles[at], [String(support), number(precision), number(recall), number(f1)].map(cell))))));
    more.hidden = worst.length <= limit;
    more.textContent = `Show all ${worst.length}`;
    byId("classes-confusion").append(many ? pairs(counts, titles) : matrix(counts, titles));
    if (run.strongest.length) byId("classes-words").append(words(run.strongest));
  }

  function words(strongest) {
    return html("table", {},
      caption("The words that speak for each class most, the strongest first"),
      html("thead", {}, html("tr", {}, ...["class", "words"].map((text) => html("th", { scope: "col" }, text)))),
      html("tbody", {}, ...strongest.map(([name, terms]) => line(name, [html("td", { }, terms)]))));
  }

  function matrix(counts, titles) {
    const shaded = (count, row) => {
      const node = cell(String(count));
      node.style.background = `color-mix(in srgb, var(--accent) ${(35 * ratio(count, sum(row))).toFixed(1)}%, transparent)`;
      return node;
    };
    return html("table", {},
      caption("Confusion matrix: a row is the true class, a column what it was taken for"),
      head(["", ...titles]),
      html("tbody", {}, ...counts.map((row, at) => line(titles[at], row.map((count) => shaded(count, row))))));
  }

  function pairs(counts, titles) {
    const found = counts.flatMap((row, at) => row.map((count, other) => ({ at, other, count })))
      .filter(({ at, other, count }) => count && at !== other).sort((a, b) => b.count - a.count);
    return html("table", {},
      caption(`The most frequent of ${found.length} kinds of confusion`),
      html("thead", {}, html("tr", {}, ...["class", "taken for", "sentences"].map((text, i) => html("th", { scope: "col", ...(i > 1 ? { class: "number" } : {}) }, text)))),
      html("tbody", {}, ...found.slice(0, FEW).map(({ at, other, count }) => line(titles[at], [html("td", {}, titles[other]), cell(String(count))]))));
  }

  splits.addEventListener("change", offer);
  menu.addEventListener("change", () => show());
  more.addEventListener("click", () => show(Infinity));
  if (names.includes("test")) splits.value = "test";
  offer();
}

// A link to an environment opens it; on paper all are open.
function environments() {
  const open = () => {
    const target = location.hash && byId(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) target.open = true;
  };
  addEventListener("hashchange", open);
  addEventListener("beforeprint", () => document.querySelectorAll("#environments details").forEach((each) => (each.open = true)));
  open();
}

runTable();
pareto();
lossCurves();
classes();
disagreements();
environments();
