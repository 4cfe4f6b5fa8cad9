// The same numbers as units.py, for the browser.
const units = (() => {
  const UNKNOWN = "unknown";
  const PREFIXES = ["n", "µ", "m", "", "k", "M", "G", "T", "P", "E"];
  const FIRST = -9;
  const known = (value) => typeof value === "number" && Number.isFinite(value);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  function si(value, unit) {
    if (!known(value)) return UNKNOWN;
    if (value === 0) return `0 ${unit}`;
    const rounded = value.toExponential(2);
    const exponent = Number(rounded.split("e")[1]);
    const group = clamp(Math.floor((exponent - FIRST) / 3), 0, PREFIXES.length - 1);
    const shift = exponent - (FIRST + 3 * group);
    const scaled = Number(`${rounded.split("e")[0]}e${shift}`);
    return `${scaled.toFixed(clamp(2 - shift, 0, 2))} ${PREFIXES[group]}${unit}`;
  }

  // One prefix for a whole axis, so that its ticks read "2 MJ", "4 MJ".
  function scale(most, unit) {
    const thousands = Math.floor(Math.log10(most > 0 ? most : 1) / 3 + 1e-9);
    const group = clamp(thousands - FIRST / 3, 0, PREFIXES.length - 1);
    return { divisor: 10 ** (FIRST + 3 * group), suffix: ` ${PREFIXES[group]}${unit}` };
  }

  function count(value) {
    if (!known(value)) return UNKNOWN;
    if (Number.isInteger(value) && Math.abs(value) < 10000) return value.toLocaleString("en-US");
    return Math.abs(value) >= 1 ? si(value, "").trimEnd() : String(Number(value.toPrecision(2)));
  }

  function percent(ratio) {
    if (!known(ratio)) return UNKNOWN;
    if (ratio !== 0 && Math.abs(ratio) < 0.001) return ratio > 0 ? "< 0.1 %" : "> -0.1 %";
    if (ratio > 0.999 && ratio < 1) return "> 99.9 %";
    return `${(ratio * 100).toFixed(1).replace(/\.0$/, "")} %`;
  }

  function pair(whole, big, bigUnit, small, smallUnit) {
    const rest = Math.floor((whole % big) / small);
    return `${Math.floor(whole / big)} ${bigUnit}${rest ? ` ${rest} ${smallUnit}` : ""}`;
  }

  function seconds(value) {
    if (!known(value)) return UNKNOWN;
    if (value > 0 && value < 0.001) return "< 1 ms";
    if (value < 60) return `${Number(value.toPrecision(2))} s`;
    const whole = Math.floor(value + 0.5);
    if (whole < 3600) return pair(whole, 60, "min", 1, "s");
    if (whole < 172800) return pair(whole, 3600, "h", 60, "min");
    return pair(whole, 86400, "d", 3600, "h");
  }

  function money(amount, currency) {
    if (!known(amount)) return UNKNOWN;
    const shown = Math.abs(amount) >= 1
      ? amount.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })
      : String(Number(amount.toPrecision(2)));
    return `${shown} ${currency}`;
  }

  function grams(value) {
    const rounded = known(value) ? Number(value.toExponential(2)) : 0;
    return Math.abs(rounded) >= 1e6 ? si(rounded / 1e6, "t") : si(value, "g");
  }

  return {
    UNKNOWN,
    money,
    grams,
    known,
    si,
    count,
    scale,
    percent,
    seconds,
    joules: (value) => si(value, "J"),
    watts: (value) => si(value, "W"),
    watt_hours: (value) => si(known(value) ? value / 3600 : null, "Wh"),
    celsius: (value) => (known(value) ? `${value.toFixed(0)} °C` : UNKNOWN),
  };
})();
