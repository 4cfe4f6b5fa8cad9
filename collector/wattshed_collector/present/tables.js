// The tables of the report.
const tables = (() => {
  const { byId, element, value } = dom;
  const ROWS = 20;
  const HIGH_IDLE = 0.3;
  const DOUBTFUL = 0.05;
  const open = new Set();

  function fill(id, heads, records, cells) {
    const table = byId(id);
    const head = heads.map((text) =>
      element("th", { scope: "col", class: text.endsWith(">") ? "number" : undefined },
              text.replace(">", "")));
    const shown = open.has(id) ? records : records.slice(0, ROWS);
    const rows = shown.map((record) => element("tr", {}, cells(record)));
    table.replaceChildren(element("thead", {}, element("tr", {}, head)),
                          element("tbody", {}, rows));
    more(id, table, heads, records, cells);
  }

  function more(id, table, heads, records, cells) {
    table.parentElement.querySelector(".more")?.remove();
    if (records.length <= ROWS || open.has(id)) return;
    const button = element("button", { class: "more", type: "button" },
                           `Show all ${records.length}`);
    button.addEventListener("click", () => {
      open.add(id);
      fill(id, heads, records, cells);
    });
    table.after(button);
  }

  const cell = (content, name) => element("td", { class: name }, value(content));
  const number = (content) => cell(content, "number");
  const KINDS = { token_in: "tokens in", token_in_cached: "tokens cached",
                  token_out: "tokens out" };
  const plural = (kind, amount) => KINDS[kind]
    || `${kind.replaceAll("_", " ")}${amount === 1 ? "" : "s"}`;

  function idle(record) {
    const share = record.joules > 0 ? record.idle_held_joules / record.joules : null;
    const node = number(units.percent(share));
    if (share > HIGH_IDLE) node.classList.add("high");
    return node;
  }

  function energy(record, total) {
    const fill = element("i");
    fill.style.width = `${total > 0 ? (100 * record.joules) / total : 0}%`;
    return element("td", { class: "number" }, element("span", { class: "meter" }, fill),
                   element("b", {}, units.joules(record.joules)));
  }

  function lines(kinds, text, none) {
    const nothing = element("span", { class: "unknown" }, none);
    const each = kinds.map((kind) => element("div", {}, text(kind)));
    return element("td", { class: "number" }, each.length ? each : nothing);
  }

  function workload(record, total) {
    const kinds = Object.keys(record.outcomes || {});
    const costs = record.joules_per_outcome || {};
    const cost = (which) => (kind) => units.joules((costs[kind] || {})[which]);
    const produced = (kind) =>
      `${units.count(record.outcomes[kind])} ${plural(kind, record.outcomes[kind])}`;
    const model = [record.ai_model, record.precision].filter(Boolean).join(", ");
    const name = record.workload || record.workload_key;
    const named = element("td", { class: "name", title: name }, value(name));
    if (model) named.append(element("small", {}, model));
    return [
      named, cell(record.team), cell((record.workload_kind || "").replaceAll("_", " ")),
      energy(record, total), idle(record),
      lines(kinds, produced, "none counted"),
      lines(kinds, cost("active"), units.UNKNOWN),
      lines(kinds, (kind) => cost("loaded")(kind) + doubt(costs[kind] || {}), units.UNKNOWN),
    ];
  }

  // Said where a reader would be misled without it, not beside every reading of a good meter.
  function doubt({ loaded, high }) {
    const off = units.known(high) && loaded > 0 ? high / loaded - 1 : 0;
    return off >= DOUBTFUL ? ` ± ${units.percent(off)}` : "";
  }

  const blank = () => element("td");
  const before = ({ before_joules: joules }) => (joules > 0 ? number(units.joules(joules)) : blank());

  function made(record) {
    const model = element("td", { class: "name", title: record.ai_model || null },
                          value(record.ai_model));
    if (record.precision) model.append(element("small", {}, record.precision));
    const loaded = record.loaded_joules;
    if (record.state === "no_outcome") {
      return [model, cell("none counted", "number missing"), number(units.joules(loaded)),
              blank(), blank(), blank(), before(record)];
    }
    const produced = number(`${units.count(record.count)} ${plural(record.outcome, record.count)}`);
    if (record.state === "no_energy") {
      return [model, produced, cell("none known", "number missing"), blank(), blank(), blank(),
              blank()];
    }
    const off = units.known(record.uncertainty_joules) && loaded > 0
      ? record.uncertainty_joules / loaded : null;
    const each = element("b", {}, value(units.joules(record.joules_per_outcome_loaded)));
    return [model, produced, number(units.joules(loaded)),
            number(units.joules(record.joules_per_outcome_active)),
            element("td", { class: "number" }, each), number(units.percent(off)), before(record)];
  }

  function outcomes(report) {
    const heads = ["AI model", "Produced>", "Energy>", "J per outcome, active>", "fully loaded>",
                   "±>", "Before serving>"];
    fill("outcome-table", heads, report.outcomes, made);
  }

  function workloads(report) {
    const heads = ["Workload", "Team", "Kind", "Energy>", "Idle share>", "Produced>",
                   "J per outcome, active>", "fully loaded>"];
    const most = Math.max(...report.workloads.map((record) => record.joules), 0);
    fill("workload-table", heads, report.workloads, (record) => workload(record, most));
  }

  function ratio(record) {
    if (!units.known(record.utilization_ratio)) return number(null);
    const fill = element("i");
    fill.style.width = `${100 * Math.min(record.utilization_ratio, 1)}%`;
    return element("td", { class: "number" }, element("span", { class: "meter" }, fill),
                   element("b", {}, units.percent(record.utilization_ratio)));
  }

  function device(record, now) {
    const power = number(units.watts(record.power_watts));
    if (record.gap) power.append(element("small", {}, record.gap.replaceAll("_", " ")));
    const note = { inner: "inside another meter", outer: "contains other meters" }[record.overlap];
    const named = element("td", { class: "name", title: record.device }, value(record.device));
    const counts = record.overlap === "outer" ? "its remainder is in the totals"
      : "not in the totals";
    if (note) named.append(element("small", {}, `${note}: ${counts}`));
    const age = Math.max(now - record.ts, 0);
    return [named, cell(record.node), cell(record.kind), power, ratio(record),
            number(units.celsius(record.temperature_celsius)), cell(record.method),
            number(age < 2 ? "just now" : `${units.seconds(Math.floor(age))} ago`)];
  }

  function live(report, now) {
    const heads = ["Device", "Node", "Kind", "Power>", "Utilisation>", "Temperature>",
                   "Method", "Heard of>"];
    fill("live-table", heads, report.live, (record) => device(record, now));
  }

  function outerMeter(record) {
    const wrong = number(record.mismatched_hours
      ? `${record.mismatched_hours} of ${record.hours} h` : "none");
    if (record.mismatched_hours > 0) wrong.classList.add("high");
    return [element("td", { class: "name", title: record.device }, value(record.device)),
            cell(record.node), number(units.joules(record.outer_joules)),
            number(units.joules(record.inner_joules)),
            number(units.joules(record.remainder_joules - record.missing_joules)),
            number(units.joules(record.uncovered_joules)), wrong];
  }

  function outer(report) {
    const heads = ["Meter", "Node", "Measured>", "Inside of it>", "Beside>", "Not covered>",
                   "Less than inside>"];
    fill("outer-table", heads, report.outer_meters, outerMeter);
  }

  return { workloads, outcomes, live, outer, fill, cell, number, plural };
})();
