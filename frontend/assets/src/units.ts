// Values as the pages write them (frontend/format.py): short, in the page's language.

export type Unit = "usd" | "seconds" | "ms" | "bytes" | "rate" | "share" | "count";

const KIBI = 1024;
const formats = new Map<string, Intl.NumberFormat>();

function plain(value: number, options: Intl.NumberFormatOptions): string {
  const language = document.documentElement.lang || "en";
  const key = language + JSON.stringify(options);
  let format = formats.get(key);
  if (!format) {
    format = new Intl.NumberFormat(language, options);
    formats.set(key, format);
  }
  return format.format(value);
}

function money(value: number): string {
  const digits = value === 0 || Math.abs(value) >= 1 ? 2 : 4;
  return plain(value, { style: "currency", currency: "USD", minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

interface Times {
  ms: string;
  s: string;
  min: string;
  h: string;
  d: string;
}

const ENGLISH: Times = { ms: "ms", s: "s", min: "min", h: "h", d: "d" };
const CHINESE: Times = { ms: "毫秒", s: "秒", min: "分", h: "小时", d: "天" };

/** Units of time in the page's language, as frontend/format.py has them. */
function times(): Times {
  return document.documentElement.lang.startsWith("zh") ? CHINESE : ENGLISH;
}

function duration(seconds: number): string {
  const unit = times();
  if (seconds === 0) return `0 ${unit.s}`;
  if (Math.abs(seconds) < 1) return `${+(seconds * 1000).toPrecision(3)} ${unit.ms}`;
  if (seconds < 10) return `${seconds.toFixed(1)} ${unit.s}`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} ${unit.s}`;
  if (whole < 3600) return `${Math.floor(whole / 60)} ${unit.min} ${two(whole % 60)} ${unit.s}`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} ${unit.h} ${two(Math.floor((whole % 3600) / 60))} ${unit.min}`;
  return `${Math.floor(whole / 86_400)} ${unit.d} ${Math.floor((whole % 86_400) / 3600)} ${unit.h}`;
}

function bytes(value: number): string {
  if (Math.abs(value) < KIBI) return `${Math.round(value)} B`;
  let size = value;
  for (const unit of ["KiB", "MiB", "GiB", "TiB"]) {
    size /= KIBI;
    if (Math.abs(size) < KIBI) return `${size.toFixed(1)} ${unit}`;
  }
  return `${(size / KIBI).toFixed(1)} PiB`;
}

/** A value for a tooltip or a label. */
export function write(value: number, unit: Unit): string {
  switch (unit) {
    case "usd":
      return money(value);
    case "seconds":
      return duration(value);
    case "ms":
      return duration(value / 1000);
    case "bytes":
      return bytes(value);
    case "rate":
      return `${bytes(value)}/s`;
    case "share":
      return plain(value, { style: "percent", maximumFractionDigits: 2 });
    case "count":
      return plain(value, { maximumSignificantDigits: 6 });
  }
}

/** A value beside an axis: shorter. */
export function tick(value: number, unit: Unit): string {
  const big = Math.abs(value) >= 10_000;
  if (unit === "usd") {
    const digits = Number.isInteger(value) ? 0 : Math.max(2, Math.min(6, 1 - Math.floor(Math.log10(Math.abs(value)))));
    const notation = big ? "compact" : "standard";
    return plain(value, { style: "currency", currency: "USD", notation, minimumFractionDigits: Math.min(digits, 2), maximumFractionDigits: digits });
  }
  if (unit === "count") return plain(value, { notation: big ? "compact" : "standard", maximumSignificantDigits: 4 });
  return write(value, unit)
    .replace(/\.0(?= )/, "")
    .replace(/ (00|0) (min|s|h|分|秒|小时)$/, "");
}

const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400];

/** Round ends and step of an axis from `low` to `high`, where a decimal step reads badly: bytes and long durations. */
export function steps(low: number, high: number, unit: Unit): { min?: number; max?: number; interval?: number } {
  const wanted = (high - low) / 5;
  if (!(wanted > 0)) return {};
  let step = 0;
  if (unit === "bytes" || unit === "rate") step = 2 ** Math.ceil(Math.log2(wanted));
  if (unit === "seconds" && high >= 60) step = SECONDS.find((one) => one >= wanted) ?? Math.ceil(wanted / 86_400) * 86_400;
  if (!step) return {};
  return { min: Math.floor(low / step) * step, max: Math.ceil(high / step) * step, interval: step };
}
