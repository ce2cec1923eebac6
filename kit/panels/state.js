// The front end of StatePanel: the client's controls, both state machines with the current states lit, the handler's calls, the log.

const SVG = "http://www.w3.org/2000/svg";
const BOX = { width: 96, height: 40 };
const WIDTH = 432;

// Where the machines' states and arrows are drawn: boxes by their left upper corner; arrows as a path, its tip with its angle, its label.
const DRAWINGS = {
  client_state: {
    height: 84,
    boxes: { CONNECTING: [2, 38], CONNECTED: [155, 38], DISCONNECTED: [334, 38] },
    arrows: {
      "CONNECTING>CONNECTED": ["M 98 58 H 149", [155, 58, 0], [126, 51]],
      "CONNECTED>CONNECTED": ["M 183 38 C 183 10, 223 10, 223 32", [223, 38, 90], [203, 11]],
      "CONNECTED>DISCONNECTED": ["M 251 58 H 328", [334, 58, 0], [292, 51]],
    },
  },
  application_state: {
    height: 234,
    boxes: { CONNECTING: [2, 94], CONNECTED: [168, 38], RESPONSE: [168, 150], DISCONNECTED: [334, 94] },
    arrows: {
      "CONNECTING>CONNECTED": ["M 50 94 C 50 66, 98 58, 162 58", [168, 58, 0], [96, 52]],
      "CONNECTED>CONNECTED": ["M 196 38 C 196 10, 236 10, 236 32", [236, 38, 90], [216, 11]],
      "CONNECTED>DISCONNECTED": ["M 264 58 C 334 58, 382 66, 382 88", [382, 94, 90], [346, 50]],
      "CONNECTING>DISCONNECTED": ["M 98 114 H 328", [334, 114, 0], [216, 108]],
      "CONNECTING>RESPONSE": ["M 50 134 C 50 162, 98 170, 162 170", [168, 170, 0], [76, 188]],
      "RESPONSE>DISCONNECTED": ["M 264 170 C 334 170, 382 162, 382 140", [382, 134, -90], [356, 188]],
      "RESPONSE>RESPONSE": ["M 196 190 C 196 218, 236 218, 236 196", [236, 190, -90], [216, 226]],
    },
  },
};

/** An SVG element, made like `h` makes one of HTML. */
function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** What moved last, in words. */
export function lastWords(last, machines) {
  if (!last) return "Solid arrows are possible now. The thick one will be the last move.";
  const [attribute, before, after] = last;
  const by = machines.find((machine) => machine.attribute === attribute)?.movedBy ?? "";
  return before === after ? `Last move, the thick arrow: a ${by}, after which ${attribute} is still ${after}.` : `Last move, the thick arrow: a ${by} took ${attribute} from ${before} to ${after}.`;
}

/** One machine as a drawing: `light(state, last)` lights its state and its last move. */
function drawMachine(machine) {
  const { height, boxes, arrows } = DRAWINGS[machine.attribute];
  const ways = machine.arrows.map(([before, label, after]) => {
    const [path, [x, y, angle], [labelX, labelY]] = arrows[`${before}>${after}`];
    const tip = svg("path", { class: "kit-tip", d: "M 0 0 L -9 -4.5 L -9 4.5 Z", transform: `translate(${x} ${y}) rotate(${angle})` });
    const way = svg("g", { class: "kit-way", role: "listitem" }, svg("path", { d: path }), tip, svg("text", { x: labelX, y: labelY }, label));
    return { way, before, after, words: `${label} leads from ${before} to ${after}` };
  });
  const states = machine.states.map((name) => {
    const [x, y] = boxes[name];
    const word = svg("text", { x: x + BOX.width / 2 }, name);
    const now = svg("text", { class: "kit-now", x: x + BOX.width / 2, y: y + 33 }, "now");
    const box = svg("g", { class: "kit-box", role: "listitem" }, svg("rect", { x, y, rx: 5, ...BOX }), word, now);
    return { name, box, word, now, y };
  });
  const drawing = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${height}`, role: "list", "aria-label": `${machine.attribute}: its states and moves` },
    ...ways.map(({ way }) => way),
    ...states.map(({ box }) => box),
  );
  const shown = h("span", { role: "status", "aria-label": machine.attribute });
  const heading = h("div", { class: "kit-heading" }, h("code", { class: "kit-code" }, h("strong", {}, machine.attribute)), h("span", { class: "kit-hint" }, `moved by ${machine.movedBy}()`), h("span", { class: "kit-spring" }), shown);

  function light(current, last) {
    shown.replaceChildren(current ? pill(current, "good") : pill("no WebSocket yet", "muted"));
    for (const { name, box, word, now, y } of states) {
      const lit = name === current;
      if (lit) box.setAttribute("aria-current", "true");
      else box.removeAttribute("aria-current");
      box.setAttribute("aria-label", lit ? `${name}, now` : name);
      word.setAttribute("y", y + (lit ? 19 : 24));
      now.setAttribute("visibility", lit ? "visible" : "hidden");
    }
    for (const { way, before, after, words } of ways) {
      const [attribute, from, to] = last ?? [];
      const isLast = attribute === machine.attribute && from === before && to === after;
      way.setAttribute("class", `kit-way${before === current ? " kit-possible" : ""}${isLast ? " kit-last" : ""}`);
      way.setAttribute("aria-label", isLast ? `${words}, the last move` : words);
      if (isLast) way.parentNode.insertBefore(way, states[0].box); // above the arrows that it crosses
    }
  }
  return { element: h("div", { class: "kit-machine" }, heading, drawing), light };
}

/** One thing that was done: who did what, and what came of it. */
export function doneElement(row) {
  return h(
    "div",
    { class: `kit-did kit-tone-${row.tone}` },
    h("span", { class: "kit-time" }, seconds(row.at)),
    h("span", { class: "kit-who" }, row.who),
    h(
      "div",
      {},
      h("div", { class: "kit-words" }, row.call),
      row.result ? h("div", { class: "kit-result" }, `→ ${row.result}`) : null,
      row.meaning ? h("div", { class: "kit-meaning" }, ...prose(row.meaning)) : null,
    ),
  );
}

function render({ model, el }) {
  let state = { connected: false };
  let machines = [];
  let drawn = [];
  const marks = new Map();
  const status = h("span", { role: "status" });
  const who = h("span");
  const address = h("code", { class: "kit-address" });
  const connectButton = h("button", { type: "button", class: "kit-button kit-primary", onclick: () => state.busy || ask("connect") }, "Connect");
  const header = h("header", { class: "kit-header" }, h("strong", {}, "One WebSocket, call by call"), who, address, h("span", { class: "kit-spring" }), status, connectButton);

  const line = h("div", { role: "status", "aria-label": "client" });
  const clientButton = (label, key, title) =>
    h("button", { type: "button", class: "kit-button", title, onclick: () => state.connected && ask("client", { key }) }, label);
  const clientButtons = [
    clientButton("Say hello", "hello", "The client sends the text “hello”"),
    clientButton("Say bytes", "bytes", "The client sends two bytes"),
    clientButton("Close 1000", "close", "The client sends a Close frame with 1000"),
    clientButton("Vanish", "vanish", "The client drops its socket without a Close frame"),
  ];
  const client = h("div", { class: "kit-client-end", role: "group", "aria-label": "Client" }, h("div", { class: "kit-heading" }, h("strong", {}, "Client")), line, h("div", { class: "kit-client-buttons" }, ...clientButtons));

  const middle = h("div", { role: "group", "aria-label": "State machines" });
  const legend = h("div", { class: "kit-legend" });
  const calls = h("div", { class: "kit-handler-calls", role: "group", "aria-label": "The handler's calls" });
  const log = scrollingLog("Calls and results", "Nothing was done yet. Press Connect, or run `await stage.connect()`. Then try any call: the illegal ones show their error here.");
  const panel = h(
    "section",
    { class: "kit-panel kit-state-panel", "aria-label": model.get("title") },
    header,
    h("div", { class: "kit-stage" }, client, middle, calls),
    h("div", { class: "kit-heading" }, h("strong", {}, "Calls and results"), h("span", { class: "kit-spring" }), ...log.tools),
    log.list,
  );
  el.replaceChildren(panel);

  const { ask, close } = connectView(model, el, panel, (update) => {
    if (update.reset) {
      log.reset();
      begin(update);
    }
    if (update.state) showState(update.state);
    log.skip(update.skipped);
    for (const row of update.rows ?? []) log.put(row.id, doneElement(row), `${row.who} ${row.call} ${row.result} ${row.meaning}`);
  });

  /** Draw what never changes, once. */
  function begin(update) {
    if (drawn.length) return;
    machines = update.machines;
    drawn = machines.map(drawMachine);
    middle.replaceChildren(...drawn.map(({ element }) => element), legend);
    const buttons = update.calls.map(({ key, label, madeBy }) => {
      const mark = h("span", { class: "kit-mark-of-call" });
      const button = h("button", { type: "button", class: "kit-call", onclick: () => state.connected && ask("call", { key }) }, h("span", { class: "kit-code" }, label), mark, h("small", {}, `by ${madeBy}`));
      marks.set(key, { mark, button });
      return button;
    });
    calls.replaceChildren(h("div", { class: "kit-heading" }, h("strong", {}, "The handler's calls")), ...buttons);
  }

  function showState(next) {
    state = next;
    who.replaceChildren(state.number ? badge(state.number) : "");
    address.textContent = state.url;
    status.replaceChildren(pill(state.pill, state.tone));
    connectButton.textContent = state.busy ? "Connecting" : state.again ? "Connect again" : "Connect";
    connectButton.setAttribute("aria-disabled", String(state.busy)); // disabled would take the focus away
    showLine(state.line);
    for (const button of clientButtons) button.setAttribute("aria-disabled", String(!state.connected));
    machines.forEach((machine, index) => drawn[index].light(state.states[machine.attribute], state.last));
    legend.textContent = lastWords(state.last, machines);
    for (const [key, { mark, button }] of marks) {
      const [words, tone] = state.marks[key] ?? ["", "muted"];
      mark.replaceChildren(words ? pill(words, tone) : "");
      button.classList.toggle("kit-illegal", words === "illegal now");
      button.setAttribute("aria-disabled", String(!state.connected));
    }
  }

  function showLine(end) {
    if (!end) {
      line.replaceChildren(pill("not connected", "muted"));
      return;
    }
    const why = h("div", { class: "kit-client-why" }, end.headline ? h("strong", {}, `${end.headline}. `) : "", ...prose(end.why));
    line.replaceChildren(pill(end.pill, end.tone), why);
  }
  return () => {
    log.close();
    close();
  };
}

export default { render };
