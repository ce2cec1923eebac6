// The front end of FramePanel: a list of frames, of which only the visible part is in the page, and one frame under the glass.

const FRAMES_LIMIT = 2000;
const FILE_LIMIT_BYTES = 64 * 1024 * 1024;
const UPLOAD_PART_BYTES = 384 * 1024;

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

function render({ model, el }) {
  const rows = new Map();
  const found = new Set();
  let state = { connections: [], number: null };
  let choices = { direction: "all", kind: "all", find: "", regular: false, only: false };
  let chosenHere = false; // by this view's own reader, who may have been faster than the kernel's first words
  let shown = [];
  let held = null; // while paused: rows to show, by key
  let anew = false; // whether all others go first,
  let heldState = null; // and the state, if they are of another connection
  let clearedTo = 0;
  let offered = "";
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
    const atOnce = update.state && isChosen(update.state);
    if (update.state && held && isOther(update.state) && !atOnce) heldState = update.state;
    else if (update.state) show(update.state);
    if (update.filter && !(update.reset && chosenHere)) choose(update.filter, false);
    if (update.exported) save(update.exported);
    if (update.inspected) glass.fill(update.inspected);
    if (update.reset) reset(atOnce);
    if (update.rows) take(update.rows, atOnce);
  });

  const isOther = (now) => now.number !== state.number || now.recording !== state.recording;
  /** Whether a reader has chosen another connection or file, which is shown even while paused: the newest connection comes by itself. */
  const isChosen = (now) => isOther(now) && (!now.newest || now.recording !== state.recording);

  function show(now) {
    heldState = null;
    if (isOther(now)) {
      clearedTo = 0;
      glass.clear();
      frames.begin(now.ended && (state.newest === undefined || isChosen(now)));
    }
    state = now;
    const names = now.connections.map(({ number, name, path }) => [String(number), `${number} · ${name} ${path}`]);
    const newest = names.at(-1)?.[1] ?? "nobody yet";
    const options = [["newest", `newest: ${newest}`], ...names.reverse()];
    if (JSON.stringify(options) !== offered) connections.replaceChildren(...options.map(([value, text]) => h("option", { value }, text))); // it may be open
    offered = JSON.stringify(options);
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

  /** All rows are about to be told anew. While paused they wait, as everything new does. */
  function reset(atOnce = false) {
    anew = held !== null && !atOnce;
    held?.clear();
    if (!anew) rows.clear();
    complain(choices.regular ? regularProblem(choices.find) : "");
  }

  function take(changed, atOnce = false) {
    if (held && !atOnce) {
      for (const row of changed) held.set(row.key, row);
      keepNewest(held, FRAMES_LIMIT);
      const unseen = [...held.keys()].filter((key) => !rows.has(key)).length;
      pause.textContent = unseen ? `Resume · ${unseen} new` : "Resume";
      return;
    }
    for (const row of changed) if (Math.min(row.client_entry ?? Infinity, row.server_entry ?? Infinity) > clearedTo) rows.set(row.key, row);
    keepNewest(rows, FRAMES_LIMIT);
    for (const key of found) if (!rows.has(key)) found.delete(key);
    search(changed);
    if (changed.some((row) => row.key === glass.key())) inspect(glass.key());
  }

  function togglePause() {
    const back = held;
    held = held ? null : new Map();
    if (back && heldState) show(heldState);
    if (back && anew) reset();
    pause.setAttribute("aria-pressed", String(Boolean(held)));
    pause.textContent = held ? "Resume" : "Pause";
    if (back) take([...back.values()]);
  }

  function clearRows() {
    for (const row of rows.values()) clearedTo = Math.max(clearedTo, row.client_entry ?? 0, row.server_entry ?? 0);
    rows.clear();
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
    if (row.kind !== "note") ask("inspect", { key, number: state.number });
    tellPlace();
  }

  // Files.
  async function upload(chosen) {
    file.value = "";
    if (!chosen) return;
    if (chosen.size > FILE_LIMIT_BYTES) {
      complain(`Expected a file of at most 64 MiB, got ${humanBytes(chosen.size)}. Record for a shorter time.`);
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

export default { render };
