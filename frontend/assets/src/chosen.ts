// Rows of a list that are chosen: all of a page at once, and what the question before an act on them says.
const BOX = "#choosing .pick input[type=checkbox]";

function boxes(): HTMLInputElement[] {
  return [...document.querySelectorAll<HTMLInputElement>(BOX)];
}

/** Write the names of the chosen rows into the dialog, and how many must be typed where it asks for it. */
export function nameChosen(dialog: HTMLDialogElement): void {
  if (!dialog.hasAttribute("data-about-chosen")) return;
  const chosen = boxes().filter((box) => box.checked);
  const names = chosen.map((box) => {
    const line = document.createElement("li");
    line.textContent = box.dataset["name"] ?? "";
    return line;
  });
  dialog.querySelector("[data-chosen-names]")?.replaceChildren(...names);
  const typed = dialog.querySelector<HTMLInputElement>("[data-must-equal]");
  if (!typed) return;
  typed.dataset["mustEqual"] = String(chosen.length);
  typed.value = "";
  typed.dispatchEvent(new Event("input", { bubbles: true }));
}

export function installChosen(): void {
  document.addEventListener("change", (event) => {
    if (!(event.target instanceof HTMLInputElement)) return;
    const all = document.querySelector<HTMLInputElement>("[data-chooses-all]");
    if (event.target === all) for (const box of boxes()) box.checked = all.checked;
    else if (all && event.target.matches(BOX)) all.checked = boxes().every((box) => box.checked);
  });
  document.addEventListener("rows-changed", () => {
    for (const box of document.querySelectorAll<HTMLInputElement>(`${BOX}, [data-chooses-all]`)) box.checked = false;
  });
}
