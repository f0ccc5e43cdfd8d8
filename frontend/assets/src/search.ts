// The search field: `/` or Ctrl-K goes there, arrows choose, Enter follows, Escape leaves. Options are links, so a
// click works as anywhere; the field keeps the focus and names the chosen option (aria-activedescendant).

function field(): HTMLInputElement | null {
  return document.querySelector<HTMLInputElement>("#search");
}

function options(): HTMLAnchorElement[] {
  return [...document.querySelectorAll<HTMLAnchorElement>("#search-results [role=option]")];
}

function chosen(): HTMLAnchorElement | null {
  return document.querySelector<HTMLAnchorElement>('#search-results [role=option][aria-selected="true"]');
}

function choose(option: HTMLAnchorElement | undefined): void {
  for (const one of options()) one.setAttribute("aria-selected", String(one === option));
  if (option) {
    field()?.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  } else {
    field()?.removeAttribute("aria-activedescendant");
  }
}

function expand(open: boolean): void {
  const search = field();
  if (!search) return;
  search.setAttribute("aria-expanded", String(open && options().length > 0));
  search.toggleAttribute("data-closed", !open);
  if (!open) choose(undefined);
}

function step(by: number): void {
  const all = options();
  if (all.length === 0) return;
  const current = chosen();
  const from = current ? all.indexOf(current) : by > 0 ? -1 : 0;
  choose(all[(from + by + all.length) % all.length]);
}

export function focusSearch(): boolean {
  const search = field();
  if (!search) return false;
  search.focus();
  search.select();
  expand(true);
  return true;
}

function onKey(event: KeyboardEvent): void {
  if (event.target !== field()) return;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    expand(true);
    step(event.key === "ArrowDown" ? 1 : -1);
  } else if (event.key === "Enter") {
    const target = chosen() ?? options()[0];
    if (!target || field()?.hasAttribute("data-closed")) return;
    event.preventDefault();
    window.location.assign(target.href);
  } else if (event.key === "Escape") {
    event.preventDefault();
    if (field()?.hasAttribute("data-closed")) field()?.blur();
    else expand(false);
  }
}

export function installSearch(): void {
  document.addEventListener("keydown", onKey);
  document.addEventListener("input", (event) => {
    if (event.target === field()) field()?.removeAttribute("data-closed");
  });
  document.addEventListener("focusin", (event) => {
    if (event.target === field()) expand(true);
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target instanceof Element && event.target.id === "search-results") expand(true);
  });
}
