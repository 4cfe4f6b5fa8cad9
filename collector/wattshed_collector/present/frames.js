// What a panel answered, read as Grafana reads it: fields with their settings, series, colours.
const frames = (() => {
  const NAMED = { blue: "--active", orange: "--idle_held", green: "--good", yellow: "--warn",
                  red: "--idle_unallocated", text: "--text", purple: "--purple" };
  const PALETTE = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8", "--c9", "--c10",
                   "--c11", "--c12", "--c13", "--c14"];
  const VALUE = "Value";

  const color = (name) => (NAMED[name] ? figures.css(NAMED[name]) : name);
  // An area in the colour of text would be black.
  const area = (name) => (name === "text" ? figures.css("--overhead") : color(name));

  // The panel's defaults with what its overrides say of any of these names.
  function settings(panel, ...names) {
    const { defaults = {}, overrides = [] } = panel.fieldConfig || {};
    const found = { ...defaults, custom: { ...defaults.custom } };
    for (const { matcher, properties } of overrides) {
      if (matcher.id !== "byName" || !names.includes(matcher.options)) continue;
      for (const { id, value } of properties) {
        if (id.startsWith("custom.")) found.custom[id.slice(7)] = value;
        else found[id] = value;
      }
      found.isOverridden = true;
    }
    return found;
  }

  function fields(panel, answer) {
    return answer.columns.map((column) => {
      const told = settings(panel, column.name);
      return { ...column, settings: told, title: told.displayName || column.name };
    });
  }

  // The colour of the last threshold that the value reaches.
  function threshold(told, value) {
    const steps = (told.thresholds && told.thresholds.steps) || [];
    const reached = steps.filter((step) => step.value === null || value >= step.value);
    return reached.length ? reached[reached.length - 1].color : "text";
  }

  function valueColor(told, value) {
    if (told.color && told.color.mode === "fixed") return color(told.color.fixedColor);
    return units.known(value) ? color(threshold(told, value)) : color("text");
  }

  function barColor(told, value) {
    if (told.color && told.color.mode === "fixed") return area(told.color.fixedColor);
    return area(threshold(told, value));
  }

  function mapped(told, value) {
    for (const { type, options } of told.mappings || []) {
      if (type === "value" && options[value]) return options[value];
    }
    return null;
  }

  function text(field, value) {
    const said = mapped(field.settings, value);
    if (said && said.text) return said.text;
    if (value === null || value === undefined) return field.settings.noValue || "";
    if (field.kind === "time") return grafanaUnits.time(value);
    if (field.kind === "text") return String(value);
    return grafanaUnits.format(value, field.settings.unit, field.settings.decimals);
  }

  function labelled(labels) {
    const names = Object.keys(labels);
    return names.length === 1 ? labels[names[0]]
      : `{${names.map((name) => `${name}="${labels[name]}"`).join(", ")}}`;
  }

  // Rows by time and label become one series per label and number: Grafana's long to wide.
  function series(panel, answer) {
    const time = answer.columns.find(({ kind }) => kind === "time");
    const texts = answer.columns.filter(({ kind }) => kind === "text");
    const numbers = answer.columns.filter(({ kind }) => kind === "number" || kind === "flag");
    if (!time) return [];
    const found = new Map();
    time.values.forEach((t, row) => {
      const labels = texts.map(({ values }) => values[row] ?? "");
      numbers.forEach(({ name, values }) => {
        const key = JSON.stringify([name, ...labels]);
        if (!found.has(key)) found.set(key, { name, labels, points: new Map() });
        found.get(key).points.set(t, values[row] === null ? null : Number(values[row]));
      });
    });
    const times = [...new Set(time.values)].sort((a, b) => a - b);
    const made = [...found.values()].map(({ name, labels, points }) => {
      const told = Object.fromEntries(texts.map((column, i) => [column.name, labels[i]]));
      const said = texts.length ? labelled(told) : "";
      const full = [name === VALUE ? "" : name, said].filter(Boolean).join(" ") || name;
      const apart = settings(panel, full, name, said);
      const readable = labels.filter(Boolean).join(", ") || (texts.length ? "(none)" : name);
      const shown = !texts.length || numbers.length === 1 ? readable : `${name} ${readable}`;
      return { title: apart.displayName || shown, full, settings: apart, times,
               values: times.map((t) => points.get(t) ?? null) };
    });
    return colored(made.filter(({ settings: told }) => !told.custom.hidden).sort(inOrder(panel)));
  }

  // Those that the board names come first, in its order: a stack must not depend on the rows.
  function inOrder(panel) {
    const named = ((panel.fieldConfig || {}).overrides || []).map(({ matcher }) => matcher.options);
    const place = ({ full }) => (named.includes(full) ? named.indexOf(full) : named.length);
    return (a, b) => place(a) - place(b)
      || a.title.localeCompare(b.title, "en", { numeric: true });
  }

  function hash(name) {
    return [...name].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) >>> 0, 7);
  }

  // The same name has the same colour on every board, as long as it is free.
  function colored(all) {
    const fixed = all.map(({ settings: { color: told } }) =>
      (told && told.mode === "fixed" ? area(told.fixedColor) : null));
    const taken = new Set(PALETTE.flatMap((name, at) => (fixed.includes(figures.css(name)) ? at : [])));
    for (const one of all) {
      const { color: told } = one.settings;
      if (told && told.mode === "fixed") {
        one.color = area(told.fixedColor);
        continue;
      }
      let at = hash(one.title) % PALETTE.length;
      for (let tries = 0; taken.has(at) && tries < PALETTE.length; tries += 1) {
        at = (at + 1) % PALETTE.length;
      }
      taken.add(at);
      one.color = figures.css(PALETTE[at]);
    }
    return all;
  }

  const PAGE = /^\/d\/([\w-]+)/;
  const FIELD = /\$\{__data\.fields\.(?:\["([^"]+)"\]|([^:}]+))(?::percentencode)?\}/g;

  // Where a link leads for one row: to our page of the board, with the row's values.
  function link(told, answer, row, range) {
    const value = (_, quoted, bare) => {
      const column = answer.columns.find(({ name }) => name === (quoted || bare));
      return encodeURIComponent(column ? column.values[row] ?? "" : "");
    };
    return told.url.replace(PAGE, "/boards/$1").replace(FIELD, value)
      .replace("${__url_time_range}", range).replace("${collector}", "");
  }

  return { fields, series, settings, threshold, valueColor, barColor, mapped, text, color, link };
})();
