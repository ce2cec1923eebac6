// Of SequencePanel's front end: where everything lies. Time becomes height, connections become columns.

const ROW = 24; // the height of one label
const TOP = 14;
const SLOTS = 32768; // more than four for each event
const NOW = SLOTS - 1;
const LANES_LIMIT = 40;
const HUB_LANE = 40; // the width of the hub's lane
const FOLD_ABOVE = 12; // with more lanes than this, ended ones are folded unless the reader wants them

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

/**
 * The columns of a diagram: clients on the left, handlers on the right, and between them room for words; behind the handlers the
 * hub, if there is one. Lanes are as narrow as their numbers allow before the diagram becomes wider than its panel; `digits` is
 * how many the longest number has.
 */
export function columns(count, width, digits = 1, withHub = false) {
  const lanes = Math.max(1, count), gutter = width < 500 ? 50 : 60, pad = width < 500 ? 5 : 8;
  const words = width < 480 ? 112 : width < 760 ? 150 : 200, least = 6 * Math.max(2, digits);
  const hubLane = withHub ? HUB_LANE : 0;
  const lane = Math.max(least, Math.min(132, (width - gutter - pad - words - hubLane) / (2 * lanes)));
  const whole = Math.max(width, gutter + pad + words + 2 * lanes * lane + hubLane);
  const rightFrom = whole - pad - hubLane - lanes * lane, hub = withHub ? whole - pad - hubLane / 2 : null;
  const client = (place) => gutter + lane * (place + 0.5), handler = (place) => rightFrom + lane * (place + 0.5);
  const kind = { stacked: lane < 84, narrow: lane < 56, tight: lane < 21, bar: lane < 21 ? 4 : 5 }; // half a handler's bar
  return { gutter, lane, width: whole, client, handler, hub, left: client(lanes - 1) + 12, right: handler(0) - 20, ...kind };
}

/** Whether a row is of a hub: to it, or from it. */
export function isOfHub(row) {
  return row.way === "hub" || row.hub === true;
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
    if (wanted && !matches(`${row.label} ${laneOf(row.n)?.name ?? ""} ${row.n ? handlerName(laneOf(row.n) ?? row) : ""} ${row.also ?? ""} ${isOfHub(row) ? "hub" : ""} ${row.kind}`, wanted)) continue;
    chosen.push(row);
  }
  chosen.sort((a, b) => a.at - b.at);
  return [chosen, folded];
}
