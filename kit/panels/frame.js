// The front end of FramePanel: a list of frames, of which only the visible part is in the page, and one frame under the glass.

const FRAMES_LIMIT = 2000;
const FILE_LIMIT_BYTES = 64 * 1024 * 1024;
const UPLOAD_PART_BYTES = 384 * 1024;
const REGULAR_LIMIT_MILLISECONDS = 500;
const HEX_STEP_BYTES = 4096;
const OPCODES = { 0: "CONT", 1: "TEXT", 2: "BINARY", 8: "CLOSE", 9: "PING", 10: "PONG" };

/** The bytes that hexadecimal digits name. */
export function bytesOfHex(hex) {
  return Uint8Array.from({ length: hex.length / 2 }, (_, index) => parseInt(hex.slice(2 * index, 2 * index + 2), 16));
}

/** Bytes as hexadecimal digits, with something between them. */
export function hexOf(bytes, between = " ") {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(between);
}

/** The bytes of a base64 text. */
export function bytesOfBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** What a frame's header says (RFC 6455 §5.2). */
export function readHeader(hex) {
  const bytes = bytesOfHex(hex);
  const [first, second] = bytes;
  const masked = Boolean(second & 128);
  const lengthBits = (second & 127) === 127 ? 64 : (second & 127) === 126 ? 16 : 7;
  return {
    fin: first >> 7,
    rsv: [(first >> 6) & 1, (first >> 5) & 1, (first >> 4) & 1],
    opcode: first & 15,
    name: OPCODES[first & 15] ?? "reserved",
    masked,
    length: second & 127,
    lengthBits,
    extended: lengthBits === 7 ? "" : hex.slice(4, 4 + lengthBits / 4),
    key: masked ? hex.slice(-8) : "",
  };
}

/** The fields of a frame in their order, with their real bits; the payload ends where its row of the picture ends. */
export function frameFields(hex, payload, perRow = 32) {
  const head = readHeader(hex);
  const bits = (digits) => Array.from(bytesOfHex(digits), (byte) => byte.toString(2).padStart(8, "0")).join("");
  const all = bits(hex);
  const fields = [
    { name: "FIN", bits: all[0], says: head.fin ? "last" : "more" },
    ...head.rsv.map((bit, index) => ({ name: `RSV${index + 1}`, bits: String(bit), says: "" })),
    { name: "opcode", bits: all.slice(4, 8), says: head.name },
    { name: "MASK", bits: all[8], says: "" },
    { name: "length", bits: all.slice(9, 16), says: head.lengthBits === 7 ? String(head.length) : `${head.length} = ${head.lengthBits} bits` },
  ];
  if (head.extended) fields.push({ name: "extended length", bits: bits(head.extended), says: BigInt(`0x${head.extended}`).toLocaleString("en") });
  if (head.key) fields.push({ name: "masking key", bits: bits(head.key), says: head.key.match(/../g).join(" ") });
  const used = fields.reduce((sum, field) => sum + field.bits.length, 0);
  const room = (perRow - (used % perRow)) % perRow || perRow;
  const shown = payload.slice(0, room / 8);
  if (shown.length) fields.push({ name: head.masked ? "payload, masked" : "payload", bits: bits(hexOf(shown, "")), says: hexOf(shown) });
  return fields;
}

/** Fields cut into rows of so many bits, as RFC 6455 draws them. */
export function bitRows(fields, perRow = 32) {
  const rows = [[]];
  let column = 0;
  for (const { name, bits, says } of fields) {
    for (let start = 0; start < bits.length; ) {
      if (column === perRow) {
        rows.push([]);
        column = 0;
      }
      const part = bits.slice(start, start + perRow - column);
      rows.at(-1).push({ name: start ? `${name}, continued` : name, bits: part, says: start ? "" : says, column });
      start += part.length;
      column += part.length;
    }
  }
  return rows;
}

/** Bytes under a masking key, or out from under it: the same operation (RFC 6455 §5.3). */
export function masked(bytes, key) {
  return bytes.map((byte, index) => byte ^ key[index % 4]);
}

/** Lines of a hex dump: offset, bytes, and as ASCII what is. */
export function hexLines(bytes, width = 16) {
  const lines = [];
  for (let start = 0; start < bytes.length; start += width) {
    const part = bytes.slice(start, start + width);
    const half = (from) => hexOf(part.slice(from, from + 8));
    const hex = (width > 8 ? `${half(0).padEnd(23)}  ${half(8).padEnd(23)}` : half(0).padEnd(23));
    lines.push(`${start.toString(16).padStart(6, "0")}  ${hex}  ${asciiOf(part)}`);
  }
  return lines;
}

/** Bytes as the ASCII characters that can be seen, a dot for every other. */
export function asciiOf(bytes) {
  return Array.from(bytes, (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
}

/** A number of bytes in words. */
export function sizeWords(size) {
  if (size < 1024) return `${size} B`;
  return size < 1024 * 1024 ? `${(size / 1024).toFixed(1)} KiB` : `${(size / 1024 / 1024).toFixed(1)} MiB`;
}

/** What is to be said in a row of a frame that only its writer has seen. */
export function unreadWords(row, state) {
  if (row.kind === "note" || state.stranger) return "";
  const reader = row.direction === "up" ? "server" : "client";
  const read = row.direction === "up" ? row.server_entry : row.client_entry;
  return read ? "" : `${state.ended ? "never" : "not yet"} read by the ${reader}`;
}

/** Which fragment of which message a frame is, in words. */
export function fragmentWords(row) {
  return row.fragment ? `message ${row.message}, ${row.last === false ? "" : "last "}fragment ${row.fragment}` : "";
}

/** The words of a row that a search looks at. */
export function wordsOf(row) {
  return `${row.text ?? ""}${row.inflated ? `\n${row.inflated}` : ""}`;
}

/** Whether a row passes the choices of direction and kind; what happened to the connection passes as long as no kind is chosen. */
export function passes(row, { direction, kind }) {
  return (direction === "all" || row.direction === direction || row.kind === "note") && (kind === "all" || row.kind === kind);
}

/** A row in one sentence, for those who listen. */
export function rowSentence(row, state) {
  if (row.kind === "note") return row.text;
  const way = row.direction === "up" ? "client to server" : "server to client";
  const words = [way, row.opcode, sizeWords(row.size ?? 0), fragmentWords(row), row.inflated || row.text || "no payload", unreadWords(row, state)];
  return words.filter(Boolean).join(", ");
}

/** The flags of a frame: each in its place, a dot where it is not set. */
export function flagsOf(row) {
  if (!row.header) return [];
  const head = readHeader(row.header);
  return [["FIN", head.fin], ["RSV1", head.rsv[0]], ["MASK", head.masked]].map(([name, set]) => [name, Boolean(set)]);
}

/** A JSON value as a tree that folds: elements made of text only. */
export function treeElement(node, name = null, level = 0) {
  const label = name === null ? null : h("span", { class: "kit-frame-name" }, name, ": ");
  if (!node.inside) return h("div", { class: "kit-frame-leaf" }, label, h("span", { class: `kit-frame-is-${node.is}` }, node.text));
  const unit = node.is === "object" ? "member" : "item";
  const count = `${node.count.toLocaleString("en")} ${unit}${node.count === 1 ? "" : "s"}`;
  const more = node.more ? h("div", { class: "kit-frame-leaf kit-faint" }, `${node.more.toLocaleString("en")} more are not in this tree`) : null;
  return h(
    "details",
    { class: "kit-frame-tree", open: level < 2 },
    h("summary", {}, label, node.text, " ", h("small", { class: "kit-faint" }, count)),
    ...node.inside.map(([inner, child]) => treeElement(child, inner, level + 1)),
    more,
  );
}

/** The picture of RFC 6455 §5.2 with a frame's own bits in it. */
export function bitPicture(hex, payload, size, perRow = 32) {
  const fields = frameFields(hex, payload, perRow);
  const told = fields.filter((field) => !field.name.startsWith("payload")).map((field) => `${field.name} ${field.bits}${field.says ? ` (${field.says})` : ""}`);
  const numbers = h("div", { class: "kit-bits-numbers" });
  for (let bit = 0; bit < perRow; bit += 1) numbers.append(h("span", { class: bit % 8 ? "" : "kit-bits-byte" }, String(bit)));
  const rows = bitRows(fields, perRow).map((row) => {
    const line = h("div", { class: "kit-bits-row" });
    for (const part of row) line.append(bitBox(part));
    return line;
  });
  const payloadShown = fields.at(-1).name.startsWith("payload") ? fields.at(-1).bits.length / 8 : 0;
  const rest = size - payloadShown;
  const picture = h("div", { class: "kit-bits", role: "img", style: `--kit-bits: ${perRow}`, "aria-label": `The header bit by bit: ${told.join(", ")}` }, numbers, ...rows);
  return h("div", {}, picture, h("p", { class: "kit-frame-caption" }, rest > 0 ? `and ${rest.toLocaleString("en")} more bytes of payload` : size ? "the whole payload is in the picture" : "no payload follows"));
}

function bitBox({ name, bits, says }) {
  const kind = name.replace(/,.*/, "").replace(/[^a-zA-Z]/g, "").toLowerCase();
  const single = bits.length === 1;
  const box = h("div", { class: `kit-bits-box kit-bits-${kind}${single ? " kit-bits-single" : ""}`, style: `grid-column: span ${bits.length}` });
  box.append(h("span", { class: "kit-bits-name" }, name));
  const digits = h("span", { class: "kit-bits-digits", style: `--kit-bits: ${bits.length}` });
  for (const bit of bits) digits.append(h("span", { class: bit === "1" ? "kit-bits-set" : "" }, bit));
  box.append(digits);
  if (!single) box.append(h("span", { class: "kit-bits-says" }, says || "\u00a0"));
  return box;
}

/** Mask, key and payload under each other, the first bytes of them. */
export function maskTable(payload, keyHex, most = 8) {
  const plain = payload.slice(0, most);
  const key = bytesOfHex(keyHex);
  const line = (title, cells) => h("tr", {}, h("th", { scope: "row" }, title), ...cells.map((cell) => h("td", {}, cell)));
  const hex = (bytes) => Array.from(bytes, (byte) => hexOf([byte]));
  const table = h(
    "table",
    { class: "kit-frame-mask" },
    h("tbody", {}, line("on the wire", hex(masked(plain, key))), line("XOR the key", hex(plain.map((_, index) => key[index % 4]))), line("= payload", hex(plain)), line("as ASCII", Array.from(asciiOf(plain)))),
  );
  return h("div", { class: "kit-frame-scroll" }, table, payload.length > most ? h("p", { class: "kit-frame-caption" }, `the first ${most} bytes; the key goes on from the beginning every four bytes`) : "");
}

/** Headers as a list, and on demand how the server's answer to the key comes about. */
export function handshakeElement(found) {
  const list = h("dl", { class: "kit-frame-headers" });
  for (const [name, value] of found.headers) list.append(h("dt", {}, name), h("dd", {}, value || "\u00a0"));
  const parts = [h("div", { class: "kit-frame-start" }, found.startLine), list];
  if (found.moreHeaders) parts.push(h("p", { class: "kit-frame-caption" }, `and ${found.moreHeaders} more headers`));
  if (found.body) parts.push(h("h4", {}, "Body"), h("pre", { class: "kit-frame-text" }, found.body));
  if (found.accept) parts.push(acceptElement(found.accept));
  return h("div", {}, ...parts);
}

function acceptElement({ steps, right }) {
  const list = h("ol", { class: "kit-frame-steps" }, ...steps.map(([step, value]) => h("li", {}, h("div", {}, step), h("code", { class: "kit-code" }, value))));
  return h(
    "details",
    { class: "kit-frame-accept" },
    h("summary", {}, "How Sec-WebSocket-Accept comes from Sec-WebSocket-Key"),
    list,
    h("p", {}, right ? "They are the same: this server has understood that it was asked for a WebSocket." : "They differ: a client must end the connection now (RFC 6455 §4.1)."),
  );
}

/**
 * Searches rows with a regular expression in a worker of its own, which is ended when it takes longer than half a second:
 * an expression that backtracks for ever must not freeze the page. `search(source, rows)` calls `onFound(keys)`.
 */
function regularSearch(onFound, onProblem) {
  const script = `onmessage = ({ data: { source, rows } }) => {
    postMessage("begins");
    const expression = new RegExp(source, "i");
    postMessage(rows.filter(([, text]) => expression.test(text)).map(([key]) => key));
  };`;
  let worker = null;
  let address = "";
  let limit = 0;
  let waiting = [];
  let source = "";
  const stop = () => {
    clearTimeout(limit);
    worker?.terminate();
    if (address) URL.revokeObjectURL(address);
    [worker, address, waiting] = [null, "", []];
  };
  const begin = () => {
    const rows = waiting;
    waiting = [];
    worker.busy = true;
    worker.postMessage({ source, rows });
  };
  const onMessage = ({ data }) => {
    if (data === "begins") {
      limit = setTimeout(() => {
        stop();
        onProblem("This expression takes longer than half a second, so it was stopped. Make it simpler; nested repetitions such as (a+)+ take for ever.");
      }, REGULAR_LIMIT_MILLISECONDS);
      return;
    }
    clearTimeout(limit);
    worker.busy = false;
    onFound(data);
    if (waiting.length) begin();
  };
  const search = (wanted, rows) => {
    if (wanted !== source) stop();
    source = wanted;
    waiting.push(...rows);
    try {
      if (!worker) {
        address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
        worker = new Worker(address);
        worker.onmessage = onMessage;
        worker.onerror = () => onProblem("This page does not allow workers, which a regular expression needs. Search for plain text instead.");
      }
      if (!worker.busy && waiting.length) begin();
    } catch (error) {
      onProblem(`A regular expression needs a worker, and the page refuses it: ${error.message}`);
    }
  };
  return { search, stop };
}

/** What is wrong with a regular expression, or an empty text. */
export function regularProblem(source) {
  try {
    return new RegExp(source, "i") && "";
  } catch (error) {
    return `This is no regular expression: ${error.message.replace(/^Invalid regular expression: /, "")}. Mend it, or switch .* off to search for plain text.`;
  }
}

/** A list of which only the visible part is in the page: rows of one height, chosen by click or arrow keys. */
function frameList(rowElement, onChoose) {
  const space = h("div", { class: "kit-frame-space" });
  const empty = h("div", { class: "kit-empty" });
  const list = h("div", { class: "kit-rows kit-frame-list", role: "listbox", tabindex: "0", "aria-label": "Frames" }, empty, space);
  const name = `kit-frames-${Math.random().toString(36).slice(2)}`;
  let rows = [];
  let chosen = null;
  let atEnd = true;
  let due = 0;
  const height = () => parseFloat(getComputedStyle(list).getPropertyValue("--kit-frame-height")) || 28;
  const draw = () => {
    due = 0;
    const each = height();
    space.style.height = `${rows.length * each}px`;
    if (atEnd) list.scrollTop = list.scrollHeight;
    const first = Math.max(0, Math.floor(list.scrollTop / each) - 6);
    const last = Math.min(rows.length, Math.ceil((list.scrollTop + list.clientHeight) / each) + 6);
    const elements = [];
    for (let index = first; index < last; index += 1) {
      const element = rowElement(rows[index]);
      element.id = `${name}-${index}`;
      element.style.top = `${index * each}px`;
      element.setAttribute("aria-posinset", String(index + 1));
      element.setAttribute("aria-setsize", String(rows.length));
      element.setAttribute("aria-selected", String(rows[index].key === chosen));
      element.dataset.key = rows[index].key;
      elements.push(element);
    }
    space.replaceChildren(...elements);
    const place = rows.findIndex((row) => row.key === chosen);
    if (place >= first && place < last) list.setAttribute("aria-activedescendant", `${name}-${place}`);
    else list.removeAttribute("aria-activedescendant");
  };
  const drawSoon = () => {
    due ||= requestAnimationFrame(draw);
  };
  const show = (key) => {
    const each = height();
    const place = rows.findIndex((row) => row.key === key);
    if (place < 0) return;
    if (place * each < list.scrollTop) list.scrollTop = place * each;
    if ((place + 1) * each > list.scrollTop + list.clientHeight) list.scrollTop = (place + 1) * each - list.clientHeight;
  };
  const choose = (key, { tell = true } = {}) => {
    chosen = key;
    atEnd = atEnd && key === rows.at(-1)?.key;
    show(key);
    draw();
    if (tell) onChoose(key);
  };
  list.addEventListener("scroll", () => {
    atEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 4;
    drawSoon();
  });
  space.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) choose(option.dataset.key);
  });
  list.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(list.clientHeight / height()) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || !rows.length) return;
    event.preventDefault();
    event.stopPropagation();
    const place = rows.findIndex((row) => row.key === chosen);
    const start = place < 0 ? (steps[event.key] > 0 ? -1 : rows.length) : place;
    choose(rows[Math.max(0, Math.min(rows.length - 1, start + steps[event.key]))].key);
  });
  const watcher = new ResizeObserver(drawSoon);
  watcher.observe(list);
  const put = (now, emptyText) => {
    rows = now;
    empty.textContent = emptyText;
    empty.hidden = rows.length > 0;
    drawSoon();
  };
  const close = () => {
    watcher.disconnect();
    cancelAnimationFrame(due);
  };
  /** For another connection: at its end while it goes on, at its beginning when it is over. */
  const begin = (over) => {
    atEnd = !over;
    list.scrollTop = 0;
  };
  return { list, put, choose, close, begin };
}

/** A drop-down list with a name. */
function chooser(label, choices, onChange, attributes = { "data-local": "1" }) {
  const select = h("select", { class: "kit-input kit-frame-select", "aria-label": label, ...attributes });
  for (const [value, text] of choices) select.append(h("option", { value }, text));
  select.addEventListener("change", () => onChange(select.value));
  return select;
}

/** A button; the ones that need no kernel stay usable without it. */
function tool(text, onClick, attributes = {}) {
  return h("button", { type: "button", class: "kit-button", "data-local": "1", onclick: onClick, ...attributes }, text);
}

/** Copies text, also where the page may not use the clipboard by itself. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { style: "position: fixed; opacity: 0" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

function render({ model, el }) {
  const rows = new Map();
  const found = new Set();
  let state = { connections: [], number: null };
  let choices = { direction: "all", kind: "all", find: "", regular: false, only: false };
  let chosenHere = false; // by this view's own reader, who may have been faster than the kernel's first words
  let shown = [];
  let held = null;
  let clearedTo = 0;
  let exported = [];
  const glass = inspector((words) => note(words));
  const frames = frameList((row) => rowElement(row, state, found), (key) => inspect(key));
  const regular = regularSearch(
    (keys) => {
      for (const key of keys) found.add(key);
      refresh();
    },
    (problem) => complain(problem),
  );

  // The controls, from top to bottom.
  const badgePlace = h("span", { class: "kit-frame-badge" });
  const connections = chooser("Connection", [], (value) => ask("look", { number: value === "newest" ? null : Number(value) }), {});
  const fate = h("span", { role: "status" });
  const file = h("input", { type: "file", accept: ".jsonl,.json,.txt", hidden: true, "aria-label": "Recording to open" });
  const back = tool("Back to live", () => ask("live"), { hidden: true, "data-local": null });
  const says = h("span", { class: "kit-hint kit-frame-says", role: "status" });
  const direction = chooser("Direction", [["all", "both directions"], ["up", "client → server"], ["down", "server → client"]], (value) => choose({ direction: value }));
  const kind = chooser("Kind", [["all", "all kinds"], ["text", "text"], ["binary", "binary"], ["control", "control"], ["handshake", "handshake"]], (value) => choose({ kind: value }));
  const find = h("input", { type: "search", class: "kit-input kit-frame-find", "data-local": "1", placeholder: "Find in payloads", "aria-label": "Find in the first 256 characters of payloads" });
  const isRegular = tool(".*", () => choose({ regular: !choices.regular }), { "aria-pressed": "false", "aria-label": "Regular expression", title: "Regular expression" });
  const only = tool("Only these", () => choose({ only: !choices.only }), { "aria-pressed": "false", title: "Show only the rows that were found" });
  const before = tool("‹", () => step(-1), { "aria-label": "Previous found frame" });
  const after = tool("›", () => step(1), { "aria-label": "Next found frame" });
  const count = h("span", { class: "kit-hint", role: "status" });
  const pause = tool("Pause", () => togglePause(), { "aria-pressed": "false", class: "kit-button kit-pause", title: "Hold what is new back" });
  const clear = tool("Clear", () => clearRows(), { class: "kit-button kit-clear", title: "Clear this list" });
  const problem = h("div", { class: "kit-frame-problem", role: "alert", hidden: true });
  const why = h("div", { class: "kit-frame-why", hidden: true });
  const older = h("div", { class: "kit-frame-older", hidden: true });
  const panel = h(
    "section",
    { class: "kit-panel kit-frame-panel", "aria-label": model.get("title") },
    h("header", { class: "kit-header" }, h("strong", {}, "Frames"), badgePlace, connections, fate, h("span", { class: "kit-spring" }), says, back, tool("Open…", () => file.click(), { "data-local": null }), tool("Export", () => ask("export"), { "data-local": null }), file),
    h("div", { class: "kit-frame-tools", role: "toolbar", "aria-label": "Which frames" }, direction, kind, h("span", { class: "kit-frame-finding" }, find, isRegular, before, after, only, count), h("span", { class: "kit-frame-keeping" }, pause, clear)),
    problem,
    why,
    older,
    h("div", { class: "kit-frame-row kit-frame-titles", "aria-hidden": "true" }, ...["client", "on the wire", "server", "flags", "length", "payload"].map((title) => h("span", {}, title))),
    frames.list,
    glass.element,
  );
  el.replaceChildren(panel);
  find.addEventListener("input", () => choose({ find: find.value }));
  find.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    step(event.shiftKey ? -1 : 1);
  });
  file.addEventListener("change", () => upload(file.files[0]));

  // What the kernel tells.
  const { ask, close } = connectView(model, el, panel, (update) => {
    if (update.error) complain(update.error);
    if (update.state) show(update.state);
    if (update.filter && !(update.reset && chosenHere)) choose(update.filter, false);
    if (update.exported) save(update.exported);
    if (update.inspected) glass.fill(update.inspected);
    if (update.reset) {
      rows.clear();
      held = held && new Map();
      complain(choices.regular ? regularProblem(choices.find) : "");
    }
    if (update.rows) take(update.rows);
  });

  function show(now) {
    const other = now.number !== state.number || now.recording !== state.recording;
    if (other) [clearedTo] = [0];
    if (other) {
      glass.clear();
      frames.begin(now.ended);
    }
    state = now;
    const names = now.connections.map(({ number, name, path }) => [String(number), `${number} · ${name} ${path}`]);
    const newest = names.at(-1)?.[1] ?? "nobody yet";
    const options = [["newest", `newest: ${newest}`], ...names.reverse()];
    connections.replaceChildren(...options.map(([value, text]) => h("option", { value }, text)));
    connections.value = now.newest ? "newest" : String(now.number);
    badgePlace.replaceChildren(badge(now.number));
    for (let colour = 0; colour <= 8; colour += 1) panel.classList.toggle(`kit-c${colour}`, colour === colourOf(now.number));
    fate.replaceChildren(...(now.pill ? [pill(now.pill, now.tone)] : []));
    why.hidden = !now.why && !now.stranger;
    why.className = `kit-frame-why kit-frame-${now.tone}`;
    why.replaceChildren(...prose([now.why, now.stranger ? "Made by a stranger: no client of this kernel, so only the server's end is known." : ""].filter(Boolean).join(" ")));
    back.hidden = now.live;
    note(now.recording ? `Recording: ${now.recording}` : "");
    const count = (number) => number.toLocaleString("en");
    const gone = [
      now.older ? `${count(now.older)} older frames are not in this list.` : "",
      now.skipped ? `${count(now.skipped)} Entries go by too fast to be shown; they follow.` : "",
      now.fallen ? `${count(now.fallen)} Entries, of all connections, are not in the Timeline any more.` : "",
    ];
    older.textContent = gone.filter(Boolean).join(" ");
    older.hidden = !older.textContent;
  }

  function take(changed) {
    if (held) {
      for (const row of changed) held.set(row.key, row);
      while (held.size > FRAMES_LIMIT) held.delete(held.keys().next().value);
      pause.textContent = held.size ? `Resume · ${held.size} new` : "Resume";
      return;
    }
    for (const row of changed) if (Math.min(row.client_entry ?? Infinity, row.server_entry ?? Infinity) > clearedTo) rows.set(row.key, row);
    while (rows.size > FRAMES_LIMIT) rows.delete(rows.keys().next().value);
    search(changed);
    if (changed.some((row) => row.key === glass.key())) inspect(glass.key());
  }

  function togglePause() {
    const back = held;
    held = held ? null : new Map();
    pause.setAttribute("aria-pressed", String(Boolean(held)));
    pause.textContent = held ? "Resume" : "Pause";
    if (back) take([...back.values()]);
  }

  function clearRows() {
    for (const row of [...rows.values(), ...(held?.values() ?? [])]) clearedTo = Math.max(clearedTo, row.client_entry ?? 0, row.server_entry ?? 0);
    rows.clear();
    held?.clear();
    glass.clear();
    search([]);
  }

  // Choosing and finding.
  function choose(changed, here = true) {
    chosenHere = here;
    const sought = "find" in changed || "regular" in changed;
    choices = { ...choices, ...changed };
    [direction.value, kind.value] = [choices.direction, choices.kind];
    if (find.value !== choices.find) find.value = choices.find;
    isRegular.setAttribute("aria-pressed", String(choices.regular));
    only.setAttribute("aria-pressed", String(choices.only));
    if (sought) {
      found.clear();
      regular.stop();
      complain(choices.regular ? regularProblem(choices.find) : "");
      search([...rows.values()]);
    } else refresh();
  }

  function search(looked) {
    if (choices.find && !choices.regular) {
      for (const row of looked) if (row.kind !== "note" && matches(wordsOf(row), choices.find)) found.add(row.key);
    } else if (choices.find && problem.hidden) {
      regular.search(choices.find, looked.filter((row) => row.kind !== "note").map((row) => [row.key, wordsOf(row)]));
    }
    refresh();
  }

  function refresh() {
    const all = [...rows.values()].filter((row) => passes(row, choices));
    shown = choices.only && choices.find ? all.filter((row) => found.has(row.key)) : all;
    const filtered = rows.size ? "No frame is like that. Choose another direction or kind, or search for something else." : "";
    frames.put(shown, filtered || "No frames yet. Connect a client, for example `await connect(server, \"/ws\")`, and say something: each frame appears here as both ends saw it.");
    tellPlace();
  }

  function tellPlace() {
    const hits = shown.filter((row) => found.has(row.key));
    const place = hits.findIndex((row) => row.key === glass.key());
    count.textContent = !choices.find ? "" : hits.length ? `${place < 0 ? "" : `${place + 1} of `}${hits.length.toLocaleString("en")} found` : "none found";
    before.disabled = after.disabled = !hits.length;
  }

  function step(by) {
    const places = shown.map((row, index) => (found.has(row.key) ? index : -1)).filter((index) => index >= 0);
    if (!places.length) return;
    const now = shown.findIndex((row) => row.key === glass.key());
    const next = by > 0 ? (places.find((index) => index > now) ?? places[0]) : (places.findLast((index) => index < now && now >= 0) ?? places.at(-1));
    frames.choose(shown[next].key);
  }

  function inspect(key) {
    const row = rows.get(key);
    if (!row) return;
    glass.look(row, state);
    if (row.kind !== "note") ask("inspect", { key });
    tellPlace();
  }

  // Files.
  async function upload(chosen) {
    file.value = "";
    if (!chosen) return;
    if (chosen.size > FILE_LIMIT_BYTES) {
      complain(`Expected a file of at most 64 MiB, got ${sizeWords(chosen.size)}. Record for a shorter time.`);
      return;
    }
    complain("");
    const parts = Math.max(1, Math.ceil(chosen.size / UPLOAD_PART_BYTES));
    for (let part = 0; part < parts; part += 1) {
      const slice = new Uint8Array(await chosen.slice(part * UPLOAD_PART_BYTES, (part + 1) * UPLOAD_PART_BYTES).arrayBuffer());
      let text = "";
      for (let start = 0; start < slice.length; start += 4096) text += String.fromCharCode(...slice.subarray(start, start + 4096));
      ask("open", { name: chosen.name, part, parts, data: btoa(text) });
    }
  }

  function save({ part, parts, text, name }) {
    if (part === 0) exported = [];
    exported.push(text);
    note(`Exporting ${part + 1} of ${parts}`);
    if (exported.length < parts) return;
    const address = URL.createObjectURL(new Blob(exported, { type: "application/jsonl" }));
    exported = [];
    h("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
    note("Exported, secrets blotted out");
  }

  function complain(text) {
    problem.textContent = text;
    problem.hidden = !text;
  }
  function note(text) {
    says.textContent = text;
  }

  refresh();
  return () => {
    regular.stop();
    frames.close();
    glass.close();
    close();
  };
}

/** One row of the list. */
export function rowElement(row, state, found) {
  const attributes = { role: "option", "aria-label": rowSentence(row, state), class: `kit-frame-row kit-frame-${row.tone ?? "plain"}${found.has(row.key) ? " kit-frame-found" : ""}` };
  if (row.kind === "note") {
    attributes.class += " kit-frame-event";
    return h("div", attributes, h("span", { class: "kit-divider" }, row.text));
  }
  const unread = unreadWords(row, state);
  const fragment = fragmentWords(row);
  const size = row.header ? h("small", {}, `${readHeader(row.header).lengthBits} bit`) : "";
  return h(
    "div",
    attributes,
    h("span", { class: "kit-time kit-frame-client" }, timeWords(row.client_seconds, state, row, "client")),
    h("span", { class: `kit-frame-arrow kit-frame-${row.direction}${unread ? " kit-frame-unread" : ""}` }, h("span", {}, row.opcode)),
    h("span", { class: "kit-time kit-frame-server" }, timeWords(row.server_seconds, state, row, "server")),
    h("span", { class: "kit-frame-flags" }, ...flagsOf(row).map(([name, set]) => h("span", { class: set ? "kit-frame-set" : "kit-faint" }, set ? name : "·"))),
    h("span", { class: "kit-frame-length" }, sizeWords(row.size ?? 0), size),
    h(
      "span",
      { class: "kit-frame-payload" },
      fragment ? h("span", { class: "kit-frame-tag" }, fragment) : "",
      unread ? h("span", { class: "kit-frame-tag kit-frame-warning" }, unread) : "",
      row.inflated ? h("span", { class: "kit-frame-tag" }, "inflated") : "",
      row.inflated || row.text || h("span", { class: "kit-faint" }, "(empty)"),
    ),
  );
}

/** When an end saw a frame; a dash where nobody knows. */
export function timeWords(at, state) {
  return at === undefined || at === null ? "–" : seconds(at);
}

/** The lower part of the panel: the chosen frame, seen closely. */
function inspector(onSay) {
  let row = null;
  let found = null;
  let payload = new Uint8Array();
  let view = ""; // as the reader has chosen it; until then text as text, bytes as hex
  let hexShown = HEX_STEP_BYTES;
  let perRow = 0;
  const element = h("div", { class: "kit-glass", role: "group", "aria-label": "The chosen frame", tabindex: "0" });
  const watcher = new ResizeObserver(() => {
    if (row && perRow !== bitsPerRow()) draw();
  });
  watcher.observe(element);
  const bitsPerRow = () => (element.clientWidth < 480 ? 16 : 32);

  function look(chosen, state) {
    if (row?.key !== chosen.key) {
      [found, payload, hexShown] = [null, new Uint8Array(), HEX_STEP_BYTES];
      element.scrollTop = 0;
    }
    row = { ...chosen, unread: unreadWords(chosen, state) };
    draw();
  }
  function fill(told) {
    if (told.key !== row?.key) return;
    found = told;
    payload = told.payload ? bytesOfBase64(told.payload) : new Uint8Array();
    draw();
  }
  function clear() {
    [row, found] = [null, null];
    element.replaceChildren(h("div", { class: "kit-empty" }, "Choose a frame above, by click or with the arrow keys: here are its bits, its payload, and what each end saw of it."));
  }

  function draw() {
    perRow = bitsPerRow();
    const shown = row.header ? onTheWire() : payload;
    const left = h("div", { class: "kit-glass-left" }, ends(), row.header ? bitPicture(row.header, shown, row.size ?? 0, perRow) : "");
    const right = h("div", { class: "kit-glass-right" }, found?.close ? closeElement(found.close) : "", row.kind === "note" ? h("p", {}, row.text) : body());
    element.replaceChildren(heading(), h("div", { class: `kit-glass-parts${row.header ? "" : " kit-glass-single"}` }, left, right));
  }

  function heading() {
    const way = { up: "client → server", down: "server → client", here: "" }[row.direction];
    const title = row.kind === "note" ? "What happened" : row.kind === "handshake" ? (row.direction === "up" ? "Handshake: the request" : "Handshake: the response") : `${row.opcode} frame`;
    const copy = (words, what) => () => copyText(what()).then(() => onSay(`Copied as ${words}`));
    const buttons = row.kind === "note" || !found ? [] : [tool("Copy text", copy("text", () => textOf())), ...(row.header ? [tool("Copy hex", copy("hex", () => row.header + hexOf(onTheWire(), "")), { title: "The whole frame as it crossed the wire" })] : [])];
    return h("div", { class: "kit-heading kit-glass-heading" }, h("strong", {}, title), h("span", { class: "kit-hint" }, [way, fragmentWords(row)].filter(Boolean).join(" · ")), h("span", { class: "kit-spring" }), ...buttons);
  }
  const onTheWire = () => (readHeader(row.header).masked ? masked(payload, bytesOfHex(readHeader(row.header).key)) : payload);
  const textOf = () => (found.startLine ? [found.startLine, ...found.headers.map(([name, value]) => `${name}: ${value}`), "", found.body ?? ""].join("\r\n") : (found.text ?? row.text ?? ""));

  function ends() {
    if (row.kind === "note") return "";
    const wrote = row.direction === "up" ? ["wrote it at", "read it at"] : ["read it at", "wrote it at"];
    const line = (side, verb, at) => [h("dt", {}, side), h("dd", {}, at === undefined || at === null ? "not seen at this end" : `${verb} ${at.toFixed(6)} s`)];
    return h("div", { class: "kit-glass-ends" }, h("dl", {}, ...line("client", wrote[0], row.client_seconds), ...line("server", wrote[1], row.server_seconds)), h("p", {}, found?.seen ?? "Asking the kernel for the rest of it…"));
  }

  function body() {
    if (!found) return "";
    if (found.headers) return handshakeElement(found);
    if (!found.payload && found.payloadSays) return h("p", { class: "kit-frame-caption" }, found.payloadSays);
    if (!payload.length) return h("p", { class: "kit-frame-caption" }, "There is no payload: its length is 0.");
    const key = readHeader(row.header).masked && readHeader(row.header).key;
    const views = { Text: found.text !== null && textView, JSON: found.tree && (() => h("div", { class: "kit-frame-json" }, treeElement(found.tree))), Hex: hexView, Masking: key && (() => maskTable(payload, key)) };
    const able = Object.keys(views).filter((name) => views[name]);
    const now = able.includes(view) ? view : row.kind === "text" ? able[0] : "Hex";
    const buttons = able.map((name) =>
      tool(name, () => {
        view = name;
        draw();
        element.querySelector("[aria-label='Payload as'] [aria-pressed=true]").focus();
      }, { "aria-pressed": String(name === now) }),
    );
    const inflated = row.inflated ? h("p", { class: "kit-frame-caption" }, `Compressed (RSV1). The handler's message: ${row.inflated}`) : "";
    const says = found.payloadSays ? h("p", { class: "kit-frame-caption" }, found.payloadSays) : "";
    return h("div", {}, h("div", { class: "kit-glass-views", role: "group", "aria-label": "Payload as" }, ...buttons), says, inflated, views[now]());
  }
  const textView = () => h("pre", { class: "kit-frame-text" }, found.text);
  function hexView() {
    const more = payload.length - hexShown;
    const width = element.clientWidth < 700 ? 8 : element.clientWidth < 1080 && row.header ? 8 : 16;
    const next = () => {
      hexShown += HEX_STEP_BYTES;
      draw();
    };
    return h("div", {}, h("pre", { class: "kit-frame-hex" }, hexLines(payload.slice(0, hexShown), width).join("\n")), more > 0 ? tool(`Show ${sizeWords(Math.min(more, HEX_STEP_BYTES))} more of ${sizeWords(more)}`, next) : "");
  }

  clear();
  return { element, look, fill, clear, key: () => row?.key, close: () => watcher.disconnect() };
}

/** A Close frame's payload in words. */
export function closeElement({ code, name, meaning, reason, sent }) {
  const words = sent ? [h("strong", {}, `${code} ${name}`), `: ${meaning}. `, reason ? `Reason: “${reason}”.` : "It gives no reason."] : ["It carries no code, which counts as 1005: ", meaning, "."];
  return h("p", { class: "kit-frame-close" }, ...words);
}

export default { render };
