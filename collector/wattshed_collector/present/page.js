// Shows a report; a live page fetches the next one and says so when the collector is away.
(() => {
  const { byId, element } = dom;
  const root = document.documentElement;
  const config = JSON.parse(byId("config").textContent);
  const words = Object.fromEntries(config.classes.map((word) => [word.key, word]));
  const state = { report: JSON.parse(byId("report").textContent), since: "", by: "", heard: 0,
                  away: "", timer: 0, asked: null };

  const now = () => (config.live ? Date.now() / 1000 : config.generated);
  const time = (seconds) => new Date(seconds * 1000).toLocaleString("en-GB", {
    day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
  const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";

  function needs(report) {
    const energy = report.total_joules > 0;
    const has = { energy, workloads: energy && report.workloads.length > 0,
                  outcomes: report.outcomes.length > 0,
                  live: report.live.length > 0, outer: report.outer_meters.length > 0 };
    for (const node of document.querySelectorAll("[data-needs]")) {
      node.hidden = !has[node.dataset.needs];
    }
    byId("empty").hidden = energy;
    return energy;
  }

  function paragraphs(...lines) {
    const tagged = (text, i) => (i % 2 ? element("code", {}, text) : text);
    return lines.map((line) => element("p", {}, line.split("`").map(tagged)));
  }

  function empty(report) {
    const waiting = report.live.length > 0;
    byId("empty-title").textContent = waiting ? "The first readings are in" : "No energy yet";
    const wait = "They are being added up; the first energy shows within a minute.";
    const start = [
      "Nothing was measured in this window. Energy comes from an exporter on each server:",
      "`wattshed-exporter` sends this machine's readings to the collector. " +
      "`make up` starts both, `make demo` adds a simulated fleet.",
    ];
    const longer = config.live
      ? "This page keeps looking and fills by itself; a longer window shows older energy."
      : "For an older measurement, ask for a longer window: `wattshed report --since 7d`.";
    const lines = waiting ? [wait] : [...start, longer];
    byId("empty-text").replaceChildren(...paragraphs(...lines));
  }

  function notes(report) {
    const { start, end, step } = report.window;
    byId("power-note").textContent = "What was shed for nothing lies on top of what " +
      `flowed to work. Means of ${units.seconds(step)}; a hole is time without any reading. Times: ${zone()}.`;
    byId("workloads-note").textContent = report.workloads.length
      ? "While the workload used its devices, and while it held them idle."
      : "wattshed has not been told who holds these devices, so no energy can be given to a " +
        "workload. It is measured all the same, and shown as idle or unattributed.";
    byId("places-note").textContent = "All classes; meters that overlap are counted once.";
    byId("made").textContent = `${time(start)} to ${time(end)} (${units.seconds(end - start)}), ` +
      `wattshed ${config.version}`;
    byId("live-title").textContent = config.live ? "Devices now" : "Devices when this was made";
    byId("live-note").textContent =
      `${units.count(report.live.length)} heard of in the last quarter of an hour.`;
  }

  function pair(report) {
    const by = state.by || (report.nodes.length > 1 ? "node" : "device");
    byId("place-word").textContent = by;
    choose("places-by", [["node", "Nodes"], ["device", "Devices"]], by, (name) => {
      state.by = name;
      pair(state.report);
    });
    if (!report.workloads.length) Plotly.purge("workloads");
    else figures.draw("workloads", figures.workloads(report, words, by));
    return figures.draw("places", figures.places(report, words, by));
  }

  function choose(id, options, chosen, act) {
    const group = byId(id);
    if (group.dataset.chosen === chosen) return;
    group.dataset.chosen = chosen;
    group.replaceChildren(...options.map(([key, label]) => {
      const pressed = String(key === chosen);
      const button = element("button", { type: "button", "aria-pressed": pressed }, label);
      button.addEventListener("click", () => act(key));
      return button;
    }));
  }

  async function show(report) {
    headline.banners(report);
    notes(report);
    tables.live(report, now());
    tables.outer(report);
    tables.outcomes(report);
    if (!needs(report)) return empty(report);
    headline.tiles(report, config.live);
    headline.split(report, config.classes);
    headline.quality(report, config);
    tables.workloads(report);
    await figures.draw("power", figures.power(report, words));
    return pair(report);
  }

  function status() {
    const made = `Made ${time(config.generated)}`;
    const newest = Math.max(...state.report.live.map((record) => record.ts), 0);
    const age = now() - newest;
    const late = newest > 0 && age > config.stale_s
      ? `Newest reading ${units.seconds(Math.floor(age))} ago` : "";
    const text = !config.live ? made : state.away || late || "Live";
    byId("status").className = !config.live ? "" : state.away || late ? "stale" : "fresh";
    if (byId("status-text").textContent !== text) byId("status-text").textContent = text;
  }

  async function fetched() {
    state.asked?.abort();
    state.asked = new AbortController();
    const limit = setTimeout(() => state.asked.abort(), config.timeout_ms);
    try {
      const { signal } = state.asked;
      // Not relative: fetch refuses to take a token along that stands in the page's own address.
      const answer = await fetch(`${location.origin}${config.report_url}?since=${state.since}`, { signal });
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
      return await answer.json();
    } finally {
      clearTimeout(limit);
    }
  }

  async function poll() {
    clearTimeout(state.timer);
    const since = state.since;
    const report = document.hidden ? null : await fetched().catch(() => undefined);
    if (since !== state.since) return;
    clearTimeout(state.timer);
    state.timer = setTimeout(poll, config.poll_ms);
    if (report === undefined) {
      const heard = new Date(state.heard * 1000).toLocaleTimeString("en-GB");
      state.away = `Collector away, shown as of ${heard}`;
    } else if (report) {
      Object.assign(state, { report, heard: now(), away: "" });
    }
    status();
    if (report) await show(report);
  }

  function select(since) {
    state.since = since;
    history.replaceState(null, "", `#${since}`);
    windows();
    poll();
  }

  function windows() {
    choose("windows", config.windows.map(([name]) => [name, name]), state.since, select);
  }

  function live() {
    const { start, end } = state.report.window;
    const length = Math.max(end - start, 1);
    const distance = ([, seconds]) => Math.abs(Math.log(seconds / length));
    const asked = config.windows.find(([name]) => `#${name}` === location.hash);
    const nearest = config.windows.reduce((a, b) => (distance(b) < distance(a) ? b : a));
    [state.since] = asked || nearest;
    state.heard = config.generated;
    byId("windows").hidden = false;
    windows();
    document.addEventListener("visibilitychange", () => document.hidden || poll());
    state.timer = setTimeout(poll, asked && asked !== nearest ? 0 : config.poll_ms);
  }

  window.addEventListener("error", (event) => { root.dataset.error = event.message; });
  window.addEventListener("unhandledrejection", (event) => {
    root.dataset.error = String(event.reason);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(state.report));
  if (config.live) live();
  status();
  show(state.report).then(() => { root.dataset.drawn = "yes"; });
})();
