// The front end of PagePanel: finds the address that this very browser can reach, and frames the page there.

const PROBE_MILLISECONDS = 3000;
// The page keeps its origin, or its sockets would come from "null" and its cookies have no home. That is a wall between page
// and notebook only on the direct way: the proxy gives a page Jupyter's own origin, in a tab as in a frame.
const SANDBOX = "allow-scripts allow-same-origin allow-forms";

const SENTENCES = {
  waiting: "Waiting for the kernel.",
  looking: "Looking for a way from this browser to the page.",
  stopped: "The server is stopped, so there is no page. Run the cell with serve(…) again: the page comes back by itself.",
  vscode: "Pages inside VS Code cannot be framed here. Open the link in a browser. If the kernel runs on another machine or in a container, first forward this port in VS Code's Ports view.",
  direct: "Nothing answers at this address in your browser. If the kernel runs on another machine, as behind an SSH tunnel, forward this port too.",
  notDirect: "Your browser cannot call the server directly: this notebook comes from another machine, or by https. Choose “automatic” or “through Jupyter”.",
  proxy: "Your browser cannot call the server directly, so the Jupyter server would have to pass its pages on. That takes an extension: run pip install jupyter-server-proxy in the environment of the Jupyter server, which need not be the kernel's, and start that server again. The panels work without it.",
};

/** Whether a host name always means the machine that the browser itself runs on. */
export function isLoopback(hostname) {
  return /^(localhost|(.+\.)?localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(hostname);
}

/** The address below which the Jupyter server has all of its own, from its page's configuration or else from the address of a page. */
export function baseUrl(configuration, pathname) {
  try {
    const { baseUrl } = JSON.parse(configuration);
    if (typeof baseUrl === "string" && baseUrl) return baseUrl.replace(/\/*$/, "/");
  } catch {
    // no configuration: the address must do
  }
  const [hub] = pathname.match(/^.*?\/user\/[^/]+\//) ?? [""];
  const rest = pathname.slice(hub.length);
  const [before] = rest.match(/^(.*?\/)??(?=(lab|tree|notebooks|doc|edit|consoles|nbclassic|voila)(\/|$))/) ?? [""];
  return `${hub}${before}` || "/";
}

/**
 * The ways to a page, the best one first: `{ way, url, frame }`. `here` is the notebook page's `location`, `base` its Jupyter
 * server's address; `wanted` is what the kernel said: port, path, via, everywhere.
 */
export function waysTo(here, base, { port, path, via = "auto", everywhere = false }) {
  const { pathname, search, hash } = new URL(`http://app${path}`);
  const at = (hostname) => `http://${hostname}:${port}${pathname}${search}${hash}`;
  if (here.protocol === "vscode-webview:" || /(^|\.)vscode-cdn\.net$/.test(here.hostname)) return [{ way: "vscode", url: at("127.0.0.1"), frame: false }];
  const ways = [];
  if (here.protocol === "http:" && (isLoopback(here.hostname) || everywhere)) {
    ways.push({ way: "direct", url: at(here.hostname === "[::1]" && !everywhere ? "127.0.0.1" : here.hostname), frame: true });
  }
  const jupyter = new URL(base, here.origin);
  if (jupyter.protocol === here.protocol) {
    const root = jupyter.origin + jupyter.pathname;
    ways.push({ way: "proxy", url: `${root}proxy/${port}${pathname}${search}${hash}`, probe: `${root}server-proxy/servers-info`, frame: true });
  }
  return ways.filter(({ way }) => via === "auto" || way === via);
}

/** Why no way was found, in words. */
export function whyNot(here, { via, everywhere }) {
  const mayCall = here.protocol === "http:" && (isLoopback(here.hostname) || everywhere);
  if (via === "direct") return mayCall ? SENTENCES.direct : SENTENCES.notDirect;
  return via === "auto" && mayCall ? `${SENTENCES.direct} Or let the Jupyter server pass it on: install jupyter-server-proxy in that server's environment.` : SENTENCES.proxy;
}

/** Whether a way leads anywhere, found out by asking: the proxy for its own list, the app's port for any answer at all. */
async function leads({ way, url, probe }) {
  const signal = AbortSignal.timeout(PROBE_MILLISECONDS);
  try {
    if (way === "direct") {
      await fetch(url, { method: "HEAD", mode: "no-cors", credentials: "omit", referrerPolicy: "no-referrer", signal });
      return true;
    }
    const answer = await fetch(probe, { credentials: "same-origin", signal });
    return answer.ok && Array.isArray((await answer.json()).server_processes);
  } catch (error) {
    return way === "direct" && error.name === "TimeoutError"; // somebody is there, but busy
  }
}

function render({ model, el }) {
  const address = h("code", { class: "kit-address" });
  const status = h("span", { role: "status" });
  const link = h("a", { class: "kit-button kit-page-link", target: "_blank", rel: "noopener noreferrer", hidden: true }, "Open in a tab");
  const reload = h("button", { type: "button", class: "kit-button", onclick: () => ask("reload") }, "Reload");
  const way = h(
    "select",
    { class: "kit-input kit-page-way", "aria-label": "Way to the page", onchange: () => ask("show", { via: way.value }) },
    ...[["auto", "automatic"], ["direct", "direct"], ["proxy", "through Jupyter"]].map(([value, words]) => h("option", { value }, words)),
  );
  const sentence = h("div", { class: "kit-empty" }, SENTENCES.waiting);
  const body = h("div", { class: "kit-page-body" }, sentence);
  const panel = h(
    "section",
    { class: "kit-panel kit-page-panel", "aria-label": model.get("title") },
    h("header", { class: "kit-header" }, h("strong", {}, "Page"), address, status, way, link, reload),
    body,
  );
  el.replaceChildren(panel);

  const here = window.location;
  const base = baseUrl(document.getElementById("jupyter-config-data")?.textContent || JSON.stringify({ baseUrl: document.body.dataset.baseUrl }), here.pathname);
  let turn = 0;
  const { ask, close } = connectView(model, el, panel, ({ state }) => {
    if (state) find(state);
  });

  function say(words, tone, text) {
    status.replaceChildren(pill(words, tone));
    sentence.textContent = text;
    body.replaceChildren(sentence);
  }

  async function find(state) {
    turn += 1;
    const mine = turn;
    way.value = state.via;
    reload.disabled = !state.serving;
    address.textContent = `${state.name} ${state.shown}`;
    link.hidden = true;
    if (!state.serving) return say("stopped", "muted", SENTENCES.stopped);
    say("looking", "muted", SENTENCES.looking);
    for (const found of waysTo(here, base, state)) {
      if (found.frame && !(await leads(found))) continue;
      if (mine !== turn) return;
      return show(found, state);
    }
    if (mine === turn) say("out of reach", "warning", whyNot(here, state));
  }

  function show(found, state) {
    address.textContent = found.url.replace(/kit_token=[^&#]*/, "kit_token=…");
    link.href = found.url;
    link.hidden = false;
    if (!found.frame) return say("link only", "muted", SENTENCES[found.way]);
    const frame = h("iframe", { class: "kit-page-frame", title: `Page ${state.shown} of server ${state.name}`, sandbox: SANDBOX, referrerpolicy: "no-referrer", src: found.url });
    status.replaceChildren(pill(found.way === "proxy" ? "through Jupyter" : "direct", "good"));
    body.replaceChildren(frame);
  }

  return () => {
    turn += 1;
    body.replaceChildren();
    close();
  };
}

export default { render };
