// The horizontal axis of a figure: names, days, moments or numbers, by what `x` holds.
import { colour } from "./drawing";
import type { Figure } from "./figuredata";
import { steps, tick, write } from "./units";

const DAY = /^\d{4}-\d\d-\d\d$/;
const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d/;
const DAY_MS = 86_400_000;

export interface Across {
  type: "category" | "time" | "value";
  /** The place of each point on the axis. */
  places: (string | number)[];
  label: (place: string | number) => string;
  full: (place: string | number) => string;
}

function language(): string {
  return document.documentElement.lang || "en";
}

function days(figure: Figure): Across {
  const short = new Intl.DateTimeFormat(language(), { month: "short", day: "numeric", timeZone: "UTC" });
  const long = new Intl.DateTimeFormat(language(), { dateStyle: "medium", timeZone: "UTC" });
  return {
    type: "category",
    places: figure.x,
    label: (place) => short.format(new Date(String(place))),
    full: (place) => long.format(new Date(String(place))),
  };
}

function moments(figure: Figure): Across {
  const places = figure.x.map((one) => Date.parse(one));
  const span = (places.at(-1) ?? 0) - (places[0] ?? 0);
  const short = new Intl.DateTimeFormat(
    language(),
    span > 3 * DAY_MS
      ? { month: "short", day: "numeric" }
      : { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(span < 180_000 ? { second: "2-digit" } : {}) },
  );
  const long = new Intl.DateTimeFormat(language(), { dateStyle: "medium", timeStyle: "medium" });
  return {
    type: "time",
    places,
    label: (place) => short.format(new Date(place)),
    full: (place) => long.format(new Date(place)),
  };
}

export function across(figure: Figure): Across {
  const { x, x_unit: unit } = figure;
  const stacked = figure.kind !== "lines";
  if (x.length && x.every((one) => DAY.test(one))) return days(figure);
  if (x.length && x.every((one) => MOMENT.test(one))) {
    const found = moments(figure);
    return figure.kind === "bars" ? { ...found, type: "category" } : found;
  }
  if (unit && !stacked && x.length && x.every((one) => one.trim() !== "" && Number.isFinite(Number(one)))) {
    return {
      type: "value",
      places: x.map(Number),
      label: (place) => tick(Number(place), unit),
      full: (place) => write(Number(place), unit),
    };
  }
  return { type: "category", places: x, label: String, full: String };
}

/** A name beside an axis: the vertical one's at its top, the horizontal one's under its middle. */
export function axisName(name: string, vertical: boolean): object {
  if (!name) return {};
  const nameTextStyle = { color: colour("--my-quiet"), ...(vertical ? { align: "left" } : {}) };
  return { name, nameTextStyle, nameLocation: vertical ? "end" : "middle", nameGap: vertical ? 12 : 28 };
}

export function horizontal(figure: Figure, axis: Across): object {
  const category = axis.type === "category";
  return {
    type: axis.type,
    ...(category ? { data: axis.places, boundaryGap: figure.kind === "bars" } : { min: "dataMin", max: "dataMax" }),
    axisLabel: { color: colour("--my-quiet"), hideOverlap: true, formatter: axis.label },
    axisLine: { lineStyle: { color: colour("--my-rule") } },
    axisTick: { show: false },
    splitLine: { show: false },
    axisPointer: { snap: true },
    ...axisName(figure.x_label, false),
  };
}

/** The least and the largest value that the vertical axis shows; layers and bars stand on each other, from 0. */
function extent(figure: Figure): [number, number] {
  if (figure.kind === "bars" || figure.kind === "area") {
    const sums = figure.x.map((_, index) => figure.series.reduce((sum, one) => sum + (one.values[index] ?? 0), 0));
    return [0, Math.max(0, ...sums)];
  }
  const every = figure.series.flatMap((one) => [...one.values, ...one.points.map((point) => point.y), ...one.band.flat()]);
  const known = every.filter((value) => value !== null);
  return [Math.min(...known), Math.max(...known)];
}

export function vertical(figure: Figure): object {
  return {
    type: "value",
    scale: figure.kind === "lines" || figure.kind === "scatter",
    ...(figure.unit === "count" ? { minInterval: figure.kind === "bars" ? 1 : 0 } : {}),
    ...steps(...extent(figure), figure.unit),
    axisLabel: { color: colour("--my-quiet"), formatter: (value: number) => tick(value, figure.unit) },
    splitLine: { lineStyle: { color: colour("--my-rule") } },
    ...axisName(figure.y_label, true),
  };
}
