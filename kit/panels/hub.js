// The front end of HubPanel: a hub's broker and totals, its rooms, and the queues of those in the chosen one.

const ROOM_COLUMNS = [
  ["members", "WebSockets that joined the room through this hub"],
  ["elsewhere", "WebSockets that joined it through other hubs, in other processes; – while this hub does not ask"],
  ["subscribers", "hub.subscribe() blocks that are open"],
  ["published", "Messages that this hub sent to the room; – while nobody of this hub is in it, so that it does not count"],
  ["received", "Messages that the broker brought, from all processes"],
  ["dropped", "Messages that made room for newer ones in a full queue"],
  ["gaps", "Times that the broker lost messages of the room"],
  ["offset", "The place of the room's newest message in it"],
];
const MEMBER_COLUMNS = ["name", "waiting", "dropped", "policy", "state"];
const LESSONS = [
  ["A handler joins its WebSocket to a room, after accept:", 'async with hub.join(websocket, "lobby", name="Ana"):\n    async for text in websocket.iter_text():\n        await hub.publish("lobby", text)'],
  ["Any coroutine subscribes to it:", 'async with hub.subscribe("lobby") as subscriber:\n    async for message in subscriber:\n        print(message.data)'],
  ["And whoever has the hub publishes:", 'await hub.publish("lobby", "hello")'],
];

/** How full a queue is, from 0 to 100; a queue with anything in it is never drawn as empty. */
export function fullness(waiting, capacity) {
  return waiting ? Math.min(100, Math.max(3, Math.round((100 * waiting) / capacity))) : 0;
}

/** Which of `count` things is next to `index` by that key, or null where the key does something else. */
export function stepped(index, key, count) {
  const steps = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: count - 1 };
  return key in steps ? Math.min(count - 1, Math.max(0, steps[key])) : null;
}

const isNothing = (count) => count === "0" || count === "–";

/** A queue as a small bar, with its numbers in words beside it. */
export function queueElement(row) {
  const label = `${row.waiting.toLocaleString("en")} of at most ${row.capacity.toLocaleString("en")} messages wait for ${row.name}`;
  const bar = h(
    "span",
    { class: `kit-hub-bar kit-hub-${row.tone}`, role: "meter", "aria-label": label, "aria-valuemin": "0", "aria-valuenow": String(row.waiting), "aria-valuemax": String(row.capacity), title: label },
    h("span", { class: "kit-hub-fill", style: `width: ${fullness(row.waiting, row.capacity)}%` }),
  );
  return h("span", { class: "kit-hub-queue" }, bar, h("span", {}, row.waits));
}

/** One member or subscriber of the chosen room; one that has ended says why. */
export function memberElement(row) {
  const policy = row.kind === "elsewhere" ? row.policy : h("span", { class: "kit-code" }, row.policy);
  const cell = (name, ...children) => h("td", { role: "cell", class: `kit-hub-${name}${isNothing(children[0]) ? " kit-faint" : ""}`, "data-label": name }, ...children);
  return h(
    "tr",
    { role: "row", class: `kit-hub-member${row.ended ? " kit-hub-ended" : ""}${row.kind === "elsewhere" ? " kit-hub-away" : ""}` },
    h("th", { role: "rowheader", scope: "row", title: row.name, class: `kit-hub-is-${row.kind}` }, row.name),
    cell("waiting", row.ended || row.kind === "elsewhere" ? h("span", { class: "kit-faint" }, row.waits) : queueElement(row)),
    cell("dropped", row.dropped),
    cell("policy", policy),
    cell("state", pill(row.state, row.tone), row.reason ? h("span", { class: "kit-hub-reason" }, row.reason) : null),
  );
}

/** One room: its name, which chooses it, and its counts. */
export function roomElement(row, choose) {
  const button = h("button", { type: "button", class: "kit-hub-room", "aria-pressed": String(row.chosen), title: row.name, onclick: choose }, row.name);
  const cells = row.counts.map(([label, count]) => h("td", { role: "cell", class: isNothing(count) ? "kit-faint" : "", "data-label": label }, count));
  return h("tr", { role: "row", class: row.chosen ? "kit-hub-chosen" : "" }, h("th", { role: "rowheader", scope: "row" }, button), ...cells);
}

/** Rows under their ids: one that says the same as before stays the element that it is. */
function rowsOf(body, make) {
  let rows = new Map();
  return (wanted) => {
    const before = rows;
    rows = new Map(
      wanted.map((row) => {
        const words = JSON.stringify(row);
        const known = before.get(row.id);
        return [row.id, known?.words === words ? known : { words, element: make(row) }];
      }),
    );
    const elements = [...rows.values()].map(({ element }) => element);
    if (elements.length !== body.children.length || elements.some((element, index) => element !== body.children[index])) {
      const focused = [...before].find(([, { element }]) => element.contains(document.activeElement))?.[0];
      body.replaceChildren(...elements);
      if (focused !== undefined) rows.get(focused)?.element.querySelector("button")?.focus({ preventScroll: true });
    }
  };
}

function lessonElements([head, code]) {
  return [h("div", { class: "kit-hub-lesson-head" }, head), h("pre", { class: "kit-hub-lesson" }, code)];
}

function tableOf(label, columns) {
  const heads = columns.map(([name, title]) => h("th", { role: "columnheader", scope: "col", title }, name));
  const body = h("tbody", { role: "rowgroup" });
  const head = h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...heads));
  return { body, table: h("table", { class: "kit-hub-table", role: "table", "aria-label": label }, head, body) };
}

function render({ model, el }) {
  const url = h("code", { class: "kit-address" });
  const count = h("span", { class: "kit-hint" });
  const state = h("span", { role: "status", "aria-label": "broker" });
  const detail = h("div", { class: "kit-hub-detail", role: "status", hidden: true });
  const totals = h("dl", { class: "kit-hub-totals", "aria-label": "Totals since the hub was opened" });
  const rooms = tableOf("Rooms", [["room"], ...ROOM_COLUMNS]);
  const moreRooms = h("div", { class: "kit-note", hidden: true });
  const hint = h("div", { class: "kit-empty" }, "Looking at the hub …");
  const roomList = h("div", { class: "kit-hub-rooms", "data-lm-suppress-shortcuts": "true" }, rooms.table, moreRooms, hint);
  const roomName = h("strong");
  const roomText = h("span", { class: "kit-hint", role: "status" });
  const members = tableOf("Members", MEMBER_COLUMNS.map((name) => [name]));
  const roomHint = h("div", { class: "kit-empty", hidden: true });
  const moreMembers = h("div", { class: "kit-note", hidden: true });
  const chosen = h("div", { class: "kit-hub-chosen-room", role: "region", "aria-label": "The chosen room", hidden: true }, h("div", { class: "kit-heading" }, roomName, roomText), h("div", { class: "kit-hub-members", tabindex: "0", "aria-label": "Who is in the room" }, members.table, moreMembers, roomHint));
  const lessons = h("div", { class: "kit-hub-lessons", tabindex: "0", role: "region", "aria-label": "How a room comes to be", hidden: true }, ...LESSONS.flatMap(lessonElements));
  const panel = h(
    "section",
    { class: "kit-panel kit-hub-panel", "aria-label": model.get("title") },
    h("header", { class: "kit-header" }, h("strong", {}, "Hub"), url, count, h("span", { class: "kit-spring" }), state),
    detail,
    totals,
    roomList,
    chosen,
    lessons,
  );
  el.replaceChildren(panel);

  const showRooms = rowsOf(rooms.body, (row) => roomElement(row, () => ask("choose", { room: row.id })));
  const showMembers = rowsOf(members.body, memberElement);
  roomList.addEventListener("keydown", (event) => {
    const buttons = [...rooms.body.querySelectorAll("button")];
    const next = stepped(buttons.indexOf(event.target), event.key, buttons.length);
    if (next === null || !buttons.includes(event.target)) return;
    event.preventDefault();
    buttons[next].focus();
    buttons[next].click();
  });
  const { ask, close } = connectView(model, el, panel, (update) => {
    if (update.hub) showHub(update.hub);
    if (update.rooms) {
      rooms.table.hidden = !update.rooms.length;
      showRooms(update.rooms);
    }
    if (update.room) showRoom(update.room);
    if (update.members) {
      members.table.hidden = !update.members.length;
      showMembers(update.members);
    }
  });

  function showHub(hub) {
    url.textContent = hub.url;
    count.textContent = hub.count;
    state.replaceChildren(pill(hub.pill, hub.tone));
    tell(detail, hub.detail);
    detail.className = `kit-hub-detail kit-hub-${hub.tone}`;
    totals.replaceChildren(...hub.totals.map(([label, number]) => h("div", {}, h("dd", {}, number), h("dt", {}, label))));
    tell(moreRooms, hub.more);
    hint.hidden = !hub.hint;
    hint.replaceChildren(...prose(hub.hint));
    lessons.hidden = !hub.teaches;
    panel.classList.toggle("kit-hub-teaches", hub.teaches);
  }

  function showRoom(room) {
    chosen.hidden = !room.name;
    roomName.textContent = `Who is in ${room.name}`;
    roomText.textContent = room.text;
    tell(roomHint, room.hint);
    tell(moreMembers, room.more);
  }

  function tell(element, text) {
    element.hidden = !text;
    element.textContent = text;
  }

  return withSight(model, panel, ask, close);
}

/** Tells the kernel when the panel comes into sight and when it is out of it, once no cell runs; returns the view's cleanup. */
function withSight(model, panel, ask, close) {
  let inPage = true;
  let told = true;
  let shown = true;
  const look = () =>
    whenQuiet(model.widget_manager?.kernel, () => {
      const seen = inPage && !document.hidden;
      if (!shown || seen === told) return;
      told = seen;
      ask("sight", { seen });
    });
  const watcher = new IntersectionObserver((entries) => {
    inPage = entries.at(-1).isIntersecting;
    look();
  });
  watcher.observe(panel);
  document.addEventListener("visibilitychange", look);
  return () => {
    shown = false;
    watcher.disconnect();
    document.removeEventListener("visibilitychange", look);
    close();
  };
}

export default { render };
