// Everything on the page that is neither plot nor table: banners, tiles, classes, quality.
const headline = (() => {
  const { byId, element, swatch, value } = dom;
  const IDLE = ["idle_held", "idle_unallocated"];
  const FULL = 0.95;
  const part = (amount, total) => (total > 0 ? amount / total : null);
  const idleJoules = (report) => figures.sum(IDLE.map((name) => report.classes[name]));

  function banner(text) {
    return element("p", { class: "banner", role: "note" }, text);
  }

  function banners(report) {
    const methods = report.quality.by_method;
    const total = figures.sum(Object.values(methods));
    const said = [];
    const simulated = part(methods.simulated || 0, total);
    if (simulated > 0) {
      said.push(banner(`Simulated fleet: ${units.percent(simulated)} of the energy on this page ` +
                       "was made up for a demonstration and never measured."));
    }
    const estimated = part(methods.estimated || 0, total - (methods.simulated || 0));
    if (estimated > FULL && report.nodes.length === 1) {
      said.push(banner("This machine has no power meter: its energy is estimated from how busy " +
                       "it is, ±50 %."));
    } else if (estimated > 0) {
      said.push(banner(`No power meter on some machines: ${units.joules(methods.estimated)} ` +
                       "of this energy is estimated from how busy they are, ±50 %."));
    }
    byId("banners").replaceChildren(...said);
  }

  function tile(title, big, ...sub) {
    const text = element("div", { class: "big" }, value(big));
    return element("div", { class: "tile" }, element("h2", {}, title), text,
                   sub.filter(Boolean).map((line) => element("div", { class: "sub" }, line)));
  }

  // Device-seconds with a known energy against all that the window holds.
  function coverage(report) {
    const { start, end } = report.window;
    return Math.min(part(report.quality.known_seconds, report.devices.length * (end - start)), 1);
  }

  function mean(report) {
    const share = coverage(report);
    if (share >= FULL) return `mean ${units.watts(report.mean_power_watts)}`;
    return `mean ${units.watts(share > 0 ? report.mean_power_watts / share : null)} while measured`;
  }

  // The share that was burned for nothing, over time: a line, and the window's halves in words.
  function trend(report) {
    const series = figures.stacked(report);
    const { times } = report;
    const idle = times.map((_, i) => figures.sum(IDLE.map((name) => series[name][i])));
    const all = times.map((_, i) => figures.sum(Object.values(series).map((line) => line[i])));
    const half = Math.floor(times.length / 2);
    const share = (from, to) => part(figures.sum(idle.slice(from, to)),
                                     figures.sum(all.slice(from, to)));
    if (half < 3) return { shares: [], words: "" };
    const [before, after] = [share(0, half), share(half)];
    const turn = after > before * 1.05 ? "up" : after < before * 0.95 ? "down" : "steady";
    const words = turn === "steady" ? `steady around ${units.percent(after)}`
      : `${turn}: ${units.percent(before)}, then ${units.percent(after)} in the second half`;
    return { shares: idle.map((joules, i) => part(joules, all[i]) || 0), words };
  }

  function spark(shares) {
    const space = byId("mark").namespaceURI;
    const svg = document.createElementNS(space, "svg");
    const line = document.createElementNS(space, "path");
    const bins = Math.min(shares.length, 32);
    const most = Math.max(...shares, 0.01);
    const points = Array.from({ length: bins }, (_, bin) => {
      const cut = shares.slice(Math.floor((bin * shares.length) / bins),
                               Math.floor(((bin + 1) * shares.length) / bins));
      const mean = figures.sum(cut) / cut.length;
      return `${((bin * 88) / (bins - 1) + 1).toFixed(1)} ${(27 - (25 * mean) / most).toFixed(1)}`;
    });
    line.setAttribute("d", `M${points.join("L")}`);
    svg.setAttribute("class", "spark");
    svg.setAttribute("width", "90");
    svg.setAttribute("height", "29");
    svg.setAttribute("aria-hidden", "true");
    svg.append(line);
    return svg;
  }

  function burned(report) {
    const joules = idleJoules(report);
    const told = joules + report.classes.active > 0;
    if (!told) {
      return tile("Burned for nothing", null, "Nobody said who held the devices.");
    }
    const { shares, words } = trend(report);
    const node = tile("Burned for nothing", units.percent(part(joules, report.total_joules)),
                      `${units.joules(joules)} (${units.watt_hours(joules)}) idle`, words);
    if (shares.length) node.append(spark(shares));
    return node;
  }

  function workloads(report) {
    const teams = new Set(report.workloads.map((record) => record.team).filter(Boolean)).size;
    const { length: counted } = report.workloads.filter(({ outcomes }) => Object.keys(outcomes)[0]);
    const of = teams === 1 ? "of 1 team" : teams ? `of ${teams} teams` : "";
    return tile("Workloads", units.count(report.workloads.length), of,
                report.workloads.length ? `${counted} with counted outcomes` : "none is known yet");
  }

  // What the energy emitted, by whom that is known and since when, and of how much it is not.
  function carbon({ carbon: told, total_joules: total }) {
    if (told.carbon_g === null) return `carbon not known: ${told.carbon_reason}`;
    const said = told.carbon_said === null ? ""
      : `, said ${new Date(told.carbon_said * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`;
    const left = told.carbon_reason === "" ? ""
      : `; of ${units.percent(part(told.carbon_unknown_joules, total))} not known: ${told.carbon_reason}`;
    return `${units.grams(told.carbon_g)} CO2e ${told.carbon_scope} ` +
      `(${told.carbon_methods.join(", ")}: ${told.carbon_sources.join(", ")}${said})${left}`;
  }

  function tiles(report, live) {
    const place = report.nodes.length === 1 ? "1 node" : `${report.nodes.length} nodes`;
    const meters = report.devices.length === 1 ? "1 device" : `${report.devices.length} devices`;
    byId("tiles").replaceChildren(
      tile("Energy", units.joules(report.total_joules), units.watt_hours(report.total_joules),
           `${meters} on ${place}`, carbon(report)),
      tile(live ? "Power now" : "Latest power", units.watts(report.live_power_watts), mean(report)),
      burned(report),
      workloads(report),
    );
  }

  function split(report, classes) {
    const bars = classes.filter(({ key }) => report.classes[key] > 0).map(({ key }) => {
      const bar = element("i");
      bar.style.background = `var(--${key})`;
      bar.style.flexGrow = report.classes[key] / report.total_joules;
      return bar;
    });
    byId("split").replaceChildren(...bars);
    byId("legend").replaceChildren(...classes.map(({ key, label, meaning }) => {
      const share = units.percent(part(report.classes[key], report.total_joules));
      const amount = element("dd", { class: "amount" }, share,
                             element("small", {}, units.joules(report.classes[key])));
      return element("div", { class: report.classes[key] > 0 ? undefined : "none" },
                     element("dt", {}, swatch(key), label), amount,
                     element("dd", { class: "meaning" }, meaning));
    }));
  }

  function rows(entries) {
    return element("dl", {}, entries.map(([name, amount, detail]) =>
      [name, element("dd", {}, amount), element("dd", {}, detail)]).flat());
  }

  function methods(report, words) {
    const by = report.quality.by_method;
    const total = figures.sum(Object.values(by));
    const used = words.filter(({ key }) => by[key] !== undefined);
    const list = rows(used.map(({ key, label }) => [
      element("dt", {}, swatch(key), label), units.percent(part(by[key], total)),
      units.joules(by[key])]));
    const meanings = used.map(({ label, meaning }) =>
      element("p", {}, element("b", {}, label), `: ${meaning}`));
    return element("div", {}, element("h3", {}, "How the energy was obtained"), list, meanings);
  }

  function refused(report) {
    const counts = Object.entries(report.quality.quarantined);
    if (!counts.length) return [];
    const all = figures.sum(counts.map(([, count]) => count));
    const said = counts.map(([reason, count]) => `${count} ${reason.replaceAll("_", " ")}`);
    return element("p", {}, element("b", {}, `${units.count(all)} allocations in quarantine`),
                   ` because they cannot be true: ${said.join(", ")}.`);
  }

  function unknown(report) {
    const { known_seconds: known, unknown_seconds: reasons } = report.quality;
    const lost = figures.sum(Object.values(reasons));
    const list = Object.entries(reasons).sort((a, b) => b[1] - a[1]).map(([reason, amount]) => [
      element("dt", {}, (reason || units.UNKNOWN).replaceAll("_", " ")),
      units.seconds(amount), units.percent(part(amount, known + lost))]);
    const verdict = lost > 0 ? units.percent(part(lost, known + lost)) : "None";
    const told = lost > 0
      ? `${units.seconds(known)} of device time is known, ${units.seconds(lost)} is not: ` +
        "it counts as unknown, never as zero."
      : `${units.seconds(known)} of device time is known.`;
    return element("div", {}, element("h3", {}, "Time whose energy is unknown"),
                   element("p", { class: "verdict" }, verdict), rows(list),
                   element("p", {}, told), refused(report));
  }

  function conserved(report, limit) {
    const worst = report.quality.residual_worst_ratio;
    const good = units.known(worst) && worst <= limit;
    const title = element("h3", {}, "Charged against measured");
    if (!units.known(worst)) return element("div", {}, title, value(null));
    const verdict = good ? "Every joule is accounted for" : "Charges differ";
    const size = worst === 0 ? "exactly 0" : worst.toExponential(1);
    return element("div", {}, title,
      element("p", { class: good ? "verdict" : "verdict high" }, verdict),
      element("p", {}, `The largest difference of any device and hour is ${size} of what was ` +
                       `measured; up to ${limit.toExponential(0)} is rounding.`));
  }

  function quality(report, config) {
    byId("quality").replaceChildren(methods(report, config.methods), unknown(report),
                                    conserved(report, config.conserved_ratio));
  }

  return { banners, tiles, split, quality, coverage };
})();
