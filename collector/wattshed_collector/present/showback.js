// Draws a showback: of one team, or of all of them.
(() => {
  const { byId, element, swatch, value } = dom;
  const { fill, cell, number, plural } = tables;
  const { sum, css, plain, short } = figures;
  const root = document.documentElement;
  const config = JSON.parse(byId("config").textContent);
  const told = JSON.parse(byId("document").textContent);
  const words = Object.fromEntries(config.classes.map((word) => [word.key, word]));
  const STACK = ["active", "unattributed", "overhead", "idle_held", "idle_unallocated"];
  const METHODS = [["factor", "Factor of the site", "counter"], ["hourly", "Hours of the grid", "active"],
                   ["yearly", "Yearly table", "estimated"]];
  const NOBODY = "no team";
  const whole = told.team === null;
  const totals = whole ? told.fleet : told.teams[0].totals;
  const before = whole ? told.fleet_before : told.teams[0].before;
  const all = (name) => told.teams.flatMap((team) =>
    team[name].map((row) => ({ ...row, of: team.team || NOBODY })));
  const part = (amount, total) => (total > 0 ? amount / total : null);
  const kwh = units.watt_hours;
  const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);
  const stamp = (seconds) => `${new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`;
  const idle = (team) => team.classes.idle_held?.joules || 0;
  const money = (costs) => Object.entries(costs).map(([currency, paid]) =>
    units.money(paid, currency)).join(" + ") || units.UNKNOWN;

  const classes = Object.fromEntries(config.classes.map(({ key }) =>
    [key, sum(told.teams.map((team) => team.classes[key]?.joules))]));

  function banners() {
    const { period } = told;
    const said = [];
    if (!period.is_whole && totals.joules > 0) {
      const lacks = period.until < period.end ? `it counts up to ${stamp(period.until)}`
        : "nothing was measured when it began";
      said.push(`This ${period.kind} is not known as a whole: ${lacks}.`);
    }
    byId("banners").replaceChildren(...said.map((text) =>
      element("p", { class: "banner", role: "note" }, text)));
  }

  // What is known of two different parts of the energy is no change.
  const alike = (now, then, name) => Math.abs(part(now.unknown_joules[name], now.joules) -
    part(then.unknown_joules[name], then.joules)) < 0.005;

  function change(now, then) {
    if (!units.known(then) || !units.known(now) || then <= 0) return null;
    const ratio = now / then - 1;
    const kind = Math.abs(ratio) < 0.0005 ? "" : ratio < 0 ? " down" : " up";
    const text = kind ? `${ratio < 0 ? "−" : "+"}${units.percent(Math.abs(ratio))}` : "±0 %";
    const partly = told.before.is_whole ? "" : ", known in part";
    return element("span", {}, element("span", { class: `change${kind}` }, text),
                   ` against ${told.before.name}${partly}`);
  }

  const changed = (name, amount) => (before && alike(totals, before, name)
    ? change(amount(totals), amount(before)) : null);

  // Who told what joules cost.
  const tellers = (kind) => told.rates.filter((rate) => rate.kind === kind).map((rate) =>
    `${rate.site || "no site"} by ${rate.source || "nobody named"}` +
    `${rate.said === null ? "" : `, said ${stamp(rate.said)}`}`).join("; ");

  function tile(title, big, ...sub) {
    return element("div", { class: "tile" }, element("h2", {}, title),
                   element("div", { class: "big" }, value(big)),
                   sub.filter(Boolean).map((line) => element("div", { class: "sub" }, line)));
  }

  const known = (name) => 1 - part(totals.unknown_joules[name], totals.joules);
  const covers = (name) => (known(name) < 0.9995 ? `of ${units.percent(known(name))} of the energy` : "");

  function tiles() {
    const paid = Object.entries(totals.costs);
    const currency = paid.length === 1 ? paid[0][0] : null;
    const burned = sum(told.teams.map(idle));
    const costs = {};
    for (const team of told.teams) {
      for (const [unit, spent] of Object.entries(team.classes.idle_held?.costs || {})) {
        costs[unit] = (costs[unit] || 0) + spent;
      }
    }
    byId("tiles").replaceChildren(
      tile("Energy", kwh(totals.joules),
           totals.facility_joules === null ? "of devices; no PUE is known"
             : `${kwh(totals.facility_joules)} with the PUE ${covers("facility")}`,
           change(totals.joules, before?.joules)),
      tile("Cost", money(totals.costs),
           paid.length ? covers("cost") : "no price is known",
           currency ? changed("cost", (of) => of.costs[currency]) : "", paid.length ? tellers("price") : ""),
      tile("Carbon", units.grams(totals.carbon_g),
           totals.carbon_g === null ? "no PUE or no grid is known"
             : `location-based ${covers("carbon")}`,
           changed("carbon", (of) => of.carbon_g)),
      tile("Held idle", units.percent(part(burned, totals.joules)),
           `${kwh(burned)}${Object.keys(costs).length ? `, ${money(costs)}` : ""}`,
           "held by a workload that did not use it"),
    );
  }

  function split() {
    byId("split").replaceChildren(...config.classes.filter(({ key }) => classes[key] > 0)
      .map(({ key }) => {
        const bar = element("i");
        bar.style.background = `var(--${key})`;
        bar.style.flexGrow = classes[key] / totals.joules;
        return bar;
      }));
    byId("legend").replaceChildren(...config.classes.map(({ key, label, meaning }) =>
      element("div", { class: classes[key] > 0 ? undefined : "none" },
              element("dt", {}, swatch(key), label),
              element("dd", { class: "amount" }, units.percent(part(classes[key], totals.joules)),
                      element("small", {}, kwh(classes[key]))),
              element("dd", { class: "meaning" }, meaning))));
  }

  function daily(names, amount) {
    const dates = [];
    for (let at = told.period.start; at < told.period.end; at += 86400) dates.push(at);
    const at = new Map(dates.map((date, index) => [date, index]));
    const series = Object.fromEntries(names.map((name) => [name, dates.map(() => 0)]));
    for (const row of told.days) {
      for (const [name, grown] of amount(row)) series[name][at.get(row.day)] += grown || 0;
    }
    return { dates: dates.map(day), series };
  }

  function stacked(id, dates, series, looks, unit, format, height) {
    const names = Object.keys(series).filter((name) => sum(series[name]) > 0);
    const most = Math.max(...dates.map((_, i) => sum(names.map((name) => series[name][i]))));
    const { divisor, suffix } = unit(most);
    const data = names.map((name) => ({
      type: "bar", name: looks[name][0], x: dates, marker: { color: css(`--${looks[name][1]}`) },
      y: series[name].map((amount) => amount / divisor), customdata: series[name].map(format),
      hovertemplate: "%{customdata}",
    }));
    return Plotly.react(id, data, figures.layout({
      barmode: "stack", bargap: 0.25, hovermode: "x unified", height,
      xaxis: { type: "date", showgrid: false, fixedrange: true, tickformat: "%e %b",
               range: [dates[0], dates.at(-1)].map((date, end) =>
                 new Date(Date.parse(date) + (end ? 1 : -1) * 43_200_000).toISOString()),
               unifiedhovertitle: { text: "%{x|%A %e %B}" } },
      yaxis: { ticksuffix: suffix, rangemode: "tozero", fixedrange: true, ticklabelstandoff: 6 },
    }), { ...figures.CONFIG, displayModeBar: false });
  }

  function days() {
    const { dates, series } = daily(STACK, (row) => [[row.class, row.joules]]);
    const looks = Object.fromEntries(STACK.map((key) => [key, [words[key].label, key]]));
    const unit = (most) => {
      const { divisor, suffix } = units.scale(most / 3600, "Wh");
      return { divisor: divisor * 3600, suffix };
    };
    return stacked("days", dates, series, looks, unit, kwh, 320);
  }

  function carbon() {
    const names = METHODS.map(([name]) => name);
    const { dates, series } = daily(names, (row) => names.map((name) => [name, row[`${name}_g`]]));
    const looks = Object.fromEntries(METHODS.map(([key, label, colour]) => [key, [label, colour]]));
    const unit = (most) => (most >= 1e6 ? { divisor: 1e6, suffix: " t" } : units.scale(most, "g"));
    return stacked("carbon", dates, series, looks, unit, units.grams, 330);
  }

  function bars() {
    byId("bars-title").textContent = `Energy by ${whole ? "team" : "workload"}`;
    byId("bars-note").textContent = whole ? "What devices drew that were held idle, and all else."
      : "While devices were used, and while they were held idle.";
    const rows = (whole
      ? told.teams.map((team) => ({ name: team.team || NOBODY, joules: team.totals.joules,
                                    idle: idle(team) }))
      : told.teams[0].workloads.map((row) => ({ name: row.workload, joules: row.joules,
                                                idle: row.idle_held_joules }))).slice(0, 9);
    const { divisor, suffix } = units.scale(Math.max(...rows.map((row) => row.joules)) / 3600, "Wh");
    const scale = divisor * 3600;
    const keys = rows.map((_, index) => String(index));
    const bar = (name, colour, amount) => ({
      type: "bar", orientation: "h", name, y: keys, x: rows.map((row) => amount(row) / scale),
      width: 0.66, marker: { color: css(`--${colour}`) },
      customdata: rows.map((row) => [plain(row.name), kwh(amount(row))]),
      hovertemplate: `<b>%{customdata[0]}</b><br>${name}: %{customdata[1]}<extra></extra>`,
    });
    const data = [
      bar(whole ? "Other" : "Active", "active", (row) => row.joules - row.idle),
      bar(words.idle_held.label, "idle_held", (row) => row.idle),
      { type: "scatter", mode: "text", showlegend: false, hoverinfo: "skip", cliponaxis: false,
        y: keys, x: rows.map((row) => row.joules / scale),
        text: rows.map((row) => ` ${kwh(row.joules)}`), textposition: "middle right",
        textfont: { color: css("--muted"), size: 11.5 } },
    ];
    return Plotly.react("bars", data, figures.layout({
      barmode: "stack", height: 330, hovermode: "closest",
      xaxis: { ticksuffix: suffix, nticks: 6, fixedrange: true, rangemode: "tozero",
               range: [0, (1.2 * Math.max(...rows.map((row) => row.joules))) / scale] },
      yaxis: { type: "category", autorange: "reversed", fixedrange: true, ticks: "", showgrid: false,
               tickvals: keys, ticktext: rows.map((row) => plain(short(row.name))),
               tickfont: { color: css("--text") }, ticklabelstandoff: 8 },
    }), { ...figures.CONFIG, displayModeBar: false });
  }

  function amount(title, big, ...lines) {
    return element("div", {}, element("h3", {}, title),
                   element("div", { class: "big" }, value(big)),
                   lines.filter(Boolean).map((line) => element("p", {}, line)));
  }

  function methods() {
    const grams = totals.carbon_g_by_method;
    const known = METHODS.filter(([name]) => grams[name] > 0);
    const strip = element("div", { class: "split" }, known.map(([name,, colour]) => {
      const bar = element("i");
      bar.style.background = `var(--${colour})`;
      bar.style.flexGrow = grams[name] / totals.carbon_g;
      return bar;
    }));
    const key = known.map(([name, label, colour]) => element("span", {}, swatch(colour),
      `${label}: ${units.percent(grams[name] / totals.carbon_g)}`));
    return element("div", { class: "methods" }, strip, element("div", { class: "key" }, key));
  }

  function emitted() {
    const estimated = totals.carbon_estimated_ratio;
    const said = totals.carbon_sources.join("; ");
    const location = amount("Location-based", units.grams(totals.carbon_g), covers("carbon"),
      units.known(estimated) ? `${units.percent(estimated)} of it by values that their source calls estimated`
        : "", said ? `by ${said}` : "",
      totals.carbon_said === null ? "" : `said last at ${stamp(totals.carbon_said)}`);
    if (totals.carbon_g > 0) location.append(methods());
    byId("emitted").replaceChildren(
      location,
      amount("Market-based", units.grams(totals.carbon_market_g),
             totals.carbon_market_g === null ? "not known for any hour" : covers("market")),
      amount("Marginal", units.grams(totals.carbon_marginal_g),
             totals.carbon_marginal_g === null ? "not known for any hour"
               : `what one kilowatt hour less would have saved ${covers("marginal")}`));
  }

  function teams() {
    const verified = (team) => sum(team.done.filter((row) => row.verdict === "verified" && row.expected_g === null)
      .map((row) => row.saved_joules));
    fill("team-table", ["Team", "Energy>", "Share>", "Against before>", "Cost>", "Carbon>",
                        "Held idle>", "Saved, verified>", "Device time known>"], told.teams, (team) => {
      const then = change(team.totals.joules, team.before?.joules);
      const compared = element("td", { class: "number" });
      compared.append(then ? then.firstChild : value(null));
      const saved = verified(team);
      return [cell(team.team || NOBODY, "name"), number(kwh(team.totals.joules)),
              number(units.percent(part(team.totals.joules, totals.joules))), compared,
              number(money(team.totals.costs)), number(units.grams(team.totals.carbon_g)),
              number(units.percent(part(idle(team), team.totals.joules))),
              number(saved > 0 ? kwh(saved) : "none"),
              number(units.percent(team.coverage.known_ratio))];
    });
  }

  const of = (row) => (whole ? [cell(row.of)] : []);
  const heads = (first, ...rest) => [first, ...(whole ? ["Team"] : []), ...rest];

  function waste() {
    const rows = all("waste").sort((a, b) => b.idle_held_joules - a.idle_held_joules);
    fill("waste-table", heads("Workload", "Energy>", "Device time>", "Cost>", "Carbon>"), rows,
         (row) => [cell(row.workload, "name"), ...of(row), number(kwh(row.idle_held_joules)),
                   number(units.seconds(row.idle_held_seconds)),
                   number(money(row.idle_held_costs)), number(units.grams(row.idle_held_g))]);
  }

  function made() {
    fill("made-table", heads("AI model", "Produced>", "Energy>", "J each, active>",
                             "fully loaded>", "±>"), all("outcomes"), (row) => {
      const each = row.joules_per_outcome_loaded;
      const off = units.known(row.high) && each > 0 ? row.high / each - 1 : null;
      return [cell(row.ai_model, "name"), ...of(row),
              number(`${units.count(row.count)} ${plural(row.outcome, row.count)}`),
              number(kwh(row.loaded_joules)), number(units.joules(row.joules_per_outcome_active)),
              number(units.joules(each)), number(units.percent(off))];
    });
  }

  // Joules, or grams where none are promised.
  function was(row, what) {
    return row.expected_g === null ? kwh(row[`${what}_joules`]) : units.grams(row[`${what}_g`]);
  }

  function done() {
    fill("done-table", heads("Advice", "Done", "Saved>", "Promised for that time>", "Verdict"),
         all("done"), (row) => [cell(row.title, "title"), ...of(row), cell(day(row.done)),
           number(was(row, "saved")), number(was(row, "expected")),
           cell(row.verdict.replaceAll("_", " "), row.verdict === "verified" ? "verified" : undefined)]);
    const held = sum(told.teams.map((team) => team.shifted.held));
    const saved = {};
    for (const team of told.teams) {
      for (const [unit, amount] of Object.entries(team.shifted.saved_by_unit)) {
        saved[unit] = (saved[unit] || 0) + amount;
      }
    }
    const amounts = Object.entries(saved).map(([unit, amount]) =>
      (unit === "g" ? units.grams(amount) : units.money(amount, unit))).join(" and ");
    byId("shifted").textContent = held
      ? `${held} jobs waited for a better hour, which saved ${amounts || "an unknown amount"} ` +
        "against running at once." : "";
  }

  function advice() {
    const rows = all("advice").sort((a, b) => b.joules_per_month - a.joules_per_month);
    byId("advice-note").textContent = `Found in the newest week, whatever is shown above: ` +
      `${kwh(sum(rows.map((row) => row.joules_per_month)))} a month in all, as far as they do not overlap.`;
    fill("advice-table", heads("Advice", "Energy a month>", "Money>", "Carbon>", "Confidence>",
                               "Effort"), rows, (row) => [cell(row.title, "title"), ...of(row),
      number(kwh(row.joules_per_month)), number(units.money(row.cost_per_month, row.currency)),
      number(units.grams(row.g_per_month)), number(units.percent(row.confidence)),
      cell(row.effort)]);
  }

  function sure() {
    const seconds = (name) => sum(told.teams.map((team) => team.coverage[name]));
    const [heard, lost] = [seconds("known_seconds"), seconds("unknown_seconds")];
    const { facility, cost, carbon } = totals.unknown_joules;
    const lacks = (joules, text) => (joules > 0 ? `${text}: ${kwh(joules)} (` +
      `${units.percent(part(joules, totals.joules))})` : "");
    const missing = [lacks(cost, "No price"), lacks(facility, "No PUE, and so no grams"),
                     lacks(Math.max(carbon - facility, 0), "No intensity of the grid")].filter(Boolean);
    byId("sure").replaceChildren(
      amount("Device time with known energy", units.percent(part(heard, heard + lost)),
             `${units.seconds(heard)} known, ${units.seconds(lost)} unknown in the same hours: ` +
             "never counted as zero."),
      amount("What could not be told", missing.length ? `${missing.length} thing${missing.length > 1 ? "s" : ""}`
        : "Nothing", ...missing),
      amount("Set against", before ? told.before.name : null,
             before ? `${stamp(told.before.start)} to ${stamp(told.before.end)}` : "nothing was charged then",
             before && !told.before.is_whole ? "not known from its start" : ""));
  }

  function needs() {
    const some = (name) => told.teams.some((team) => team[name].length > 0);
    const energy = totals.joules > 0;
    const has = { energy, grams: energy, teams: whole && energy, waste: some("waste"),
                  outcomes: some("outcomes"), advice: some("advice"),
                  done: some("done") || told.teams.some((team) => team.shifted.held > 0) };
    for (const node of document.querySelectorAll("[data-needs]")) {
      node.hidden = !has[node.dataset.needs];
    }
    byId("empty").hidden = energy;
    return energy;
  }

  async function show() {
    banners();
    byId("status").textContent = `Made ${stamp(told.made)}`;
    byId("made").textContent = `${stamp(told.period.start)} to ${stamp(told.period.until)}, ` +
      `wattshed ${config.version}`;
    if (!needs()) return;
    for (const draw of [tiles, split, emitted, waste, made, done, advice, sure]) draw();
    if (whole) teams();
    await days();
    await bars();
    if (totals.carbon_g > 0) await carbon();
    else Plotly.purge("carbon");
  }

  window.addEventListener("error", (event) => { root.dataset.error = event.message; });
  window.addEventListener("unhandledrejection", (event) => {
    root.dataset.error = String(event.reason);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show().then(() => { root.dataset.drawn = "yes"; });
})();
