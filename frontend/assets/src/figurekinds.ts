// One ECharts option per kind of figure.
import { across, axisName, horizontal, vertical, type Across } from "./axes";
import { colour, crosshair, font, legendLook, tip, tooltipLook, type TipRow } from "./drawing";
import type { Figure, Series } from "./figuredata";
import { strips } from "./strips";
import { steps, tick, write } from "./units";

const HUES = 8;
const BAND = ":band";
const MOST_CELLS_WITH_TEXT = 20;
const MOST_NAMED_POINTS = 12;

function hue(index: number): string {
  return colour(`--my-series-${(index % HUES) + 1}`);
}

function legend(figure: Figure): object {
  const shown = figure.series.length > 1;
  return { ...legendLook(), type: "scroll", right: 0, show: shown, data: figure.series.map((one) => one.name) };
}

/** The room around the drawing: a legend and an axis' name need some above, a name some below. */
function grid(figure: Figure): object {
  const above = (figure.series.length > 1 ? 28 : 0) + (figure.y_label ? 24 : 0);
  return { left: 8, right: 20, top: Math.max(above, 12), bottom: figure.x_label ? 28 : 4, outerBoundsMode: "same", outerBoundsContain: "axisLabel" };
}

interface Hovered {
  seriesId: string;
  seriesName: string;
  seriesIndex: number;
  dataIndex: number;
  color: string;
  axisValue: string | number;
}

function pointTip(figure: Figure, axis: Across, given: unknown): HTMLElement {
  const hovered = (given as Hovered[]).filter((row) => !row.seriesId.includes(BAND));
  const rows: TipRow[] = [];
  let total = 0;
  for (const row of hovered) {
    const series = figure.series.find((one) => one.name === row.seriesName);
    const value = series?.values[row.dataIndex];
    const band = series?.band[row.dataIndex];
    const between = band ? `${write(band[0], figure.unit)} – ${write(band[1], figure.unit)}` : "";
    if (value === null || value === undefined) {
      if (between) rows.push({ colour: row.color, name: row.seriesName, value: between });
      continue;
    }
    total += value;
    rows.push({ colour: row.color, name: row.seriesName, value: write(value, figure.unit) + (between ? ` (${between})` : "") });
  }
  if (figure.kind !== "lines" && rows.length > 1) {
    rows.push({ colour: "transparent", name: "Σ", value: write(total, figure.unit) });
  }
  const first = hovered[0];
  return tip(first ? axis.full(axis.places[first.dataIndex] ?? first.axisValue) : "", rows);
}

function data(axis: Across, values: (number | null)[]): unknown[] {
  return axis.type === "category" ? values : values.map((value, index) => [axis.places[index], value]);
}

/** The area between a line's bounds: an invisible line at the lower one, and on it the distance to the upper one. */
function bandOf(series: Series, axis: Across, index: number): object[] {
  if (series.band.length === 0) return [];
  const common = {
    type: "line",
    name: series.name,
    stack: `band-${index}`,
    stackStrategy: "all",
    silent: true,
    symbol: "none",
    animation: false,
    lineStyle: { opacity: 0 },
    color: hue(index),
  };
  const lower = series.band.map((pair) => (pair ? pair[0] : null));
  const width = series.band.map((pair) => (pair ? pair[1] - pair[0] : null));
  return [
    { ...common, id: `${index}${BAND}-low`, data: data(axis, lower) },
    { ...common, id: `${index}${BAND}`, data: data(axis, width), areaStyle: { opacity: 0.18 } },
  ];
}

function curve(figure: Figure, series: Series, axis: Across, index: number): object {
  const stacked = figure.kind === "area";
  const count = series.values.filter((value) => value !== null).length;
  return {
    id: String(index),
    type: "line",
    name: series.name,
    animation: false,
    color: hue(index),
    symbol: index % 2 ? "diamond" : "circle",
    symbolSize: 5,
    showSymbol: !stacked && count <= 60,
    lineStyle: { width: stacked ? 1 : 2, type: series.dashed ? "dashed" : "solid" },
    data: data(axis, series.values),
    ...(stacked ? { stack: "all", areaStyle: { opacity: 0.5 } } : {}),
  };
}

function bar(series: Series, index: number): object {
  const texture = series.dashed ? { opacity: 0.45, borderType: "dashed", borderColor: hue(index), borderWidth: 1 } : {};
  return {
    id: String(index),
    type: "bar",
    name: series.name,
    stack: "all",
    animation: false,
    color: hue(index),
    barMaxWidth: 40,
    barCategoryGap: "30%",
    itemStyle: texture,
    data: series.values,
  };
}

function overTime(figure: Figure): object {
  const axis = across(figure);
  const bars = figure.kind === "bars";
  return {
    grid: grid(figure),
    legend: bars ? { ...legend(figure), itemHeight: 10, itemWidth: 10 } : legend(figure),
    tooltip: {
      ...tooltipLook(),
      trigger: "axis",
      axisPointer: bars ? { type: "shadow" } : crosshair(),
      formatter: (given: unknown) => pointTip(figure, axis, given),
    },
    xAxis: horizontal(figure, axis),
    yAxis: vertical(figure),
    series: figure.series.flatMap((one, index) =>
      bars ? [bar(one, index)] : [...bandOf(one, axis, index), curve(figure, one, axis, index)],
    ),
  };
}

function scatter(figure: Figure): object {
  const unit = figure.x_unit ?? "count";
  const every = figure.series.flatMap((one) => one.points);
  const marked = every.filter((point) => point.marked).length;
  const places = every.map((each) => each.x);
  const point = (series: number, index: number): Series["points"][number] | undefined =>
    figure.series[series]?.points[index];
  return {
    grid: grid(figure),
    legend: { ...legend(figure), itemHeight: 10, itemWidth: 10, icon: "circle" },
    tooltip: {
      ...tooltipLook(),
      trigger: "item",
      formatter: (given: unknown) => {
        const one = given as Hovered;
        const found = point(one.seriesIndex, one.dataIndex);
        return tip(found?.label ?? "", [
          { colour: one.color, name: figure.y_label || one.seriesName, value: found ? write(found.y, figure.unit) : "" },
          { colour: "transparent", name: figure.x_label || "x", value: found ? write(found.x, unit) : "" },
        ]);
      },
    },
    xAxis: {
      ...horizontal(figure, { type: "value", places: [], label: (value) => tick(Number(value), unit), full: String }),
      min: undefined,
      max: undefined,
      scale: true,
      boundaryGap: ["6%", "6%"],
      ...steps(Math.min(...places), Math.max(...places), unit),
      splitLine: { lineStyle: { color: colour("--my-rule") } },
    },
    yAxis: { ...vertical(figure), boundaryGap: ["6%", "6%"] },
    series: figure.series.map((one, index) => ({
      id: String(index),
      type: "scatter",
      name: one.name,
      animation: false,
      color: hue(index),
      labelLayout: { hideOverlap: true },
      data: one.points.map((each) => ({
        value: [each.x, each.y],
        symbol: each.marked ? "diamond" : "circle",
        symbolSize: each.marked ? 16 : 9,
        itemStyle: each.marked
          ? { borderColor: colour("--my-text"), borderWidth: 2 }
          : { opacity: marked ? 0.55 : 0.9 },
        label: {
          show: each.marked && marked <= MOST_NAMED_POINTS,
          formatter: () => each.label,
          position: "top",
          color: colour("--my-text"),
        },
      })),
    })),
  };
}

function matrix(figure: Figure): object {
  const cells = figure.series.flatMap((row, y) => {
    const sum = row.values.reduce<number>((all, value) => all + (value ?? 0), 0);
    return row.values.map((value, x) => {
      const share = sum ? (value ?? 0) / sum : 0;
      return { value: [x, y, value, share], label: { color: share > 0.5 ? colour("--my-surface") : colour("--my-text") } };
    });
  });
  const side = { type: "category", axisTick: { show: false }, axisLine: { show: false }, splitArea: { show: false } };
  const label = { color: colour("--my-quiet"), hideOverlap: true };
  return {
    grid: { ...(grid(figure) as Record<string, unknown>), top: figure.y_label ? 28 : 8, left: 8 },
    legend: { show: false },
    tooltip: {
      ...tooltipLook(),
      trigger: "item",
      formatter: (given: unknown) => {
        const [x, y, value, share] = (given as { value: [number, number, number | null, number] }).value;
        const head = `${figure.series[y]?.name ?? ""} → ${figure.x[x] ?? ""}`;
        return tip(head, [
          { colour: colour("--my-series-1"), name: figure.y_label || "", value: value === null ? "–" : write(value, figure.unit) },
          { colour: "transparent", name: figure.series[y]?.name ?? "", value: write(share, "share") },
        ]);
      },
    },
    visualMap: { show: false, min: 0, max: 1, dimension: 3, inRange: { color: [colour("--my-surface"), colour("--my-series-1")] } },
    xAxis: { ...side, data: figure.x, axisLabel: label, ...axisName(figure.x_label, false) },
    yAxis: { ...side, data: figure.series.map((row) => row.name), inverse: true, axisLabel: label, ...axisName(figure.y_label, true), nameLocation: "start" },
    series: [
      {
        id: "cells",
        type: "heatmap",
        animation: false,
        data: cells,
        itemStyle: { borderColor: colour("--my-rule"), borderWidth: 1 },
        emphasis: { itemStyle: { borderColor: colour("--my-text"), borderWidth: 2 } },
        label: {
          show: figure.x.length <= MOST_CELLS_WITH_TEXT,
          formatter: (given: { value: [number, number, number | null] }) =>
            given.value[2] === null ? "" : tick(given.value[2], figure.unit),
        },
      },
    ],
  };
}

interface Node {
  name: string;
  value?: number;
  itemStyle?: object;
  children?: Node[];
}

/** One series: its `x` as leaves; several: a box per series around its leaves. */
function tree(figure: Figure): Node[] {
  const leaves = (series: Series, first: number | null): Node[] =>
    figure.x.flatMap((name, index) => {
      const value = series.values[index] ?? 0;
      return value > 0 ? [{ name, value, itemStyle: { color: hue(first ?? index) } }] : [];
    });
  const [only] = figure.series;
  if (figure.series.length === 1 && only) return leaves(only, null);
  return figure.series
    .map((one, index) => ({ name: one.name, children: leaves(one, index), itemStyle: { color: hue(index), borderColor: hue(index) } }))
    .filter((one) => one.children.length > 0);
}

function treemap(figure: Figure): object {
  const grouped = figure.series.length > 1;
  const on = colour("--my-surface");
  return {
    legend: { show: false },
    tooltip: {
      ...tooltipLook(),
      trigger: "item",
      formatter: (given: unknown) => {
        const one = given as { name: string; color: string; value: number; treePathInfo: { name: string }[] };
        const head = one.treePathInfo.map((part) => part.name).filter(Boolean).join(" / ") || one.name;
        return tip(head, [{ colour: one.color, name: "", value: write(one.value, figure.unit) }]);
      },
    },
    series: [
      {
        id: "tree",
        type: "treemap",
        animation: false,
        roam: false,
        nodeClick: false,
        breadcrumb: { show: false },
        left: 0,
        right: 0,
        top: 0,
        bottom: 0,
        label: {
          color: on,
          lineHeight: 18,
          overflow: "truncate",
          formatter: (one: { name: string; value: number }) => `${one.name}\n${write(one.value, figure.unit)}`,
        },
        upperLabel: { show: grouped, height: 24, padding: [0, 6], color: on, fontWeight: 600, formatter: (one: { name: string }) => one.name },
        itemStyle: { borderColor: on, borderWidth: 1, gapWidth: 2 },
        levels: grouped ? [{ upperLabel: { show: false }, itemStyle: { gapWidth: 4, borderWidth: 0 } }] : [],
        data: tree(figure),
      },
    ],
  };
}

/** What ECharts draws for a figure, in the page's present colours. */
export function option(figure: Figure): object {
  const drawn =
    figure.kind === "scatter"
      ? scatter(figure)
      : figure.kind === "matrix"
        ? matrix(figure)
        : figure.kind === "treemap"
          ? treemap(figure)
          : figure.kind === "strips"
            ? strips(figure)
            : overTime(figure);
  return { animation: false, textStyle: font(), ...drawn };
}
