// An endpoint's pages: sliders that sum to 100, and a canvas whose drawing becomes the playground's request.
import { installDrawing } from "./drawingboard";
import { installSliders } from "./sliders";

for (const form of document.querySelectorAll<HTMLFormElement>("[data-sliders]")) installSliders(form);
for (const board of document.querySelectorAll<HTMLElement>("[data-drawing]")) installDrawing(board);
