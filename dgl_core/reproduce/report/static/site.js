// The pages read well without any of this: code switch, cards on a phone, guess first, large figures.
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

for (const button of all(".show-code")) {
  button.hidden = !all("details.code").length;
  button.onclick = () => {
    const open = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", open);
    button.textContent = open ? "Hide code" : "Show code";
    all("details.code").forEach((details) => { details.open = open; });
  };
}

// The names of its columns go with every cell of a table, for who sees a row as a card.
for (const table of all("article table")) {
  const names = [];
  for (const row of all("thead tr", table)) {
    let column = 0;
    for (const cell of row.cells) {
      for (let i = 0; i < cell.colSpan; i += 1, column += 1) (names[column] ??= []).push(cell.textContent.trim());
    }
  }
  for (const row of all("tbody tr", table)) {
    const before = names.length - row.cells.length; // names of rows that reach over several of them
    [...row.cells].forEach((cell, i) => {
      const name = (names[i + before] ?? []).filter(Boolean).join(" · ");
      if (name) cell.dataset.label = name;
    });
  }
  table.classList.toggle("labelled", names.length > 0);
}

// For who uses no mouse, or hears the page: what scrolls can be reached, and parts of the page have names and levels.
for (const place of all("article pre, article math[display=block], .table, .table-wrapper, .drawing")) {
  if (place.scrollWidth > place.clientWidth) place.tabIndex = 0;
}
all("[role=heading]:not([aria-level])").forEach((heading) => { heading.ariaLevel = 2; });
for (const [part, name] of [[".sidebar-drawer", "pages"], [".toc-drawer", "on this page"]]) {
  document.querySelector(part)?.setAttribute("aria-label", name);
}

// The page of the search comes without a heading.
for (const results of all("#search-results")) {
  results.before(Object.assign(document.createElement("h1"), { textContent: "Search" }));
}

for (const place of all(".guess")) {
  const button = place.querySelector("button");
  place.hidden = false;
  button.onclick = () => {
    const guess = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", guess);
    all("details.verdict").forEach((details) => { details.open = !guess; });
  };
}
addEventListener("beforeprint", () => all("details.verdict").forEach((details) => { details.open = true; }));

const dialog = document.body.appendChild(document.createElement("dialog"));
dialog.setAttribute("aria-label", "figure");
dialog.onclick = () => dialog.close();
document.addEventListener("click", (event) => {
  if (!event.target.matches(".drawing:not([tabindex]) img")) return; // what scrolls is large already
  dialog.className = event.target.closest("figure").className;
  dialog.replaceChildren(Object.assign(new Image(), { src: event.target.src, alt: event.target.alt }));
  dialog.showModal();
});
