// The front end of ChatPanel: header with state, the conversation, and what the reader can do.

function render({ model, el }) {
  let state = { open: false, busy: false };
  let beganAt = 0;
  const header = h("header", { class: "kit-header" });
  const log = scrollingLog("Conversation", "Nothing was said yet. Press Connect, or run await panel.connect().", { controls: false });

  const path = h("input", { class: "kit-input kit-code", "aria-label": "Path", spellcheck: "false", autocomplete: "off" });
  const connectButton = h("button", { type: "submit", class: "kit-button kit-primary" }, "Connect");
  const connectForm = h("form", { class: "kit-composer" }, path, connectButton);

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
  const sendForm = h("form", { class: "kit-composer" }, message, send, more);

  const action = (label, what, title) => h("button", { type: "button", class: "kit-button", title, onclick: () => ask(what, { code: code.value }) }, label);
  const code = h("input", { class: "kit-input kit-code", "aria-label": "Close code", value: "1000", inputmode: "numeric", size: "4" });
  const actions = h(
    "div",
    { class: "kit-actions", hidden: true },
    h("label", {}, "Send as ", kind),
    action("Ping", "ping", "Send a ping and wait for the pong"),
    action("Vanish", "abort", "Drop the socket without a Close frame"),
    h("span", { class: "kit-together" }, action("Disconnect", "disconnect", "Send a Close frame with this code"), code),
  );

  const panel = h("section", { class: "kit-panel kit-chat-panel", "aria-label": model.get("title") }, header, log.list, actions, sendForm, connectForm);
  el.replaceChildren(panel);
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
  let token = 0;
  let sending = "";
  sendForm.addEventListener("submit", (event) => {
    event.preventDefault();
    token += 1;
    sending = message.value;
    ask("send", { message: message.value, kind: kind.value, token: String(token) });
  });
  connectForm.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!state.busy) ask("connect", edited ? { path: path.value } : {}); // the kernel may not have said its path yet
    edited = false;
  });
  let edited = false; // a path that the reader has typed is not overwritten before it was used
  path.addEventListener("input", () => {
    edited = true;
  });
  submitOnEnter(message);
  submitOnEnter(path);

  function receive(update) {
    if (update.beganAt) beganAt = update.beganAt;
    if (update.examples) examples = update.examples;
    if (update.reset) log.reset();
    if (update.state) showState(update.state);
    log.skip(update.skipped);
    for (const item of update.items ?? []) log.put(item.id, itemElement(item, beganAt), item.text, { says: item.from !== "divider" });
    if (update.done === String(token) && message.value === sending) message.value = "";
    log.settle();
  }

  function showState(next) {
    const wasOpen = state.open;
    const hadFocus = panel.contains(document.activeElement);
    state = next;
    header.replaceChildren(
      h("span", { class: `kit-dot kit-c${colourOf(state.number)}`, "aria-hidden": "true" }),
      h("strong", {}, state.name),
      state.number ? badge(state.number) : "",
      h("span", { class: "kit-spring" }),
      h("span", { role: "status" }, pill(state.pill, state.tone)),
    );
    sendForm.hidden = !state.open;
    connectForm.hidden = state.open;
    if (!state.open) actions.hidden = true;
    if (wasOpen && !state.open) {
      kind.value = "text"; // a choice that the closed menu hides would surprise the next message
      kind.dispatchEvent(new Event("change"));
    }
    connectButton.setAttribute("aria-disabled", String(state.busy)); // disabled would take the focus away
    connectButton.textContent = state.busy ? "Connecting" : state.number ? "Connect again" : "Connect";
    if (!edited) path.value = state.path;
    if (hadFocus && state.open !== wasOpen) (state.open ? message : connectButton).focus();
  }

  return close;
}

/** One item of the conversation: a bubble, a note, a divider, an error, or the explained end. */
export function itemElement(item, beganAt) {
  if (item.from === "me" || item.from === "server") {
    const about = `${clock(beganAt, item.at)} · ${item.about}`;
    const body = h("div", { class: item.mono ? "kit-bubble-text kit-code" : "kit-bubble-text" }, item.text || "(empty)");
    const who = item.from === "me" ? "sent" : "received";
    return h("div", { class: `kit-bubble kit-from-${item.from} kit-c${colourOf(item.number)}`, role: "group", "aria-label": `${who}: ${item.text}` }, body, h("div", { class: "kit-about" }, about));
  }
  if (item.from === "ended") {
    const words = item.advice ? `${item.sentence} ${item.advice}` : item.sentence;
    return h("div", { class: `kit-ended kit-${item.tone}` }, h("strong", {}, `${item.headline}.`), " ", ...prose(words));
  }
  if (item.from === "error") return h("div", { class: "kit-ended kit-bad", role: "alert" }, item.text);
  return h("div", { class: item.from === "divider" ? `kit-divider kit-tone-${item.tone}` : "kit-note" }, item.text);
}

export default { render };
