// One file on its way into a dataset: read, opened or found again, sent in parts side by side, completed. It can be
// paused, goes on by itself after a lost connection, and after a reload once the same file is chosen again.
import type { HasherSays } from "./hasher";
import * as api from "./uploadapi";
import { Refused } from "./uploadapi";

export type State =
  | "waiting" | "reading" | "sending" | "paused" | "offline" | "checking" // on its way
  | "done" | "refused" | "failed" | "cancelled"; // over
export const OVER: readonly State[] = ["done", "refused", "failed", "cancelled"];

const PARTS_AT_ONCE = 3;
const TRIES_PER_PART = 3;
const LONGEST_PAUSE_SECONDS = 30;

class ChangedFile extends Error {}

export interface Look {
  state: State;
  /** Share of the bytes that were read, or that have arrived. */
  share: number;
  bytes: number;
  bytesPerSecond: number;
  files: number;
  reason: string;
  resumed: boolean;
}

export class Transfer {
  readonly look: Look = { state: "waiting", share: 0, bytes: 0, bytesPerSecond: 0, files: 0, reason: "", resumed: false };
  upload = "";
  private digest = "";
  private stop = new AbortController();
  private began = 0;
  private beganAt = 0;

  constructor(
    readonly dataset: string,
    readonly file: File,
    readonly label: string | null,
    private readonly hasher: string,
    private readonly shown: (transfer: Transfer) => void,
  ) {}

  /** All the way, or until it is paused; call it again to go on. Never rejects. */
  async run(): Promise<void> {
    this.stop = new AbortController();
    try {
      if (!this.digest) this.digest = await this.read();
      const opened = await this.patiently(() => this.opened());
      this.upload = opened.id;
      const finished = opened.status === "completed" ? opened : await this.send(opened);
      this.show("done", { files: finished.file_count, share: 1, bytes: this.file.size });
    } catch (error) {
      this.end(error);
    }
  }

  pause(): void {
    this.show("paused");
    this.stop.abort();
  }

  async cancel(): Promise<void> {
    this.show("cancelled");
    this.stop.abort();
    if (this.upload) await api.abort(this.upload).catch(() => undefined); // what stays open expires by itself
  }

  private show(state: State, changes: Partial<Look> = {}): void {
    Object.assign(this.look, { state }, changes);
    this.shown(this);
  }

  private end(error: unknown): void {
    if (this.stop.signal.aborted && (this.look.state === "paused" || this.look.state === "cancelled")) return;
    if (error instanceof Refused && error.code === "invalid_files") this.show("refused", { reason: error.message });
    else if (error instanceof Refused && error.status === 401) this.show("failed", { reason: "login" });
    else if (error instanceof ChangedFile || (error instanceof Refused && error.code === "checksum_mismatch"))
      this.show("failed", { reason: "changed" });
    else this.show("failed", { reason: error instanceof Error ? error.message : String(error) });
  }

  /** The file's SHA-256, from a worker. */
  private read(): Promise<string> {
    this.show("reading", { share: 0 });
    const worker = new Worker(this.hasher);
    const { signal } = this.stop;
    return new Promise<string>((done, fail) => {
      signal.addEventListener("abort", () => fail(new DOMException("stopped", "AbortError")), { once: true });
      worker.onerror = () => fail(new ChangedFile());
      worker.onmessage = (event: MessageEvent<HasherSays>) => {
        const said = event.data;
        if ("read" in said) this.show("reading", { share: said.read / this.file.size });
        else if ("sha256" in said) done(said.sha256);
        else fail(new ChangedFile(said.failed));
      };
      worker.postMessage(this.file);
    }).finally(() => worker.terminate());
  }

  private async opened(): Promise<api.Opened> {
    const { signal } = this.stop;
    if (this.upload) return api.read(this.upload, signal);
    const known = await api.findOpen(this.dataset, this.digest, this.label, signal);
    this.look.resumed = known !== null;
    return known ?? api.open(this.dataset, this.file, this.digest, this.label, signal);
  }

  private async send(opened: api.Opened): Promise<api.Opened> {
    let missing = numbers(opened.part_count, new Set((opened.parts ?? []).map((part) => part.number)));
    for (;;) {
      await this.sendParts(opened, missing);
      this.show("checking", { share: 1, bytes: this.file.size });
      try {
        return await this.patiently(() => api.complete(opened.id, this.stop.signal), "checking");
      } catch (error) {
        if (!(error instanceof Refused && error.code === "upload_incomplete")) throw error;
        missing = error.missing;
      }
    }
  }

  private async sendParts(opened: api.Opened, missing: number[]): Promise<void> {
    const sizes = (number: number): number =>
      Math.min(opened.part_size_bytes, this.file.size - (number - 1) * opened.part_size_bytes);
    let stored = this.file.size - missing.reduce((sum, number) => sum + sizes(number), 0);
    const leaving = new Map<number, number>();
    this.began = stored;
    this.beganAt = performance.now();
    const progress = (): void => {
      const bytes = stored + [...leaving.values()].reduce((sum, one) => sum + one, 0);
      const seconds = (performance.now() - this.beganAt) / 1000;
      const rate = seconds > 0.5 ? (bytes - this.began) / seconds : 0;
      this.show("sending", { bytes, share: bytes / this.file.size, bytesPerSecond: rate });
    };
    const sendNext = async (): Promise<void> => {
      for (let number = missing.shift(); number !== undefined; number = missing.shift()) {
        const here = number;
        await this.sendPart(opened, here, (bytes) => {
          leaving.set(here, Math.min(bytes, sizes(here)));
          progress();
        });
        leaving.delete(here);
        stored += sizes(here);
        progress();
      }
    };
    progress();
    await Promise.all(Array.from({ length: Math.min(PARTS_AT_ONCE, missing.length) }, sendNext));
  }

  private async sendPart(opened: api.Opened, number: number, sent: (bytes: number) => void): Promise<void> {
    const start = (number - 1) * opened.part_size_bytes;
    const part = this.file.slice(start, start + opened.part_size_bytes);
    for (let tries = 1; ; tries += 1) {
      try {
        await this.patiently(() => api.putPart(opened.id, number, part, sent, this.stop.signal));
        return;
      } catch (error) {
        if (error instanceof DOMException && error.name === "NotReadableError") throw new ChangedFile();
        const damaged = error instanceof Refused && ["checksum_mismatch", "truncated_body"].includes(error.code);
        if (!damaged || tries === TRIES_PER_PART) throw error;
      }
    }
  }

  /** Tries again, ever more rarely, while there is no connection or the server is busy or down. */
  private async patiently<T>(act: () => Promise<T>, back: State = this.look.state): Promise<T> {
    for (let pause = 1; ; pause = Math.min(pause * 2, LONGEST_PAUSE_SECONDS)) {
      try {
        const done = await act();
        if (this.look.state === "offline") this.show(back);
        return done;
      } catch (error) {
        if (!(error instanceof Refused && error.passes)) throw error;
        this.show("offline", { reason: error.message });
        await this.wait(Math.max(pause, error.retryAfterSeconds));
      }
    }
  }

  /** That many seconds, or until the browser says that it is online again. */
  private wait(seconds: number): Promise<void> {
    const { signal } = this.stop;
    return new Promise((done, fail) => {
      const over = (): void => {
        window.clearTimeout(timer);
        window.removeEventListener("online", over);
        if (signal.aborted) fail(new DOMException("stopped", "AbortError"));
        else done();
      };
      const timer = window.setTimeout(over, seconds * 1000);
      window.addEventListener("online", over);
      signal.addEventListener("abort", over, { once: true });
    });
  }
}

function numbers(count: number, stored: Set<number>): number[] {
  return Array.from({ length: count }, (_, index) => index + 1).filter((number) => !stored.has(number));
}
