// The `morph` extension of htmx: swaps change only what differs, so focus, scroll and selection stay.
import type htmx from "htmx.org";
import { Idiomorph } from "idiomorph";

// An open menu or dialog stays open: that state lives in the browser, not in the fragment.
function keepsOpen(name: string, node: Element): boolean {
  return name === "open" && (node instanceof HTMLDetailsElement || node instanceof HTMLDialogElement);
}

// A time that has not changed keeps the words the browser gave it (see times.ts).
function sameTime(before: Node, after: Node): boolean {
  return (
    before instanceof HTMLTimeElement && after instanceof HTMLTimeElement && before.dateTime === after.dateTime
  );
}

// A figure that still shows the same address keeps what figures.ts drew into it.
function sameFigure(before: Node, after: Node): boolean {
  if (!(before instanceof HTMLElement && after instanceof HTMLElement)) return false;
  const address = before.dataset["figure"];
  return address !== undefined && address === after.dataset["figure"];
}

// What a person has ticked stays ticked.
function keepsTick(name: string, node: Element): boolean {
  return name === "checked" && node.hasAttribute("data-keeps");
}

export function installMorph(api: typeof htmx): void {
  api.defineExtension("morph", {
    isInlineSwap: (style: string) => style === "morph",
    handleSwap: (style: string, target: Node, fragment: Node) => {
      if (style !== "morph") return false;
      const source = fragment instanceof DocumentFragment ? fragment.children : [fragment];
      return Idiomorph.morph(target as Element, source as HTMLCollection, {
        morphStyle: "outerHTML",
        ignoreActiveValue: true,
        callbacks: {
          beforeNodeMorphed: (before: Node, after: Node) => !sameTime(before, after) && !sameFigure(before, after),
          beforeAttributeUpdated: (name: string, node: Element) => !keepsOpen(name, node) && !keepsTick(name, node),
        },
      }) as Node[];
    },
  });
}
