// The shell's behaviour: htmx with morphing swaps, theme switch, drawer, menus, dialogs, toasts, relative
// times and the log viewer. Everything is bound by delegation, so swapped fragments need no wiring.
import htmx from "htmx.org";
import { installChosen, nameChosen } from "./chosen";
import { installMorph } from "./morph";
import { installLogs } from "./logs";
import { focusSearch, installSearch } from "./search";
import { installTimes } from "./times";

declare global {
  interface Window {
    htmx: typeof htmx;
  }
}
window.htmx = htmx;
installMorph(htmx);

function closest(event: Event, selector: string): HTMLElement | null {
  return event.target instanceof Element ? event.target.closest<HTMLElement>(selector) : null;
}

function dialogOf(trigger: HTMLElement): HTMLDialogElement | null {
  const found = document.getElementById(trigger.dataset["opens"] ?? "");
  return found instanceof HTMLDialogElement ? found : null;
}

function switchTheme(): void {
  const root = document.documentElement;
  const next = root.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
  localStorage.setItem("modelyard-theme", next);
  root.setAttribute("data-bs-theme", next);
  window.dispatchEvent(new Event("modelyard:theme"));
}

async function copyText(button: HTMLElement): Promise<void> {
  const source = document.getElementById(button.dataset["copies"] ?? "");
  if (!source) return;
  const clipboard = navigator.clipboard as Clipboard | undefined;
  if (!clipboard) {
    window.getSelection()?.selectAllChildren(source); // no clipboard outside HTTPS and localhost: one key is left to press
    return;
  }
  await clipboard.writeText(source.textContent?.trim() ?? "");
  toast(button.dataset["copied"] ?? "", "success");
}

export function toast(message: string, kind: "success" | "danger"): void {
  const area = document.getElementById("toasts");
  const shape = document.querySelector<HTMLTemplateElement>("#toast-shape");
  if (!area || !shape || !message) return;
  const node = shape.content.firstElementChild?.cloneNode(true);
  if (!(node instanceof HTMLElement)) return;
  node.classList.add(`toast-${kind}`);
  const body = node.querySelector(".toast-body");
  if (body) body.textContent = message;
  area.append(node);
  window.setTimeout(() => node.remove(), 8000);
}

document.addEventListener("click", (event) => {
  const opener = closest(event, "[data-opens]");
  const opened = opener && dialogOf(opener);
  if (opened) {
    nameChosen(opened);
    opened.showModal();
  }
  const closer = closest(event, "[data-closes]");
  if (closer) closer.closest("dialog")?.close();
  if (event.target instanceof HTMLDialogElement && event.target.matches(".drawer")) event.target.close();
  if (closest(event, "[data-theme-switch]")) switchTheme();
  const copier = closest(event, "[data-copies]");
  if (copier) void copyText(copier);
  if (closest(event, "[data-dismisses]")) closest(event, ".toast, .outcomes")?.remove();
  for (const menu of document.querySelectorAll<HTMLDetailsElement>("details.menu[open]")) {
    if (!(event.target instanceof Node && menu.contains(event.target))) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll<HTMLDetailsElement>("details.menu[open]")) menu.open = false;
    return;
  }
  const typing =
    event.target instanceof HTMLElement &&
    (event.target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName));
  const slash = event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey;
  const palette = event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey);
  if (!slash && !palette) return;
  if (focusSearch()) event.preventDefault();
});

// A select or a field that filters submits its form by itself.
document.addEventListener("change", (event) => {
  const field = closest(event, "[data-submits]");
  if (field instanceof HTMLSelectElement) field.form?.requestSubmit();
});

// Errors of background requests become a toast; a lost session goes to the log-in page.
document.addEventListener("htmx:responseError", (event) => {
  const xhr = (event as CustomEvent<{ xhr: XMLHttpRequest }>).detail.xhr;
  if (xhr.status === 401) {
    window.location.assign(`/login?next=${encodeURIComponent(window.location.pathname + window.location.search)}`);
    return;
  }
  const message = xhr.getResponseHeader("X-Error-Message");
  toast(message ? decodeURIComponent(message) : (document.body.dataset["errorText"] ?? ""), "danger");
});

let offline = false;
document.addEventListener("htmx:sendError", () => {
  if (!offline) toast(document.body.dataset["offlineText"] ?? "", "danger");
  offline = true;
});
document.addEventListener("htmx:afterRequest", (event) => {
  const detail = (event as CustomEvent<{ successful: boolean; elt: Element; xhr?: XMLHttpRequest }>).detail;
  if (detail.successful) offline = false;
  const said = detail.xhr?.getResponseHeader("X-Toast");
  if (said) toast(decodeURIComponent(said), "success");
  detail.elt.closest("dialog")?.close();
});

// A form that cannot be undone is sent once the name of what goes is typed.
document.addEventListener("input", (event) => {
  const field = closest(event, "[data-must-equal]");
  if (!(field instanceof HTMLInputElement)) return;
  const same = field.value.trim() === field.dataset["mustEqual"];
  field.setCustomValidity(same ? "" : (field.dataset["mustSay"] ?? ""));
  const button = field.form?.querySelector<HTMLButtonElement>("[type=submit]");
  if (button) button.disabled = !same;
});

toast(document.getElementById("said")?.textContent ?? "", "success");
installChosen();
installTimes();
installSearch();
installLogs();
