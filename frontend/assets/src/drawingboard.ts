// A board to draw on, by mouse, touch, pen or keyboard, or to load a picture onto. What the model would see of it,
// scaled to its size, is written as a request of the Open Inference Protocol into the form's text field.

const BLACK = "#000";
const WHITE = "#fff";
const STEP = 8;

/** Pixels [height, width, RGBA] as numbers [channels, height, width] from 0 to `top`. */
export function tensor(pixels: Uint8ClampedArray, channels: number, top: number): number[] {
  const count = pixels.length / 4;
  const found = new Array<number>(channels * count);
  const scale = (value: number): number => (top === 255 ? Math.round(value) : +((value / 255) * top).toFixed(4));
  for (let at = 0; at < count; at += 1) {
    const [red = 0, green = 0, blue = 0] = pixels.subarray(at * 4, at * 4 + 3);
    if (channels === 1) {
      found[at] = scale(0.299 * red + 0.587 * green + 0.114 * blue); // ITU-R 601, as Pillow's "L"
    } else {
      found[at] = scale(red);
      found[count + at] = scale(green);
      found[2 * count + at] = scale(blue);
    }
  }
  return found;
}

class Board {
  private readonly pen: CanvasRenderingContext2D;
  private readonly view: CanvasRenderingContext2D;
  private last: [number, number] | null = null;
  private cursor: [number, number];
  private penDown = false;
  private readonly thick: number;

  constructor(
    private readonly root: HTMLElement,
    private readonly canvas: HTMLCanvasElement,
    private readonly seen: HTMLCanvasElement,
    private readonly target: HTMLTextAreaElement,
  ) {
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    const view = seen.getContext("2d", { willReadFrequently: true });
    if (!pen || !view) throw new Error("this browser has no canvas");
    this.pen = pen;
    this.view = view;
    this.thick = canvas.width / 13;
    this.cursor = [canvas.width / 2, canvas.height / 2];
    this.clear();
  }

  clear(): void {
    this.pen.fillStyle = BLACK;
    this.pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
    this.write();
  }

  place(event: PointerEvent): [number, number] {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  /** A line to a place, from the last one where there is one. */
  draw(to: [number, number]): void {
    const from = this.last ?? to;
    this.pen.strokeStyle = WHITE;
    this.pen.lineCap = "round";
    this.pen.lineJoin = "round";
    this.pen.lineWidth = this.thick;
    this.pen.beginPath();
    this.pen.moveTo(...from);
    this.pen.lineTo(...to);
    this.pen.stroke();
    this.last = to;
  }

  lift(): void {
    if (this.last) this.write();
    this.last = null;
  }

  /** Arrow keys move; space puts the pen down or lifts it. True = the key was ours. */
  press(key: string): boolean {
    const moves: Record<string, [number, number]> = {
      ArrowLeft: [-STEP, 0],
      ArrowRight: [STEP, 0],
      ArrowUp: [0, -STEP],
      ArrowDown: [0, STEP],
    };
    const move = moves[key];
    if (key === " " || (key === "Escape" && this.penDown)) {
      this.penDown = key === " " && !this.penDown;
      if (this.penDown) this.draw(this.cursor);
      else this.lift();
    } else if (move) {
      const [x, y] = this.cursor;
      const within = (value: number): number => Math.min(this.canvas.width, Math.max(0, value));
      this.cursor = [within(x + move[0]), within(y + move[1])];
      if (this.penDown) {
        this.draw(this.cursor);
        this.write();
      }
    } else {
      return false;
    }
    this.say();
    return true;
  }

  private say(): void {
    const state = this.root.querySelector<HTMLElement>("[data-canvas-state]");
    if (!state) return;
    const scale = this.seen.width / this.canvas.width;
    const place = (state.dataset["at"] ?? "")
      .replace("{x}", String(Math.round(this.cursor[0] * scale)))
      .replace("{y}", String(Math.round(this.cursor[1] * scale)));
    state.textContent = `${(this.penDown ? state.dataset["on"] : state.dataset["off"]) ?? ""}, ${place}`;
  }

  async load(file: File): Promise<void> {
    const bitmap = await createImageBitmap(file);
    this.pen.fillStyle = BLACK;
    this.pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
    this.pen.drawImage(bitmap, 0, 0, this.canvas.width, this.canvas.height);
    this.write(bitmap);
    bitmap.close();
  }

  invert(): void {
    const pixels = this.pen.getImageData(0, 0, this.canvas.width, this.canvas.height);
    for (let at = 0; at < pixels.data.length; at += 1) {
      if (at % 4 !== 3) pixels.data[at] = 255 - (pixels.data[at] ?? 0);
    }
    this.pen.putImageData(pixels, 0, 0);
    this.write();
  }

  /** What the model sees, small, and as the request. A picture is scaled once, from itself. */
  write(source: CanvasImageSource = this.canvas): void {
    const { name, datatype } = this.root.dataset;
    const channels = Number(this.root.dataset["channels"]);
    const { width, height } = this.seen;
    this.view.imageSmoothingEnabled = true;
    this.view.imageSmoothingQuality = "high";
    this.view.drawImage(source, 0, 0, width, height);
    const pixels = this.view.getImageData(0, 0, width, height).data;
    const data = tensor(pixels, channels, Number(this.root.dataset["top"]));
    this.target.value = JSON.stringify({ inputs: [{ name, shape: [1, channels, height, width], datatype, data }] });
  }
}

export function installDrawing(root: HTMLElement): void {
  const canvas = root.querySelector<HTMLCanvasElement>("[data-canvas]");
  const seen = root.querySelector<HTMLCanvasElement>("[data-seen]");
  const target = root.closest("form")?.querySelector<HTMLTextAreaElement>('textarea[name="body"]');
  if (!canvas || !seen || !target) return;
  const board = new Board(root, canvas, seen, target);
  const trouble = root.querySelector<HTMLElement>("[data-picture-error]");

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    board.draw(board.place(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) for (const one of event.getCoalescedEvents()) board.draw(board.place(one));
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => board.lift());
  canvas.addEventListener("keydown", (event) => {
    if (board.press(event.key)) event.preventDefault();
  });
  root.querySelector("[data-canvas-clear]")?.addEventListener("click", () => board.clear());
  root.querySelector("[data-invert]")?.addEventListener("change", () => board.invert());
  root.querySelector<HTMLInputElement>("[data-picture]")?.addEventListener("change", (event) => {
    const field = event.target as HTMLInputElement;
    const file = field.files?.[0];
    if (!file) return;
    if (trouble) trouble.hidden = true;
    board.load(file).catch(() => {
      if (!trouble) return;
      trouble.textContent = trouble.dataset["pictureError"] ?? "";
      trouble.hidden = false;
    });
    field.value = "";
  });
}
