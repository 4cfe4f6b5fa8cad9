// The three plots, as Plotly specifications of a report. Names come from outside: plain().
const figures = (() => {
  const STACK = ["active", "unattributed", "overhead", "idle_held", "idle_unallocated"];
  const BARS = 12;
  const PITCH = 27;
  const CONFIG = {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  const HOURS = [
    { dtickrange: [null, 60_000], value: "%H:%M:%S" },
    { dtickrange: [60_000, 86_400_000], value: "%H:%M\n%e %b" },
    { dtickrange: [86_400_000, null], value: "%e %b" },
  ];

  // Plotly reads a little HTML and templates in every text.
  const plain = (text) =>
    String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  // The middle goes: names of a fleet differ at their ends.
  const short = (text, most = 26) => (text.length > most
    ? `${text.slice(0, most / 2 - 1)}…${text.slice(-most / 2)}` : text);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const sum = (values) => values.reduce((total, value) => total + (value || 0), 0);

  function layout(more) {
    const text = css("--text");
    const axis = { gridcolor: css("--line"), zerolinecolor: css("--line"), automargin: true };
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: css("--font"), size: 12, color: css("--muted") },
      margin: { l: 8, r: 14, t: 36, b: 8 },
      showlegend: true,
      legend: { orientation: "h", x: 0, xanchor: "left", y: 1.01, yanchor: "bottom",
                traceorder: "normal", font: { color: text } },
      hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"),
                    font: { color: text, family: css("--font"), size: 12 } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--muted"), activecolor: text },
      ...more,
      xaxis: { ...axis, ...more.xaxis },
      yaxis: { ...axis, ...more.yaxis },
    };
  }

  // Plotly knows no time zones: one constant offset turns UTC into the reader's wall clock.
  function clock(report) {
    const offset = new Date(report.window.end * 1000).getTimezoneOffset() * 60;
    return (seconds) => new Date((seconds - offset) * 1000).toISOString().slice(0, 19);
  }

  function stacked(report) {
    const at = (name) => report.times.map((_, i) => (report.power[name] || [])[i] || 0);
    return Object.fromEntries(STACK.map((name) => [name, at(name)]));
  }

  function range(report) {
    const { times, window: { start, end, step } } = report;
    const quarter = (end - start) / 4;
    const young = times.length && times[0] - start > quarter;
    return young ? [Math.max(start, Math.min(times[0] - 2 * step, end - 600)), end] : [start, end];
  }

  function power(report, words) {
    const { times, window: { step } } = report;
    const series = stacked(report);
    const local = clock(report);
    const middle = times.map((t) => local(t + step / 2));
    const totals = times.map((_, i) => sum(STACK.map((name) => series[name][i])));
    const { divisor, suffix } = units.scale(Math.max(...totals), "W");
    const scaled = (values) => values.map((watts) => watts / divisor);
    const traces = STACK.filter((name) => sum(series[name]) > 0).map((name) => ({
      type: "bar", name: words[name].label, x: middle, y: scaled(series[name]), width: step * 1000,
      marker: { color: css(`--${name}`), line: { width: 0 } },
      customdata: series[name].map(units.watts), hovertemplate: "%{customdata}",
    }));
    const span = times.map((t) => `${local(t).slice(11, 16)} to ${local(t + step).slice(11, 16)}`);
    traces.push({
      type: "scatter", mode: "lines", name: "Total", x: middle, y: scaled(totals),
      showlegend: false, line: { width: 0, color: css("--text") },
      customdata: totals.map((total, i) => [units.watts(total), span[i]]),
      hovertemplate: "<b>%{customdata[0]}</b>, mean of %{customdata[1]}",
    });
    const shown = range(report);
    return {
      data: traces,
      layout: layout({
        barmode: "stack", bargap: 0, hovermode: "x unified", height: 340,
        uirevision: report.window.end - report.window.start,
        xaxis: { type: "date", range: shown.map(local), showgrid: false, tickformatstops: HOURS,
                 unifiedhovertitle: { text: "%{x|%A %e %B}" } },
        yaxis: { ticksuffix: suffix, rangemode: "tozero", fixedrange: true, ticklabelstandoff: 6 },
      }),
    };
  }

  // ``room``: how many rows the neighbour has, so that two figures side by side are equally high.
  function bars(rows, names, words, room) {
    const slots = Math.max(rows.length, room);
    const width = Math.min(0.66, (0.9 * rows.length) / slots);
    const most = Math.max(...rows.map((row) => row.joules));
    const { divisor, suffix } = units.scale(most, "J");
    const label = new Map(rows.map((row) => [row.key, plain(short(row.name))]));
    const traces = names.filter((name) => rows.some((row) => row[name] > 0)).map((name) => ({
      type: "bar", orientation: "h", name: words[name].label,
      y: rows.map((row) => row.key), x: rows.map((row) => row[name] / divisor), width,
      marker: { color: css(`--${name}`), line: { width: 0 } },
      customdata: rows.map((row) => [plain(row.name), units.joules(row[name]),
                                     units.percent(row[name] / row.joules)]),
      hovertemplate: `<b>%{customdata[0]}</b><br>${words[name].label}: ` +
                     "%{customdata[1]}, %{customdata[2]} of it<extra></extra>",
    }));
    traces.push({
      type: "scatter", mode: "text", showlegend: false, hoverinfo: "skip", cliponaxis: false,
      y: rows.map((row) => row.key), x: rows.map((row) => row.joules / divisor),
      text: rows.map((row) => ` ${units.joules(row.joules)}`), textposition: "middle right",
      textfont: { color: css("--muted"), size: 11.5 },
    });
    return {
      data: traces,
      layout: layout({
        barmode: "stack", hovermode: "closest", height: 86 + PITCH * slots,
        uirevision: "bars",
        xaxis: { ticksuffix: suffix, nticks: 6, fixedrange: true,
                 range: [0, (1.17 * most) / divisor] },
        yaxis: { type: "category", autorange: "reversed", fixedrange: true, ticks: "",
                 tickvals: [...label.keys()], ticktext: [...label.values()],
                 tickfont: { color: css("--text") }, showgrid: false, ticklabelstandoff: 8 },
      }),
    };
  }

  function folded(records, key, name, columns) {
    const row = (record) => ({
      key: record[key], name: name(record), joules: record.joules,
      ...Object.fromEntries(columns.map((column) => [column, record[`${column}_joules`] || 0])),
    });
    const rows = records.slice(0, BARS).map(row);
    const rest = records.slice(BARS).map(row);
    if (rest.length) {
      const total = (column) => sum(rest.map((record) => record[column]));
      rows.push({ key: " others", name: `${rest.length} others`, joules: total("joules"),
                  ...Object.fromEntries(columns.map((column) => [column, total(column)])) });
    }
    return rows;
  }

  const rows = (records) =>
    (matchMedia("(max-width: 1050px)").matches ? 0 : Math.min(records.length, BARS + 1));
  const placed = (report, by) => (by === "device" ? report.devices : report.nodes);

  function workloads(report, words, by) {
    const columns = ["active", "idle_held"];
    const name = (record) => record.workload || record.workload_key;
    return bars(folded(report.workloads, "workload_key", name, columns), columns, words,
                rows(placed(report, by)));
  }

  function places(report, words, by) {
    const name = (record) => record[by] || units.UNKNOWN;
    const records = folded(placed(report, by), by, name, STACK);
    return bars(records, STACK, words, rows(report.workloads));
  }

  function draw(id, figure) {
    // On a telephone nothing hovers, and the buttons would lie on the legend.
    const isWide = window.matchMedia("(min-width: 521px)").matches;
    const config = { ...CONFIG, displayModeBar: id === "power" && isWide ? "hover" : false };
    return Plotly.react(id, figure.data, figure.layout, config);
  }

  return { power, workloads, places, draw, stacked, sum, layout, plain, short, css, CONFIG, HOURS };
})();
