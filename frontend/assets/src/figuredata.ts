// The document behind a chart (frontend/figures.py), and its export as comma-separated values.
import type { Unit } from "./units";

export interface Point {
  x: number;
  y: number;
  label: string;
  marked: boolean;
}

export interface Series {
  name: string;
  values: (number | null)[];
  points: Point[];
  dashed: boolean;
  band: ([number, number] | null)[];
  strip: string;
  unit: Unit | null;
  upper: number | null;
}

export interface Figure {
  kind: "lines" | "bars" | "area" | "scatter" | "matrix" | "treemap" | "strips";
  unit: Unit;
  x_unit: Unit | null;
  x_from: string;
  x_to: string;
  x: string[];
  x_label: string;
  y_label: string;
  series: Series[];
  note: string;
  final: boolean;
  every_seconds: number;
}

/** Whether there is nothing to draw. */
export function isEmpty(figure: Figure): boolean {
  if (figure.kind === "scatter") return figure.series.every((one) => one.points.length === 0);
  const none = (one: Series): boolean => one.values.every((value) => value === null);
  if (figure.kind === "treemap") return figure.series.every((one) => one.values.every((value) => !value || value <= 0));
  return figure.series.every((one) => none(one) && one.band.every((pair) => pair === null));
}

/** A cell. Text that a spreadsheet would take for a formula gets an apostrophe before it. */
function cell(value: string | number | boolean | null | undefined): string {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function table(rows: (string | number | boolean | null | undefined)[][]): string {
  return rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

function scatterRows(figure: Figure): (string | number | boolean)[][] {
  const head = ["series", "label", figure.x_label || "x", figure.y_label || figure.unit, "marked"];
  const body = figure.series.flatMap((one) =>
    one.points.map((point) => [one.name, point.label, point.x, point.y, point.marked]),
  );
  return [head, ...body];
}

function treeRows(figure: Figure): (string | number)[][] {
  const body = figure.series.flatMap((one) =>
    figure.x.flatMap((name, index) => {
      const value = one.values[index];
      return value === null || value === undefined ? [] : [[one.name, name, value]];
    }),
  );
  return [["group", "name", figure.unit], ...body];
}

/** A row per moment; what stands between two attempts (no value at all) is left out. */
function stripRows(figure: Figure): (string | number | null | undefined)[][] {
  const alone = (one: Series): boolean => figure.series.filter((other) => other.strip === one.strip).length === 1;
  const head = figure.series.map((one) => (alone(one) ? one.strip : `${one.strip}: ${one.name}`));
  const body = figure.x.map((at, index) => [at, ...figure.series.map((one) => one.values[index])]);
  const known = body.filter((row) => row.slice(1).some((value) => value !== null && value !== undefined));
  return [[figure.x_label || "x", ...head], ...known];
}

export function csv(figure: Figure): string {
  if (figure.kind === "scatter") return table(scatterRows(figure));
  if (figure.kind === "treemap") return table(treeRows(figure));
  if (figure.kind === "matrix") {
    return table([["", ...figure.x], ...figure.series.map((row) => [row.name, ...row.values])]);
  }
  if (figure.kind === "strips") return table(stripRows(figure));
  const head = figure.series.flatMap((one) =>
    one.band.length ? [one.name, `${one.name} (low)`, `${one.name} (high)`] : [one.name],
  );
  const body = figure.x.map((name, index) => [
    name,
    ...figure.series.flatMap((one) => {
      const pair = one.band[index];
      return one.band.length ? [one.values[index], pair?.[0], pair?.[1]] : [one.values[index]];
    }),
  ]);
  return table([[figure.x_label || "x", ...head], ...body]);
}
