// Live training curves: polls the job's metrics until they are final and draws one ECharts per metric.
import { connect, init, type ECharts } from "./echarts";
import { best, csv, number, smooth, tick, type Chart, type Curves, type Point, type Series } from "./curves";
import { colour, crosshair, font, legendLook, save, savePicture, tip, tooltipLook } from "./drawing";

const group = "training";
const drawn = new Map<string, ECharts>();
const board = document.querySelector<HTMLElement>("[data-charts]");
let curves: Curves = { version: "", final: false, charts: [] };

function setting(name: string): HTMLInputElement | null {
  return document.querySelector<HTMLInputElement>(`[data-chart-setting="${name}"]`);
}

function words(name: string): string {
  return board?.dataset[name] ?? "";
}

function colourOf(series: Series, index: number): string {
  if (series.run !== undefined) return colour(`--my-run-${series.run}`);
  if (series.role === "train") return colour("--my-train");
  if (series.role === "validation") return colour("--my-validation");
  return colour(index % 2 ? "--my-other" : "--my-train");
}

function visible(points: Point[], logarithmic: boolean): (Point | [number, null, number])[] {
  return points.map((point) => (logarithmic && point[1] <= 0 ? [point[0], null, point[2]] : point));
}

function lines(chart: Chart, weight: number, logarithmic: boolean): object[] {
  const all: object[] = [];
  chart.series.forEach((series, index) => {
    const hue = colourOf(series, index);
    const few = series.points.length <= 60;
    const common = {
      type: "line",
      animation: false,
      color: hue,
      symbol: series.role === "validation" ? "diamond" : "circle",
      symbolSize: series.role === "validation" ? 7 : 4,
      showSymbol: few,
    };
    const smoothed = weight > 0 && !few;
    if (smoothed) {
      all.push({
        ...common,
        name: `${series.name}:raw`,
        silent: true,
        showSymbol: false,
        lineStyle: { color: hue, width: 1, opacity: 0.25 },
        data: visible(series.points, logarithmic),
      });
    }
    all.push({
      ...common,
      name: series.label,
      lineStyle: { color: hue, width: 2, type: series.role === "validation" ? "dashed" : "solid" },
      data: visible(smoothed ? smooth(series.points, weight) : series.points, logarithmic),
    });
  });
  return all;
}

interface Hovered {
  seriesName: string;
  color: string;
  value: [number, number | null, number];
}

function tooltip(chart: Chart, given: unknown): HTMLElement {
  const hovered = (given as Hovered[]).filter((row) => !row.seriesName.endsWith(":raw"));
  const rows = hovered.flatMap((row) =>
    row.value[1] === null
      ? []
      : [{ colour: row.color, name: row.seriesName, value: number(row.value[1], chart.percent) }],
  );
  return tip(`${words("step")} ${hovered[0]?.value[0].toLocaleString() ?? ""}`, rows);
}

function draw(chart: Chart): void {
  const figure = figureOf(chart);
  const canvas = figure?.querySelector<HTMLElement>(".chart-canvas");
  if (!figure || !canvas) return;
  const empty = chart.series.every((series) => series.points.length === 0);
  figure.classList.toggle("is-empty", empty);
  describe(figure, chart);
  const note = figure.querySelector(".chart-empty span");
  if (note && curves.final) note.textContent = words("none");
  if (empty) return;
  let instance = drawn.get(chart.key);
  if (!instance) {
    instance = init(canvas, null, { renderer: "canvas" });
    instance.group = group;
    drawn.set(chart.key, instance);
    connect(group);
  }
  const logarithmic = setting("log")?.checked ?? false;
  const weight = Number(setting("smoothing")?.value ?? 0);
  const text = colour("--my-quiet");
  const rule = colour("--my-rule");
  instance.setOption(
    {
      animation: false,
      textStyle: font(),
      grid: { left: 56, right: 16, top: 36, bottom: 24 },
      legend: {
        ...legendLook(),
        ...(chart.series.some((series) => series.run !== undefined) && { type: "scroll", itemHeight: 12 }),
        pageIconColor: text,
        pageIconInactiveColor: rule,
        pageTextStyle: { color: text },
        data: chart.series.map((series) => series.label),
      },
      tooltip: {
        ...tooltipLook(),
        trigger: "axis",
        axisPointer: crosshair(),
        formatter: (given: unknown) => tooltip(chart, given),
      },
      xAxis: {
        type: "value",
        min: "dataMin",
        max: "dataMax",
        axisLabel: { color: text, hideOverlap: true },
        axisLine: { lineStyle: { color: rule } },
        splitLine: { show: false },
        axisPointer: { snap: true },
      },
      yAxis: {
        type: logarithmic ? "log" : "value",
        scale: true,
        axisLabel: {
          color: text,
          formatter: (value: number) => tick(value, chart.percent),
        },
        splitLine: { lineStyle: { color: rule } },
      },
      series: lines(chart, weight, logarithmic),
    },
    { replaceMerge: ["series"] },
  );
}

/** The figure of a chart; a metric that the page did not know of when it was rendered gets a new one. */
function figureOf(chart: Chart): HTMLElement | null {
  const known = document.querySelector<HTMLElement>(`[data-chart="${CSS.escape(chart.key)}"]`);
  if (known) return known;
  const shape = document.querySelector<HTMLTemplateElement>("#chart-shape")?.content.firstElementChild;
  const made = shape?.cloneNode(true);
  if (!(made instanceof HTMLElement)) return null;
  made.dataset["chart"] = chart.key;
  const title = made.querySelector(".chart-title");
  if (title) title.textContent = chart.title;
  board?.append(made);
  return made;
}

/** Says in words what the curves show, for those who cannot see them and those in a hurry. */
function describe(figure: HTMLElement, chart: Chart): void {
  const parts: string[] = [];
  for (const series of chart.series) {
    const last = series.points.at(-1);
    if (!last) continue;
    const fill = (pattern: string, point: Point): string =>
      pattern
        .replace("{value}", number(point[1], chart.percent))
        .replace("{step}", point[0].toLocaleString());
    const top = series.run === undefined ? best(series.points, chart.goal) : undefined;
    const extreme = top ? fill(words(chart.goal === "min" ? "lowest" : "highest"), top) : "";
    parts.push(`${series.label} ${fill(words("latest"), last)}${extreme ? `, ${extreme}` : ""}.`);
  }
  const text = figure.querySelector<HTMLElement>(".chart-text");
  const sentence = parts.join(" ");
  if (text && text.textContent !== sentence) text.textContent = sentence;
  figure.querySelector(".chart-canvas")?.setAttribute("aria-label", `${chart.title}. ${sentence}`);
}

function drawAll(): void {
  for (const figure of document.querySelectorAll<HTMLElement>("[data-chart]")) {
    figure.hidden = !curves.charts.some((chart) => chart.key === figure.dataset["chart"]);
  }
  for (const chart of curves.charts) draw(chart);
}

function exportChart(button: HTMLElement): void {
  const key = button.closest<HTMLElement>("[data-chart]")?.dataset["chart"];
  const chart = curves.charts.find((one) => one.key === key);
  if (!chart || !key) return;
  const file = `${words("job")}-${key.replace(/[^\w.-]+/g, "_")}`;
  if (button.dataset["export"] === "csv") {
    save(`${file}.csv`, new Blob([csv(chart)], { type: "text/csv" }));
    return;
  }
  const source = drawn.get(key)?.getRenderedCanvas({
    pixelRatio: 2,
    backgroundColor: colour("--my-surface"),
  });
  savePicture(`${file}.png`, source);
}

async function poll(url: string): Promise<void> {
  let pause = 2000;
  try {
    const answer = await fetch(`${url}${url.includes("?") ? "&" : "?"}version=${encodeURIComponent(curves.version)}`, {
      headers: { Accept: "application/json" },
    });
    if (answer.status === 401 || answer.status === 404) return;
    if (answer.status === 200) {
      curves = (await answer.json()) as Curves;
      drawAll();
    } else if (answer.status !== 204) {
      pause = 10_000;
    }
  } catch {
    pause = 10_000; // the network or the server is away; the page's own polling says so
  }
  if (!curves.final) window.setTimeout(() => void poll(url), pause);
}

function begin(): void {
  const url = board?.dataset["charts"];
  if (!board || !url) return;
  document.addEventListener("input", (event) => {
    if (event.target instanceof HTMLInputElement && event.target.matches("[data-chart-setting]")) {
      const shown = document.querySelector("[data-smoothing-value]");
      if (shown) shown.textContent = setting("smoothing")?.value ?? "";
      drawAll();
    }
  });
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-export]") : null;
    if (button) exportChart(button);
  });
  window.addEventListener("modelyard:theme", drawAll);
  const observer = new ResizeObserver(() => {
    for (const one of drawn.values()) one.resize();
  });
  observer.observe(board);
  void poll(url);
}

begin();
