// The log viewer: follows the tail while asked to, and keeps the page light by dropping the oldest of many
// thousand lines (the download has them all, and the search looks at them all on the server).
const kept = 5000;

function viewer(): HTMLElement | null {
  return document.querySelector<HTMLElement>("[data-log]");
}

function checked(name: string): boolean {
  return document.querySelector<HTMLInputElement>(`[data-log-${name}]`)?.checked ?? false;
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
    if (event.target instanceof Element && event.target.matches("[data-log-follow]")) toEnd();
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    const box = viewer();
    if (!box || !(event.target instanceof Node)) return;
    if (!box.contains(event.target) && event.target !== box) return;
    trim(box);
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
