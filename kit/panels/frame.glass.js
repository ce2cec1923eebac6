// Of FramePanel's front end: the chosen frame under the glass.

const HEX_STEP_BYTES = 4096;

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
    return h("div", {}, h("pre", { class: "kit-frame-hex" }, hexLines(payload.slice(0, hexShown), width).join("\n")), more > 0 ? tool(`Show ${humanBytes(Math.min(more, HEX_STEP_BYTES))} more of ${humanBytes(more)}`, next) : "");
  }

  clear();
  return { element, look, fill, clear, key: () => row?.key, close: () => watcher.disconnect() };
}

/** A Close frame's payload in words. */
export function closeElement({ code, name, meaning, reason, sent }) {
  const words = sent ? [h("strong", {}, `${code} ${name}`), `: ${meaning}. `, reason ? `Reason: “${reason}”.` : "It gives no reason."] : ["It carries no code, which counts as 1005: ", meaning, "."];
  return h("p", { class: "kit-frame-close" }, ...words);
}
