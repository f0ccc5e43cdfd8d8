// `<time data-relative datetime=…>` reads "3 minutes ago" in the page's language and shows the exact local
// time on hover; `data-since` counts a duration up. Both are refreshed every second while the page is visible.
const steps: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31_557_600],
  ["month", 2_629_800],
  ["week", 604_800],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];

function relative(seconds: number, format: Intl.RelativeTimeFormat): string {
  for (const [unit, size] of steps) {
    if (Math.abs(seconds) >= size) return format.format(Math.trunc(seconds / size), unit);
  }
  return format.format(Math.trunc(seconds), "second");
}

function refresh(): void {
  if (document.visibilityState !== "visible") return;
  const language = document.documentElement.lang;
  const format = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
  const exact = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "long" });
  for (const node of document.querySelectorAll<HTMLTimeElement>("time[data-relative]")) {
    const at = Date.parse(node.dateTime);
    if (Number.isNaN(at)) continue;
    const text = relative(Math.min(0, (at - Date.now()) / 1000), format);
    if (node.textContent !== text) node.textContent = text;
    const title = exact.format(at);
    if (node.title !== title) node.title = title;
  }
}

export function installTimes(): void {
  refresh();
  window.setInterval(refresh, 10_000);
  document.addEventListener("htmx:afterSettle", refresh);
}
