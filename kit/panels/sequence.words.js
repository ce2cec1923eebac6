// Of SequencePanel's front end: what is said of moments, waits and rows.

const WORTH_SAYING = 0.25; // seconds of waiting that are worth words

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

/** What a handler is called; where the server runs in several processes, with the one that it is in. */
export function handlerName(lane) {
  return [`handler ${lane.n}`, lane.process].filter(Boolean).join(" · ");
}

/** The two ends of a row's connection, in words. */
function ends(row, lane) {
  return [lane?.name ?? "client", row.hub ? "hub" : `handler ${row.n}`];
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
  if (row.way === "hub") return row.hub ? `hub to handler ${row.n}: ${row.label}` : `${handler} to hub: ${row.label}`;
  if (row.way === "here") return `${row.side === "client" ? client : handler}: ${row.label}`;
  const kind = row.kind === "message" ? (row.label.startsWith("“") ? "text " : "") : "";
  const way = row.way === "up" ? `${client} to ${handler}` : `${handler} to ${client}`;
  const [from, to] = row.way === "up" ? [row.client, row.wire] : [row.wire, row.client];
  const took = to !== undefined && from !== undefined && to >= from ? duration(to - from) : "";
  return [`${way}: ${kind}${row.label}`, took, whoWords(row, lane), waiting].filter(Boolean).join(", ");
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
