// Pure functions over training curves: smoothing, extremes, comma-separated export.

export type Point = [step: number, value: number, at: number];

export interface Series {
  name: string;
  label: string;
  role: "train" | "validation" | "other";
  points: Point[];
  run?: number; // where several jobs are compared: which of them
}

export interface Chart {
  key: string;
  title: string;
  percent: boolean;
  goal: "min" | "max" | null;
  series: Series[];
}

export interface Curves {
  version: string;
  final: boolean;
  charts: Chart[];
}

/** Exponential moving average, debiased as in TensorBoard. `weight` in [0, 1); 0 changes nothing. */
export function smooth(points: Point[], weight: number): Point[] {
  let last = 0;
  let count = 0;
  return points.map(([step, value, at]) => {
    if (!Number.isFinite(value)) return [step, value, at];
    last = last * weight + (1 - weight) * value;
    count += 1;
    return [step, last / (1 - weight ** count), at];
  });
}

/** The point a person wants to know of: the lowest loss, the highest accuracy; undefined without a goal. */
export function best(points: Point[], goal: "min" | "max" | null): Point | undefined {
  if (!goal) return undefined;
  const sign = goal === "min" ? 1 : -1;
  let found: Point | undefined;
  for (const point of points) {
    if (Number.isFinite(point[1]) && (!found || sign * point[1] < sign * found[1])) found = point;
  }
  return found;
}

export function number(value: number, percent: boolean): string {
  if (!Number.isFinite(value)) return String(value);
  if (percent) return `${(value * 100).toFixed(2)}%`;
  const size = Math.abs(value);
  return size !== 0 && (size < 0.001 || size >= 100_000) ? value.toExponential(3) : String(+value.toPrecision(4));
}

/** A number beside an axis: short. */
export function tick(value: number, percent: boolean): string {
  if (percent) return `${+(value * 100).toFixed(2)}%`;
  if (Math.abs(value) >= 10_000) return new Intl.NumberFormat("en", { notation: "compact" }).format(value);
  return String(+value.toPrecision(3));
}

export function csv(chart: Chart): string {
  const rows = ["series,step,value,time"];
  for (const series of chart.series) {
    for (const [step, value, at] of series.points) {
      rows.push(`${series.name},${step},${value},${new Date(at * 1000).toISOString()}`);
    }
  }
  return rows.join("\n") + "\n";
}
