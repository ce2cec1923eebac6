// The front end of SequencePanel: lanes and arrows in SVG, of which only what is in sight is in the document.

const SVG = "http://www.w3.org/2000/svg";
const EVENTS_LIMIT = 5000;
const ROW = 24; // the height of one label
const TOP = 14;
const BAR = 5; // half a handler's bar
const SLOTS = 32768; // more than four for each event
const NOW = SLOTS - 1;
const LANES_LIMIT = 40;
const FOLD_ABOVE = 12; // with more lanes than this, ended ones are folded unless the reader wants them
const WORTH_SAYING = 0.25; // seconds of waiting that are worth words

/** How much room time gets, from the order of events alone to time as it was; `cut` is where quiet time ends. */
export const SCALES = [
  { words: "compact", pixels: 0, cut: 14, least: ROW },
  { words: "1 s = 40 px", pixels: 0.04, cut: 64, least: ROW },
  { words: "100 ms = 40 px", pixels: 0.4, cut: 64, least: ROW },
  { words: "1 ms = 20 px", pixels: 20, cut: 64, least: ROW },
  { words: "1 ms = 100 px", pixels: 100, cut: 200, least: ROW },
  { words: "true time, 1 ms = 200 px", pixels: 200, cut: 600, least: 0 },
];
const USUAL_SCALE = 3;

/** An SVG element; strings become text, never markup. */
function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return element;
}

/** How long, as people say it. */
export function duration(seconds) {
  const ms = seconds * 1000;
  if (ms < 1) return `${ms < 0.095 ? ms.toFixed(2) : ms.toFixed(1)} ms`;
  if (ms < 100) return `${ms < 9.95 ? ms.toFixed(1) : ms.toFixed(0)} ms`;
  if (seconds < 60) return `${seconds < 9.95 ? seconds.toFixed(ms < 995 ? 2 : 1) : seconds.toFixed(0)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}

/** A moment since the beginning, as exact as the scale makes sense of. */
export function moment(at, scale) {
  return scale < USUAL_SCALE || at >= 100 ? seconds(at) : `+${at.toFixed(4)}`;
}

/** A size in bytes, as the kernel's side says it too. */
export function bytes(size) {
  if (size < 1024) return `${size} B`;
  return size < 1048576 ? `${(size / 1024).toFixed(1)} KiB` : `${(size / 1048576).toFixed(1)} MiB`;
}

/**
 * Where everything lies: time becomes height, never backwards. Each row gets at least a label's height, real time is
 * drawn to scale, and quiet time is cut. `rows` are in the order of time; `now` is given while something waits.
 */
export function layout(rows, scale, now = null) {
  const knots = knotsOf(rows, now), count = knots.length;
  const at = new Float64Array(count), heights = new Float64Array(count), starts = new Float64Array(rows.length), ends = new Float64Array(rows.length);
  const cuts = [], timed = new Uint8Array(rows.length), labelled = new Uint8Array(rows.length);
  let y = TOP, before = null, lastRow = -Infinity, lastTime = -Infinity, lastLabel = -Infinity;
  for (let nth = 0; nth < count; nth += 1) {
    const slot = knots[nth] % SLOTS, time = (knots[nth] - slot) / SLOTS / 1e6, row = slot >> 2, from = y;
    const passed = before === null ? 0 : time - before, drawn = passed * scale.pixels * 1000;
    const cut = before !== null && (scale.pixels ? drawn > scale.cut : passed > 1);
    y += cut ? scale.cut : drawn;
    if (slot < NOW && slot % 4 === 0) {
      y = Math.max(y, lastRow + scale.least);
      lastRow = starts[row] = ends[row] = y;
      if (cut || y - lastTime >= 40) [timed[row], lastTime] = [1, y];
      if (y - lastLabel >= 16) [labelled[row], lastLabel] = [1, y];
    } else if (slot < NOW) ends[row] = Math.max(ends[row], y);
    if (cut) cuts.push({ y: (from + y) / 2, seconds: passed });
    [before, at[nth], heights[nth]] = [time, time, y];
  }
  const reach = new Float64Array(rows.length); // how far down anything that began so far goes
  rows.forEach((_, index) => (reach[index] = Math.max(ends[index], index ? reach[index - 1] : 0)));
  return { starts, ends, reach, cuts, timed, labelled, at, heights, height: y + ROW, bottom: y };
}

/**
 * All moments in order, each one number, because only numbers sort fast: microseconds, and below them whose moment it is
 * (four slots a row: its beginning, then the client, the wire and the handler).
 */
function knotsOf(rows, now) {
  const knots = new Float64Array(rows.length * 4 + 1);
  let count = 0;
  const add = (time, slot) => (knots[count++] = Math.round(time * 1e6) * SLOTS + slot);
  rows.forEach((row, index) => {
    add(row.at, index * 4);
    if (row.client > row.at) add(row.client, index * 4 + 1);
    if (row.wire > row.at) add(row.wire, index * 4 + 2);
    if (row.handler > row.at) add(row.handler, index * 4 + 3);
  });
  if (now !== null) add(Math.max(now, rows.length ? rows[0].at : 0), NOW);
  return knots.subarray(0, count).sort();
}

/** The height of a moment: between two known ones in proportion. */
export function heightOf(picture, time) {
  const { at, heights } = picture;
  if (!at.length || time <= at[0]) return at.length ? heights[0] : TOP;
  let low = 0, high = at.length - 1;
  if (time >= at[high]) return heights[high];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (at[middle] <= time) low = middle;
    else high = middle;
  }
  return at[high] === at[low] ? heights[low] : heights[low] + ((heights[high] - heights[low]) * (time - at[low])) / (at[high] - at[low]);
}

/** The rows between two heights, as [first, end): none that reaches in is left out. */
export function inSight(picture, top, bottom) {
  const first = lowest(picture.reach, top), end = lowest(picture.starts, bottom);
  return [Math.min(first, end), end];
}

function lowest(sorted, least) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < least) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The columns of a diagram: clients on the left, handlers on the right, and between them room for words. */
export function columns(count, width) {
  const lanes = Math.max(1, count), gutter = width < 500 ? 52 : 60, pad = 8;
  const words = width < 480 ? 112 : width < 760 ? 150 : 200;
  const lane = Math.max(24, Math.min(132, (width - gutter - pad - words) / (2 * lanes)));
  const whole = Math.max(width, gutter + pad + words + 2 * lanes * lane);
  const rightFrom = whole - pad - lanes * lane;
  const client = (place) => gutter + lane * (place + 0.5), handler = (place) => rightFrom + lane * (place + 0.5);
  return { gutter, lane, width: whole, client, handler, left: client(lanes - 1) + 12, right: handler(0) - 20, stacked: lane < 84, narrow: lane < 56 };
}

/** What can be seen of a row's waiting: [words, whether it waits still]. */
export function waitingWords(row, now) {
  const since = (place) => now - row[place];
  if (row.lost) return [`never ${row.wire === undefined ? { up: "arrived", down: "written" }[row.way] : { up: "received", down: "read" }[row.way]}`, false];
  if (row.waits === "handler" && since("wire") >= WORTH_SAYING) return [`not received yet, ${duration(since("wire"))}`, true];
  if (row.waits === "wire" && since("handler") >= WORTH_SAYING) return [`send waits ${duration(since("handler"))}`, true];
  if (row.waits === "arrival" && since("client") >= WORTH_SAYING) return [`on its way, ${duration(since("client"))}`, true];
  if (row.waits === "client" && since("wire") >= WORTH_SAYING) return ["not read yet", true];
  if (row.kind !== "message") return ["", false];
  if (row.way === "up" && row.handler - row.wire >= WORTH_SAYING / 5) return [`received after ${duration(row.handler - row.wire)}`, false];
  if (row.way === "down" && row.wire - row.handler >= WORTH_SAYING / 5) return [`send waited ${duration(row.wire - row.handler)}`, false];
  return ["", false];
}

/** The two ends of a row's connection, in words. */
function ends(row, lane) {
  return [lane?.name ?? "client", `handler ${row.n}`];
}

/** Who did it, where a label needs it said. */
export function whoWords(row, lane) {
  const [client, handler] = ends(row, lane), who = row.way === "up" ? client : handler;
  if (row.kind === "close") return row.first ? `${who} began it` : "the answer";
  if (row.kind === "dropped") return `by ${row.way === "up" ? client : "the server"}`;
  return row.also ?? "";
}

/** A row in words, for those who hear it. */
export function spoken(row, lane, now) {
  if (row.way === "divider") return row.label;
  const [client, handler] = ends(row, lane), waiting = waitingWords(row, now)[0].replace(/,? [\d.]+ (ms|s|min)( \d+ s)?$/, row.waits ? "" : "$&");
  if (row.way === "here") return `${row.side === "client" ? client : handler}: ${row.label}`;
  const kind = row.kind === "message" ? (row.label.startsWith("“") ? "text " : "") : "";
  const way = row.way === "up" ? `${client} to ${handler}` : `${handler} to ${client}`;
  const [from, to] = row.way === "up" ? [row.client, row.wire] : [row.wire, row.client];
  const took = to !== undefined && from !== undefined && to >= from ? duration(to - from) : "";
  return [`${way}: ${kind}${row.label}`, took, whoWords(row, lane), waiting].filter(Boolean).join(", ");
}

/** Whether a lane's ends are both gone. */
export function hasEnded(lane) {
  return lane.clientEnd !== undefined && (lane.handlerFrom === undefined || lane.handlerEnd !== undefined);
}

/** The lanes to draw and how many ended ones are folded away; `fold` is null while the reader has not chosen. */
export function shownLanes(lanes, used, fold) {
  const wanted = lanes.filter((lane) => used.has(lane.n) || !hasEnded(lane));
  const folded = fold ?? wanted.length > FOLD_ABOVE;
  const open = folded ? wanted.filter((lane) => !hasEnded(lane)) : wanted;
  return { shown: open.slice(-LANES_LIMIT), ended: wanted.filter(hasEnded).length, folded, beyond: Math.max(0, open.length - LANES_LIMIT) };
}

/** Text that fits a width, cut with an ellipsis; `measure` gives a text's width. */
export function elided(text, width, measure) {
  if (measure(text) <= width) return text;
  let low = 0, high = text.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (measure(`${text.slice(0, middle)}…`) <= width) low = middle;
    else high = middle;
  }
  return `${text.slice(0, low).trimEnd()}…`;
}

/** The rows that a reader wants to see, in the order of time. */
export function wantedRows(rows, { pings, wanted, laneOf, shown, since }) {
  const chosen = [];
  let folded = 0;
  for (const row of rows) {
    if (row.at <= since || row.kind === "end" || (row.n && !shown.has(row.n))) continue;
    if (row.kind === "ping" || row.kind === "pong") {
      folded += 1;
      if (!pings) continue;
    }
    if (wanted && !matches(`${row.label} ${laneOf(row.n)?.name ?? ""} ${row.n ? `handler ${row.n}` : ""} ${row.also ?? ""} ${row.kind}`, wanted)) continue;
    chosen.push(row);
  }
  chosen.sort((a, b) => a.at - b.at);
  return [chosen, folded];
}

// Drawing: one group for each event, which holds its arrow or note, its words, and the surface that takes clicks.

function arrowHead(x1, y1, x2, y2) {
  const length = Math.hypot(x2 - x1, y2 - y1) || 1, [dx, dy] = [(x2 - x1) / length, (y2 - y1) / length];
  const [bx, by] = [x2 - 8 * dx, y2 - 8 * dy];
  return s("path", { class: "kit-seq-head", d: `M${x2} ${y2}L${bx - 4 * dy} ${by + 4 * dx}L${bx + 4 * dy} ${by - 4 * dx}Z` });
}

function cross(x, y) {
  return s("path", { class: "kit-seq-cross", d: `M${x - 5} ${y - 5}l10 10M${x + 5} ${y - 5}l-10 10` });
}

function line(x1, y1, x2, y2, kind = "") {
  return s("line", { class: `kit-seq-line ${kind}`, x1, y1, x2, y2, pathLength: kind ? null : 1 });
}

/** Where an arrow begins and ends, and whether it got there. */
export function arrowOf(row, lane, place, grid, yOf) {
  const clientX = grid.client(place), handlerX = grid.handler(place) - BAR;
  const server = row.wire ?? row.handler, client = row.client;
  if (row.way === "up") {
    const begins = client ?? server, arrives = row.wire ?? (lane?.served ? row.handler : begins);
    const there = arrives !== undefined;
    return { x1: clientX, y1: yOf(begins), x2: there ? handlerX : (grid.left + grid.right) / 2, y2: yOf(arrives ?? begins), there, client: false };
  }
  const unread = client === undefined && lane?.ours && (row.waits === "client" || row.waits === "wire" || row.lost);
  return { x1: handlerX, y1: yOf(server ?? client), x2: unread ? clientX + boxWidth(grid) / 2 : clientX, y2: yOf(client ?? server), there: !unread, client: true };
}

/**
 * An event's words on a ground of their own, within `from` and `to`: in the middle of the diagram if they fit there, else as
 * far to the right as they may go; `side` puts them at one edge. Payload and what is said about it share the room,
 * and where it is too little for both while something waits, the waiting has it all.
 */
function words({ label, extra, waits, tone }, side, from, to, y, { grid, measure }) {
  const room = to - from, least = Math.min(measure(label), 90, room * 0.6);
  const alone = waits && room - measure(` · ${extra}`) < 40; // what waits still is said before what it is
  const tail = !extra ? "" : alone ? elided(extra, room, measure) : elided(` · ${extra}`, room - least, measure);
  const head = alone ? "" : elided(label, room - measure(tail), measure), wide = measure(head) + measure(tail);
  const middle = Math.max(from, Math.min((grid.left + grid.right - wide) / 2, to - wide));
  const x = side === "left" ? from : side === "right" ? to - wide : middle;
  return [
    s("rect", { class: "kit-seq-ground", x: x - 4, y: y - 8.5, width: wide + 8, height: 17, rx: 4 }),
    s("text", { class: `kit-seq-label kit-tone-${tone || "plain"}`, x, y: y + 4 }, head, tail ? s("tspan", { class: waits ? "kit-seq-waits" : "kit-seq-extra" }, tail) : ""),
  ];
}

function drawArrow(row, lane, place, view) {
  const { grid, yOf, y0, now, labelled } = view;
  const arrow = arrowOf(row, lane, place, grid, yOf), parts = [];
  const dashed = row.kind === "dropped" || !arrow.there || row.lost ? "kit-dashed" : "";
  if (view.flat && Math.abs(arrow.y2 - arrow.y1) < 2 * ROW) arrow.y1 = arrow.y2 = y0;
  parts.push(line(arrow.x1, arrow.y1, arrow.x2, arrow.y2, dashed));
  if (row.lost || row.kind === "dropped") parts.push(cross(arrow.x2 + (row.way === "up" ? -8 : 8), arrow.y2));
  else if (arrow.there) parts.push(arrowHead(arrow.x1, arrow.y1, arrow.x2, arrow.y2));
  if (row.kind === "message") parts.push(...drawWaiting(row, place, view));
  if (!labelled) return parts;
  const [waiting, waits] = waitingWords(row, now), steep = Math.abs(arrow.y2 - arrow.y1) > 12;
  const extra = [whoWords(row, lane), row.waits === "client" ? "" : waiting].filter(Boolean).join(", "); // what is unread is said once, in its box
  const y = Math.min(Math.max((arrow.y1 + arrow.y2) / 2, y0), y0 + (steep ? 0 : 6));
  const side = steep ? { up: "left", down: "right" }[row.way] : "middle";
  return [...parts, ...words({ label: row.label, extra, waits, tone: row.tone === "bad" ? "bad" : "" }, side, view.beside(place, y), grid.right, y, view)];
}

/** Boxes for what waits at the handler: a message that nobody has received, a send that uvicorn has not written. */
function drawWaiting(row, place, { grid, yOf, now }) {
  const edge = grid.handler(place) - BAR;
  const box = (x, width, from, to, kind) => (to - from < WORTH_SAYING / 5 ? [] : [s("rect", { class: kind, x, width, y: yOf(from), height: Math.max(3, yOf(to) - yOf(from)), rx: 3 })]);
  if (row.way === "up" && row.wire !== undefined && (row.waits === "handler" || row.handler !== undefined)) return box(edge - 11, 9, row.wire, row.handler ?? now, "kit-seq-box");
  if (row.way === "down" && row.handler !== undefined && (row.waits === "wire" || row.wire !== undefined)) return box(edge, 2 * BAR, row.handler, row.wire ?? now, "kit-seq-sending");
  return [];
}

function drawNote(row, lane, place, view) {
  const { grid, y0, labelled } = view, ofClient = row.side === "client";
  const x = ofClient ? grid.client(place) : grid.handler(place), edge = ofClient ? x + 14 : grid.right;
  const parts = [line(x, y0, edge, y0, "kit-dotted"), s("circle", { class: "kit-seq-dot", cx: x, cy: y0, r: 3.5 })];
  if (!labelled) return parts;
  return [...parts, ...words({ label: row.label, tone: row.tone }, ofClient ? "left" : "right", ofClient ? edge : grid.gutter + 4, grid.right, y0, view)];
}

function drawDivider(row, view) {
  const { grid, y0, measure } = view, room = grid.width - grid.gutter, text = elided(row.label, room - 60, measure), from = grid.gutter + (room - measure(text)) / 2;
  return [s("line", { class: "kit-seq-rule", x1: grid.gutter, x2: grid.width - 6, y1: y0, y2: y0 }), ...words({ label: text, tone: row.tone }, "left", from, from + room, y0, view)];
}

function drawLanes(lanes, picture, grid) {
  const parts = [], yOf = (time) => heightOf(picture, time), floor = picture.height;
  lanes.forEach((lane, place) => {
    const own = `kit-c${colourOf(lane.n)}`, from = lane.from === undefined ? 0 : yOf(lane.from);
    const x = grid.client(place), until = lane.clientEnd === undefined ? floor : yOf(lane.clientEnd), bar = grid.handler(place);
    parts.push(s("line", { class: `kit-seq-lane ${own}`, x1: x, x2: x, y1: Math.max(0, from - 8), y2: until }));
    if (lane.clientEnd !== undefined) parts.push(s("line", { class: `kit-seq-cap ${own}`, x1: x - 5, x2: x + 5, y1: until, y2: until }));
    parts.push(s("line", { class: `kit-seq-lane ${own}`, x1: bar, x2: bar, y1: Math.max(0, from - 8), y2: lane.handlerEnd === undefined && lane.clientEnd === undefined ? floor : Math.max(until, yOf(lane.handlerEnd ?? 0)) }));
    if (lane.handlerFrom === undefined) return;
    const begins = yOf(lane.handlerFrom), ends = lane.handlerEnd === undefined ? floor : yOf(lane.handlerEnd);
    parts.push(s("rect", { class: `kit-seq-bar ${own}`, x: bar - BAR, width: 2 * BAR, y: begins, height: Math.max(4, ends - begins), rx: 3 }));
  });
  return parts;
}

/** Per connection, what is written and not read: [{ place, from, size, count }]. */
export function unreadOf(rows, places, now) {
  const unread = new Map();
  for (const row of rows) {
    if (row.waits !== "client" || !places.has(row.n) || now - row.wire < WORTH_SAYING) continue;
    const known = unread.get(row.n) ?? { n: row.n, place: places.get(row.n), from: row.wire, size: 0, count: 0 };
    unread.set(row.n, { ...known, size: known.size + (row.size ?? 0), count: known.count + 1 });
  }
  return [...unread.values()];
}

function boxWidth(grid) {
  return Math.min(grid.lane - 6, 72);
}

function drawUnread(unread, picture, grid) {
  return unread.map(({ n, place, from, size }) => {
    const width = boxWidth(grid), x = grid.client(place) - width / 2, y = heightOf(picture, from);
    const upright = width < 60, room = upright ? 100 : 40, height = Math.max(room, picture.bottom - y), middle = y + height - (upright ? 52 : 22);
    const turned = upright ? `rotate(-90 ${x + width / 2} ${middle})` : null;
    const word = (down, text) => s("text", { x: x + width / 2, y: middle + down, "text-anchor": "middle", transform: turned }, text);
    return s(
      "g",
      { class: `kit-seq-unread kit-c${colourOf(n)}` },
      s("rect", { x, y, width, height, rx: 5 }),
      ...(upright ? [word(4, `${bytes(size)} unread`)] : [word(0, bytes(size)), word(14, "unread")]),
    );
  });
}

/** Where quiet time is cut out: all that runs on is torn there, and the margin says for how long nothing happened. */
function drawCuts(picture, grid, top, bottom) {
  const seen = picture.cuts.filter(({ y }) => y > top && y < bottom);
  return seen.flatMap(({ y, seconds }) => [
    s("rect", { class: "kit-seq-tear", x: grid.gutter, y: y - 2.5, width: grid.width - grid.gutter, height: 5 }),
    seconds >= 0.1 ? s("text", { class: "kit-seq-cut", x: 8, y: y + 4 }, `⋮ ${duration(seconds)}`) : "",
  ]);
}

/** The names above the lanes. Where they have no room, the clients or the handlers together have one word for them all. */
function headings(lanes, grid, measure) {
  const cell = (x, lane, role, name, says) =>
    h("div", { class: `kit-seq-name kit-c${colourOf(lane.n)}${grid.stacked ? " kit-stacked" : ""}`, style: `left:${x - grid.lane / 2}px;width:${grid.lane}px`, title: says, role: "listitem", "aria-label": role }, badge(lane.n), h("span", {}, name));
  const caption = (words, x) => h("div", { class: "kit-seq-caption", "aria-hidden": "true", style: `left:${x - grid.lane / 2}px;width:${grid.lane * lanes.length}px` }, words);
  const named = !grid.narrow || lanes.every(({ name }) => measure(name) <= grid.lane + 2); // they are set smaller than what is measured
  return [
    ...lanes.map((lane, place) => cell(grid.client(place), lane, lane.name, named ? lane.name : "", `${lane.name}, connection ${lane.n}, ${lane.path}`)),
    ...lanes.map((lane, place) => cell(grid.handler(place), lane, `handler ${lane.n}`, grid.narrow ? "" : `handler ${lane.n}`, `the handler of ${lane.name}, connection ${lane.n}`)),
    ...(named || !lanes.length ? [] : [caption("clients", grid.client(0))]),
    ...(grid.narrow && lanes.length ? [caption("handlers", grid.handler(0))] : []),
  ];
}

function detailsOf(pairs) {
  return pairs.flatMap(([label, value]) => [h("dt", {}, label), h("dd", {}, value)]);
}

function render({ model, el }) {
  const rows = new Map(), lanes = new Map(), drawn = new Map(), fresh = new Set();
  let scale = USUAL_SCALE, following = true, pings = false, fold = null, wanted = "", held = null, since = -1;
  let clock = { now: 0, at: performance.now() }, dropped = 0;
  let picture = layout([], SCALES[scale]), chosen = [], shown = [], places = new Map(), grid = columns(1, 600), unread = [];
  let selected = null, opened = null, due = 0, dirty = true, byReader = -Infinity, focusWanted = false, headed = "", restUntil = 0;
  const widths = new Map();
  const pen = document.createElement("canvas").getContext("2d");

  const local = { type: "button", "data-local": "1" };
  const followPill = h("button", { ...local, class: "kit-button kit-follow", "aria-pressed": "true", title: "Keep the newest event in view" }, "Follow");
  const filter = h("input", { type: "search", class: "kit-input kit-filter", "data-local": "1", placeholder: "Filter", "aria-label": "Filter: events" });
  const pingToggle = h("button", { ...local, class: "kit-button", "aria-pressed": "false", hidden: true });
  const foldToggle = h("button", { ...local, class: "kit-button", "aria-pressed": "false", hidden: true });
  const zoomOut = h("button", { ...local, class: "kit-button kit-seq-zoom", "aria-label": "Zoom out", title: "−" }, "−");
  const zoomIn = h("button", { ...local, class: "kit-button kit-seq-zoom", "aria-label": "Zoom in", title: "+" }, "+");
  const scaleWords = h("span", { class: "kit-seq-scale", role: "status", "aria-label": "Scale of time", title: "Events closer than a label are spread; quiet time is cut" });
  const pause = h("button", { ...local, class: "kit-button kit-pause", "aria-pressed": "false", title: "Hold what is new back" }, "Pause");
  const clear = h("button", { ...local, class: "kit-button kit-clear", title: "Clear this diagram" }, "Clear");
  const names = h("div", { class: "kit-seq-names", role: "list", "aria-label": "Lanes" });
  const layers = Object.fromEntries(["lanes", "cuts", "unread", "lines"].map((name) => [name, s("g", { "aria-hidden": name === "lines" ? null : "true" })]));
  const svg = s("svg", { role: "presentation" }, ...Object.values(layers));
  const canvas = h("div", { class: "kit-seq-canvas" }, names, svg);
  const empty = h("div", { class: "kit-empty" }, "Connect a client and say something: each message is drawn here as an arrow, from its client’s lane to the handler or back.");
  const earlier = h("div", { class: "kit-note", hidden: true });
  const scroller = h("div", { class: "kit-seq-scroll", role: "log", tabindex: "0", "aria-label": "Sequence of events", "data-lm-suppress-shortcuts": "true" }, canvas, empty);
  const strip = h("dl", { class: "kit-details" });
  const stripTitle = h("strong", {});
  const shut = h("button", { ...local, class: "kit-button", "aria-label": "Close the details" }, "Close");
  const details = h("section", { class: "kit-seq-details", "aria-label": "Details", hidden: true }, h("div", { class: "kit-heading" }, stripTitle, h("span", { class: "kit-spring" }), shut), strip);
  const panel = h(
    "section",
    { class: "kit-panel kit-sequence-panel", "aria-label": model.get("title") },
    h("header", { class: "kit-header" }, h("strong", {}, "Sequence"), followPill, h("span", { class: "kit-spring" }), filter, pause, clear),
    earlier,
    scroller,
    h("footer", { class: "kit-seq-foot" }, h("span", { class: "kit-faint kit-seq-caption-of-time" }, "Time"), zoomOut, scaleWords, zoomIn, h("span", { class: "kit-spring" }), pingToggle, foldToggle),
    details,
  );
  el.replaceChildren(panel);

  const now = () => (held || panel.classList.contains("kit-gone") ? clock.now : clock.now + (performance.now() - clock.at) / 1000);
  const measure = (text) => {
    if (!widths.has(text)) {
      if (widths.size > 20_000) widths.clear();
      widths.set(text, pen.measureText(text).width);
    }
    return widths.get(text);
  };
  const headHeight = () => (!shown.length ? 0 : grid.stacked ? 44 : 32);

  /** What is to be seen changed: lay it all out anew, at most once a frame. */
  const change = () => {
    dirty = true;
    wake();
  };
  const wake = () => {
    due ||= requestAnimationFrame(paint);
  };

  /** Laying out takes at most a fifth of the time, so that a flood of events leaves the page free for its reader. */
  function paint() {
    due = 0;
    const began = performance.now();
    if (dirty && began >= restUntil) {
      relayout();
      restUntil = began + 5 * (performance.now() - began);
    }
    show();
    if (dirty) wake();
  }

  function relayout() {
    dirty = false;
    const anchor = following ? null : anchored();
    const used = new Set();
    for (const row of rows.values()) if (row.at > since && row.n) used.add(row.n);
    const chosenLanes = shownLanes([...lanes.values()].filter((lane) => lane.clientEnd === undefined || lane.clientEnd > since).sort((a, b) => a.n - b.n), used, fold);
    shown = chosenLanes.shown;
    places = new Map(shown.map((lane, place) => [lane.n, place]));
    let pingCount;
    [chosen, pingCount] = wantedRows(rows.values(), { pings, wanted, laneOf: (n) => lanes.get(n), shown: places, since });
    const at = now(), waiting = chosen.some((row) => row.waits);
    picture = layout(chosen, SCALES[scale], waiting ? at : null);
    unread = unreadOf(chosen, places, at);
    grid = columns(shown.length, scroller.clientWidth || 600);
    pen.font = `12px ${getComputedStyle(panel).fontFamily}`;
    frame(chosenLanes, pingCount);
    if (following) scroller.scrollTop = scroller.scrollHeight;
    else if (anchor) restore(anchor);
  }

  /** The still parts: names, lanes, toolbar. */
  function frame(chosenLanes, pingCount) {
    canvas.style.width = `${grid.width}px`;
    canvas.style.height = `${headHeight() + picture.height}px`;
    svg.setAttribute("width", grid.width);
    svg.setAttribute("height", picture.height);
    names.style.height = `${headHeight()}px`;
    const heads = JSON.stringify([shown.map(({ n, name }) => [n, name]), grid.width]);
    if (heads !== headed) names.replaceChildren(...headings(shown, grid, measure));
    headed = heads;
    layers.lanes.replaceChildren(...drawLanes(shown, picture, grid));
    layers.unread.replaceChildren(...drawUnread(unread, picture, grid));
    empty.hidden = shown.length > 0;
    names.hidden = !shown.length;
    canvas.style.minHeight = shown.length ? "" : "0";
    scaleWords.textContent = SCALES[scale].words;
    [zoomOut.disabled, zoomIn.disabled] = [scale === 0, scale === SCALES.length - 1];
    pingToggle.hidden = !pingCount;
    pingToggle.textContent = pings ? "Hide pings" : `${pingCount} ping${pingCount === 1 ? "" : "s"}/pongs hidden`;
    pingToggle.setAttribute("aria-pressed", String(pings));
    foldToggle.hidden = !chosenLanes.ended;
    const ended = `${chosenLanes.ended} ended lane${chosenLanes.ended === 1 ? "" : "s"}`;
    foldToggle.textContent = chosenLanes.folded ? `${ended} hidden` : `Hide ${ended}`;
    foldToggle.setAttribute("aria-pressed", String(chosenLanes.folded));
    sayFollowing();
    const missing = [dropped && since < 0 ? `${dropped.toLocaleString()} earlier events are not kept` : "", chosenLanes.beyond ? `${chosenLanes.beyond} older lanes are not shown` : ""].filter(Boolean);
    earlier.textContent = missing.join(" · ");
    earlier.hidden = !missing.length;
  }

  /** The events in sight and the one that has the focus; what is there and still right is not even moved, which would take its focus. */
  function show() {
    const top = scroller.scrollTop - 200, bottom = scroller.scrollTop + scroller.clientHeight + 200;
    const at = now(), animate = fresh.size <= 10, wantedIndexes = indexesToShow(top, bottom), keep = new Set(wantedIndexes.map((index) => chosen[index].key));
    const beside = (place, y) => {
      const boxes = unread.filter((box) => box.place >= place && heightOf(picture, box.from) < y + ROW / 2); // their words are not painted over
      return boxes.length ? grid.client(Math.max(...boxes.map((box) => box.place))) + boxWidth(grid) / 2 + 8 : grid.client(place) + 14;
    };
    const view = { grid, yOf: (time) => heightOf(picture, time), now: at, measure, beside, flat: scale === 0 };
    for (const [key, { group }] of drawn) {
      if (keep.has(key)) continue;
      if (group === document.activeElement) scroller.focus({ preventScroll: true });
      group.remove();
      drawn.delete(key);
    }
    let next = layers.lines.firstChild;
    for (const index of wantedIndexes) {
      const group = eventElement(chosen[index], index, view, animate && fresh.has(chosen[index].key));
      if (group === next) next = next.nextSibling;
      else layers.lines.insertBefore(group, next);
    }
    fresh.clear();
    layers.cuts.replaceChildren(...drawCuts(picture, grid, top, bottom));
    if (focusWanted) drawn.get(selected)?.group.focus({ preventScroll: true });
    focusWanted = false;
  }

  function indexesToShow(top, bottom) {
    const [first, end] = inSight(picture, top, bottom), focused = document.activeElement?.dataset?.key, indexes = [];
    const kept = drawn.has(focused) ? chosen.findIndex((row) => row.key === focused) : -1;
    if (kept >= 0 && kept < first) indexes.push(kept);
    for (let index = first; index < end; index += 1) if (index === kept || (chosen[index].waits ? picture.bottom : picture.ends[index]) >= top) indexes.push(index);
    if (kept >= end) indexes.push(kept);
    return indexes;
  }

  function eventElement(row, index, view, isNew) {
    const y0 = picture.starts[index], lane = lanes.get(row.n), place = places.get(row.n);
    const about = [row.rev, y0, picture.ends[index], grid.width, grid.lane, place, lane?.name, scale, row.waits ? view.now.toFixed(1) + picture.bottom : "", row.key === selected, row.key === opened, picture.timed[index]].join();
    const known = drawn.get(row.key);
    if (known?.about === about) return known.group;
    const group = known?.group ?? s("g");
    const shownView = { ...view, y0, labelled: picture.labelled[index] || row.key === selected };
    const tone = row.tone ? ` kit-seq-${row.tone}` : "";
    group.setAttribute("class", `kit-seq-event kit-c${colourOf(row.n)}${tone}${isNew ? " kit-seq-new" : ""}${row.key === opened ? " kit-seq-open" : ""}`);
    group.setAttribute("role", row.way === "divider" ? "note" : "button");
    group.setAttribute("aria-label", spoken(row, lane, view.now));
    if (row.way !== "divider") {
      group.setAttribute("tabindex", row.key === selected ? "0" : "-1");
      group.setAttribute("aria-expanded", String(row.key === opened));
    }
    group.dataset.key = row.key;
    const hit = s("rect", { class: "kit-seq-hit", x: 2, y: y0 - ROW / 2, width: grid.width - 4, height: ROW, rx: 4 });
    const time = picture.timed[index] ? s("text", { class: "kit-seq-time", x: 8, y: y0 + 4 }, moment(row.at, scale)) : "";
    const drawing = row.way === "divider" ? drawDivider(row, shownView) : row.way === "here" ? drawNote(row, lane, place, shownView) : drawArrow(row, lane, place, shownView);
    group.replaceChildren(hit, ...drawing, time);
    drawn.set(row.key, { group, about });
    return group;
  }

  // Scrolling, and staying where the reader looks.

  function anchored() {
    const y = scroller.scrollTop, index = selected !== null ? chosen.findIndex((row) => row.key === selected) : -1;
    const near = index >= 0 && picture.starts[index] > y && picture.starts[index] < y + scroller.clientHeight ? index : lowest(picture.starts, y);
    return near < chosen.length ? { key: chosen[near].key, offset: picture.starts[near] - y } : null;
  }
  function restore({ key, offset }) {
    const index = chosen.findIndex((row) => row.key === key);
    if (index >= 0) scroller.scrollTop = picture.starts[index] - offset;
  }
  function follow(on) {
    following = on;
    if (on) scroller.scrollTop = scroller.scrollHeight;
    sayFollowing();
    wake();
  }
  function sayFollowing() {
    followPill.setAttribute("aria-pressed", String(following));
  }
  for (const kind of ["wheel", "touchmove", "pointerdown", "keydown"]) scroller.addEventListener(kind, () => (byReader = performance.now()), { passive: true });
  scroller.addEventListener("scroll", () => {
    const atEnd = scroller.scrollTop + scroller.clientHeight >= scroller.scrollHeight - 8;
    if (atEnd !== following && (atEnd || performance.now() - byReader < 2000)) follow(atEnd);
    wake();
  });
  followPill.addEventListener("click", () => follow(!following));

  // What the reader asks for.

  function zoom(by) {
    scale = Math.min(SCALES.length - 1, Math.max(0, scale + by));
    change();
  }
  zoomIn.addEventListener("click", () => zoom(1));
  zoomOut.addEventListener("click", () => zoom(-1));
  scroller.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? 1 : -1);
    },
    { passive: false },
  );
  filter.addEventListener("input", () => {
    wanted = filter.value.trim();
    change();
  });
  pingToggle.addEventListener("click", () => {
    pings = !pings;
    change();
  });
  foldToggle.addEventListener("click", () => {
    fold = foldToggle.getAttribute("aria-pressed") !== "true";
    change();
  });
  clear.addEventListener("click", () => {
    since = [...rows.values()].reduce((latest, row) => Math.max(latest, row.at), -1);
    open(null);
    change();
  });
  pause.addEventListener("click", () => {
    if (held) {
      const { rows: newRows, lanes: newLanes, last } = held;
      held = null;
      if (last) take({ ...last, rows: [...newRows.values()], lanes: [...newLanes.values()] });
    } else {
      [clock, held] = [{ now: now(), at: performance.now() }, { rows: new Map(), lanes: new Map() }];
    }
    pause.setAttribute("aria-pressed", String(held !== null));
    pause.textContent = held ? "Resume" : "Pause";
    change();
  });

  function select(index) {
    const row = chosen[index];
    if (!row) return;
    selected = row.key;
    const y = picture.starts[index], top = scroller.scrollTop, room = scroller.clientHeight - headHeight();
    if (y < top + ROW || y > top + room - ROW) {
      following = false;
      scroller.scrollTop = Math.max(0, y - room / 2);
      if (index === chosen.length - 1) following = true;
    }
    focusWanted = true;
    change();
  }
  function step(by) {
    let index = chosen.findIndex((row) => row.key === selected);
    if (index < 0) index = by > 0 ? lowest(picture.starts, scroller.scrollTop) - 1 : lowest(picture.starts, scroller.scrollTop + scroller.clientHeight - headHeight());
    do index += by;
    while (chosen[index]?.way === "divider");
    select(index);
  }
  function open(key) {
    opened = key;
    const row = key === null ? null : rows.get(key);
    details.hidden = !row;
    if (row) {
      selected = key;
      stripTitle.textContent = spoken(row, lanes.get(row.n), now());
      strip.replaceChildren(...detailsOf([["", "asking the kernel …"]]));
      ask("inspect", { key });
    }
    change();
  }
  shut.addEventListener("click", () => {
    open(null);
    focusWanted = true;
  });
  scroller.addEventListener("click", (event) => {
    const key = event.target.closest?.("[data-key]")?.dataset.key;
    if (key === undefined || rows.get(key)?.way === "divider") return;
    open(opened === key ? null : key);
    focusWanted = true;
  });
  const keys = {
    ArrowDown: () => step(1),
    ArrowUp: () => step(-1),
    Home: () => select(chosen.findIndex((row) => row.way !== "divider")),
    End: () => {
      follow(true);
      select(chosen.findLastIndex((row) => row.way !== "divider"));
    },
    Enter: () => selected !== null && open(opened === selected ? null : selected),
    " ": () => selected !== null && open(opened === selected ? null : selected),
    Escape: () => open(null),
    "+": () => zoom(1),
    "=": () => zoom(1),
    "-": () => zoom(-1),
    0: () => zoom(USUAL_SCALE - scale),
  };
  scroller.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  });

  // What the kernel tells.

  function take(update) {
    if (held && !update.reset) {
      hold(update);
      return;
    }
    if (update.reset) {
      rows.clear();
      lanes.clear();
      if (held) [held, pause.textContent] = [{ rows: new Map(), lanes: new Map() }, "Resume"];
    }
    for (const lane of update.lanes) lanes.set(lane.n, lane);
    while (lanes.size > 400) lanes.delete(lanes.keys().next().value);
    for (const row of update.rows) put(row, update.reset);
    [clock, dropped] = [{ now: update.now, at: performance.now() }, update.dropped];
    change();
  }
  function put(row, quietly) {
    const before = rows.get(row.key);
    if (!before && !quietly) fresh.add(row.key);
    row.rev = (before?.rev ?? 0) + 1;
    rows.set(row.key, row);
    if (rows.size > EVENTS_LIMIT) rows.delete(rows.keys().next().value);
    if (row.key === opened) ask("inspect", { key: row.key });
  }
  /** While paused, what is new is kept aside: as many events as the diagram keeps, and what the lanes have come to. */
  function hold(update) {
    for (const row of update.rows) held.rows.set(row.key, row);
    for (const lane of update.lanes) held.lanes.set(lane.n, lane);
    while (held.rows.size > EVENTS_LIMIT) held.rows.delete(held.rows.keys().next().value);
    held.last = update;
    pause.textContent = `Resume · ${held.rows.size.toLocaleString()} new`;
  }
  const { ask, close } = connectView(model, el, panel, (update) => {
    if (update.rows) take(update);
    else if (update.details && update.key === opened) strip.replaceChildren(...detailsOf(update.details));
  });
  const waitingTimer = setInterval(() => {
    if (!held && chosen.some((row) => row.waits)) change();
  }, 250);
  const resized = new ResizeObserver(change);
  resized.observe(scroller);
  change();
  return () => {
    clearInterval(waitingTimer);
    cancelAnimationFrame(due);
    resized.disconnect();
    close();
  };
}

export default { render };
