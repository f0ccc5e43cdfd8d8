// What every drawn chart shares: the page's colours, tooltips built of elements, axes, downloads.
// ECharts puts strings into innerHTML, whose style attributes the Content-Security-Policy refuses, so
// tooltips are built as elements.

export function colour(name: string): string {
  return getComputedStyle(document.body).getPropertyValue(name).trim();
}

export function font(): { fontFamily: string } {
  return { fontFamily: getComputedStyle(document.body).fontFamily };
}

export interface TipRow {
  colour: string;
  name: string;
  value: string;
}

/** The content of a tooltip: a head line, and one row per value. */
export function tip(head: string, rows: TipRow[]): HTMLElement {
  const box = document.createElement("div");
  const first = document.createElement("div");
  first.className = "chart-tip-head";
  first.textContent = head;
  box.append(first);
  for (const row of rows) {
    const line = document.createElement("div");
    line.className = "chart-tip-row";
    const mark = document.createElement("span");
    mark.className = "chart-tip-mark";
    mark.style.backgroundColor = row.colour;
    const name = document.createElement("span");
    name.textContent = row.name;
    const value = document.createElement("strong");
    value.textContent = row.value;
    line.append(mark, name, value);
    box.append(line);
  }
  return box;
}

/** A tooltip in the page's colours, without motion. */
export function tooltipLook(): object {
  return {
    confine: true,
    transitionDuration: 0,
    className: "chart-tip",
    backgroundColor: colour("--my-surface"),
    borderColor: colour("--my-rule"),
    textStyle: { color: colour("--my-text") },
  };
}

export function crosshair(): object {
  return { type: "cross", label: { show: false }, lineStyle: { color: colour("--my-quiet") } };
}

export function legendLook(): object {
  return {
    top: 0,
    left: 0,
    icon: "roundRect",
    itemWidth: 14,
    itemHeight: 3,
    textStyle: { color: colour("--my-quiet") },
  };
}

/** Hands a file to the person. */
export function save(name: string, content: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

export function savePicture(name: string, source: HTMLCanvasElement | undefined): void {
  source?.toBlob((blob) => blob && save(name, blob), "image/png");
}
