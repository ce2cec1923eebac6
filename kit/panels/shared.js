// What all panels share: building DOM out of text only, the tie to the kernel, and logs that stay bounded.

const ROWS_LIMIT = 500;
const RESUMED_AT_ONCE = 40;
const APPEARING_AT_ONCE = 8; // more new rows in one frame than an eye follows just stand there

/** An element with attributes, listeners (onclick …) and children; strings become text, never markup. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Which of the eight connection colours a number has. */
export function colourOf(number) {
  return number ? ((number - 1) % 8) + 1 : 0;
}

/** Seconds since the Timeline began, as logs show them. */
export function seconds(at) {
  return `+${at.toFixed(at < 100 ? 3 : 1)}`;
}

/** The wall-clock time of a moment, to the millisecond. */
export function clock(beganAt, at) {
  const when = new Date((beganAt + at) * 1000);
  const two = (value) => String(value).padStart(2, "0");
  return `${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}.${String(when.getMilliseconds()).padStart(3, "0")}`;
}

/** A number of bytes in words, as the kernel's side says it too. */
export function humanBytes(size) {
  if (size < 1024) return `${size} B`;
  return size < 1048576 ? `${(size / 1024).toFixed(1)} KiB` : `${(size / 1048576).toFixed(1)} MiB`;
}

/** Whether a row's visible words contain what the reader looks for. */
export function matches(text, wanted) {
  return !wanted || text.toLowerCase().includes(wanted.toLowerCase());
}

/** Removes the oldest of a map or a set, until it has at most so many. */
export function keepNewest(kept, most) {
  for (const key of kept.keys()) {
    if (kept.size <= most) return;
    kept.delete(key);
  }
}

/** Text in which `code` between backticks is set as code. */
export function prose(text) {
  return text.split("`").map((part, index) => (index % 2 ? h("code", { class: "kit-code" }, part) : part));
}

/** The number of a connection, in its colour. */
export function badge(number) {
  return number
    ? h("span", { class: `kit-badge kit-c${colourOf(number)}`, "aria-label": `connection ${number}` }, String(number))
    : h("span", { class: "kit-badge kit-c0", "aria-label": "the server itself" }, "–");
}

/** A state in words; its tone is only ever a second sign. */
export function pill(text, tone) {
  return h("span", { class: `kit-pill kit-${tone}` }, text);
}

/** How a connection ended, from each side: who is asked, and what is known there. */
export function evidenceList(table) {
  const rows = table.flatMap(([label, value]) => [h("dt", {}, label), h("dd", {}, ...prose(value))]);
  return h("dl", { class: "kit-evidence", "aria-label": "How it ended, from both sides" }, ...rows);
}

/** Lets Enter submit the form of `input`: JupyterLab cancels line breaks in cells, and with them the browser's own way. */
function submitOnEnter(input) {
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    input.form.requestSubmit();
  });
}

const QUIET_MS = 100;
const LONG_CELL_MS = 1000;

/**
 * Calls `then` once no cell has run for a moment, or the same cell for a second. A widget's message that reaches ipykernel 7.4 just
 * as one cell ends and the next begins makes it report the end of the wrong cell, and JupyterLab shows `[*]` for ever.
 */
export function whenQuiet(kernel, then) {
  if (!kernel?.statusChanged) {
    then();
    return;
  }
  let timer = 0;
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(end, kernel.status === "idle" ? QUIET_MS : LONG_CELL_MS);
  };
  const end = () => {
    kernel.statusChanged.disconnect(wait);
    then();
  };
  kernel.statusChanged.connect(wait);
  wait();
}

/** Does what a panel's Pause, Resume or Clear button does, unless it is done already. */
export function press(panel, what) {
  const button = panel.querySelector(what === "clear" ? ".kit-clear" : ".kit-pause");
  if (what === "clear" || (button.getAttribute("aria-pressed") === "true") !== (what === "pause")) button.click();
}

/**
 * Ties a view to its panel in the kernel: says hello and bye, hands on messages, and says so when the kernel is gone.
 * Returns `ask(what, form)` to have something done and `close()` for when the view is removed.
 */
function connectView(model, el, panel, onMessage) {
  const view = Math.random().toString(36).slice(2);
  const banner = h("div", { class: "kit-banner", role: "alert", hidden: true });
  panel.prepend(banner);
  let gone = false;
  const say = (text) => {
    banner.textContent = text;
    banner.hidden = !text;
  };
  const lose = () => {
    gone = true;
    panel.classList.add("kit-gone");
    for (const control of panel.querySelectorAll("button, input, select, textarea")) if (!control.dataset.local) control.disabled = true;
    for (const status of panel.querySelectorAll(".kit-header [role=status]")) status.replaceChildren(pill("kernel gone", "muted"));
    say("The kernel is gone: this is what was last seen. Run the notebook's cells again, from the top.");
  };
  const receive = (message) => {
    if (message.to && message.to !== view) return;
    if (waiting) clearTimeout(waiting);
    waiting = 0;
    if (!gone) say("");
    if (message.press) press(panel, message.press);
    else onMessage(message);
  };
  const onLive = () => {
    if (model.comm_live === false || el.closest(".jupyter-widgets-disconnected") || el.querySelector(".jupyter-widgets-disconnected")) lose();
  };
  const ask = (what, form = {}) => {
    if (!gone) model.send({ ...form, do: what, view });
  };
  model.on("msg:custom", receive);
  model.on("comm_live_update", lose);
  model.on("comm:close", lose);
  const watcher = new MutationObserver(onLive);
  watcher.observe(el, { attributes: true, attributeFilter: ["class"] });
  if (el.parentElement) watcher.observe(el.parentElement, { attributes: true, attributeFilter: ["class"] });
  let waiting = setTimeout(() => say("The kernel does not answer yet. It may be busy; this panel goes on when it is free."), 4000);
  let shown = true;
  let greeted = false;
  const kernel = model.widget_manager?.kernel;
  whenQuiet(kernel, () => {
    if (!shown) return;
    greeted = true;
    ask("hello", { origin: location.origin }); // what this page opens may connect to the server
  });
  const close = () => {
    clearTimeout(waiting);
    watcher.disconnect();
    model.off("msg:custom", receive);
    model.off("comm_live_update", lose);
    model.off("comm:close", lose);
    shown = false;
    if (greeted) whenQuiet(kernel, () => ask("bye"));
  };
  return { ask, close };
}

/**
 * A scrolling list that stays at its end while the reader is at its end, keeps at most 500 rows, and can be paused,
 * filtered and cleared. `put(key, row, words)` adds a row, or replaces the one with that key; `reset()` empties the list
 * for one that is told anew. While it is paused, all of that waits.
 */
function scrollingLog(label, emptyText, { controls = true } = {}) {
  const list = h("div", { class: "kit-rows", role: "log", "aria-label": label, tabindex: "0" });
  const empty = h("div", { class: "kit-empty" }, ...prose(emptyText));
  list.append(empty);
  const rows = new Map();
  let held = null; // while paused: what to put, by key
  let anew = false; // and whether to empty the list first
  let wanted = "";
  let atEnd = true;
  let byReader = -Infinity; // a changed layout scrolls too: only the reader's own hand ends the following
  for (const kind of ["wheel", "touchmove", "pointerdown", "keydown"]) list.addEventListener(kind, () => (byReader = performance.now()), { passive: true });
  list.addEventListener("scroll", () => {
    if (list.scrollTop + list.clientHeight >= list.scrollHeight - 8) atEnd = true;
    else if (performance.now() - byReader < 2000) atEnd = false;
  });
  const pause = h("button", { type: "button", class: "kit-button kit-pause", "data-local": "1", "aria-pressed": "false", title: "Hold what is new back" }, "Pause");
  pause.addEventListener("click", () => {
    const paused = held === null;
    const back = held;
    held = paused ? new Map(due) : null;
    due.clear();
    if (anew && !paused) reset();
    if (back) for (const [key, args] of back) due.set(key, args);
    putDue();
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Resume" : "Pause";
  });
  const filter = h("input", { type: "search", class: "kit-input kit-filter", "data-local": "1", placeholder: "Filter", "aria-label": `Filter: ${label}` });
  filter.addEventListener("input", () => {
    wanted = filter.value.trim();
    for (const { row, words } of rows.values()) row.hidden = !matches(words, wanted);
  });
  const clear = h("button", { type: "button", class: "kit-button kit-clear", "data-local": "1", title: "Clear this list" }, "Clear");
  clear.addEventListener("click", () => removeAll());

  const due = new Map(); // what was held back, put a few rows a frame: the page goes on answering
  function putDue() {
    const some = [...due.values()].slice(0, RESUMED_AT_ONCE);
    for (const args of some) due.delete(args[0]);
    for (const args of some) putNow(...args);
    if (due.size) requestAnimationFrame(putDue);
  }
  function put(key, row, words, { says = true } = {}) {
    if (held || due.size) {
      const later = held ?? due;
      later.set(key, [key, row, words, { says }]);
      keepNewest(later, ROWS_LIMIT);
      if (held) pause.textContent = `Resume · ${held.size} new`;
    } else putNow(key, row, words, { says });
  }
  function putNow(key, row, words, { says }) {
    if (says) empty.hidden = true;
    row.hidden = !matches(words, wanted);
    const before = rows.get(key);
    if (before) before.row.replaceWith(row);
    else list.append(row);
    if (!before && ++newOnes <= APPEARING_AT_ONCE) row.classList.add("kit-appears");
    rows.set(key, { row, words });
    while (rows.size > ROWS_LIMIT) {
      const [oldest, { row: old }] = rows.entries().next().value;
      old.remove();
      rows.delete(oldest);
    }
    settleOnce ||= requestAnimationFrame(settle); // asking for the height lays out the page: once a frame, not once a row
  }
  function reset() {
    anew = held !== null;
    due.clear();
    if (anew) held.clear();
    else removeAll();
  }
  function removeAll() {
    for (const { row } of rows.values()) row.remove();
    rows.clear();
    empty.hidden = false;
    atEnd = true;
  }
  let skippedCount = 0;
  function skip(count) {
    if (!count) return;
    skippedCount += count;
    put(`skipped ${skippedCount}`, h("div", { class: "kit-note" }, `${count.toLocaleString()} earlier or unshown events are not in this list`), "");
  }
  let newOnes = 0; // since the last frame
  let settleOnce = 0;
  let begun = null; // the row that is taller than the list, and was shown from its beginning
  function settle() {
    settleOnce = newOnes = 0;
    if (!atEnd || !list.clientHeight) return;
    if (!empty.hidden) {
      list.scrollTop = 0; // what to do first is said at the top
      return;
    }
    const last = list.lastElementChild;
    const tall = last.offsetHeight > list.clientHeight;
    if (!tall) list.scrollTop = list.scrollHeight;
    else if (last !== begun) list.scrollTop = last.offsetTop - 8;
    begun = tall ? last : null;
  }
  const watchers = [new ResizeObserver(settle), new IntersectionObserver(settle)]; // rows may be put before the list is shown or scrolled into view
  for (const watcher of watchers) watcher.observe(list);
  const close = () => {
    for (const watcher of watchers) watcher.disconnect();
    cancelAnimationFrame(settleOnce);
  };
  return { list, tools: controls ? [filter, pause, clear] : [], put, reset, skip, settle, close };
}
