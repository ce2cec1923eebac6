// The front end of HandlerPanel: the reader's source, line by line, with a mark wherever a handler waits.

const TIMES_MILLISECONDS = 250;
const LEAVING_MILLISECONDS = 600;

function render({ model, el }) {
  const header = h("span", { role: "status" });
  const count = h("span");
  const follow = h("button", { type: "button", class: "kit-button kit-follow", "data-local": "1", "aria-pressed": "true", title: "Keep the line of the newest change in view" }, "Follow");
  const blocked = h("div", { class: "kit-blocked", role: "status", "aria-live": "polite", hidden: true });
  const hint = h("div", { class: "kit-source-hint" }, "Looking for your handlers …");
  const body = h("div", { class: "kit-sources", role: "region", "aria-label": "Source of the handlers", tabindex: "0" }, hint);
  const panel = h(
    "section",
    { class: "kit-panel kit-handler-panel", "aria-label": model.get("title") },
    h("header", { class: "kit-header" }, h("strong", {}, "Your handlers"), count, h("span", { class: "kit-spring" }), header, follow),
    blocked,
    body,
  );
  el.replaceChildren(panel);
  const folded = new Set();
  let sections = new Map();
  let shown = new Map();
  let began = 0; // the page's time at which the Timeline began, in seconds
  let following = true;

  follow.addEventListener("click", () => {
    following = !following;
    follow.setAttribute("aria-pressed", String(following));
    if (following) reveal(newestOf([...shown.values()]));
  });
  const { close } = connectView(model, el, panel, (update) => {
    if (update.now !== undefined) began = performance.now() / 1000 - update.now;
    if (update.state) showState(update.state);
    if (update.sections) showSections(update.sections);
    if (update.marks) showMarks(update.marks);
    tell();
  });
  const ticking = setInterval(tell, TIMES_MILLISECONDS);

  function showState(state) {
    header.replaceChildren(pill(state.pill, state.tone));
    count.replaceChildren(state.count ? pill(state.count, "muted") : "");
    blocked.hidden = !state.blocked;
    blocked.textContent = state.blocked;
    hint.hidden = !state.hint && !state.hidden;
    hint.textContent = state.hint || `${state.hidden} more functions are not shown. HandlerPanel(server, "/path") shows one route.`;
  }

  function showSections(wanted) {
    const scrolled = body.scrollTop;
    sections = new Map(wanted.map((section) => [section.key, sections.get(section.key) ?? sectionElement(section, folded)]));
    body.replaceChildren(hint, ...[...sections.values()].map(({ element }) => element));
    body.scrollTop = scrolled;
    placeMarks();
  }

  function showMarks(marks) {
    const before = shown;
    shown = new Map();
    for (const mark of marks) {
      const key = keyOf(mark, shown);
      const element = before.get(key)?.element ?? markElement(mark);
      before.delete(key);
      element.since = mark.since;
      shown.set(key, { element, mark });
    }
    for (const { element, mark } of before.values()) {
      if (mark.role !== "ended") element.remove();
      else leave(element);
    }
    placeMarks();
  }

  /** Put each mark below its line, and show the line of the one to look at. */
  function placeMarks() {
    const placed = [];
    for (const each of shown.values()) {
      const place = placeOf(sections.get(each.mark.section), each.mark.line);
      if (each.element.parentElement === (place ?? null)) continue;
      each.element.remove();
      place?.append(each.element);
      placed.push(each);
    }
    for (const section of sections.values()) section.tint();
    if (following) reveal(newestOf(placed));
  }

  /** Scroll only our own list, and only as far as needed. */
  function reveal(element) {
    const line = element?.closest("li, .kit-source-head");
    if (!line || !line.getClientRects().length) return;
    const [box, frame] = [line.getBoundingClientRect(), body.getBoundingClientRect()];
    const head = 40; // the section's own heading stays on top
    if (box.top < frame.top + head) body.scrollTop -= frame.top + head - box.top;
    else if (box.bottom > frame.bottom) body.scrollTop += box.bottom - frame.bottom + 8;
  }

  function tell() {
    const now = performance.now() / 1000 - began;
    for (const { element } of shown.values()) {
      const words = timeWords(element.since, now);
      if (element.time.textContent !== words) element.time.textContent = words;
    }
  }
  return () => {
    clearInterval(ticking);
    close();
  };
}

const TONES = ["warning", "bad"];

/** Of these marks, the element of the one to look at: whoever is in trouble, else who came last to where it is. */
export function newestOf(marks) {
  const weight = ({ mark }) => [TONES.indexOf(mark.tone), mark.since.at(-1)];
  const heavier = (one, other) => one[0] - other[0] || one[1] - other[1];
  const here = marks.filter(({ mark }) => mark.role === "here");
  return here.reduce((newest, each) => (newest && heavier(weight(newest), weight(each)) > 0 ? newest : each), null)?.element;
}

/** Let what has ended fade out before it is gone. */
function leave(element) {
  element.dataset.role = "left";
  element.classList.add("kit-leaving");
  setTimeout(() => element.remove(), LEAVING_MILLISECONDS);
}

/** What makes a mark the same as before: all but its time. */
export function keyOf(mark, taken = new Map()) {
  const key = JSON.stringify([mark.section, mark.line, mark.role, mark.tone, mark.numbers, mark.more, mark.text, mark.after]);
  return taken.has(key) ? `${key} ${taken.size}` : key;
}

/** For how long, in words: one time, or from the shortest to the longest of several. */
export function timeWords(since, now) {
  if (!since.length) return "";
  const [oldest, youngest = oldest] = since;
  const [longest, shortest] = [duration(now - oldest), duration(now - youngest)];
  return longest === shortest ? `, ${longest}` : `, ${shortest} to ${longest}`;
}

/** Seconds as people say them: 0.4 s, 8.2 s, 11 s, 3 min 20 s. */
export function duration(seconds) {
  const length = Math.max(0, seconds);
  if (length < 9.95) return `${length.toFixed(1)} s`;
  if (length < 119.5) return `${Math.round(length)} s`;
  return `${Math.floor(length / 60)} min ${Math.floor(length % 60)} s`;
}

/** A line's own list of marks; what has no line of its own stands below the section's heading. */
export function placeOf(section, line) {
  return section && (section.places.get(line) ?? section.places.get(0));
}

/** A function's source under its heading, which folds it; returns where marks go, by line, and `tint` for the lines that have some. */
export function sectionElement(section, folded) {
  const places = new Map([[0, h("div", { class: "kit-marks" })]]);
  const rows = new Map();
  const list = h("ol", { class: "kit-source", "aria-label": `Source of ${section.title}` });
  section.lines.forEach((pieces, index) => {
    const number = section.first + index;
    const code = h("code", { class: "kit-code-line" }, ...indented(pieces).map(([kind, text]) => (kind ? h("span", { class: `kit-py-${kind}` }, text) : text)), "\n");
    const marks = h("div", { class: "kit-marks" });
    const gutter = h("span", { class: "kit-gutter" }, h("span", { class: "kit-number" }, String(number)), h("span", { class: "kit-gutter-badges" }));
    const row = h("li", { class: "kit-line", "aria-label": `line ${number}` }, h("div", { class: "kit-line-code" }, gutter, code), marks);
    places.set(number, marks);
    rows.set(number, row);
    list.append(row);
  });
  const fold = h(
    "button",
    { type: "button", class: "kit-fold", "data-local": "1", "aria-expanded": String(!folded.has(section.key)), title: [section.title, section.path, section.where].filter(Boolean).join(" · ") },
    h("span", { class: "kit-fold-sign", "aria-hidden": "true" }),
    h("code", { class: "kit-fold-title" }, section.title),
    section.path ? h("code", { class: "kit-path" }, section.path) : "",
    h("span", { class: "kit-spring" }),
    h("span", { class: "kit-hint kit-where" }, section.where),
  );
  const content = h("div", { class: "kit-source-body", hidden: folded.has(section.key) }, list);
  fold.addEventListener("click", () => {
    content.hidden = !content.hidden;
    if (content.hidden) folded.add(section.key);
    else folded.delete(section.key);
    fold.setAttribute("aria-expanded", String(!content.hidden));
  });
  const note = section.note ? h("div", { class: "kit-source-note" }, section.note) : "";
  const element = h("div", { class: "kit-source-section" }, fold, h("div", { class: "kit-source-head" }, note, places.get(0)), content);
  const tint = () => {
    for (const [number, row] of rows) {
      const marks = [...places.get(number).children].filter((mark) => mark.dataset.role !== "left");
      const strongest = marks.find((mark) => mark.dataset.role === "here") ?? marks[0];
      row.className = strongest ? `kit-line kit-marked kit-${strongest.dataset.role} kit-tone-${strongest.dataset.tone} kit-c${strongest.dataset.colour}` : "kit-line";
      row.classList.toggle("kit-crowded", marks.length > 1);
      const badges = row.firstElementChild.firstElementChild.lastElementChild;
      badges.replaceChildren(...gutterBadges(marks));
    }
  };
  return { element, places, tint };
}

/** A line's pieces, of which the first is its indentation: it is set narrower where there is little room. */
export function indented([[kind, text] = ["", ""], ...rest]) {
  const width = kind ? 0 : text.length - text.trimStart().length;
  return [["indent", text.slice(0, width)], [kind, text.slice(width)], ...rest].filter(([, words]) => words);
}

/** The numbers beside a line: those that are here before those that only came through, and how many more there are. */
export function gutterBadges(marks) {
  const numbers = new Map();
  for (const role of ["here", "ended", "through", "held"]) {
    for (const mark of marks) if (mark.dataset.role === role) for (const number of mark.numbers) if (!numbers.has(number)) numbers.set(number, role);
  }
  const all = [...numbers];
  const shown = all.slice(0, all.length > 2 ? 1 : 2).map(([number, role]) => {
    const made = badge(number);
    if (role !== "here") made.setAttribute("class", `kit-badge kit-c${colourOf(number)} kit-faint-badge`);
    made.setAttribute("aria-hidden", "true");
    return made;
  });
  const more = all.length - shown.length + marks.reduce((sum, mark) => sum + mark.more, 0);
  return more > 0 ? [...shown, h("span", { class: "kit-more", "aria-hidden": "true" }, `+${more}`)] : shown;
}

/** One sentence below a line: who waits there for what, and for how long. */
export function markElement(mark) {
  const time = h("span", { class: "kit-for" });
  const single = mark.numbers.length === 1;
  const element = h(
    "div",
    {
      class: `kit-mark-row ${single ? "" : "kit-several "}kit-${mark.role} kit-tone-${mark.tone} kit-c${single ? colourOf(mark.numbers[0]) : 0}`,
      role: "note",
      "aria-label": mark.label,
      "data-role": mark.role,
      "data-tone": mark.tone,
      "data-colour": String(single ? colourOf(mark.numbers[0]) : 0),
    },
    h("span", { class: "kit-mark-badges" }, ...mark.numbers.map(badge), mark.more ? h("span", { class: "kit-more" }, `+${mark.more}`) : ""),
    h("span", { class: "kit-mark-text" }, mark.text, time, mark.after),
  );
  return Object.assign(element, { time, since: mark.since, numbers: mark.numbers, more: mark.more });
}

export default { render };
