// The API's resumable uploads, as a page with a session asks for them: every call says how it failed.
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";

export interface Opened {
  id: string;
  status: string;
  part_size_bytes: number;
  part_count: number;
  file_count: number;
  parts?: { number: number }[];
}

/** What stopped a call. `status` 0: no answer. `code` is the API's. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly retryAfterSeconds = 0,
    readonly missing: number[] = [],
  ) {
    super(message);
  }

  /** Whether the same call may succeed later: no connection, too many calls, a server that is down. */
  get passes(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

interface Problem {
  code?: string;
  detail?: string;
  title?: string;
  missing?: number[];
}

// The API refuses what changes something with a cookie alone unless a header says that a page of ours asks.
const HEADERS = { "X-Requested-With": "fetch", Accept: "application/json" };

function problem(status: number, text: string, retryAfter: string | null): Refused {
  let known: Problem = {};
  try {
    known = JSON.parse(text) as Problem;
  } catch {
    // not from the API: a proxy's page
  }
  const message = known.detail ?? known.title ?? `HTTP ${status}`;
  return new Refused(status, known.code ?? "", message, Number(retryAfter) || 0, known.missing ?? []);
}

async function call<T>(method: string, path: string, body: unknown, signal: AbortSignal): Promise<T> {
  let answer: Response;
  try {
    const sent = body === undefined ? {} : { body: JSON.stringify(body) };
    const headers = body === undefined ? HEADERS : { ...HEADERS, "Content-Type": "application/json" };
    answer = await fetch(path, { method, headers, signal, ...sent });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Refused(0, "", String(error));
  }
  const text = await answer.text();
  if (!answer.ok) throw problem(answer.status, text, answer.headers.get("Retry-After"));
  return JSON.parse(text) as T;
}

export function open(
  dataset: string,
  file: File,
  digest: string,
  label: string | null,
  signal: AbortSignal,
): Promise<Opened> {
  const body = { file_name: file.name, size_bytes: file.size, sha256: digest, ...(label ? { label } : {}) };
  return call("POST", `/api/v1/datasets/${dataset}/uploads`, body, signal);
}

/** The newest open upload of the same content, and which of its parts are stored. */
export async function findOpen(
  dataset: string,
  digest: string,
  label: string | null,
  signal: AbortSignal,
): Promise<Opened | null> {
  interface Known {
    uploads: { id: string; label: string | null }[];
  }
  const known = await call<Known>("GET", `/data/${dataset}/open-uploads?sha256=${digest}`, undefined, signal);
  const alike = known.uploads.find((one) => one.label === label);
  return alike ? read(alike.id, signal) : null;
}

export function read(upload: string, signal: AbortSignal): Promise<Opened> {
  return call("GET", `/api/v1/uploads/${upload}`, undefined, signal);
}

export function complete(upload: string, signal: AbortSignal): Promise<Opened> {
  return call("POST", `/api/v1/uploads/${upload}/complete`, undefined, signal);
}

export function abort(upload: string): Promise<Opened> {
  return call("DELETE", `/api/v1/uploads/${upload}`, undefined, new AbortController().signal);
}

async function digestOf(part: ArrayBuffer): Promise<string> {
  // Outside HTTPS and localhost a page has no crypto.subtle.
  const subtle = (globalThis.crypto as Crypto | undefined)?.subtle as SubtleCrypto | undefined;
  const bytes = subtle ? new Uint8Array(await subtle.digest("SHA-256", part)) : sha256(new Uint8Array(part));
  return bytesToHex(bytes);
}

/** Send one part; `sent` is told how many of its bytes have left. */
export async function putPart(
  upload: string,
  number: number,
  part: Blob,
  sent: (bytes: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const content = await part.arrayBuffer();
  const digest = await digestOf(content);
  signal.throwIfAborted();
  await new Promise<void>((done, fail) => {
    const request = new XMLHttpRequest(); // fetch does not tell how much of a body has left
    const stop = (): void => request.abort();
    const over = (error?: Error): void => {
      signal.removeEventListener("abort", stop);
      if (error) fail(error);
      else done();
    };
    request.open("PUT", `/api/v1/uploads/${upload}/parts/${number}`);
    for (const [name, value] of Object.entries(HEADERS)) request.setRequestHeader(name, value);
    request.setRequestHeader("X-Content-SHA256", digest);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => sent(event.loaded);
    request.onload = () => {
      if (request.status === 200) over();
      else over(problem(request.status, request.responseText, request.getResponseHeader("Retry-After")));
    };
    request.onerror = () => over(new Refused(0, "", "no answer"));
    request.ontimeout = request.onerror;
    request.onabort = () => over(new DOMException("stopped", "AbortError"));
    signal.addEventListener("abort", stop, { once: true });
    request.send(content);
  });
}
