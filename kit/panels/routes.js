// The front end of RouteList: one section a route, with what is known of it and a form that connects to it.

function render({ model, el }) {
  const drafts = new Map(); // what the reader has typed and opened, by path: it outlives a list that is made anew
  let sections = new Map();
  const own = `kit-${Math.random().toString(36).slice(2)}`;
  const header = h("header", { class: "kit-header" });
  const filter = h("input", { type: "search", class: "kit-input kit-filter kit-routes-filter", "data-local": "1", placeholder: "Filter routes", "aria-label": "Filter: routes" });
  const refresh = h("button", { type: "button", class: "kit-button", title: "Look at the app again", onclick: () => ask("refresh") }, "Refresh");
  const count = h("span", { class: "kit-hint", role: "status" });
  const list = h("div", { class: "kit-rows kit-route-list", role: "region", "aria-label": "WebSocket routes", tabindex: "0" });
  const panel = h(
    "section",
    { class: "kit-panel kit-routes-panel", "aria-label": model.get("title") },
    header,
    h("div", { class: "kit-heading" }, h("strong", {}, "WebSocket routes"), count, h("span", { class: "kit-spring" }), filter, refresh),
    list,
  );
  el.replaceChildren(panel);
  const { ask, close } = connectView(model, el, panel, receive);
  filter.addEventListener("input", () => showMatching());

  function receive(update) {
    if (update.routes) showRoutes(update.routes, update.notes);
    if (update.state) showState(update.state);
    if (update.error) count.textContent = update.error;
    if (update.answer) sections.get(update.answer.route)?.answer(update.answer);
  }

  function showRoutes(routes, notes) {
    const hadFocus = list.contains(document.activeElement) ? document.activeElement.id : "";
    sections = new Map(
      routes.map((route, index) => {
        const key = `${route.host} ${route.path}`;
        if (!drafts.has(key)) drafts.set(key, { open: index === 0, values: {}, name: "", subprotocols: "", anyway: false });
        return [route.id, routeSection(route, drafts.get(key), `${own}-${route.id}`, (form) => ask("connect", form))];
      }),
    );
    const unseen = !routes.length && notes.length > 0; // that there are none is not known then
    count.textContent = unseen ? "" : routes.length === 1 ? "1 route" : `${routes.length} routes`;
    const shown = [...sections.values()].map((section) => section.element);
    if (!shown.length && !unseen) shown.push(noRoutes());
    list.replaceChildren(...shown, ...notes.map((note) => h("div", { class: "kit-route-note" }, note)));
    if (hadFocus) document.getElementById(hadFocus)?.focus();
    showMatching();
  }

  function showMatching() {
    for (const section of sections.values()) section.element.hidden = !matches(section.words, filter.value.trim());
  }

  function showState(state) {
    const address = h("code", { class: "kit-address" }, state.url);
    header.replaceChildren(h("strong", {}, state.name), address, h("span", { class: "kit-spring" }), h("span", { role: "status" }, pill(state.pill, state.tone)));
    for (const [id, section] of sections) section.count(state.open[id] ?? 0);
  }
  return close;
}

function noRoutes() {
  const example = '@app.websocket("/ws")\nasync def echo(websocket: WebSocket):\n    await websocket.accept()';
  return h("div", { class: "kit-empty" }, "This app has no WebSocket route. Add one, then press Refresh:", h("pre", { class: "kit-twin" }, example));
}

/** One route: a heading that opens and closes it, what is known of it, and its form. */
export function routeSection(route, draft, id, connect) {
  const open = h("span", { class: "kit-route-count" });
  const heading = h(
    "button",
    { type: "button", class: "kit-route-heading", id: `${id}-heading`, "aria-expanded": String(draft.open), "aria-controls": `${id}-body`, "data-local": "1" },
    h("span", { class: "kit-route-path" }, ...pathElements(route.path)),
    route.host ? h("span", { class: "kit-hint" }, `on ${route.host}`) : null,
    open,
    route.headline ? h("span", { class: "kit-route-headline" }, route.headline) : null,
  );
  const form = routeForm(route, draft, id, connect);
  const body = h("div", { class: "kit-route-body", id: `${id}-body`, hidden: !draft.open }, ...aboutElements(route), form.element);
  heading.addEventListener("click", () => {
    draft.open = !draft.open;
    body.hidden = !draft.open;
    heading.setAttribute("aria-expanded", String(draft.open));
  });
  const element = h("article", { class: "kit-route", "aria-label": `Route ${route.path}` }, h("h3", { class: "kit-route-title" }, heading), body);
  return {
    element,
    words: [route.path, route.host, route.endpoint, route.headline, ...route.parameters.map((parameter) => parameter.name)].join(" "),
    answer: form.answer,
    count(number) {
      open.replaceChildren(...(number ? [pill(`${number} open`, "good")] : []));
    },
  };
}

/** A path in parts, those in braces marked. */
export function pathParts(path) {
  return path.split(/(\{[^}]*\})/).filter(Boolean).map((text) => ({ text, parameter: text.startsWith("{") }));
}

function pathElements(path) {
  return pathParts(path).map(({ text, parameter }) => (parameter ? h("span", { class: "kit-route-part" }, text) : text));
}

function aboutElements(route) {
  const handler = [h("code", { class: "kit-code" }, route.endpoint), ...(route.defined ? [h("span", { class: "kit-hint" }, route.defined)] : [])];
  const rows = [h("dt", {}, "Handler"), h("dd", {}, ...handler)];
  if (route.dependencies.length) rows.push(h("dt", {}, "Dependencies"), h("dd", {}, dependencyTree(route.dependencies)));
  if (route.host) rows.push(h("dt", {}, "Host"), h("dd", {}, ...prose(`answers only to ${route.host}; the kit lets this name in when the app is served with \`serve(app, allowed_hosts=[…])\``)));
  const description = route.description ? h("div", { class: "kit-route-description" }, ...prose(route.description.replaceAll("``", "`"))) : null;
  return [description, h("dl", { class: "kit-route-facts" }, ...rows)].filter(Boolean);
}

/** The dependencies of a route and, below each, its own. */
export function dependencyTree(dependencies) {
  return h("ul", { class: "kit-route-tree" }, ...dependencies.map(dependencyElement));
}

function dependencyElement(dependency) {
  return h(
    "li",
    {},
    h("code", { class: "kit-code" }, dependency.name),
    dependency.yields ? h("span", { class: "kit-tag", title: "What stands after its yield runs when the connection ends" }, "yield") : null,
    dependency.insteadOf ? h("span", { class: "kit-warned" }, ` in place of ${dependency.insteadOf}, by dependency_overrides`) : null,
    dependency.headline ? h("span", { class: "kit-faint" }, ` ${dependency.headline}`) : null,
    dependency.wants ? h("span", { class: "kit-faint" }, ` wants ${dependency.wants}`) : null,
    dependency.dependencies.length ? dependencyTree(dependency.dependencies) : null,
  );
}

/** The parameters of a route, each with its field; below them the client, the subprotocols, and the same as code. */
function routeForm(route, draft, id, connect) {
  const fields = new Map(route.parameters.map((parameter) => [parameter.name, parameterField(parameter, draft.values[parameter.name] ?? "", `${id}-${parameter.name}`)]));
  const name = textField("Client", "the next free name", draft.name, `${id}-client`);
  const subprotocols = textField("Subprotocols", "chat.v1, chat.v2", draft.subprotocols, `${id}-subprotocols`);
  const anyway = h("input", { type: "checkbox", id: `${id}-anyway` });
  const anywayLabel = h("label", { class: "kit-anyway", hidden: true }, anyway, " Send it anyway, to see the server's own refusal");
  const said = h("div", { class: "kit-route-said", role: "status" });
  const code = h("pre", { class: "kit-twin", "aria-label": "The same in code", tabindex: "0" });
  const nothing = route.declares
    ? "This route takes no parameters."
    : "A Starlette route declares no parameters besides those in its path. What else it reads can be filled in under Handshake in the chat.";
  const form = h(
    "form",
    { class: "kit-route-form", "aria-label": `Connect to ${route.path}` },
    ...[...fields.values()].map((field) => field.element),
    fields.size && route.declares ? null : h("div", { class: "kit-faint" }, nothing),
    h("div", { class: "kit-route-client" }, name.element, subprotocols.element, h("button", { type: "submit", class: "kit-button kit-primary" }, "Connect")),
    anywayLabel,
    said,
    h("div", {}, h("div", { class: "kit-hint", "aria-hidden": "true" }, "The same in code"), code),
  );
  const all = [...fields.values(), name, subprotocols];
  function read() {
    draft.values = Object.fromEntries([...fields].map(([key, field]) => [key, field.input.value]));
    draft.name = name.input.value;
    draft.subprotocols = subprotocols.input.value;
    draft.anyway = anyway.checked;
    code.textContent = twin(route, draft);
  }
  for (const field of all) {
    field.input.addEventListener("input", () => {
      field.complain("");
      read();
    });
    if (field.input.tagName === "INPUT") submitOnEnter(field.input);
  }
  anyway.addEventListener("change", read);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    read();
    for (const field of all) field.complain("");
    said.textContent = "";
    connect({ ...draft, route: route.id, path: route.path });
  });
  read();

  function answer({ problems, said: words, tone }) {
    said.textContent = words ?? "";
    said.className = `kit-route-said kit-said-${tone ?? "muted"}`;
    if (problems) anywayLabel.hidden = false;
    if (tone === "good") {
      anywayLabel.hidden = true;
      anyway.checked = false;
      read();
    }
    for (const [key, text] of Object.entries(problems ?? {})) (fields.get(key) ?? subprotocols).complain(text);
    all.find((field) => field.input.getAttribute("aria-invalid"))?.input.focus();
  }
  return { element: form, answer };
}

/** JupyterLab takes Shift+Enter for itself: it would run the cell, and all that was typed would be gone. */
const TYPED = { class: "kit-input kit-code", spellcheck: "false", autocomplete: "off", "data-lm-suppress-shortcuts": "true" };

function textField(label, placeholder, value, id) {
  const input = h("input", { ...TYPED, id, placeholder, value });
  const problem = h("div", { class: "kit-problem", role: "alert", id: `${id}-problem`, hidden: true });
  return { element: h("div", { class: "kit-route-field" }, h("label", { for: id }, label), input, problem), input, complain: complaining(input, problem) };
}

/** One parameter: what it is, and a field for it. A number is typed as text, so that a wrong one can be sent on purpose. */
function parameterField(parameter, value, id) {
  const attributes = { ...TYPED, id, "aria-required": parameter.required ? "true" : null };
  const input = parameter.choices.length
    ? h("select", attributes, h("option", { value: "" }, placeholderOf(parameter)), ...parameter.choices.map((choice) => h("option", { value: choice, selected: choice === value }, choice)))
    : h("input", { ...attributes, value, placeholder: placeholderOf(parameter), inputmode: /number/.test(parameter.kind) ? "decimal" : null });
  const problem = h("div", { class: "kit-problem", role: "alert", id: `${id}-problem`, hidden: true });
  const about = [parameter.choices.length && parameter.kind === "choice" ? "" : parameter.kind, ...parameter.limits].filter(Boolean).join(", ");
  const element = h(
    "div",
    { class: "kit-parameter" },
    h(
      "div",
      { class: "kit-parameter-about" },
      h("label", { for: id, class: "kit-parameter-name" }, parameter.name),
      " ",
      h("span", { class: "kit-tag" }, whereWords(parameter)),
      " ",
      h("span", { class: parameter.required ? "kit-required" : "kit-hint" }, parameter.required ? "required" : "optional"),
      parameter.deprecated ? h("span", { class: "kit-warned" }, " deprecated") : null,
      about ? h("div", { class: "kit-faint" }, about) : null,
      parameter.description ? h("div", { class: "kit-parameter-description" }, ...prose(parameter.description)) : null,
      parameter.askedBy.length ? h("div", { class: "kit-hint" }, `for ${parameter.askedBy.join(", ")}`) : null,
    ),
    h("div", { class: "kit-parameter-value" }, input, problem),
  );
  return { element, input, complain: complaining(input, problem) };
}

function complaining(input, problem) {
  return (text) => {
    problem.textContent = text;
    problem.hidden = !text;
    for (const [name, value] of [["aria-invalid", "true"], ["aria-describedby", problem.id]]) text ? input.setAttribute(name, value) : input.removeAttribute(name);
  };
}

/** Where a parameter is sent, and under which name when that is another than in Python. */
export function whereWords({ where, name, sentAs }) {
  return sentAs === name ? where : `${where} ${sentAs}`;
}

/** What stands in an empty field: what happens without a value. */
export function placeholderOf({ required, choices, examples, several, default: without }) {
  if (required) return choices.length ? "choose one" : examples.length ? `for example ${examples[0]}` : several ? "with commas between" : "";
  return without === "none" || !without ? "left out" : `default: ${without}`;
}

/** The same connection as a line of Python. */
export function twin(route, { values, name, subprotocols, anyway }) {
  const text = (value) => JSON.stringify(value).replace(/[\u007f-\uffff]/g, (sign) => (sign.charCodeAt(0) < 0xa0 ? `\\u00${sign.charCodeAt(0).toString(16)}` : sign));
  const list = (value) => `[${value.split(",").map((part) => part.trim()).filter(Boolean).map(text).join(", ")}]`;
  const literal = ({ kind, several }, value) => {
    if (several) return list(value);
    if (kind === "true or false" && /^(true|false)$/.test(value)) return value === "true" ? "True" : "False";
    return /number/.test(kind) && /^-?(0|[1-9]\d*)(\.\d+)?$/.test(value) ? value : text(value);
  };
  const given = route.parameters.filter((parameter) => values[parameter.name]);
  const parts = given.map((parameter) => `${parameter.name}=${literal(parameter, values[parameter.name])}`);
  if (name) parts.push(`name=${text(name)}`);
  if (subprotocols.trim()) parts.push(`subprotocols=${list(subprotocols)}`);
  if (anyway) parts.push("anyway=True");
  return `await panel.connect(${[text(route.path), ...parts].join(", ")})`;
}

export default { render };
