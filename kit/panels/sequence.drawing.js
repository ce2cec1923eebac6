// Of SequencePanel's front end: one SVG group for each event, which holds its arrow or note, its words, and the surface that takes clicks.

const SVG = "http://www.w3.org/2000/svg";
const NAME_MOST = 56; // the height of an upright name

/** An SVG element; strings become text, never markup. */
function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return element;
}

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
  const clientX = grid.client(place), handlerX = row.hub ? grid.hub : grid.handler(place) - grid.bar;
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
 * and where it is too little for both while something waits, the waiting has it all. What is `spare` is said only beside a whole label.
 */
function words({ label, extra, waits, spare, tone }, side, from, to, y, { grid, measure }) {
  const room = to - from, least = Math.min(measure(label), 90, room * 0.6);
  const alone = waits && room - measure(` · ${extra}`) < 40; // what waits still is said before what it is
  const none = !extra || (spare && measure(`${label} · ${extra}`) > room);
  const tail = none ? "" : alone ? elided(extra, room, measure) : elided(` · ${extra}`, room - least, measure);
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
  return [...parts, ...words({ label: row.label, extra, waits, spare: row.kind !== "message", tone: row.tone === "bad" ? "bad" : "" }, side, view.beside(place, y), grid.right, y, view)];
}

/** Boxes for what waits at the handler: a message that nobody has received, a send that uvicorn has not written. */
function drawWaiting(row, place, { grid, yOf, now }) {
  const edge = grid.handler(place) - grid.bar;
  const box = (x, width, from, to, kind) => (to - from < WORTH_SAYING / 5 ? [] : [s("rect", { class: kind, x, width, y: yOf(from), height: Math.max(3, yOf(to) - yOf(from)), rx: 3 })]);
  if (row.way === "up" && row.wire !== undefined && (row.waits === "handler" || row.handler !== undefined)) return box(edge - 11, 9, row.wire, row.handler ?? now, "kit-seq-box");
  if (row.way === "down" && row.handler !== undefined && (row.waits === "wire" || row.wire !== undefined)) return box(edge, 2 * grid.bar, row.handler, row.wire ?? now, "kit-seq-sending");
  return [];
}

function drawNote(row, lane, place, view) {
  const { grid, y0, labelled } = view, ofClient = row.side === "client";
  const x = ofClient ? grid.client(place) : grid.handler(place), edge = ofClient ? x + 14 : grid.right;
  const parts = [line(x, y0, edge, y0, "kit-dotted"), s("circle", { class: "kit-seq-dot", cx: x, cy: y0, r: 3.5 })];
  if (!labelled) return parts;
  return [...parts, ...words({ label: row.label, tone: row.tone }, ofClient ? "left" : "right", ofClient ? edge : grid.gutter + 4, grid.right, y0, view)];
}

/** What a handler does with the hub: its words lead up to the handler, and an arrow joins it and the hub. */
function drawBesideHub(row, place, view) {
  const { grid, y0, labelled } = view, ends = [grid.handler(place) + grid.bar, grid.hub], [from, to] = row.hub ? ends.reverse() : ends;
  const parts = [line(from, y0, to, y0), arrowHead(from, y0, to, y0)];
  if (!labelled) return parts;
  const lead = line(grid.right, y0, grid.handler(place) - grid.bar, y0, "kit-dotted");
  return [lead, ...parts, ...words({ label: row.label }, "right", grid.gutter + 8, grid.right, y0, view)];
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
    parts.push(s("rect", { class: `kit-seq-bar ${own}`, x: bar - grid.bar, width: 2 * grid.bar, y: begins, height: Math.max(4, ends - begins), rx: 3 }));
  });
  if (grid.hub !== null) parts.push(s("rect", { class: "kit-seq-hub", x: grid.hub, width: 2, y: 0, height: floor }));
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
  return Math.min(grid.lane - (grid.tight ? 2 : 6), 72);
}

function unreadBox({ place, from }, picture, grid) {
  const width = boxWidth(grid), upright = width < 60, y = heightOf(picture, from);
  return { x: grid.client(place) - width / 2, y, width, height: Math.max(upright ? 100 : 40, picture.bottom - y), upright };
}

function drawUnread(unread, picture, grid) {
  return unread.map((one) => {
    const { x, y, width, height } = unreadBox(one, picture, grid);
    return s("rect", { class: "kit-seq-box", x, y, width, height, rx: 5 });
  });
}

/** The words of those boxes, on a ground of their own, because arrows to other clients cross the boxes. */
function drawUnreadWords(unread, picture, grid) {
  return unread.map((one) => {
    const { x, y, width, height, upright } = unreadBox(one, picture, grid), half = upright ? 48 : 17, middle = y + height - half - 4;
    const word = (down, text) => s("text", { x: x + width / 2, y: middle + down, "text-anchor": "middle", transform: upright ? `rotate(-90 ${x + width / 2} ${middle})` : null }, text);
    const lines = upright ? [word(4, `${humanBytes(one.size)} unread`)] : [word(-3, humanBytes(one.size)), word(11, "unread")];
    return s("g", { class: "kit-seq-unread" }, s("rect", { x: x + 1, y: middle - half, width: width - 2, height: 2 * half }), ...lines);
  });
}

/** Where quiet time is cut out, all that runs on is torn. */
function drawCuts(picture, grid, top, bottom) {
  const seen = picture.cuts.filter(({ y }) => y > top && y < bottom);
  return seen.map(({ y }) => s("rect", { class: "kit-seq-tear", x: grid.gutter, y: y - 2.5, width: grid.width - grid.gutter, height: 5 }));
}

/** The margin: the moments of `events`, as [at, y], and for how long nothing happened where quiet time is cut out. */
function drawTimes(events, picture, scale, top, bottom) {
  const quiet = picture.cuts.filter(({ y, seconds }) => y > top && y < bottom && seconds >= 0.1);
  return [
    ...events.map(([at, y]) => s("text", { class: "kit-seq-time", x: 6, y: y + 4 }, moment(at, scale))),
    ...quiet.map(({ y, seconds }) => s("text", { class: "kit-seq-cut", x: 6, y: y + 4 }, `⋮ ${duration(seconds)}`)),
  ];
}

/** How much of a lane's width a name would need: it is set smaller than what is measured. */
function tooWide(lanes, grid, measure) {
  return grid.narrow && lanes.some(({ name }) => measure(name) > grid.lane + 2);
}

/** The height of the names above the lanes; those of clients stand upright where they are wider than their lanes. */
function headingsHeight(lanes, grid, measure) {
  if (!lanes.length) return 0;
  if (!grid.stacked) return 32;
  if (tooWide(lanes, grid, measure)) return 33 + Math.min(NAME_MOST, Math.max(...lanes.map(({ name }) => measure(name))));
  return grid.narrow || !lanes.some((lane) => lane.process) ? 44 : 58;
}

/** The names above the lanes. Where they have no room, the clients' stand upright, and the handlers have one word for them all. */
function headings(lanes, grid, measure) {
  const upright = tooWide(lanes, grid, measure), kinds = [grid.stacked && " kit-stacked", grid.tight && " kit-tight"].filter(Boolean).join("");
  const cell = (x, lane, role, name, says, below) =>
    h("div", { class: `kit-seq-name kit-c${colourOf(lane.n)}${kinds}${upright && role === lane.name ? " kit-upright" : ""}`, style: `left:${x - grid.lane / 2}px;width:${grid.lane}px`, title: says, role: "listitem", "aria-label": role }, badge(lane.n), h("span", {}, name, name && below ? h("small", {}, below) : ""));
  const caption = (words, x) => h("div", { class: "kit-seq-caption", "aria-hidden": "true", style: `left:${x - grid.lane / 2}px;width:${grid.lane * lanes.length}px` }, words);
  return [
    ...lanes.map((lane, place) => cell(grid.client(place), lane, lane.name, lane.name, `${lane.name}, connection ${lane.n}, ${lane.path}`)),
    ...lanes.map((lane, place) => cell(grid.handler(place), lane, handlerName(lane), grid.narrow ? "" : `handler ${lane.n}`, [`the handler of ${lane.name}, connection ${lane.n}`, lane.process].filter(Boolean).join(", "), lane.process)),
    ...(grid.hub === null ? [] : [hubHeading(grid)]),
    h("div", { class: "kit-seq-corner", "aria-hidden": "true", style: `width:${grid.gutter}px` }),
    ...(grid.narrow && lanes.length ? [caption("handlers", grid.handler(0))] : []),
  ];
}

function hubHeading(grid) {
  const where = { style: `left:${grid.hub - HUB_LANE / 2}px;width:${HUB_LANE}px`, title: "The hub: what is published to it, it sends to the members of the room", role: "listitem" };
  return h("div", { class: grid.stacked ? "kit-seq-caption" : "kit-seq-name kit-seq-name-of-hub", ...where }, "hub");
}

function detailsOf(pairs) {
  return pairs.flatMap(([label, value]) => [h("dt", {}, label), h("dd", {}, value)]);
}
