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
  const nobody = h("div", { class: "kit-empty" }, "Nobody is connected yet. Press Connect in a chat panel, or run await connect(server, \"/ws\").");
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

  const { close } = connectView(model, el, panel, (update) => {
    if (update.reset) log.reset();
    if (update.state) showState(update.state);
    log.skip(update.skipped);
    for (const row of update.rows ?? []) log.put(row.id, logElement(row), `${row.mark} ${row.text}`);
  });

  function showState(state) {
    header.replaceChildren(
      h("strong", {}, state.name),
      h("code", { class: "kit-address" }, state.url),
      h("span", { class: "kit-spring" }),
      h("span", { role: "status" }, pill(state.pill, state.tone)),
      pill(state.count, "muted"),
    );
    blocked.hidden = !state.blocked;
    blocked.replaceChildren(...(state.blocked ? [state.blockedNumber ? badge(state.blockedNumber) : "", " ", state.blocked] : []));
    nobody.hidden = state.connections.length > 0;
    table.hidden = state.connections.length === 0;
    body.replaceChildren(...openFirst(state.connections).map(connectionElement));
  }
  return close;
}

/** The open connections before the ended ones, the newest first. */
export function openFirst(connections) {
  return [...connections].sort((one, other) => Boolean(one.pill) - Boolean(other.pill) || other.number - one.number);
}

/** A connection's row: who, both states as Starlette names them, and how it ended. */
export function connectionElement(row) {
  const name = h("span", { class: row.stranger ? "kit-stranger" : "" }, row.name);
  return h(
    "tr",
    { title: row.why || `${row.name} ${row.path}` },
    h("th", { scope: "row" }, badge(row.number), " ", name, " ", h("code", { class: "kit-path" }, row.path)),
    h("td", { class: stateClass(row.client) }, row.client),
    h("td", { class: stateClass(row.application) }, row.application),
    h("td", {}, row.pill ? pill(row.pill, row.tone) : ""),
  );
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
    h("span", { class: "kit-words" }, row.text),
  );
}

export default { render };
