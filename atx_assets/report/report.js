// Tables that can be sorted, searched and shortened. Without it every row is there, as made.
const FIRST = 10;

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const valueOf = (row, at) => row.cells[at].dataset.value ?? row.cells[at].textContent.trim();

  const search = document.createElement("div");
  search.className = "search";
  const label = document.createElement("label");
  label.textContent = "Search ";
  const input = document.createElement("input");
  input.type = "search";
  input.setAttribute("aria-label", `Search: ${table.caption.textContent}`);
  const told = document.createElement("span");
  told.className = "quiet";
  told.setAttribute("role", "status");
  label.append(input);
  search.append(label, told);
  const more = document.createElement("button");
  more.type = "button";
  more.className = "more";
  let all = rows.length <= FIRST;

  // As atx compares texts: in one Unicode form, without characters that nobody sees, in any case.
  const compared = (text) => text.normalize("NFKC").replace(/\p{Cf}/gu, "").toLowerCase();
  const show = () => {
    const words = compared(input.value).split(/\s+/).filter(Boolean);
    const found = rows.filter((row) => {
      const text = compared(row.textContent);
      return words.every((word) => text.includes(word));
    });
    const shown = new Set(all ? found : found.slice(0, FIRST));
    for (const row of rows) row.hidden = !shown.has(row);
    told.textContent = `${shown.size} of ${words.length ? `${found.length} found, ` : ""}${rows.length} shown`;
    more.hidden = shown.size === found.length;
    more.textContent = `Show all ${found.length}`;
  };

  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const numbers = head.classList.contains("number");
      rows.sort((a, b) => {
        const [one, other] = [valueOf(a, at), valueOf(b, at)];
        // What is not known comes last, whichever way.
        if (one === "" || other === "") return (one === "") - (other === "");
        const order = numbers ? Number(one) - Number(other) : one.localeCompare(other);
        return down ? -order : order;
      });
      body.append(...rows);
      show();
    });
  });
  input.addEventListener("input", show);
  more.addEventListener("click", () => {
    all = true;
    show();
  });
  const wide = table.closest(".wide");
  wide.before(search);
  wide.after(more);
  show();
}

// On paper nothing can be opened.
addEventListener("beforeprint", () => {
  for (const closed of document.querySelectorAll("details:not([open])")) closed.open = true;
});
