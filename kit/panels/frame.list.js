// Of FramePanel's front end: the list of frames, of which only the visible part is in the page, and the words of its rows.

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
  const words = [way, row.opcode, humanBytes(row.size ?? 0), fragmentWords(row), row.inflated || row.text || "no payload", unreadWords(row, state)];
  return words.filter(Boolean).join(", ");
}

/** The flags of a frame: each in its place, a dot where it is not set. */
export function flagsOf(row) {
  if (!row.header) return [];
  const head = readHeader(row.header);
  return [["FIN", head.fin], ["RSV1", head.rsv[0]], ["MASK", head.masked]].map(([name, set]) => [name, Boolean(set)]);
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
  let byReader = -Infinity; // a list that grows scrolls too: only the reader's own hand ends the following
  for (const kind of ["wheel", "touchmove", "pointerdown", "keydown"]) list.addEventListener(kind, () => (byReader = performance.now()), { passive: true });
  list.addEventListener("scroll", () => {
    if (list.scrollTop + list.clientHeight >= list.scrollHeight - 4) atEnd = true;
    else if (performance.now() - byReader < 2000) atEnd = false;
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
    h("span", { class: "kit-time kit-frame-client" }, timeWords(row.client_seconds)),
    h("span", { class: `kit-frame-arrow kit-frame-${row.direction}${unread ? " kit-frame-unread" : ""}` }, h("span", {}, row.opcode)),
    h("span", { class: "kit-time kit-frame-server" }, timeWords(row.server_seconds)),
    h("span", { class: "kit-frame-flags" }, ...flagsOf(row).map(([name, set]) => h("span", { class: set ? "kit-frame-set" : "kit-faint" }, set ? name : "·"))),
    h("span", { class: "kit-frame-length" }, humanBytes(row.size ?? 0), size),
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
export function timeWords(at) {
  return at === undefined || at === null ? "–" : seconds(at);
}
