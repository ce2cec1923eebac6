// The front end of ServerPanel: address and state, the table of connections, and the handlers' log.

function render({ model, el }) {
  const header = h("header", { class: "kit-header" });
  const blocked = h("div", { class: "kit-blocked", role: "status", "aria-live": "polite", hidden: true });
  const body = h("tbody");
  const table = h(
    "table",
    { class: "kit-table" },
    h("thead", {}, h("tr", {}, ...["", "client", "application", ""].map((title) => h("th", { scope: "col" }, title)))),
    body,
  );
  const nobody = h("div", { class: "kit-empty" }, ...prose('Nobody is connected yet. Press Connect in a chat panel, or run `await connect(server, "/ws")`.'));
  const log = scrollingLog("Server log", "What the handlers receive, send and print appears here.");
  const panel = h(
    "section",
    { class: "kit-panel kit-server-panel", "aria-label": model.get("title") },
    header,
    blocked,
    h("div", { class: "kit-heading" }, h("strong", {}, "Connections"), h("span", { class: "kit-hint" }, "states as the handler knows them")),
    h("div", { class: "kit-connections", tabindex: "0", role: "region", "aria-label": "Connections" }, table, nobody),
    h("div", { class: "kit-heading" }, h("strong", {}, "Server log"), h("span", { class: "kit-spring" }), ...log.tools),
    log.list,
  );
  el.replaceChildren(panel);

  let shown = []; // the connections' rows,
  let drawn = ""; // and what they were when they were drawn: drawing them anew would disturb whoever reads or selects
  const opened = new Map(); // the tables of the rows that the reader has opened, by number; empty until they have come

  const { ask, close } = connectView(model, el, panel, (update) => {
    if (update.reset) log.reset();
    if (update.explained && opened.has(update.explained.number)) opened.set(update.explained.number, update.explained.table);
    if (update.state) showState(update.state);
    else if (update.explained) drawConnections();
    log.skip(update.skipped);
    for (const row of update.rows ?? []) log.put(row.id, logElement(row), `${row.mark} ${row.text} ${row.process}`);
  });

  function showState(state) {
    header.replaceChildren(
      h("strong", {}, state.name),
      h("code", { class: "kit-address" }, h("span", { class: "kit-scheme" }, "http://"), state.url.replace(/^http:\/\//, "")),
      h("span", { class: "kit-spring" }),
      h("span", { role: "status" }, pill(state.pill, state.tone)),
      pill(state.count, "muted"),
    );
    blocked.hidden = !state.blocked;
    blocked.replaceChildren(...(state.blocked ? [state.blockedNumber ? badge(state.blockedNumber) : "", " ", state.blocked] : []));
    nobody.hidden = state.connections.length > 0;
    table.hidden = state.connections.length === 0;
    for (const row of state.connections) if (opened.has(row.number) && !shown.some((before) => same(before, row))) ask("explain", { number: row.number });
    shown = openFirst(state.connections);
    drawConnections();
  }

  function drawConnections() {
    const next = JSON.stringify([shown, [...opened]]);
    if (next === drawn) return;
    drawn = next;
    const focused = body.contains(document.activeElement) ? document.activeElement.dataset.number : undefined;
    body.replaceChildren(...shown.flatMap((row) => connectionElements(row, opened.get(row.number), toggle)));
    for (const button of body.querySelectorAll("button")) if (button.dataset.number === focused) button.focus({ preventScroll: true });
  }

  function toggle(number) {
    if (opened.delete(number)) return drawConnections();
    opened.set(number, []);
    ask("explain", { number });
    drawConnections();
  }
  return () => {
    log.close();
    close();
  };
}

/** The open connections before the ended ones, the newest first. */
export function openFirst(connections) {
  return [...connections].sort((one, other) => Boolean(one.pill) - Boolean(other.pill) || other.number - one.number);
}

function same(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** A connection's row and, below it when it is opened, why it ended, from both sides. */
export function connectionElements(row, table, toggle) {
  const elements = [connectionElement(row, table !== undefined, toggle)];
  if (table && row.pill) elements.push(h("tr", { class: "kit-explained" }, h("td", { colspan: "4" }, h("p", {}, ...prose(row.told)), row.states ? h("p", {}, ...prose(row.states)) : null, table.length ? evidenceList(table) : null)));
  return elements;
}

/** A connection's row: who, both states as Starlette names them, and how it ended; that can be opened. */
export function connectionElement(row, open, toggle) {
  const name = h("span", { class: row.stranger ? "kit-stranger" : "" }, row.name);
  return h(
    "tr",
    { title: row.why || `${row.name} ${row.path}` },
    h("th", { scope: "row" }, badge(row.number), " ", name, " ", h("code", { class: "kit-path" }, row.path), row.process ? h("span", { class: "kit-process" }, ` ${row.process}`) : ""),
    h("td", { class: stateClass(row.client), title: row.states }, row.client),
    h("td", { class: stateClass(row.application), title: row.states }, row.application),
    h("td", {}, row.pill ? endButton(row, open, toggle) : ""),
  );
}

function endButton(row, open, toggle) {
  const label = `${row.pill}: how connection ${row.number} ended`;
  const attributes = { type: "button", class: "kit-end", "data-local": "1", "data-number": row.number, "aria-expanded": String(open), "aria-label": label };
  return h("button", { ...attributes, onclick: () => toggle(row.number) }, pill(row.pill, row.tone));
}

function stateClass(state) {
  return state === "CONNECTED" ? "kit-state" : "kit-state kit-faint";
}

/** One line of the log. */
export function logElement(row) {
  return h(
    "div",
    { class: `kit-log-row kit-tone-${row.tone}` },
    h("span", { class: "kit-time" }, seconds(row.at)),
    badge(row.number),
    h("span", { class: "kit-mark" }, row.mark),
    h("span", { class: "kit-words" }, row.text, row.process ? h("span", { class: "kit-process" }, ` · ${row.process}`) : ""),
  );
}

export default { render };
