// The log viewer: follows the tail while asked to, filters lines, and keeps the page light by dropping
// the oldest of many thousand lines (the download has them all).
const kept = 5000;

function viewer(): HTMLElement | null {
  return document.querySelector<HTMLElement>("[data-log]");
}

function checked(name: string): boolean {
  return document.querySelector<HTMLInputElement>(`[data-log-${name}]`)?.checked ?? false;
}

function applySearch(): void {
  const box = viewer();
  if (!box) return;
  const words = document.querySelector<HTMLInputElement>("[data-log-search]")?.value.toLowerCase() ?? "";
  let shown = 0;
  for (const line of box.querySelectorAll<HTMLElement>(".log-line")) {
    const hit = !words || (line.textContent ?? "").toLowerCase().includes(words);
    line.hidden = !hit;
    line.classList.toggle("log-hit", hit && words !== "");
    if (hit) shown += 1;
  }
  const count = document.querySelector<HTMLElement>("[data-log-count]");
  if (count) count.textContent = words ? String(shown) : "";
}

function trim(box: HTMLElement): void {
  const lines = box.querySelectorAll(".log-line");
  for (let index = 0; index < lines.length - kept; index += 1) lines[index]?.remove();
}

function toEnd(): void {
  const box = viewer();
  if (box && checked("follow")) box.scrollTop = box.scrollHeight;
}

export function installLogs(): void {
  toEnd();
  document.addEventListener("input", (event) => {
    if (event.target instanceof Element && event.target.matches("[data-log-search]")) applySearch();
    if (event.target instanceof Element && event.target.matches("[data-log-follow]")) toEnd();
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    const box = viewer();
    if (!box || !(event.target instanceof Node)) return;
    if (!box.contains(event.target) && event.target !== box) return;
    trim(box);
    applySearch();
    toEnd();
  });
  // Scrolling up by hand stops following; scrolling back to the end starts it again.
  document.addEventListener(
    "wheel",
    (event) => {
      const box = viewer();
      const follow = document.querySelector<HTMLInputElement>("[data-log-follow]");
      if (!box || !follow || !(event.target instanceof Node) || !box.contains(event.target)) return;
      if (event.deltaY < 0) follow.checked = false;
      else if (box.scrollHeight - box.scrollTop - box.clientHeight < 40) follow.checked = true;
    },
    { passive: true },
  );
}
