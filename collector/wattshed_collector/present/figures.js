// The three plots, as Plotly specifications of a report. Names come from outside: plain().
const figures = (() => {
  const STACK = ["active", "unattributed", "overhead", "idle_held", "idle_unallocated"];
  const BARS = 12;
  const SETTLE_S = 20;
  const CONFIG = {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
  };

  // Plotly reads a little HTML and templates in every text.
  const plain = (text) =>
    String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const short = (text, most = 26) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const sum = (values) => values.reduce((total, value) => total + (value || 0), 0);

  function layout(more) {
    const text = css("--text");
    const axis = { gridcolor: css("--line"), zerolinecolor: css("--line"), automargin: true };
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: css("--font"), size: 12, color: css("--muted") },
      margin: { l: 8, r: 12, t: 36, b: 8 },
      showlegend: true,
      legend: { orientation: "h", x: 0, xanchor: "left", y: 1, yanchor: "bottom",
                traceorder: "normal", font: { color: text }, itemwidth: 30 },
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

  // A step that is cut by the window is a mean over what is left; one still filling is left out.
  function settled(report, now) {
    const { start, end, step } = report.window;
    const limit = Math.min(end, now - SETTLE_S);
    const kept = report.times.map((t, i) => i).filter((i) => report.times[i] + step <= limit);
    const index = kept.length ? kept : report.times.map((t, i) => i);
    const scale = (t) => step / Math.max(Math.min(t + step, end) - Math.max(t, start), 1);
    const at = (name) => (i) => (report.power[name] || [])[i] * scale(report.times[i]) || 0;
    return {
      times: index.map((i) => report.times[i]),
      series: Object.fromEntries(STACK.map((name) => [name, index.map(at(name))])),
    };
  }

  function range(report, times) {
    const { start, end, step } = report.window;
    const quarter = (end - start) / 4;
    const young = times.length && times[0] - start > quarter;
    return young ? [Math.max(start, Math.min(times[0] - 2 * step, end - 600)), end] : [start, end];
  }

  function power(report, words, now) {
    const { times, series } = settled(report, now);
    const local = clock(report);
    const { step } = report.window;
    const middle = times.map((t) => local(t + step / 2));
    const traces = STACK.filter((name) => sum(series[name]) > 0).map((name) => ({
      type: "bar", name: words[name].label, x: middle, y: series[name], width: step * 1000,
      marker: { color: css(`--${name}`), line: { width: 0 } },
      customdata: series[name].map(units.watts), hovertemplate: "%{customdata}",
    }));
    const totals = times.map((_, i) => sum(STACK.map((name) => series[name][i])));
    const span = times.map((t) => `${local(t).slice(11, 16)} to ${local(t + step).slice(11, 16)}`);
    traces.push({
      type: "scatter", mode: "lines", name: "Total", x: middle, y: totals, showlegend: false,
      line: { width: 0, color: css("--text") },
      customdata: totals.map((total, i) => [units.watts(total), span[i]]),
      hovertemplate: "<b>%{customdata[0]}</b>, mean of %{customdata[1]}",
    });
    const shown = range(report, times);
    return {
      data: traces,
      layout: layout({
        barmode: "stack", bargap: 0, hovermode: "x unified", height: 340,
        uirevision: report.window.end - report.window.start,
        xaxis: { type: "date", range: shown.map(local), showgrid: false },
        yaxis: { ticksuffix: "W", tickformat: "~s", rangemode: "tozero", fixedrange: true },
      }),
    };
  }

  function bars(rows, names, words) {
    const label = new Map(rows.map((row) => [row.key, plain(short(row.name))]));
    const traces = names.filter((name) => rows.some((row) => row[name] > 0)).map((name) => ({
      type: "bar", orientation: "h", name: words[name].label,
      y: rows.map((row) => row.key), x: rows.map((row) => row[name]),
      marker: { color: css(`--${name}`), line: { width: 0 } },
      customdata: rows.map((row) => [plain(row.name), units.joules(row[name]),
                                     units.percent(row[name] / row.joules)]),
      hovertemplate: "<b>%{customdata[0]}</b><br>%{customdata[1]}, %{customdata[2]} of it" +
                     `<extra>${words[name].label}</extra>`,
    }));
    return {
      data: traces,
      layout: layout({
        barmode: "stack", bargap: 0.34, hovermode: "closest", height: 86 + 27 * rows.length,
        uirevision: "bars",
        xaxis: { ticksuffix: "J", tickformat: "~s", nticks: 6, rangemode: "tozero" },
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

  function workloads(report, words) {
    const columns = ["active", "idle_held"];
    const name = (record) => record.workload || record.workload_key;
    return bars(folded(report.workloads, "workload_key", name, columns), columns, words);
  }

  function places(report, words, by) {
    const records = by === "device" ? report.devices : report.nodes;
    return bars(folded(records, by, (record) => record[by] || units.UNKNOWN, STACK), STACK, words);
  }

  function draw(id, figure) {
    return Plotly.react(id, figure.data, figure.layout, CONFIG);
  }

  return { power, workloads, places, draw, settled, sum };
})();
