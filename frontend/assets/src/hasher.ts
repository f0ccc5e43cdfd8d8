// A worker: the SHA-256 of a whole file, read piece by piece, so that the page stays responsive and memory flat.
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";

export type HasherSays = { read: number } | { sha256: string } | { failed: string };

interface Worker {
  onmessage: ((event: MessageEvent<File>) => void) | null;
  postMessage(message: HasherSays): void;
}

const PIECE_BYTES = 4 * 1024 * 1024;
const here = self as unknown as Worker; // the project's types are those of a page, not of a worker

here.onmessage = (event) => {
  void hash(event.data).catch((error: unknown) => here.postMessage({ failed: String(error) }));
};

async function hash(file: File): Promise<void> {
  const digest = sha256.create();
  for (let at = 0; at < file.size; at += PIECE_BYTES) {
    digest.update(new Uint8Array(await file.slice(at, at + PIECE_BYTES).arrayBuffer()));
    here.postMessage({ read: Math.min(at + PIECE_BYTES, file.size) });
  }
  here.postMessage({ sha256: bytesToHex(digest.digest()) });
}
