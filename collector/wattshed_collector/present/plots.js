// Panels that Plotly draws: series over time, states, heat maps, points. Names go through plain().
const plots = (() => {
  const { plain, short, layout, css, HOURS } = figures;
  const LEGEND_MOST = 12;
  const NAMED_MOST = 12;

  function clock(window) {
    const offset = new Date(window.end * 1000).getTimezoneOffset() * 60;
    return (seconds) => new Date((seconds - offset) * 1000).toISOString().slice(0, 19);
  }

  // The usual distance of two times: an answer may be coarser than the step that was asked for.
  function pace(times, step) {
    const gaps = times.slice(1).map((t, i) => t - times[i]).sort((a, b) => a - b);
    return gaps.length ? gaps[Math.floor(gaps.length / 2)] : step;
  }

  // A hole where nothing was measured must not be drawn over.
  function holed(times, values, usual) {
    const made = { times: [], values: [] };
    times.forEach((t, i) => {
      if (i && t - times[i - 1] > 2.5 * usual) {
        made.times.push(times[i - 1] + usual);
        made.values.push(null);
      }
      made.times.push(t);
      made.values.push(values[i]);
    });
    return made;
  }

  const isStacked = (one) => (one.settings.custom.stacking || {}).mode === "normal";
  const isDashed = (one) => (one.settings.custom.lineStyle || {}).fill === "dash";
  const finite = (values) => values.filter(units.known);

  function top(all) {
    const sums = new Map();
    let most = 0;
    for (const one of all) {
      one.times.forEach((t, i) => {
        const value = Math.abs(one.values[i] || 0);
        if (isStacked(one)) sums.set(t, (sums.get(t) || 0) + value);
        most = Math.max(most, value, sums.get(t) || 0);
      });
    }
    return most;
  }

  // A value between two holes is no line: it is seen as a dot, as are all where a panel says so.
  function dots(values, always) {
    const isKnown = (i) => units.known(values[i] ?? null);
    return values.map((_, i) =>
      (isKnown(i) && (always || !isKnown(i - 1) && !isKnown(i + 1)) ? 6 : 0));
  }

  function trace(one, usual, local, scale) {
    const hover = (values) => values.map((value) =>
      grafanaUnits.format(value, one.settings.unit, one.settings.decimals));
    const base = { name: plain(short(one.title, 36)), hovertemplate: "%{customdata}" };
    if (isStacked(one) && !isDashed(one)) {
      return { ...base, type: "bar", x: one.times.map((t) => local(t + usual / 2)),
               y: one.values.map((v) => (v === null ? null : v / scale.divisor)),
               width: usual * 1000, marker: { color: one.color, line: { width: 0 } },
               customdata: hover(one.values) };
    }
    const { times, values } = holed(one.times, one.values, usual);
    const sizes = dots(values, one.settings.custom.showPoints === "always");
    return { ...base, type: "scatter", mode: sizes.some(Boolean) ? "lines+markers" : "lines",
             x: times.map((t) => local(t)), y: values.map((v) => (v === null ? null : v / scale.divisor)),
             line: { color: one.color, width: isDashed(one) ? 1.4 : 1.7,
                     dash: isDashed(one) ? "dash" : "solid" },
             marker: { color: one.color, size: sizes, opacity: 1 }, connectgaps: false, customdata: hover(values) };
  }

  function limits(panel, scale) {
    const { thresholds, custom = {} } = panel.fieldConfig.defaults;
    if ((custom.thresholdsStyle || {}).mode !== "dashed") return [];
    return thresholds.steps.filter((step) => step.value !== null).map((step) => ({
      type: "line", xref: "paper", x0: 0, x1: 1, y0: step.value / scale.divisor,
      y1: step.value / scale.divisor,
      line: { color: frames.color(step.color), width: 1, dash: "dash" } }));
  }

  function range(panel, scale, name) {
    const { [name]: told } = panel.fieldConfig.defaults;
    return told === undefined ? null : told / scale.divisor;
  }

  function timeSeries(panel, answer, height) {
    const all = frames.series(panel, answer);
    const local = clock(answer.window);
    const { unit } = panel.fieldConfig.defaults;
    const scale = grafanaUnits.axis(top(all), unit);
    const usual = pace(all.length ? all[0].times : [], answer.window.step);
    const many = all.length > LEGEND_MOST;
    const isNamed = all.length > 1 || answer.columns.some(({ kind }) => kind === "text");
    return {
      data: all.map((one) => trace(one, usual, local, scale)),
      layout: layout({
        height, barmode: "relative", bargap: 0, hovermode: many ? "closest" : "x unified",
        showlegend: isNamed && !many || all.some(isDashed), shapes: limits(panel, scale),
        margin: { l: 8, r: 10, t: 10, b: 8 },
        legend: { orientation: "h", x: 0, y: -0.16, yanchor: "top", traceorder: "normal",
                  font: { color: css("--text"), size: 11.5 } },
        xaxis: { type: "date", range: [answer.window.start, answer.window.end].map(local),
                 showgrid: false, tickformatstops: HOURS, nticks: 7,
                 unifiedhovertitle: { text: "%{x|%a %e %b %H:%M}" } },
        yaxis: { ticksuffix: scale.suffix, tickprefix: scale.prefix || "", rangemode: "tozero",
                 autorangeoptions: { minallowed: range(panel, scale, "min"),
                                     clipmax: range(panel, scale, "max") },
                 fixedrange: true, nticks: 6, ticklabelstandoff: 6 },
      }),
    };
  }

  // One bar per time in which a series keeps a state.
  function stretches(one, usual) {
    const made = [];
    one.times.forEach((t, i) => {
      const value = one.values[i];
      const last = made[made.length - 1];
      if (value === null) return;
      if (last && last.value === value && t <= last.end + usual / 2) last.end = t + usual;
      else made.push({ value, start: t, end: t + usual });
    });
    return made;
  }

  function stateTimeline(panel, answer, height) {
    const all = frames.series(panel, answer);
    const local = clock(answer.window);
    const usual = pace(all.length ? all[0].times : [], answer.window.step);
    const data = all.flatMap((one) => {
      const pieces = stretches(one, usual);
      const said = pieces.map(({ value }) => (frames.mapped(one.settings, value) || {}).text
        || grafanaUnits.format(value, one.settings.unit, one.settings.decimals));
      return {
        type: "bar", orientation: "h", showlegend: false, width: 0.8,
        base: pieces.map(({ start }) => local(start)),
        x: pieces.map(({ start, end }) => (end - start) * 1000),
        y: pieces.map(() => one.title),
        marker: { color: pieces.map(({ value }) => stateColor(one, value)), line: { width: 0 } },
        customdata: pieces.map(({ start }, i) =>
          [plain(said[i]), grafanaUnits.time(start), plain(one.title)]),
        hovertemplate: "<b>%{customdata[2]}</b><br>%{customdata[0]} from %{customdata[1]}<extra></extra>",
      };
    });
    return { data, layout: rows(all.map(({ title }) => title), answer, local, height, 13) };
  }

  function stateColor(one, value) {
    const said = frames.mapped(one.settings, value);
    if (said && said.color) return frames.area(said.color);
    return frames.area(frames.threshold(one.settings, value));
  }

  // As high as the card, or higher where the rows would be too thin to read.
  function rows(titles, answer, local, height, least) {
    const high = Math.min(Math.max(height, 44 + least * titles.length), 64 + 30 * titles.length);
    const every = Math.ceil(13 / ((high - 44) / titles.length));
    const named = titles.filter((_, row) => row % every === 0);
    return layout({
      height: high, barmode: "overlay", hovermode: "closest",
      margin: { l: 8, r: 10, t: 6, b: 8 }, showlegend: false,
      xaxis: { type: "date", range: [answer.window.start, answer.window.end].map(local),
               showgrid: false, tickformatstops: HOURS, nticks: 7,
               side: high > height ? "top" : "bottom" },
      yaxis: { type: "category", autorange: "reversed", fixedrange: true, showgrid: false,
               categoryarray: titles, tickvals: named, ticklabelstandoff: 6,
               tickfont: { size: titles.length > 12 ? 10.5 : 12 },
               ticktext: named.map((title) => plain(short(title, 24))) },
    });
  }

  // Where cells begin, and where the last one ends.
  function edges(times, window) {
    const last = times[times.length - 1];
    return times.length ? [...times, last + pace(times, Math.max(window.end - last, window.step))] : [];
  }

  function heatmap(panel, answer, height) {
    const all = frames.series(panel, answer);
    const local = clock(answer.window);
    const { unit } = (panel.options.cellValues || {});
    const told = { unit: unit || panel.fieldConfig.defaults.unit };
    const cells = all.map(({ values }) => values);
    const said = cells.map((line) => line.map((value) => grafanaUnits.format(value, told.unit)));
    return {
      data: [{
        type: "heatmap", x: edges(all.length ? all[0].times : [], answer.window).map(local),
        y: all.map(({ title }) => title), z: cells, customdata: said, xgap: 1, ygap: 1,
        hoverongaps: false, showscale: false,
        colorscale: [[0, css("--line")], [0.5, css("--idle_held")], [1, css("--idle_unallocated")]],
        hovertemplate: "<b>%{y}</b>, %{x|%a %e %b %H:%M}<br>%{customdata}<extra></extra>",
      }],
      layout: rows(all.map(({ title }) => title), answer, local, height, 8),
    };
  }

  function pointColor(panel) {
    const { color: told } = panel.fieldConfig.defaults;
    return told && told.mode === "fixed" ? frames.color(told.fixedColor) : css("--c1");
  }

  function xyChart(panel, answer, height) {
    const all = frames.fields(panel, answer).filter(({ settings }) => !settings.custom.hidden);
    const [x, y] = all.filter(({ kind }) => kind === "number");
    if (!x || !y) return { data: [], layout: layout({ height }) };
    const said = x.values.map((_, row) => all.map((field) =>
      `${plain(field.title)}: ${plain(frames.text(field, field.values[row]) || units.UNKNOWN)}`)
      .join("<br>"));
    const scales = [x, y].map((field) => grafanaUnits.axis(
      Math.max(0, ...finite(field.values).map(Math.abs)), field.settings.unit));
    const texts = all.filter(({ kind }) => kind === "text");
    const names = texts.length ? x.values.map((_, row) => plain(short(
      texts.slice(0, 2).map(({ values }) => values[row]).filter(Boolean).join(" "), 22))) : [];
    const axis = (field, scale) => ({ title: { text: plain(field.title), font: { size: 12 } },
      ticksuffix: scale.suffix, rangemode: "tozero", nticks: 6 });
    const scaled = (field, scale) => field.values.map((v) => (v === null ? null : v / scale.divisor));
    return {
      data: [{ type: "scatter", x: scaled(x, scales[0]), y: scaled(y, scales[1]), cliponaxis: false,
               mode: names.length && answer.rows <= NAMED_MOST ? "markers+text" : "markers",
               text: names, textposition: "top center", textfont: { color: css("--muted"), size: 11 },
               marker: { size: 10, opacity: 0.75, color: pointColor(panel) },
               customdata: said, hovertemplate: "%{customdata}<extra></extra>" }],
      layout: layout({ height, showlegend: false, hovermode: "closest",
                       margin: { l: 8, r: 14, t: 10, b: 8 },
                       xaxis: axis(x, scales[0]), yaxis: axis(y, scales[1]) }),
    };
  }

  return { timeSeries, stateTimeline, heatmap, xyChart };
})();
