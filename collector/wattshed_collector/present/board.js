// A board: asks for each panel that can be seen, a few at a time, and again when it is time to.
(() => {
  const { byId, element } = dom;
  const config = JSON.parse(byId("config").textContent);
  const { board } = config;
  const AT_ONCE = 3;
  const root = document.documentElement;
  const state = { ...controls.read(), turn: 0, timer: 0, running: 0, failed: 0, waiting: [] };
  state.from ||= board.time.from;
  state.to ||= board.time.to;

  // The window that the board is made for stands among those that every board has.
  const seconds = (begin) => {
    const [, count, unit] = /^now-(\d+)([smhdwMy])$/.exec(begin) || [0, 0, "s"];
    return Number(count) * { s: 1, m: 60, h: 3600, d: 86400, w: 604800, M: 2592000, y: 31536000 }[unit];
  };
  const own = [board.time.from.replace("now-", ""), board.time.from];
  const windows = [...config.windows.filter(([, begin]) => seconds(begin) !== seconds(own[1])), own]
    .sort(([, a], [, b]) => seconds(a) - seconds(b));

  const panelsOf = board.panels.flatMap((panel) => (panel.type === "row" ? panel.panels : [panel]));
  const bodyOf = (panel) => byId(`panel-${panel.id}`).querySelector(".body");
  const answers = new Map();

  const SECONDS = { s: 1, m: 60, h: 3600 };
  const refreshSeconds = () => {
    const told = /^(\d+)([smh])$/.exec(board.refresh || "");
    return told ? Number(told[1]) * SECONDS[told[2]] : 60;
  };

  async function asked(path) {
    const answer = await fetch(`${location.origin}/v1/boards/${encodeURIComponent(board.uid)}/${path}?${controls.query(state)}`,
                               { signal: AbortSignal.timeout(config.timeout_ms) });
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(told.error || `HTTP ${answer.status}`);
    return told;
  }

  const range = () => new URLSearchParams({ from: state.from, to: state.to }).toString();

  async function fill(panel, turn) {
    const card = byId(`panel-${panel.id}`);
    card.classList.add("asking");
    try {
      const answer = await asked(`panels/${panel.id}`);
      if (turn !== state.turn) return;
      answers.set(panel.id, answer);
      await panels.draw(panel, answer, bodyOf(panel), range());
    } catch (error) {
      if (turn !== state.turn) return;
      state.failed += 1;
      panels.failed(bodyOf(panel), error.message);
    } finally {
      card.classList.remove("asking");
    }
  }

  async function work() {
    while (state.waiting.length) {
      const [panel, turn] = state.waiting.shift();
      if (turn === state.turn) await fill(panel, turn);
    }
    state.running -= 1;
    if (!state.running) done();
  }

  function done() {
    root.dataset.drawn = "yes";
    const at = new Date().toLocaleTimeString("en-GB");
    byId("status").className = state.failed ? "stale" : "fresh";
    byId("status-text").textContent = state.failed
      ? `${state.failed} of ${panelsOf.length} panels failed, ${at}` : `As of ${at}`;
    clearTimeout(state.timer);
    if (state.to === "now") state.timer = setTimeout(refresh, refreshSeconds() * 1000);
  }

  function refresh() {
    if (document.hidden) state.timer = setTimeout(refresh, 5000);
    else ask();
  }

  // Panels of rows that are closed are asked for when somebody opens them.
  function ask(some = panelsOf) {
    if (some === panelsOf) {
      state.turn += 1;
      state.failed = 0;
      state.waiting = [];
    }
    const open = some.filter((panel) => panel.targets && byId(`panel-${panel.id}`).closest("details.row").open);
    state.waiting.push(...open.map((panel) => [panel, state.turn]));
    byId("status-text").textContent = "Asking";
    while (state.running < AT_ONCE && state.running < state.waiting.length) {
      state.running += 1;
      work();
    }
    if (!state.running) done();
  }

  function change(more) {
    Object.assign(state, more);
    history.replaceState(null, "", `?${controls.query(state)}`);
    show();
    ask();
  }

  function show() {
    controls.windows(state, windows, change);
    controls.boards(config.boards, board.uid, state);
    const open = document.querySelector(".variable[open]")?.dataset.name;
    if (open) return;
    byId("variables").replaceChildren(...config.variables.map(menu));
  }

  function menu(variable) {
    const choices = async (name) => (await asked(`variables/${encodeURIComponent(name)}`)).values;
    const made = controls.variable(variable, state, choices, (name, values) => {
      const chosen = { ...state.chosen, [name]: values };
      if (!values.length) delete chosen[name];
      change({ chosen });
    });
    made.dataset.name = variable.name;
    made.addEventListener("toggle", () => { if (!made.open) show(); });
    return made;
  }

  function again() {
    for (const panel of panelsOf) {
      if (answers.has(panel.id)) panels.draw(panel, answers.get(panel.id), bodyOf(panel), range());
    }
  }

  window.addEventListener("error", (event) => { root.dataset.error = event.message; });
  window.addEventListener("unhandledrejection", (event) => { root.dataset.error = String(event.reason); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  for (const row of document.querySelectorAll("details.row")) {
    row.addEventListener("toggle", () => {
      const inside = panelsOf.filter((panel) => row.contains(byId(`panel-${panel.id}`)));
      if (row.open) ask(inside.filter((panel) => !answers.has(panel.id)));
    });
  }
  for (const panel of panelsOf) {
    if (panel.type === "alertlist") panels.alerts(bodyOf(panel));
    else if (panel.targets) bodyOf(panel).replaceChildren(element("div", { class: "wait" }, "…"));
  }
  show();
  ask();
})();
