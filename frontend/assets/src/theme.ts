// Runs before the first paint: the stored choice, else the system's, becomes the page's theme.
export {};

const stored = localStorage.getItem("modelyard-theme");
const system = window.matchMedia("(prefers-color-scheme: dark)");
const apply = (dark: boolean): void => {
  document.documentElement.setAttribute("data-bs-theme", dark ? "dark" : "light");
};

apply(stored ? stored === "dark" : system.matches);
system.addEventListener("change", (event) => {
  if (!localStorage.getItem("modelyard-theme")) {
    apply(event.matches);
    window.dispatchEvent(new Event("modelyard:theme"));
  }
});
