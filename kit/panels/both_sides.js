// The front end of BothSides' header: which server this is, how it is, and a button for each view.

const VIEW_LABELS = { chats: "Clients", sequence: "Sequence", conversation: "Rows", frames: "Frames", handler: "Handler", server: "Server" };

function render({ model, el }) {
  const head = h("div", { class: "kit-bar-head" });
  const buttons = h("div", { class: "kit-bar-views", role: "group", "aria-label": "Views" });
  const panel = h("section", { class: "kit-panel kit-bar", "aria-label": model.get("title") }, h("header", { class: "kit-header" }, head, buttons));
  el.replaceChildren(panel);
  const { ask, close } = connectView(model, el, panel, (update) => {
    if (update.head) head.replaceChildren(...headElements(update.head));
    if (update.views) showViews(update.views);
  });

  function showViews(views) {
    const focused = buttons.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    buttons.replaceChildren(...views.map((view) => viewButton(view, () => ask("toggle", { view_name: view.name }))));
    if (focused) buttons.querySelector(`[data-name="${focused}"]`)?.focus();
  }
  return close;
}

/** What the header says of the server. */
export function headElements(head) {
  return [
    h("strong", {}, head.name),
    h("code", { class: "kit-address" }, head.url.replace(/^http:\/\//, "")),
    h("span", { role: "status" }, pill(head.pill, head.tone)),
    pill(head.count, "muted"),
  ];
}

/** A button that shows or hides one view. */
export function viewButton(view, onclick) {
  const label = VIEW_LABELS[view.name] ?? view.name;
  const attributes = { type: "button", class: "kit-button", "data-name": view.name, "aria-pressed": String(view.shown), title: `${view.shown ? "Hide" : "Show"} ${label}`, onclick };
  return h("button", attributes, label);
}

export default { render };
