// Draws every `figure[data-figure]` of the page from the document at its address (frontend/figures.py), and asks
// again every few seconds until the document is final. Figures that htmx brings later are drawn too.
import { connect, init, type ECharts } from "./echarts";
import { colour, save, savePicture } from "./drawing";
import { csv, isEmpty, type Figure } from "./figuredata";
import { option } from "./figurekinds";
import { stripsHeight } from "./strips";

const PAUSE_MS = 5000;
const PAUSE_AFTER_ERROR_MS = 15_000;

interface Shown {
  address: string;
  known: string;
  figure?: Figure;
  chart?: ECharts;
  timer?: number;
}

const shown = new Map<HTMLElement, Shown>();
const sizes = new ResizeObserver((entries) => {
  for (const entry of entries) {
    const node = entry.target.closest<HTMLElement>("[data-figure]");
    if (node && entry.contentRect.width > 0) shown.get(node)?.chart?.resize();
  }
});

function state(node: HTMLElement, name: "busy" | "empty" | "failed" | "drawn"): void {
  node.setAttribute("aria-busy", String(name === "busy"));
  node.classList.toggle("is-empty", name !== "drawn");
  node.classList.toggle("is-failed", name === "failed");
}

function draw(node: HTMLElement, one: Shown): void {
  const canvas = node.querySelector<HTMLElement>(".chart-canvas");
  const figure = one.figure;
  if (!canvas || !figure) return;
  describe(node, canvas, figure);
  if (isEmpty(figure)) {
    state(node, "empty");
    return;
  }
  state(node, "drawn");
  if (figure.kind === "strips") canvas.style.height = `${stripsHeight(figure)}px`;
  if (!one.chart) {
    one.chart = init(canvas, null, { renderer: "canvas" });
    sizes.observe(canvas);
  }
  // Charts over the same points share their crosshair.
  if (figure.kind === "lines" || figure.kind === "area") {
    one.chart.group = `x:${figure.x[0] ?? ""}:${figure.x.at(-1) ?? ""}:${figure.x.length}`;
    connect(one.chart.group);
  }
  one.chart.setOption({ ...option(figure) }, { replaceMerge: ["series", "xAxis", "yAxis", "grid", "title"] });
}

/** Says in words what the picture shows. */
function describe(node: HTMLElement, canvas: HTMLElement, figure: Figure): void {
  const title = node.querySelector(".chart-title")?.textContent?.trim() ?? "";
  const names = figure.series.map((one) => one.name).filter(Boolean);
  const text = figure.note || names.join(", ");
  canvas.setAttribute("aria-label", text ? `${title}. ${text}` : title);
  const caption = node.querySelector("figcaption");
  if (caption && caption.textContent !== figure.note) caption.textContent = figure.note;
}

async function ask(node: HTMLElement, one: Shown): Promise<void> {
  const still = (): boolean => shown.get(node) === one;
  let failed = false;
  try {
    const answer = await fetch(one.address, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(`${answer.status}`);
    const text = await answer.text();
    if (!still()) return;
    if (text !== one.known) {
      one.known = text;
      one.figure = JSON.parse(text) as Figure;
      draw(node, one);
    }
  } catch {
    // What is drawn stays; a figure that has nothing yet says so and offers another try.
    failed = true;
    if (!still()) return;
    if (!one.figure) {
      state(node, "failed");
      return;
    }
  }
  if (!one.figure || one.figure.final) return;
  const pause = one.figure.every_seconds * 1000;
  one.timer = window.setTimeout(() => void again(node, one), failed ? Math.max(pause, PAUSE_AFTER_ERROR_MS) : pause);
}

async function again(node: HTMLElement, one: Shown): Promise<void> {
  if (document.visibilityState === "visible") return ask(node, one);
  one.timer = window.setTimeout(() => void again(node, one), PAUSE_MS);
}

function forget(node: HTMLElement, one: Shown): void {
  window.clearTimeout(one.timer);
  one.chart?.dispose();
  shown.delete(node);
}

function begin(node: HTMLElement): void {
  const one: Shown = { address: node.dataset["figure"] ?? "", known: "" };
  shown.set(node, one);
  state(node, "busy");
  void ask(node, one);
}

/** Draws what is new on the page, and lets go of what left it. */
function scan(): void {
  for (const [node, one] of shown) {
    if (!node.isConnected || node.dataset["figure"] !== one.address) forget(node, one);
  }
  for (const node of document.querySelectorAll<HTMLElement>("figure[data-figure]")) {
    if (!shown.has(node) && node.dataset["figure"]) begin(node);
  }
}

function exportFigure(button: HTMLElement): void {
  const node = button.closest<HTMLElement>("[data-figure]");
  const one = node && shown.get(node);
  if (!one?.figure) return;
  const file = (node?.id || "chart").replace(/[^\w.-]+/g, "_");
  if (button.dataset["export"] === "csv") {
    save(`${file}.csv`, new Blob([csv(one.figure)], { type: "text/csv" }));
    return;
  }
  savePicture(`${file}.png`, one.chart?.getRenderedCanvas({ pixelRatio: 2, backgroundColor: colour("--my-surface") }));
}

document.addEventListener("click", (event) => {
  if (!(event.target instanceof Element)) return;
  const button = event.target.closest<HTMLElement>("[data-export]");
  if (button) exportFigure(button);
  const node = event.target.closest("[data-retries]")?.closest<HTMLElement>("[data-figure]");
  const one = node && shown.get(node);
  if (node && one) {
    forget(node, one);
    begin(node);
  }
});
window.addEventListener("modelyard:theme", () => {
  for (const [node, one] of shown) draw(node, one);
});
document.addEventListener("htmx:afterSettle", scan);
scan();
