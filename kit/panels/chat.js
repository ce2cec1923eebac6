// The front end of ChatPanel: header with state, the conversation, and what the reader can do.

function render({ model, el }) {
  let state = { open: false, busy: false };
  let beganAt = 0;
  const unfolded = new Set(); // the ended connections whose table is open
  const header = h("header", { class: "kit-header" });
  const log = scrollingLog("Conversation", "Nothing was said yet. Press Connect, or run `await panel.connect()`.", { controls: false });

  const path = h("input", { class: "kit-input kit-code", "aria-label": "Path", spellcheck: "false", autocomplete: "off" });
  const connectButton = h("button", { type: "submit", class: "kit-button kit-primary" }, "Connect");
  const handshake = handshakeFields();
  const connectForm = h("form", { class: "kit-connect" }, h("div", { class: "kit-composer" }, path, connectButton), ...handshake.elements);

  const message = h("input", { class: "kit-input", "aria-label": "Message", placeholder: "Message", autocomplete: "off" });
  const kind = h(
    "select",
    { class: "kit-input kit-kind" },
    h("option", { value: "text" }, "Text"),
    h("option", { value: "json" }, "JSON"),
    h("option", { value: "binary" }, "Binary"),
  );
  const send = h("button", { type: "submit", class: "kit-button kit-primary" }, "Send");
  const more = h("button", { type: "button", class: "kit-button kit-more", "aria-label": "More actions", "aria-expanded": "false" }, "···");
  const sendForm = h("form", { class: "kit-composer", hidden: true }, message, send, more);

  const action = (label, what, title) => h("button", { type: "button", class: "kit-button", title, onclick: () => ask(what, { code: code.value }) }, label);
  const code = h("input", { class: "kit-input kit-code", "aria-label": "Close code", value: "1000", inputmode: "numeric", size: "4" });
  const faults = faultControls((what, form) => ask(what, form), () => message.value);
  const actions = h(
    "div",
    { class: "kit-menu", hidden: true },
    h(
      "div",
      { class: "kit-actions" },
      h("label", {}, "Send as ", kind),
      action("Ping", "ping", "Send a ping and wait for the pong"),
      h("span", { class: "kit-together" }, action("Disconnect", "disconnect", "Send a Close frame with this code"), code),
    ),
    faults.element,
  );

  const panel = h("section", { class: "kit-panel kit-chat-panel", "aria-label": model.get("title") }, header, log.list, actions, sendForm, connectForm);
  el.replaceChildren(panel);
  log.list.addEventListener("click", (event) => event.target.closest(".kit-ended")?.lastElementChild.scrollIntoView({ block: "nearest" })); // a table just opened
  const { ask, close } = connectView(model, el, panel, receive);

  code.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    ask("disconnect", { code: code.value });
  });
  more.addEventListener("click", () => {
    actions.hidden = !actions.hidden;
    more.setAttribute("aria-expanded", String(!actions.hidden));
    log.settle();
  });
  kind.addEventListener("change", () => {
    message.placeholder = examples[kind.value] ?? "Message";
    message.classList.toggle("kit-code", kind.value !== "text");
  });
  let examples = {};
  let tokens = 0;
  let sending = { token: null, text: "" };
  sendForm.addEventListener("submit", (event) => {
    event.preventDefault();
    sending = { token: String((tokens += 1)), text: message.value };
    ask("send", { message: message.value, kind: kind.value, token: sending.token });
  });

  const fields = { path, ...handshake.fields };
  const edited = new Set(); // what the reader has typed is not overwritten before it was used
  let connecting = { token: null, typed: {} };
  connectForm.addEventListener("submit", (event) => {
    event.preventDefault();
    if (state.busy) return;
    const typed = Object.fromEntries([...edited].map((name) => [name, fields[name].value])); // the kernel may not have said the others yet
    connecting = { token: String((tokens += 1)), typed };
    ask("connect", { ...typed, token: connecting.token });
  });
  for (const [name, field] of Object.entries(fields)) {
    field.addEventListener("input", () => {
      edited.add(name);
      field.removeAttribute("aria-invalid");
    });
    if (field.tagName === "TEXTAREA") breakOnEnter(field);
    else submitOnEnter(field);
  }
  submitOnEnter(message);

  function receive(update) {
    if (update.beganAt) beganAt = update.beganAt;
    if (update.offered) faults.offer(update.offered.invalidFrames);
    if (update.examples) handshake.suggest((examples = update.examples));
    if (update.reset) log.reset();
    if (update.took === connecting.token) for (const [name, value] of Object.entries(connecting.typed)) if (fields[name].value === value) edited.delete(name);
    if (update.state) showState(update.state);
    if (update.failed === connecting.token && update.field) handshake.complain(update.field);
    log.skip(update.skipped);
    for (const item of update.items ?? []) log.put(item.id, itemElement(item, beganAt, unfolded), item.text, { says: item.from !== "divider" });
    if (update.done === sending.token && message.value === sending.text) message.value = "";
    log.settle();
  }

  function closeMenu() {
    actions.hidden = true;
    more.setAttribute("aria-expanded", "false");
  }

  function showState(next) {
    const wasOpen = state.open;
    const hadFocus = panel.contains(document.activeElement);
    state = next;
    header.replaceChildren(
      h("span", { class: `kit-dot kit-c${colourOf(state.number)}`, "aria-hidden": "true" }),
      h("strong", { title: state.name }, state.name),
      state.number ? badge(state.number) : "",
      h("span", { class: "kit-spring" }),
      h("span", { role: "status" }, pill(state.pill, state.tone)),
    );
    sendForm.hidden = !state.open;
    connectForm.hidden = state.open;
    faults.show(state.faults);
    if (!state.open) closeMenu();
    if (wasOpen && !state.open) {
      kind.value = "text"; // a choice that the closed menu hides would surprise the next message
      kind.dispatchEvent(new Event("change"));
    }
    connectButton.setAttribute("aria-disabled", String(state.busy)); // disabled would take the focus away
    connectButton.textContent = state.busy ? "Connecting" : state.number ? "Connect again" : "Connect";
    for (const [name, field] of Object.entries(fields)) if (!edited.has(name) && field.value !== state.fields[name]) field.value = state.fields[name];
    handshake.settle();
    if (hadFocus && state.open !== wasOpen) (state.open ? message : connectButton).focus();
  }

  return () => {
    log.close();
    close();
  };
}

// The faults that last: their button when off and when on, and what they do in a few words, with fields for their settings.
const LASTING = [
  ["reading-stalled", "Stop reading", "Read again", ["what comes stays outside"]],
  ["slow-network", "Slow network", "Fast again", [["to_server", "300", "Milliseconds to the server"], "ms there", ["to_client", "300", "Milliseconds back"], "back"]],
  ["pongs-delayed", "Delay pongs", "Pong at once", ["by", ["seconds", "3", "Seconds before a pong; empty means never"], "s; empty: never"]],
  ["half-open", "Half-open", "Reset the line", ["gone, and no packet says so"]],
];

/** What pressing the control of a fault does next, given the faults that are on. */
export function faultLabel(what, on) {
  const [, begin, end] = LASTING.find(([name]) => name === what);
  return on.includes(what) ? end : begin;
}

/** The Faults of the menu. `typed()` is the message to send in fragments. */
export function faultControls(ask, typed) {
  const field = (value, label) => h("input", { class: "kit-input kit-code", "aria-label": label, value, inputmode: "decimal", placeholder: "never", size: "4" });
  const button = (label, onclick, title) => h("button", { type: "button", class: "kit-button", title, onclick }, label);
  const onEnter = (input, act) =>
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      act();
    });
  let on = [];
  const toggles = LASTING.map(([what, , , parts]) => {
    const fields = {};
    const begin = () => ask("begin fault", { fault: what, ...Object.fromEntries(Object.entries(fields).map(([name, input]) => [name, input.value])) });
    const toggle = button(faultLabel(what, on), () => (on.includes(what) ? ask("end fault", { fault: what }) : begin()));
    const words = parts.map((part) => {
      if (typeof part === "string") return part;
      const [name, value, label] = part;
      onEnter((fields[name] = field(value, label)), () => on.includes(what) || begin());
      return fields[name];
    });
    const show = () => {
      toggle.textContent = faultLabel(what, on);
      row.setAttribute("class", on.includes(what) ? "kit-fault kit-fault-on" : "kit-fault");
      for (const input of Object.values(fields)) input.readOnly = on.includes(what);
    };
    const row = h("div", { class: "kit-fault" }, toggle, h("span", { class: "kit-fault-words" }, ...words));
    return { row, show };
  });

  const size = field("3", "Bytes in a fragment");
  const sendFragments = () => ask("send in fragments", { message: typed() || "hello in fragments", size: size.value });
  onEnter(size, sendFragments);
  const frames = h("select", { class: "kit-input", "aria-label": "Which rule the frame breaks" });
  const once = (act, ...words) => h("div", { class: "kit-fault" }, act, h("span", { class: "kit-fault-words" }, ...words));
  return {
    element: h(
      "div",
      { class: "kit-faults", role: "group", "aria-label": "Faults" },
      h("strong", {}, "Faults"),
      ...toggles.map(({ row }) => row),
      once(button("Vanish", () => ask("abort"), "Drop the socket without a Close frame"), "a TCP reset, no Close frame"),
      once(button("Send fragments", sendFragments, "Send the message as several frames"), "of", size, "bytes each"),
      once(button("Invalid frame", () => ask("send invalid frame", { kind: frames.value }), "Send a frame that RFC 6455 forbids"), frames),
    ),
    /** Lists the frames that break a rule. */
    offer(kinds) {
      frames.replaceChildren(...kinds.map((kind) => h("option", { value: kind }, kind.replaceAll("-", " "))));
    },
    /** Shows which faults are on. */
    show(names) {
      on = names;
      for (const toggle of toggles) toggle.show();
    },
  };
}

/** The disclosure with what a handshake can bring besides its path: open from the first when the panel was given any of it. */
function handshakeFields() {
  // JupyterLab takes Shift+Enter for itself: it would run the cell, and all that was typed would be gone.
  const own = { "data-lm-suppress-shortcuts": "true" };
  const field = (tag) => h(tag, { class: "kit-input kit-code", spellcheck: "false", autocomplete: "off", ...own });
  const fields = { query: field("input"), cookies: field("input"), headers: field("textarea"), origin: field("input"), subprotocols: field("input") };
  const labelled = Object.entries(fields).map(([name, field]) =>
    h("label", { class: `kit-field kit-field-${name}` }, h("span", {}, name[0].toUpperCase() + name.slice(1)), field),
  );
  const summary = h("span", { class: "kit-summary" });
  const button = h("button", { type: "button", class: "kit-disclosure", "aria-expanded": "false", "data-local": "1", title: "What the handshake brings besides its path" }, "Handshake");
  const body = h("div", { class: "kit-handshake", role: "group", "aria-label": "Handshake", hidden: true }, ...labelled);
  let chosen = false; // opened or closed by the reader, or by what the panel was given

  function show(open) {
    chosen = true;
    body.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    summarise();
  }
  function summarise() {
    summary.textContent = body.hidden ? handshakeSummary(values()) : "";
  }
  const values = () => Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.value]));
  button.addEventListener("click", () => show(body.hidden));
  return {
    fields,
    /** Shows an example in each empty field. */
    suggest(examples) {
      for (const [name, field] of Object.entries(fields)) field.placeholder = examples[name];
    },
    elements: [h("div", { class: "kit-disclosing" }, button, summary), body],
    /** Call it once the kernel has said what is in the fields. */
    settle() {
      if (!chosen) show(Object.values(values()).some(Boolean));
      summarise();
    },
    /** Shows which field cannot be sent. */
    complain(name) {
      show(true);
      fields[name].setAttribute("aria-invalid", "true");
      fields[name].focus();
    },
  };
}

/** Lets Enter break a line, which JupyterLab cancels in cells. */
function breakOnEnter(area) {
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    area.setRangeText("\n", area.selectionStart, area.selectionEnd, "end");
    area.dispatchEvent(new Event("input"));
  });
}

/** In a few words, what the fields of a handshake hold: how many of what there can be several of. */
export function handshakeSummary({ query, cookies, headers, origin, subprotocols }) {
  const counted = (text, separator, one) => {
    const count = text.split(separator).filter((part) => part.trim()).length;
    return count ? `${count} ${one}${count > 1 ? "s" : ""}` : "";
  };
  const parts = [query.trim() && "query", counted(cookies, ";", "cookie"), counted(headers, "\n", "header"), origin.trim() && "origin", counted(subprotocols, ",", "subprotocol")];
  return parts.filter(Boolean).join(" · ");
}

/** One item of the conversation: a bubble, a note, a divider, an error, or the explained end. */
export function itemElement(item, beganAt, unfolded) {
  if (item.from === "me" || item.from === "server") {
    const about = `${clock(beganAt, item.at)} · ${item.about}`;
    const body = h("div", { class: item.mono ? "kit-bubble-text kit-code" : "kit-bubble-text" }, item.text || "(empty)");
    const who = item.from === "me" ? "sent" : "received";
    return h("div", { class: `kit-bubble kit-from-${item.from} kit-c${colourOf(item.number)}`, role: "group", "aria-label": `${who}: ${item.text}` }, body, h("div", { class: "kit-about" }, about));
  }
  if (item.from === "ended") {
    const words = item.advice ? `${item.sentence} ${item.advice}` : item.sentence;
    return h("div", { class: `kit-ended kit-${item.tone}` }, h("strong", {}, `${item.headline}.`), " ", ...prose(words), ...bothSides(item, unfolded));
  }
  if (item.from === "error") return h("div", { class: "kit-ended kit-bad", role: "alert" }, item.text);
  return h("div", { class: item.from === "divider" ? `kit-divider kit-tone-${item.tone}` : "kit-note" }, item.text);
}

/** The disclosure with the table of an end; it stays open when the item is told anew. */
function bothSides({ id, table }, unfolded) {
  const list = evidenceList(table);
  const button = h("button", { type: "button", class: "kit-disclosure", "data-local": "1" }, "How it ended, from both sides");
  const show = (open) => {
    list.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    if (open) unfolded.add(id);
    else unfolded.delete(id);
  };
  button.addEventListener("click", () => show(list.hidden));
  show(unfolded.has(id));
  return [h("div", { class: "kit-unfold" }, button), list];
}

export default { render };
