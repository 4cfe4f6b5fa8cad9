// Numbers in Grafana's units, by the names that boards use; the SI prefixes are those of units.js.
const grafanaUnits = (() => {
  const { known, si, UNKNOWN } = units;
  const CURRENCIES = { USD: "$", EUR: "€", GBP: "£", JPY: "¥", CHF: "CHF " };
  const RATES = { cps: "c/s", ops: "ops/s", reqps: "req/s", rps: "reads/s", wps: "writes/s",
                  iops: "io/s", eps: "events/s", mps: "msg/s", recps: "rec/s", rowsps: "rows/s",
                  pps: "packets/s" };
  const SI = { watt: ["W", 1], kwatt: ["W", 1e3], megwatt: ["W", 1e6], mwatt: ["W", 1e-3],
               joule: ["J", 1], watth: ["Wh", 1], kwatth: ["Wh", 1e3], volt: ["V", 1],
               amp: ["A", 1], massg: ["g", 1], masskg: ["g", 1e3], hertz: ["Hz", 1],
               litre: ["L", 1], flops: ["FLOPS", 1], decbytes: ["B", 1], Bps: ["B/s", 1],
               binBps: ["B/s", 1], bps: ["b/s", 1], masst: ["t", 1] };
  const SECONDS = { s: 1, ms: 1e-3, "µs": 1e-6, ns: 1e-9, m: 60, h: 3600, d: 86400,
                    dtdurations: 1, dtdurationms: 1e-3, clocks: 1 };

  // Never 1.20e+3 and never 0.30000000000000004; as many digits as say something.
  function plain(value, decimals) {
    if (decimals !== undefined) return value.toFixed(decimals).replace(/^-(0(\.0*)?)$/, "$1");
    if (Number.isInteger(value) && Math.abs(value) < 1e15) return value.toLocaleString("en-US");
    return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en-US")
      : String(Number(value.toPrecision(3)));
  }

  function short(value, decimals) {
    return Math.abs(value) < 1000 ? plain(value, decimals) : si(value, "").trimEnd();
  }

  function money(value, symbol) {
    const size = Math.abs(value);
    const text = size >= 10000 ? si(size, "").replace(" ", "")
      : size.toFixed(size > 0 && size < 0.1 ? 4 : 2);
    return `${value < 0 ? "-" : ""}${symbol}${text.replace("k", "K")}`;
  }

  function bytes(value) {
    const group = value ? Math.min(Math.floor(Math.log2(Math.abs(value)) / 10), 5) : 0;
    const scaled = value / 1024 ** Math.max(group, 0);
    return `${Number(scaled.toPrecision(3))} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB"][group]}`;
  }

  function percent(ratio, decimals) {
    return decimals === undefined ? units.percent(ratio) : `${plain(ratio * 100, decimals)} %`;
  }

  const time = (seconds) => new Date(seconds * 1000).toLocaleString("en-GB", {
    day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

  function duration(value) {
    return value < 0 ? `-${units.seconds(-value)}` : units.seconds(value);
  }

  function prefixed(value, unit, decimals) {
    const at = unit.indexOf(":");
    const [kind, text] = [unit.slice(0, at), unit.slice(at + 1)];
    if (kind === "si") return si(value, text);
    if (kind === "count") return `${short(value, decimals)} ${text}`;
    if (kind === "prefix") return `${text}${plain(value, decimals)}`;
    if (kind === "currency") return money(value, text);
    if (kind === "time") return time(value / 1000);
    return `${plain(value, decimals)} ${text}`.trimEnd();
  }

  function format(value, unit = "", decimals = undefined) {
    if (typeof value === "boolean") return value ? "yes" : "no";
    if (!known(value)) return UNKNOWN;
    if (unit in SI) return si(value * SI[unit][1], SI[unit][0]);
    if (unit in SECONDS) return duration(value * SECONDS[unit]);
    if (unit in RATES) return `${short(value, decimals)} ${RATES[unit]}`;
    if (unit.startsWith("currency") && !unit.includes(":")) {
      return money(value, CURRENCIES[unit.slice(8)] || `${unit.slice(8)} `);
    }
    if (unit.includes(":")) return prefixed(value, unit, decimals);
    switch (unit) {
      case "percentunit": return percent(value, decimals);
      case "percent": return percent(value / 100, decimals);
      case "celsius": return `${plain(value, decimals ?? 0)} °C`;
      case "rotrpm": return `${plain(value, decimals)} rpm`;
      case "bytes": return bytes(value);
      case "bool_yes_no": return value ? "yes" : "no";
      case "dateTimeAsIso": case "dateTimeAsLocal": return time(value / 1000);
      case "dateTimeFromNow": return `${units.seconds(Math.floor(Date.now() / 1000 - value / 1000))} ago`;
      case "none": return plain(value, decimals);
      default: return short(value, decimals);
    }
  }

  function plainAxis(size, unit) {
    if (unit === "bytes") {
      const group = Math.min(Math.max(Math.floor(Math.log2(size || 1) / 10), 0), 5);
      return { divisor: 1024 ** group, suffix: ` ${["B", "KiB", "MiB", "GiB", "TiB", "PiB"][group]}` };
    }
    const [kind, text] = [unit.slice(0, unit.indexOf(":")), unit.slice(unit.indexOf(":") + 1)];
    if (kind === "prefix" || kind === "currency") return { divisor: 1, suffix: "", prefix: text };
    const name = kind === "suffix" || kind === "count" ? text : RATES[unit] || "";
    const { divisor, suffix } = size >= 10000 ? units.scale(size, "") : { divisor: 1, suffix: "" };
    return { divisor, suffix: `${suffix}${name ? ` ${name}` : ""}`.replace(/^ {2}/, " ") };
  }

  // One divisor and suffix for an axis, so that its ticks read "2 kW", "4 kW".
  function axis(most, unit = "") {
    const size = Math.abs(most);
    if (unit in SI) {
      const [name, factor] = SI[unit];
      const { divisor, suffix } = units.scale(size * factor, name);
      return { divisor: divisor / factor, suffix };
    }
    if (unit.startsWith("si:")) return units.scale(size, unit.slice(3));
    if (unit === "percentunit") return { divisor: 0.01, suffix: " %" };
    if (unit === "percent") return { divisor: 1, suffix: " %" };
    if (unit === "celsius") return { divisor: 1, suffix: " °C" };
    if (unit in SECONDS) {
      const seconds = size * SECONDS[unit];
      const [name, one] = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1], ["ms", 1e-3]]
        .find(([, one]) => seconds >= 2 * one) || ["ms", 1e-3];
      return { divisor: one / SECONDS[unit], suffix: ` ${name}` };
    }
    if (unit.startsWith("currency") && !unit.includes(":")) {
      return { divisor: 1, suffix: "", prefix: CURRENCIES[unit.slice(8)] || "" };
    }
    return plainAxis(size, unit);
  }

  return { format, axis, time };
})();
