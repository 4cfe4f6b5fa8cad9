// What a reader chooses: window, variables, another board. All of it stands in the URL.
const controls = (() => {
  const { byId, element } = dom;
  const ALL = "$__all";

  function read() {
    const query = new URLSearchParams(location.search);
    const chosen = {};
    for (const [key, value] of query) {
      if (key.startsWith("var-") && value !== ALL) (chosen[key.slice(4)] ||= []).push(value);
    }
    return { from: query.get("from"), to: query.get("to"), chosen };
  }

  function query({ from, to, chosen }) {
    const made = new URLSearchParams({ from, to });
    for (const [name, values] of Object.entries(chosen)) {
      for (const value of values) made.append(`var-${name}`, value);
    }
    return made.toString();
  }

  function windows(state, options, act) {
    const pressed = (begin) => String(state.to === "now" && state.from === begin);
    byId("windows").replaceChildren(...options.map(([label, begin]) => {
      const button = element("button", { type: "button", "aria-pressed": pressed(begin) }, label);
      button.addEventListener("click", () => act({ from: begin, to: "now" }));
      return button;
    }), custom(state, act));
  }

  const local = (ms) => {
    const shifted = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000);
    return shifted.toISOString().slice(0, 16);
  };

  function custom(state, act) {
    const isCustom = /^\d+$/.test(state.from);
    const button = element("button", { type: "button", "aria-pressed": String(isCustom) },
                           "Custom");
    button.addEventListener("click", () => {
      const place = byId("range");
      if (place.childElementCount) return place.replaceChildren();
      const now = Date.now();
      const given = isCustom ? [Number(state.from), Number(state.to)] : [now - 21_600_000, now];
      const [first, last] = given.map((ms, i) => element("input", {
        type: "datetime-local", value: local(ms), "aria-label": i ? "To" : "From" }));
      const go = element("button", { type: "button" }, "Show");
      go.addEventListener("click", () => {
        const [from, to] = [first, last].map((input) => new Date(input.value).getTime());
        if (to > from) {
          place.replaceChildren();
          act({ from: String(from), to: String(to) });
        }
      });
      return place.replaceChildren(first, last, go);
    });
    return button;
  }

  function told(values) {
    if (!values || !values.length) return "All";
    return values.length > 2 ? `${values.length} chosen` : values.map((v) => v || "(none)").join(", ");
  }

  // A list that is asked for when it is opened: choices of ten thousand nodes cost a query each.
  function variable({ name, label, multi }, state, choices, act) {
    const list = element("div", { class: "list" });
    const filter = element("input", { type: "search", placeholder: "Find", "aria-label": "Find" });
    const menu = element("details", { class: "variable" },
      element("summary", {}, element("span", {}, label), " ", element("b", {}, told(state.chosen[name]))),
      element("div", { class: "menu" }, filter, list));
    const chosen = new Set(state.chosen[name] || []);
    let known = [];
    const set = () => act(name, [...chosen]);
    const item = (value) => {
      const box = element("input", { type: multi ? "checkbox" : "radio" });
      box.checked = chosen.has(value);
      box.addEventListener("change", () => {
        if (!multi) chosen.clear();
        if (box.checked) chosen.add(value);
        else chosen.delete(value);
        set();
      });
      return element("label", {}, box, value || "(none)");
    };
    const show = () => {
      const all = element("button", { type: "button" }, "All");
      all.addEventListener("click", () => { chosen.clear(); set(); menu.open = false; });
      const asked = filter.value.toLowerCase();
      const found = known.filter((value) => value.toLowerCase().includes(asked)).slice(0, 200);
      list.replaceChildren(all, ...found.map(item));
    };
    filter.addEventListener("input", show);
    menu.addEventListener("toggle", async () => {
      if (!menu.open) return;
      for (const other of document.querySelectorAll(".variable[open]")) {
        if (other !== menu) other.open = false;
      }
      list.replaceChildren(element("p", { class: "note" }, "…"));
      try {
        known = [...new Set([...chosen, ...await choices(name)])];
        show();
        if (!known.length) list.append(element("p", { class: "note" }, "Nothing to choose yet."));
      } catch (error) {
        list.replaceChildren(element("p", { class: "note" }, error.message));
      }
    });
    return menu;
  }

  function boards(all, uid, state) {
    const carried = () => query(state);
    const select = element("select", { "aria-label": "Board" }, all.map((each) =>
      element("option", each.uid === uid ? { value: each.uid, selected: "" } : { value: each.uid },
              each.title)));
    select.addEventListener("change", () => {
      location.href = `/boards/${encodeURIComponent(select.value)}?${carried()}`;
    });
    byId("boards").replaceChildren(select);
  }

  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll(".variable[open], .about[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });

  return { read, query, windows, variable, boards };
})();
