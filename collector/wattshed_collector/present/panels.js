// Each kind of panel, drawn into its card: numbers, bars and tables as elements, the rest by Plotly.
const panels = (() => {
  const { element } = dom;
  const ROWS = 100;
  const PLOTS = { timeseries: plots.timeSeries, "state-timeline": plots.stateTimeline,
                  heatmap: plots.heatmap, xychart: plots.xyChart };
  const orders = new Map();

  const visible = ({ settings }) => !settings.custom.hidden;
  const isNumber = ({ kind }) => kind === "number" || kind === "flag";

  function linked(node, links, answer, row, range) {
    if (!links || !links.length) return node;
    const [first] = links;
    const href = frames.link(first, answer, row, range);
    const leads = { href, title: first.title };
    if (/^https?:/.test(href)) Object.assign(leads, { target: "_blank", rel: "noopener" });
    return element("a", leads, node);
  }

  function lastKnown(values) {
    for (let i = values.length - 1; i >= 0; i -= 1) {
      if (values[i] !== null) return i;
    }
    return Math.max(values.length - 1, 0);
  }

  function stat(panel, answer, body, range) {
    const all = frames.fields(panel, answer).filter(visible);
    const wanted = panel.options.reduceOptions.fields ? all : all.filter(isNumber);
    const shown = wanted.length ? wanted : all;
    const figures = panel.options.reduceOptions.values ? ofEachRow(all, answer, range)
      : shown.map((field) => figure(field, answer, range, lastKnown(field.values),
                                    shown.length > 1 ? field.title : ""));
    body.replaceChildren(element("div", { class: figures.length > 1 ? "stats" : "stats one" },
                                 figures));
  }

  // A number for each row, such as money by currency, called by the texts beside it.
  function ofEachRow(all, answer, range) {
    const names = all.filter(({ kind }) => kind === "text");
    return all.filter(isNumber).flatMap((field) => field.values.map((_, row) =>
      figure(field, answer, range, row, names.map(({ values }) => values[row]).join(", "))));
  }

  function figure(field, answer, range, row, title) {
    const value = field.values[row] ?? null;
    const said = frames.text(field, value);
    const big = element("div", { class: value === null ? "big unknown" : "big" },
                        said || "no data");
    if (value !== null) big.style.color = frames.valueColor(field.settings, value);
    const name = title ? element("div", { class: "sub" }, title) : [];
    return element("div", {}, linked(big, field.settings.links, answer, row, range), name);
  }

  function barGauge(panel, answer, body, range) {
    const all = frames.fields(panel, answer).filter(visible);
    const names = all.filter(({ kind }) => kind === "text");
    const value = all.find(isNumber);
    const { min = 0, max } = value.settings;
    const most = max ?? Math.max(...value.values.filter(units.known), 0);
    const bars = value.values.map((amount, row) => {
      const fill = element("i");
      fill.style.width = `${most > min ? 100 * Math.max(0, amount - min) / (most - min) : 0}%`;
      fill.style.background = frames.barColor(value.settings, amount);
      const name = names.map(({ values }) => values[row]).filter(Boolean).join(", ");
      const [links] = [value, ...names].map(({ settings }) => settings.links)
        .filter((told) => told && told.length);
      const label = element("span", { class: "label", title: name }, name || "(none)");
      return element("li", {}, linked(label, links, answer, row, range),
                     element("span", { class: "bar" }, fill),
                     element("b", {}, frames.text(value, amount) || units.UNKNOWN));
    });
    body.replaceChildren(element("ul", { class: "bars" }, bars));
  }

  function compared(field) {
    return (a, b) => {
      const [x, y] = [field.values[a], field.values[b]];
      if (x === null || y === null) return (x === null) - (y === null);
      return typeof x === "string" ? x.localeCompare(y) : x - y;
    };
  }

  function order(panel, all, count) {
    const [first] = panel.options.sortBy || [];
    const told = orders.get(panel.id)
      || (first && { title: first.displayName, desc: Boolean(first.desc) });
    const field = told && all.find(({ title }) => title === told.title);
    const rows = Array.from({ length: count }, (_, row) => row);
    if (!field) return { rows, told: null };
    const [known, unknown] = [rows.filter((row) => field.values[row] !== null),
                              rows.filter((row) => field.values[row] === null)];
    known.sort(compared(field));
    return { rows: [...told.desc ? known.reverse() : known, ...unknown], told };
  }

  function table(panel, answer, body, range) {
    const all = frames.fields(panel, answer).filter(visible);
    const { rows, told } = order(panel, all, answer.rows);
    const again = () => table(panel, answer, body, range);
    const heads = all.map((field) => head(panel, field, told, again));
    const lines = rows.slice(0, ROWS).map((row) =>
      element("tr", {}, all.map((field) => cell(field, answer, row, range))));
    const more = rows.length > ROWS
      ? element("p", { class: "note" }, `The first ${ROWS} of ${rows.length} rows.`) : [];
    body.replaceChildren(element("div", { class: "scroll" }, element("table", {},
      element("thead", {}, element("tr", {}, heads)), element("tbody", {}, lines))), more);
  }

  function head(panel, field, told, again) {
    const isHere = told && told.title === field.title;
    const direction = isHere ? (told.desc ? "descending" : "ascending") : undefined;
    const button = element("button", { type: "button" }, field.title,
                           isHere ? (told.desc ? " ↓" : " ↑") : "");
    button.addEventListener("click", () => {
      orders.set(panel.id, { title: field.title, desc: isHere ? !told.desc : isNumber(field) });
      again();
    });
    return element("th", { scope: "col", class: isNumber(field) ? "number" : undefined,
                           "aria-sort": direction }, button);
  }

  function cell(field, answer, row, range) {
    const value = field.values[row];
    const said = frames.text(field, value);
    const unknown = isNumber(field) && value === null;
    const content = unknown ? element("span", { class: "unknown" }, said || units.UNKNOWN)
      : element("span", { title: field.kind === "text" ? said : undefined }, said);
    const custom = field.settings.custom.cellOptions || {};
    if (custom.type === "color-text" && !unknown) {
      content.style.color = frames.valueColor(field.settings, value);
    }
    const { links } = field.settings;
    const shown = links && value !== null && value !== "" ? linked(content, links, answer, row, range)
      : content;
    return element("td", { class: isNumber(field) ? "number" : undefined }, shown);
  }

  function plot(panel, answer, body) {
    const spare = body.clientHeight > 120 ? body.clientHeight : 260;
    const made = PLOTS[panel.type](panel, answer, spare);
    let place = body.querySelector(".figure");
    if (!place) {
      place = element("div", { class: "figure", role: "img", "aria-label": panel.title });
      body.replaceChildren(place);
    }
    return Plotly.react(place, made.data, made.layout, { ...figures.CONFIG, displayModeBar: false });
  }

  function alerts(body) {
    body.replaceChildren(element("p", { class: "note" },
      "Alerts fire in Prometheus or Grafana, which know who is told. What each means: ",
      element("a", { href: "/runbooks" }, "runbooks"), "."));
  }

  function nothing(panel, answer, body) {
    const { noValue } = (panel.fieldConfig || {}).defaults || {};
    const when = `${grafanaUnits.time(answer.window.start)} to ${grafanaUnits.time(answer.window.end)}`;
    const why = `The store has nothing for this question, ${when}, as it is narrowed.`;
    body.replaceChildren(element("div", { class: "none", title: why },
      element("b", {}, noValue || "No data"), panel.type === "stat" ? [] : element("p", {}, why)));
  }

  function failed(body, said) {
    body.replaceChildren(element("div", { class: "none failed", role: "alert" },
      element("b", {}, "Cannot be answered"), element("p", {}, said)));
  }

  async function draw(panel, answer, body, range) {
    const isEmpty = !answer.rows || answer.columns.every(({ kind, values }) =>
      kind === "time" || kind === "text" ? panel.type !== "table" && panel.type !== "stat"
        : values.every((value) => value === null));
    if (isEmpty && panel.type !== "table") return nothing(panel, answer, body);
    if (!answer.rows) return nothing(panel, answer, body);
    if (panel.type in PLOTS) return plot(panel, answer, body);
    return { stat, bargauge: barGauge, table }[panel.type](panel, answer, body, range);
  }

  return { draw, failed, alerts };
})();
