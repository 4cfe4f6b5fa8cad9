// Small DOM builders. Text goes in as text, never as markup.
const dom = (() => {
  const byId = (id) => document.getElementById(id);

  function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== undefined && value !== null) node.setAttribute(name, value);
    }
    node.append(...children.flat());
    return node;
  }

  function swatch(name) {
    const node = element("span", { class: "swatch" });
    node.style.background = `var(--${name})`;
    return node;
  }

  // Whatever is missing looks missing: a word in grey italics, never a zero.
  function value(text) {
    const missing = text === "" || text === null || text === undefined || text === units.UNKNOWN;
    return missing ? element("span", { class: "unknown" }, units.UNKNOWN) : String(text);
  }

  return { byId, element, swatch, value };
})();
