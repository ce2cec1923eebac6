// The front end of SequencePanel: lanes and arrows in SVG, of which only what is in sight is in the document.

const EVENTS_LIMIT = 5000;
const LANES_KEPT = 400;

function render({ model, el }) {
  const rows = new Map(), lanes = new Map(), drawn = new Map(), fresh = new Set();
  let scale = USUAL_SCALE, following = true, pings = false, fold = null, wanted = "", held = null, since = -1;
  let clock = { now: 0, at: performance.now() }, dropped = 0;
  let picture = layout([], SCALES[scale]), chosen = [], shown = [], places = new Map(), grid = columns(1, 600), unread = [];
  let selected = null, opened = null, due = 0, dirty = true, byReader = -Infinity, focusWanted = false, headed = "", restUntil = 0;
  const widths = new Map();
  const pen = document.createElement("canvas").getContext("2d");

  const local = { type: "button", "data-local": "1" };
  const followPill = h("button", { ...local, class: "kit-button kit-follow", "aria-pressed": "true", title: "Keep the newest event in view" }, "Follow");
  const filter = h("input", { type: "search", class: "kit-input kit-filter", "data-local": "1", placeholder: "Filter", "aria-label": "Filter: events" });
  const pingToggle = h("button", { ...local, class: "kit-button", "aria-pressed": "false", hidden: true });
  const foldToggle = h("button", { ...local, class: "kit-button", "aria-pressed": "false", hidden: true });
  const zoomOut = h("button", { ...local, class: "kit-button kit-seq-zoom", "aria-label": "Zoom out", title: "−" }, "−");
  const zoomIn = h("button", { ...local, class: "kit-button kit-seq-zoom", "aria-label": "Zoom in", title: "+" }, "+");
  const scaleWords = h("span", { class: "kit-seq-scale", role: "status", "aria-label": "Scale of time", title: "Events closer than a label are spread; quiet time is cut" });
  const pause = h("button", { ...local, class: "kit-button kit-pause", "aria-pressed": "false", title: "Hold what is new back" }, "Pause");
  const clear = h("button", { ...local, class: "kit-button kit-clear", title: "Clear this diagram" }, "Clear");
  const names = h("div", { class: "kit-seq-names", role: "list", "aria-label": "Lanes" });
  const layers = Object.fromEntries(["lanes", "cuts", "unread", "lines", "words"].map((name) => [name, s("g", { "aria-hidden": name === "lines" ? null : "true" })]));
  const svg = s("svg", { role: "presentation" }, ...Object.values(layers));
  const times = s("svg", { class: "kit-seq-times", "aria-hidden": "true" });
  const canvas = h("div", { class: "kit-seq-canvas" }, names, times, svg);
  const empty = h("div", { class: "kit-empty" }, "Connect a client and say something: each message is drawn here as an arrow, from its client’s lane to the handler or back.");
  const earlier = h("div", { class: "kit-note", hidden: true });
  const scroller = h("div", { class: "kit-seq-scroll", role: "log", tabindex: "0", "aria-label": "Sequence of events", "data-lm-suppress-shortcuts": "true" }, canvas, empty);
  const strip = h("dl", { class: "kit-details" });
  const stripTitle = h("strong", {});
  const shut = h("button", { ...local, class: "kit-button", "aria-label": "Close the details" }, "Close");
  const details = h("section", { class: "kit-seq-details", "aria-label": "Details", hidden: true }, h("div", { class: "kit-heading" }, stripTitle, h("span", { class: "kit-spring" }), shut), strip);
  const panel = h(
    "section",
    { class: "kit-panel kit-sequence-panel", "aria-label": model.get("title") },
    h("header", { class: "kit-header" }, h("strong", {}, "Sequence"), followPill, h("span", { class: "kit-spring" }), filter, pause, clear),
    earlier,
    scroller,
    h("footer", { class: "kit-seq-foot" }, h("span", { class: "kit-faint kit-seq-caption-of-time" }, "Time"), zoomOut, scaleWords, zoomIn, h("span", { class: "kit-spring" }), pingToggle, foldToggle),
    details,
  );
  el.replaceChildren(panel);

  const now = () => (held || panel.classList.contains("kit-gone") ? clock.now : clock.now + (performance.now() - clock.at) / 1000);
  const measure = (text) => {
    if (!widths.has(text)) {
      if (widths.size > 20_000) widths.clear();
      widths.set(text, pen.measureText(text).width);
    }
    return widths.get(text);
  };
  const headHeight = () => headingsHeight(shown, grid, measure);

  /** What is to be seen changed: lay it all out anew, at most once a frame. */
  const change = () => {
    dirty = true;
    wake();
  };
  const wake = () => {
    due ||= requestAnimationFrame(paint);
  };

  /** Laying out takes at most a fifth of the time, so that a flood of events leaves the page free for its reader. */
  function paint() {
    due = 0;
    const began = performance.now();
    if (dirty && began >= restUntil) {
      relayout();
      restUntil = began + 5 * (performance.now() - began);
    }
    show();
    if (dirty) wake();
  }

  function relayout() {
    dirty = false;
    const anchor = following ? null : anchored();
    const used = new Set();
    for (const row of rows.values()) if (row.at > since && row.n) used.add(row.n);
    const chosenLanes = shownLanes([...lanes.values()].filter((lane) => lane.clientEnd === undefined || lane.clientEnd > since).sort((a, b) => a.n - b.n), used, fold);
    shown = chosenLanes.shown;
    places = new Map(shown.map((lane, place) => [lane.n, place]));
    let pingCount;
    [chosen, pingCount] = wantedRows(rows.values(), { pings, wanted, laneOf: (n) => lanes.get(n), shown: places, since });
    const at = now(), waiting = chosen.some((row) => row.waits);
    picture = layout(chosen, SCALES[scale], waiting ? at : null);
    unread = unreadOf(chosen, places, at);
    grid = columns(shown.length, scroller.clientWidth || 600, String(shown.at(-1)?.n ?? 1).length, chosen.some(isOfHub));
    pen.font = `12px ${getComputedStyle(panel).fontFamily}`;
    frame(chosenLanes, pingCount);
    if (following) scroller.scrollTop = scroller.scrollHeight;
    else if (anchor) restore(anchor);
  }

  /** The still parts: names, lanes, toolbar. */
  function frame(chosenLanes, pingCount) {
    canvas.style.width = `${grid.width}px`;
    canvas.style.height = `${headHeight() + picture.height}px`;
    svg.setAttribute("width", grid.width);
    svg.setAttribute("height", picture.height);
    times.setAttribute("width", grid.gutter);
    times.setAttribute("height", picture.height);
    times.style.marginBottom = `${-picture.height}px`;
    canvas.classList.toggle("kit-seq-wide", grid.width > scroller.clientWidth);
    names.style.height = `${headHeight()}px`;
    const heads = JSON.stringify([shown.map(({ n, name, process }) => [n, name, process]), grid.width, grid.hub]);
    if (heads !== headed) names.replaceChildren(...headings(shown, grid, measure));
    headed = heads;
    layers.lanes.replaceChildren(...drawLanes(shown, picture, grid));
    layers.unread.replaceChildren(...drawUnread(unread, picture, grid));
    layers.words.replaceChildren(...drawUnreadWords(unread, picture, grid));
    empty.hidden = shown.length > 0;
    names.hidden = !shown.length;
    canvas.style.minHeight = shown.length ? "" : "0";
    scaleWords.textContent = SCALES[scale].words;
    [zoomOut.disabled, zoomIn.disabled] = [scale === 0, scale === SCALES.length - 1];
    pingToggle.hidden = !pingCount;
    pingToggle.textContent = pings ? "Hide pings" : `${pingCount} ping${pingCount === 1 ? "" : "s"}/pongs hidden`;
    pingToggle.setAttribute("aria-pressed", String(pings));
    foldToggle.hidden = !chosenLanes.ended;
    const ended = `${chosenLanes.ended} ended lane${chosenLanes.ended === 1 ? "" : "s"}`;
    foldToggle.textContent = chosenLanes.folded ? `${ended} hidden` : `Hide ${ended}`;
    foldToggle.setAttribute("aria-pressed", String(chosenLanes.folded));
    sayFollowing();
    const missing = [dropped && since < 0 ? `${dropped.toLocaleString()} earlier events are not kept` : "", chosenLanes.beyond ? `${chosenLanes.beyond} older lanes are not shown` : ""].filter(Boolean);
    earlier.textContent = missing.join(" · ");
    earlier.hidden = !missing.length;
  }

  /** The events in sight and the one that has the focus; what is there and still right is not even moved, which would take its focus. */
  function show() {
    const top = scroller.scrollTop - 200, bottom = scroller.scrollTop + scroller.clientHeight + 200;
    const at = now(), animate = fresh.size <= 10, wantedIndexes = indexesToShow(top, bottom), keep = new Set(wantedIndexes.map((index) => chosen[index].key));
    const beside = (place, y) => {
      const boxes = unread.filter((box) => box.place >= place && heightOf(picture, box.from) < y + ROW / 2); // their words are not painted over
      return boxes.length ? grid.client(Math.max(...boxes.map((box) => box.place))) + boxWidth(grid) / 2 + 8 : grid.client(place) + 14;
    };
    const view = { grid, yOf: (time) => heightOf(picture, time), now: at, measure, beside, flat: scale === 0 };
    for (const [key, { group }] of drawn) {
      if (keep.has(key)) continue;
      if (group === document.activeElement) scroller.focus({ preventScroll: true });
      group.remove();
      drawn.delete(key);
    }
    let next = layers.lines.firstChild;
    for (const index of wantedIndexes) {
      const group = eventElement(chosen[index], index, view, animate && fresh.has(chosen[index].key));
      if (group === next) next = next.nextSibling;
      else layers.lines.insertBefore(group, next);
    }
    fresh.clear();
    layers.cuts.replaceChildren(...drawCuts(picture, grid, top, bottom));
    const timed = wantedIndexes.filter((index) => picture.timed[index]).map((index) => [chosen[index].at, picture.starts[index]]);
    times.replaceChildren(...drawTimes(timed, picture, scale, top, bottom));
    if (focusWanted) drawn.get(selected)?.group.focus({ preventScroll: true });
    focusWanted = false;
  }

  function indexesToShow(top, bottom) {
    const [first, end] = inSight(picture, top, bottom), focused = document.activeElement?.dataset?.key, indexes = [];
    const kept = drawn.has(focused) ? chosen.findIndex((row) => row.key === focused) : -1;
    if (kept >= 0 && kept < first) indexes.push(kept);
    for (let index = first; index < end; index += 1) if (index === kept || (chosen[index].waits ? picture.bottom : picture.ends[index]) >= top) indexes.push(index);
    if (kept >= end) indexes.push(kept);
    return indexes;
  }

  function eventElement(row, index, view, isNew) {
    const y0 = picture.starts[index], lane = lanes.get(row.n), place = places.get(row.n);
    const about = [row.rev, y0, picture.ends[index], grid.width, grid.lane, grid.hub, place, lane?.name, scale, row.waits ? view.now.toFixed(1) + picture.bottom : "", row.key === selected, row.key === opened].join();
    const known = drawn.get(row.key);
    if (known?.about === about) return known.group;
    const group = known?.group ?? s("g");
    const shownView = { ...view, y0, labelled: picture.labelled[index] || row.key === selected };
    const tone = row.tone ? ` kit-seq-${row.tone}` : "";
    group.setAttribute("class", `kit-seq-event kit-c${colourOf(row.n)}${tone}${isNew ? " kit-seq-new" : ""}${row.key === opened ? " kit-seq-open" : ""}`);
    group.setAttribute("role", row.way === "divider" ? "note" : "button");
    const said = spoken(row, lane, view.now);
    group.setAttribute("aria-label", said);
    if (row.way !== "divider") {
      group.setAttribute("tabindex", row.key === selected ? "0" : "-1");
      group.setAttribute("aria-expanded", String(row.key === opened));
    }
    group.dataset.key = row.key;
    const hit = s("rect", { class: "kit-seq-hit", x: 2, y: y0 - ROW / 2, width: grid.width - 4, height: ROW, rx: 4 });
    const drawing = row.way === "divider" ? drawDivider(row, shownView) : row.way === "here" ? drawNote(row, lane, place, shownView) : row.way === "hub" ? drawBesideHub(row, place, shownView) : drawArrow(row, lane, place, shownView);
    group.replaceChildren(s("title", {}, said), hit, ...drawing);
    drawn.set(row.key, { group, about });
    return group;
  }

  // Scrolling, and staying where the reader looks.

  function anchored() {
    const y = scroller.scrollTop, index = selected !== null ? chosen.findIndex((row) => row.key === selected) : -1;
    const near = index >= 0 && picture.starts[index] > y && picture.starts[index] < y + scroller.clientHeight ? index : lowest(picture.starts, y);
    return near < chosen.length ? { key: chosen[near].key, offset: picture.starts[near] - y } : null;
  }
  function restore({ key, offset }) {
    const index = chosen.findIndex((row) => row.key === key);
    if (index >= 0) scroller.scrollTop = picture.starts[index] - offset;
  }
  function follow(on) {
    following = on;
    if (on) scroller.scrollTop = scroller.scrollHeight;
    sayFollowing();
    wake();
  }
  function sayFollowing() {
    followPill.setAttribute("aria-pressed", String(following));
  }
  for (const kind of ["wheel", "touchmove", "pointerdown", "keydown"]) scroller.addEventListener(kind, () => (byReader = performance.now()), { passive: true });
  scroller.addEventListener("scroll", () => {
    const atEnd = scroller.scrollTop + scroller.clientHeight >= scroller.scrollHeight - 8;
    if (atEnd !== following && (atEnd || performance.now() - byReader < 2000)) follow(atEnd);
    wake();
  });
  followPill.addEventListener("click", () => follow(!following));

  // What the reader asks for.

  function zoom(by) {
    scale = Math.min(SCALES.length - 1, Math.max(0, scale + by));
    change();
  }
  zoomIn.addEventListener("click", () => zoom(1));
  zoomOut.addEventListener("click", () => zoom(-1));
  scroller.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? 1 : -1);
    },
    { passive: false },
  );
  filter.addEventListener("input", () => {
    wanted = filter.value.trim();
    change();
  });
  pingToggle.addEventListener("click", () => {
    pings = !pings;
    change();
  });
  foldToggle.addEventListener("click", () => {
    fold = foldToggle.getAttribute("aria-pressed") !== "true";
    change();
  });
  clear.addEventListener("click", () => {
    since = [...rows.values()].reduce((latest, row) => Math.max(latest, row.at), -1);
    open(null);
    change();
  });
  pause.addEventListener("click", () => {
    if (held) {
      const { rows: newRows, lanes: newLanes, last } = held;
      held = null;
      if (last) take({ ...last, rows: [...newRows.values()], lanes: [...newLanes.values()] });
    } else {
      [clock, held] = [{ now: now(), at: performance.now() }, { rows: new Map(), lanes: new Map() }];
    }
    pause.setAttribute("aria-pressed", String(held !== null));
    pause.textContent = held ? "Resume" : "Pause";
    change();
  });

  function select(index) {
    const row = chosen[index];
    if (!row) return;
    selected = row.key;
    const y = picture.starts[index], top = scroller.scrollTop, room = scroller.clientHeight - headHeight();
    if (y < top + ROW || y > top + room - ROW) {
      following = false;
      scroller.scrollTop = Math.max(0, y - room / 2);
      if (index === chosen.length - 1) following = true;
    }
    focusWanted = true;
    change();
  }
  function step(by) {
    let index = chosen.findIndex((row) => row.key === selected);
    if (index < 0) index = by > 0 ? lowest(picture.starts, scroller.scrollTop) - 1 : lowest(picture.starts, scroller.scrollTop + scroller.clientHeight - headHeight());
    do index += by;
    while (chosen[index]?.way === "divider");
    select(index);
  }
  function open(key) {
    opened = key;
    const row = key === null ? null : rows.get(key);
    details.hidden = !row;
    if (row) {
      selected = key;
      stripTitle.textContent = spoken(row, lanes.get(row.n), now());
      strip.replaceChildren(...detailsOf([["", "asking the kernel …"]]));
      ask("inspect", { key });
    }
    change();
  }
  shut.addEventListener("click", () => {
    open(null);
    focusWanted = true;
  });
  scroller.addEventListener("click", (event) => {
    const key = event.target.closest?.("[data-key]")?.dataset.key;
    if (key === undefined || rows.get(key)?.way === "divider") return;
    open(opened === key ? null : key);
    focusWanted = true;
  });
  const keys = {
    ArrowDown: () => step(1),
    ArrowUp: () => step(-1),
    Home: () => select(chosen.findIndex((row) => row.way !== "divider")),
    End: () => {
      follow(true);
      select(chosen.findLastIndex((row) => row.way !== "divider"));
    },
    Enter: () => selected !== null && open(opened === selected ? null : selected),
    " ": () => selected !== null && open(opened === selected ? null : selected),
    Escape: () => open(null),
    "+": () => zoom(1),
    "=": () => zoom(1),
    "-": () => zoom(-1),
    0: () => zoom(USUAL_SCALE - scale),
  };
  scroller.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  });

  // What the kernel tells.

  function take(update) {
    if (held && !update.reset) {
      hold(update);
      return;
    }
    if (update.reset) {
      rows.clear();
      lanes.clear();
      if (held) [held, pause.textContent] = [{ rows: new Map(), lanes: new Map() }, "Resume"];
    }
    for (const lane of update.lanes) lanes.set(lane.n, lane);
    keepNewest(lanes, LANES_KEPT);
    for (const row of update.rows) put(row, update.reset);
    [clock, dropped] = [{ now: update.now, at: performance.now() }, update.dropped];
    change();
  }
  function put(row, quietly) {
    const before = rows.get(row.key);
    if (!before && !quietly) fresh.add(row.key);
    row.rev = (before?.rev ?? 0) + 1;
    rows.set(row.key, row);
    if (rows.size > EVENTS_LIMIT) forget(rows.keys().next().value);
    if (row.key === opened) ask("inspect", { key: row.key });
  }
  function forget(key) {
    rows.delete(key);
    fresh.delete(key); // a page in the background draws nothing, and so empties nothing
  }
  /** While paused, what is new is kept aside: as many events as the diagram keeps, and what the lanes have come to. */
  function hold(update) {
    for (const row of update.rows) held.rows.set(row.key, row);
    for (const lane of update.lanes) held.lanes.set(lane.n, lane);
    keepNewest(held.rows, EVENTS_LIMIT);
    keepNewest(held.lanes, LANES_KEPT);
    held.last = update;
    pause.textContent = `Resume · ${held.rows.size.toLocaleString()} new`;
  }
  const { ask, close } = connectView(model, el, panel, (update) => {
    if (update.rows) take(update);
    else if (update.details && update.key === opened) strip.replaceChildren(...detailsOf(update.details));
  });
  const waitingTimer = setInterval(() => {
    if (!held && chosen.some((row) => row.waits)) change();
  }, 250);
  const resized = new ResizeObserver(change);
  resized.observe(scroller);
  change();
  return () => {
    clearInterval(waitingTimer);
    cancelAnimationFrame(due);
    resized.disconnect();
    close();
  };
}

export default { render };
