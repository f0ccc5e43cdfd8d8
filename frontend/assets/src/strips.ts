// Low charts of several units, one below the other, over one axis of time that fills the whole width: so they stand
// exactly below a timeline of the same width. The crosshair and the tooltip go through all of them.
import { colour, crosshair, font, legendLook, tip, tooltipLook, type TipRow } from "./drawing";
import { across } from "./axes";
import type { Figure, Series } from "./figuredata";
import { steps, tick, write, type Unit } from "./units";

const ABOVE = 28;
const HEAD = 20;
const BODY = 48;
const BETWEEN = 16;
const BELOW = 24;
const HUES = 8;
const EDGE = 0.08;

interface Strip {
  title: string;
  unit: Unit;
  upper: number | null;
  series: Series[];
}

function stripsOf(figure: Figure): Strip[] {
  const found = new Map<string, Strip>();
  for (const one of figure.series) {
    const known = found.get(one.strip);
    if (known) known.series.push(one);
    else found.set(one.strip, { title: one.strip, unit: one.unit ?? figure.unit, upper: one.upper, series: [one] });
  }
  return [...found.values()];
}

function top(index: number): number {
  return ABOVE + index * (HEAD + BODY + BETWEEN) + HEAD;
}

export function stripsHeight(figure: Figure): number {
  return top(stripsOf(figure).length - 1) + BODY + BELOW;
}

/** Where the axis of a strip ends: at its limit, or round above what was reached. */
function end(strip: Strip): number {
  const reached = Math.max(0, ...strip.series.flatMap((one) => one.values.map((value) => value ?? 0)));
  if (strip.upper !== null) return Math.max(strip.upper, reached);
  return steps(0, reached, strip.unit).max ?? (reached || 1);
}

function vertical(strip: Strip, index: number): object {
  const most = end(strip);
  return {
    type: "value",
    gridIndex: index,
    min: 0,
    max: most,
    interval: most,
    axisLabel: { show: false },
    axisTick: { show: false },
    axisLine: { show: false },
    axisPointer: { show: false },
    splitLine: { lineStyle: { color: colour("--my-rule"), type: strip.upper === null ? "solid" : "dashed" } },
  };
}

function head(strip: Strip, index: number): object {
  return {
    text: strip.title,
    left: 0,
    top: top(index) - HEAD,
    padding: 0,
    textStyle: { color: colour("--my-quiet"), fontSize: 12, fontWeight: "normal", ...font() },
  };
}

/** The value of the topmost line, at the right of the head. */
function bound(strip: Strip, index: number): object {
  return {
    text: tick(end(strip), strip.unit),
    right: 0,
    top: top(index) - HEAD,
    padding: 0,
    textStyle: { color: colour("--my-quiet"), fontSize: 12, fontWeight: "normal", ...font() },
  };
}

interface Hovered {
  seriesIndex: number;
  dataIndex: number;
  color: string;
}

export function strips(figure: Figure): object {
  const found = stripsOf(figure);
  const axis = across({ ...figure, kind: "lines", x: [figure.x_from, ...figure.x, figure.x_to] });
  const [from, to] = [Date.parse(figure.x_from), Date.parse(figure.x_to)];
  // A label at an end of an axis as wide as the drawing would be cut off.
  const inside = (place: number): boolean => Math.min(place - from, to - place) > EDGE * (to - from);
  const places = figure.x.map((one) => Date.parse(one));
  const drawn = found.flatMap((strip, index) => strip.series.map((one) => ({ strip, index, one })));
  return {
    title: [...found.map(head), ...found.map(bound)],
    grid: found.map((_, index) => ({ left: 0, right: 0, top: top(index), height: BODY, outerBoundsMode: "none" })),
    legend: { ...legendLook(), type: "scroll", right: 0, data: figure.series.map((one) => one.name) },
    axisPointer: { link: [{ xAxisIndex: "all" }] },
    tooltip: {
      ...tooltipLook(),
      trigger: "axis",
      axisPointer: { ...crosshair(), type: "line" },
      formatter: (given: unknown) => {
        const hovered = given as Hovered[];
        const rows: TipRow[] = hovered.flatMap((row) => {
          const shown = drawn[row.seriesIndex];
          const value = shown?.one.values[row.dataIndex];
          if (!shown || value === null || value === undefined) return [];
          const of = shown.strip.upper === null ? "" : ` / ${write(shown.strip.upper, shown.strip.unit)}`;
          return [{ colour: row.color, name: shown.one.name, value: write(Number(value.toPrecision(3)), shown.strip.unit) + of }];
        });
        const place = places[hovered[0]?.dataIndex ?? -1];
        return tip(place === undefined ? "" : axis.full(place), rows);
      },
    },
    xAxis: found.map((_, index) => ({
      type: "time",
      gridIndex: index,
      min: from,
      max: to,
      axisLabel: {
        show: index === found.length - 1,
        color: colour("--my-quiet"),
        hideOverlap: true,
        formatter: (place: number) => (inside(place) ? axis.label(place) : ""),
      },
      axisLine: { lineStyle: { color: colour("--my-rule") } },
      axisTick: { show: false },
      splitLine: { show: false },
    })),
    yAxis: found.map(vertical),
    series: drawn.map(({ one, index }, number) => {
      const hue = colour(`--my-series-${(number % HUES) + 1}`);
      const few = one.values.filter((value) => value !== null).length < 3;
      return {
        id: String(number),
        type: "line",
        name: one.name,
        xAxisIndex: index,
        yAxisIndex: index,
        animation: false,
        color: hue,
        symbol: "circle",
        symbolSize: 4,
        showSymbol: few,
        lineStyle: { width: 1.5 },
        areaStyle: { opacity: 0.2 },
        data: one.values.map((value, at) => [places[at], value]),
      };
    }),
  };
}
