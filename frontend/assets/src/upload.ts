// The uploader of a dataset's page: files that are dropped or chosen become rows that show how far they are.
import { OVER, Transfer, type State } from "./transfer";

const MAX_BYTES = 16 * 1024 ** 3;
const AT_ONCE = 2;
const LOOKS: Partial<Record<State, string>> = {
  done: "is-good", refused: "is-bad", failed: "is-bad", offline: "is-warn", paused: "is-warn",
};

// An upload that waits for parts may be under way elsewhere: in another tab, from a script.
window.setInterval(() => {
  if (document.querySelector("#waiting:not([hidden])") && document.visibilityState === "visible") changed();
}, 5000);

function changed(): void {
  document.body.dispatchEvent(new Event("uploads-changed"));
}

const root = document.querySelector<HTMLElement>("[data-uploader]");
if (root) install(root);

function install(area: HTMLElement): void {
  const say = (name: string): string => area.getAttribute(`data-say-${name}`) ?? "";
  const endings = (area.dataset["endings"] ?? "").split(",").filter(Boolean);
  const labelled = (area.dataset["labelled"] ?? "").split(",").filter(Boolean);
  const input = part<HTMLInputElement>(area, "[data-upload-input]");
  const drop = part<HTMLElement>(area, "[data-drop]");
  const list = part<HTMLElement>(area, "[data-transfers]");
  const shape = part<HTMLTemplateElement>(area, "[data-transfer-shape]");
  const label = area.querySelector<HTMLInputElement>("[data-upload-label]");
  const problem = area.querySelector<HTMLElement>("[data-upload-problem]");
  const start = area.querySelector<HTMLButtonElement>("[data-upload-start]");
  const rows = new Map<Transfer, HTMLElement>();
  const running = new Set<Transfer>();
  const queue: Transfer[] = [];
  let unlabelled: File[] = [];

  function take(files: File[]): void {
    const single = (file: File): boolean => labelled.some((ending) => file.name.toLowerCase().endsWith(ending));
    const given = label?.value.trim() ?? "";
    for (const file of files) {
      if (single(file) && !given) unlabelled.push(file);
      else add(file, single(file) ? given : null);
    }
    askLabel();
    input.value = "";
  }

  function askLabel(): void {
    const needed = unlabelled.length > 0;
    if (problem) {
      problem.textContent = needed ? `${say("label")} (${unlabelled.map((file) => file.name).slice(0, 3).join(", ")}${unlabelled.length > 3 ? ", …" : ""})` : "";
      problem.hidden = !needed;
    }
    if (start) start.hidden = !needed;
    label?.toggleAttribute("aria-invalid", needed);
    if (needed) label?.focus();
  }

  function takeLabelled(): void {
    if (!label?.value.trim()) return askLabel();
    const files = unlabelled;
    unlabelled = [];
    take(files);
  }

  function add(file: File, labelOfFile: string | null): void {
    const row = part<HTMLElement>(shape.content.cloneNode(true) as DocumentFragment, ".transfer");
    const transfer = new Transfer(area.dataset["dataset"] ?? "", file, labelOfFile, area.dataset["hasher"] ?? "", draw);
    rows.set(transfer, row);
    part(row, "[data-name]").textContent = labelOfFile ? `${labelOfFile}/${file.name}` : file.name;
    part(row, "[data-size]").textContent = bytes(file.size);
    part(row, "progress").setAttribute("aria-label", file.name);
    part(row, "[data-pause]").addEventListener("click", () => transfer.pause());
    part(row, "[data-resume]").addEventListener("click", () => enqueue(transfer));
    part(row, "[data-cancel]").addEventListener("click", () => {
      queue.splice(0, queue.length, ...queue.filter((one) => one !== transfer));
      void transfer.cancel().then(changed);
    });
    list.append(row);
    const wrong = refusal(file);
    if (wrong) {
      Object.assign(transfer.look, { state: "failed", reason: wrong });
      draw(transfer);
    } else enqueue(transfer);
  }

  function refusal(file: File): string {
    if (!endings.some((ending) => file.name.toLowerCase().endsWith(ending)))
      return say("ending").replace("{endings}", endings.join(", "));
    if (file.size === 0) return say("empty");
    return file.size > MAX_BYTES ? say("large") : "";
  }

  function enqueue(transfer: Transfer): void {
    transfer.look.state = "waiting";
    queue.push(transfer);
    draw(transfer);
    next();
  }

  function next(): void {
    while (running.size < AT_ONCE) {
      const transfer = queue.shift();
      if (!transfer) return;
      running.add(transfer);
      void transfer.run().finally(() => {
        running.delete(transfer);
        if (OVER.includes(transfer.look.state) || transfer.look.state === "paused") changed();
        next();
      });
    }
  }

  function draw(transfer: Transfer): void {
    const row = rows.get(transfer);
    if (!row) return;
    const { look } = transfer;
    const over = OVER.includes(look.state);
    row.className = `transfer ${LOOKS[look.state] ?? ""}`;
    row.dataset["state"] = look.state;
    const bar = part<HTMLProgressElement>(row, "progress");
    bar.hidden = over && look.state !== "done";
    if (look.state === "checking") bar.removeAttribute("value");
    else bar.value = look.share;
    write(part(row, "[data-state]"), sentence(transfer));
    write(part(row, "[data-figures]"), figures(transfer));
    part(row, "[data-pause]").hidden = !["reading", "sending", "offline"].includes(look.state);
    part(row, "[data-resume]").hidden = look.state !== "paused";
    part(row, "[data-cancel]").hidden = over || look.state === "checking";
  }

  function sentence({ look }: Transfer): string {
    if (look.state === "sending" && look.resumed) return say("resumed");
    if (look.state === "done") return say(look.files === 1 ? "done-one" : "done").replace("{files}", look.files.toLocaleString());
    if (look.state !== "failed") return say(look.state);
    if (look.reason === "login" || look.reason === "changed") return say(look.reason);
    return rowsOwn(look.reason) ? look.reason : say("failed").replace("{reason}", look.reason);
  }

  /** Whether a reason is one of the page's own sentences already. */
  function rowsOwn(reason: string): boolean {
    return reason === say("empty") || reason === say("large") || reason === say("ending").replace("{endings}", endings.join(", "));
  }

  function figures({ look, file }: Transfer): string {
    if (look.state === "reading") return `${Math.round(look.share * 100)}%`;
    if (!["sending", "paused", "offline"].includes(look.state) || !look.bytes) return "";
    const rate = look.state === "sending" && look.bytesPerSecond > 0 ? ` · ${bytes(look.bytesPerSecond)}/s` : "";
    const left = rate ? ` · ${clock((file.size - look.bytes) / look.bytesPerSecond)}` : "";
    return `${Math.round(look.share * 100)}% · ${bytes(look.bytes)}${rate}${left}`;
  }

  /** What this page sends has a row above already: it does not wait for somebody to go on. */
  function hideOwn(): void {
    const own = new Set([...rows.keys()].filter(({ look }) => !OVER.includes(look.state)).map((one) => one.upload));
    const waiting = document.querySelector<HTMLElement>("#waiting");
    const found = [...(waiting?.querySelectorAll<HTMLElement>("[data-open-upload]") ?? [])];
    for (const row of found) row.hidden = own.has(row.dataset["openUpload"] ?? "");
    if (waiting) waiting.hidden = found.every((row) => row.hidden);
  }

  document.addEventListener("htmx:afterSettle", hideOwn);
  document.addEventListener("htmx:oobAfterSwap", hideOwn);
  input.addEventListener("change", () => take([...(input.files ?? [])]));
  start?.addEventListener("click", takeLabelled);
  label?.addEventListener("keydown", (event) => {
    if (event.key === "Enter") takeLabelled();
  });
  for (const name of ["dragenter", "dragover"])
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("is-over");
    });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("is-over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    const items = [...(event.dataTransfer?.items ?? [])];
    const folder = items.some((item) => item.webkitGetAsEntry()?.isDirectory);
    if (folder && problem) {
      problem.textContent = say("folder");
      problem.hidden = false;
      return;
    }
    take([...(event.dataTransfer?.files ?? [])]);
  });
  // What is dropped beside the area must not replace the page.
  for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
  if (input.files?.length) take([...input.files]); // chosen before this script was there
  window.addEventListener("beforeunload", (event) => {
    if ([...rows.keys()].some(({ look }) => !OVER.includes(look.state) && look.state !== "paused")) event.preventDefault();
  });
}

function part<T extends HTMLElement = HTMLElement>(node: ParentNode, selector: string): T {
  const found = node.querySelector<T>(selector);
  if (!found) throw new Error(`the page lacks ${selector}`);
  return found;
}

function write(node: HTMLElement, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

function bytes(size: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  let value = size;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit ? value.toFixed(1) : Math.round(value)} ${units[unit] ?? ""}`;
}

function clock(seconds: number): string {
  const whole = Math.ceil(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
}
