// The front end of ConversationPanel: client, wire and handler beside each other, one event a row.

function render({ model, el }) {
  let names = {};
  const open = new Set();
  const log = scrollingLog("Both sides of the conversation", "Connect a client and say something: each event appears here, seen from both ends.");
  const panel = h(
    "section",
    { class: "kit-panel kit-conversation-panel", "aria-label": model.get("title") },
    h("header", { class: "kit-header" }, h("strong", {}, "Both sides"), h("span", { class: "kit-spring" }), ...log.tools),
    h("div", { class: "kit-lanes", "aria-hidden": "true" }, ...["", "client", "on the wire", "handler"].map((title) => h("span", {}, title))),
    log.list,
  );
  el.replaceChildren(panel);
  const { close } = connectView(model, el, panel, (update) => {
    if (update.reset) log.reset();
    if (update.names) names = update.names;
    for (const row of update.rows ?? []) log.put(row.key, rowElement(row, names, open), [names[row.connection], row.client, row.wire, row.handler, row.states].join(" "), { says: row.direction !== "divider" });
  });
  return () => {
    log.close();
    close();
  };
}

/** The words for what a message waits for. */
export function waitingWords(row) {
  if (row.waits === "handler") return "waits: the handler has not called receive";
  if (row.waits === "wire") return "waits: the client does not read";
  if (row.waits === "client") return "written, not read yet";
  return "";
}

/** One event, with a cell for each place that has seen it; it opens to its details. */
export function rowElement(row, names, open) {
  if (row.direction === "divider") return h("div", { class: `kit-divider kit-tone-${row.tone}` }, row.wire);
  const waits = waitingWords(row);
  const handler = h("span", { class: "kit-cell" }, row.handler, row.waits === "handler" ? h("small", { class: "kit-waits" }, waits) : "");
  const arrow = row.wire ? h("span", { class: `kit-arrow kit-${row.direction}${row.waits === "wire" || row.waits === "client" ? " kit-waiting" : ""}` }, h("span", {}, row.wire)) : h("span");
  const who = row.client ? `${names[row.connection] ?? ""}: ${row.client}, ` : "";
  const line = h(
    "button",
    {
      type: "button",
      "data-local": "1",
      class: `kit-event kit-c${colourOf(row.connection)} kit-tone-${row.tone}`,
      "aria-expanded": String(open.has(row.key)),
      "aria-label": `${who}${row.wire} ${row.handler} ${waits}`,
    },
    h("span", { class: "kit-time" }, seconds(row.at_seconds)),
    h("span", { class: "kit-cell" }, badge(row.connection), " ", row.client, row.waits === "wire" || row.waits === "client" ? h("small", { class: "kit-waits" }, waits) : ""),
    arrow,
    handler,
    row.states ? h("small", { class: "kit-states" }, row.states) : "",
  );
  const details = h("dl", { class: "kit-details", hidden: !open.has(row.key) });
  for (const [label, value] of row.details) details.append(h("dt", {}, label), h("dd", {}, value));
  line.addEventListener("click", () => {
    details.hidden = !details.hidden;
    if (details.hidden) open.delete(row.key);
    else open.add(row.key);
    line.setAttribute("aria-expanded", String(!details.hidden));
  });
  return h("div", { class: "kit-event-row" }, line, row.details.length ? details : "");
}

export default { render };
