"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, under = document) => [...under.querySelectorAll(selector)];

  // The theme is kept in memory only: a file from a disk has no business in anyone's storage.
  const toggle = document.getElementById("theme");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const tellTheme = () => { toggle.textContent = isDark() ? "Light theme" : "Dark theme"; };
  toggle.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    tellTheme();
  });
  prefersDark.addEventListener("change", tellTheme);
  tellTheme();

  // What is folded is printed too.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open])");
    opened.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((details) => { details.open = false; }));

  const collator = new Intl.Collator("en", { numeric: true });
  const key = (row) => row.querySelector("th").textContent;
  const outcome = (row) => row.lastElementChild.textContent;

  const valueOf = (column, outcomes) => {
    if (column === "i") return (row) => Number(row.dataset.i);
    if (column === "key") return key;
    if (column === "outcome") return (row) => outcomes.indexOf(outcome(row));
    return (row) => {
      const text = row.dataset.v.split(" ")[Number(column)];
      return text === "-" ? null : Number(text);
    };
  };

  // Unknown values stay last in either direction; equal ones stand as in the network.
  const compare = (direction) => (a, b) => {
    if (a.value === null || b.value === null) return (a.value === null) - (b.value === null) || a.place - b.place;
    const order = typeof a.value === "string" ? collator.compare(a.value, b.value) : a.value - b.value;
    return direction * order || a.place - b.place;
  };

  const setUp = (section) => {
    const table = section.querySelector("table.sortable");
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const svg = document.querySelector(`svg.scatter[data-model="${table.dataset.model}"]`);
    const paths = svg ? all("path[data-i]", svg) : [];
    const pointOut = document.querySelector(`select.point-out[data-model="${table.dataset.model}"]`);
    const search = section.querySelector(".search");
    const choice = section.querySelector(".outcome");
    const shown = section.querySelector(".shown");
    const outcomes = [...choice.options].map((option) => option.text);
    const visible = () => [...body.rows].filter((row) => !row.hidden);

    const light = (index) => {
      if (!paths.length) return;
      const wanted = index === null ? pointOut.value : index;
      svg.classList.toggle("lit", wanted !== "");
      paths.forEach((path) => path.classList.toggle("on", path.dataset.i === wanted));
      rows.forEach((row) => row.classList.toggle("on", row.dataset.i === pointOut.value));
    };

    const focusable = (row) => {
      rows.forEach((other) => { other.tabIndex = other === row ? 0 : -1; });
    };

    const filter = () => {
      const part = search.value.trim().toLowerCase();
      rows.forEach((row) => {
        const fits = key(row).toLowerCase().includes(part) && (!choice.value || outcome(row) === choice.value);
        row.hidden = !fits;
      });
      const left = visible();
      shown.textContent = `${left.length} of ${rows.length} layer${rows.length === 1 ? "" : "s"}`;
      focusable(left[0]);
    };

    const sort = (header) => {
      const first = header.dataset.k === "key" || header.dataset.k === "i" || header.dataset.k === "outcome";
      const now = header.getAttribute("aria-sort");
      const rising = now ? now === "descending" : first;
      all("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const value = valueOf(header.dataset.k, outcomes);
      const keyed = rows.map((row) => ({ row, place: Number(row.dataset.i), value: value(row) }));
      keyed.sort(compare(rising ? 1 : -1));
      body.append(...keyed.map((item) => item.row));
      focusable(visible()[0]);
    };

    const move = (event) => {
      const row = event.target.closest("tbody tr");
      if (!row) return;
      if ((event.key === "Enter" || event.key === " ") && pointOut) {
        keep(row);
        event.preventDefault();
        return;
      }
      const left = visible();
      const at = left.indexOf(row);
      const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: left.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      if (!left[to]) return;
      focusable(left[to]);
      left[to].focus();
    };

    const keep = (row) => {
      if (!pointOut) return;
      pointOut.value = pointOut.value === row.dataset.i ? "" : row.dataset.i;
      light(null);
    };

    all("thead th", table).forEach((header) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      button.addEventListener("click", () => sort(header));
      header.append(button);
    });
    search.addEventListener("input", filter);
    choice.addEventListener("change", filter);
    body.addEventListener("keydown", move);
    body.addEventListener("mouseover", (event) => light(event.target.closest("tr").dataset.i));
    body.addEventListener("mouseleave", () => light(null));
    body.addEventListener("focusin", (event) => light(event.target.closest("tr").dataset.i));
    body.addEventListener("focusout", () => light(null));
    body.addEventListener("click", (event) => keep(event.target.closest("tr")));
    if (pointOut) {
      rows.forEach((row) => pointOut.add(new Option(key(row), row.dataset.i)));
      pointOut.addEventListener("change", () => light(null));
    }
    filter();
  };

  all(".js").forEach((element) => { element.hidden = false; });
  // Layers can be pointed out only where the points are kept apart by layer.
  all("select.point-out").forEach((select) => {
    const svg = document.querySelector(`svg.scatter[data-model="${select.dataset.model}"]`);
    select.closest(".controls").hidden = !svg.querySelector("path[data-i]");
  });
  all("section.layers").forEach(setUp);
})();
