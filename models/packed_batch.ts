/**
 * Sequences packed end to end, without padding: token ids, positions, a segment table, and the rows whose next token is
 * scored.
 * @module
 */
import type { ImagePatches } from "./image_processor.ts";

/** One sequence and which of its tokens are scored. */
export interface Sequence {
  /** Token ids, prompt and response. */
  readonly ids: ArrayLike<number>;
  /** First scored token, at least 1: a token is predicted by the one before it. Usually the prompt's length. */
  readonly scoreFrom: number;
  /** The pictures of its image tokens, in the order of the text. */
  readonly images?: readonly ImagePatches[];
}

/** Host arrays of one packed batch: T tokens, R scored rows. */
export interface PackedBatch {
  /** [T] */ readonly ids: Uint32Array<ArrayBuffer>;
  /** [T] */ readonly positions: Uint32Array<ArrayBuffer>;
  /** [T, 2] start and end of the token's segment. */ readonly segments: Uint32Array<ArrayBuffer>;
  /** [R] index of the token that predicts. */ readonly rows: Uint32Array<ArrayBuffer>;
  /** [R] id that is predicted. */ readonly targets: Uint32Array<ArrayBuffer>;
  /** [sequences, 2] first row and number of rows of every sequence. */ readonly spans: Uint32Array<
    ArrayBuffer
  >;
  /** The pictures of all sequences in order, where there are any. */
  readonly images?: readonly ImagePatches[];
}

/** Packs sequences in order. Rows of one sequence are contiguous, in token order. */
export function packSequences(sequences: readonly Sequence[]): PackedBatch {
  let tokens = 0;
  let rows = 0;
  for (const s of sequences) {
    if (s.scoreFrom < 1) {
      throw new RangeError(`scoreFrom = ${s.scoreFrom}: the first token has nothing before it`);
    }
    tokens += s.ids.length;
    rows += Math.max(0, s.ids.length - s.scoreFrom);
  }
  const images = sequences.flatMap((s) => s.images ?? []);
  const batch: PackedBatch = {
    ids: new Uint32Array(tokens),
    positions: new Uint32Array(tokens),
    segments: new Uint32Array(tokens * 2),
    rows: new Uint32Array(rows),
    targets: new Uint32Array(rows),
    spans: new Uint32Array(sequences.length * 2),
    ...(images.length > 0 ? { images } : {}),
  };
  let token = 0;
  let row = 0;
  sequences.forEach((s, i) => {
    const n = s.ids.length;
    batch.spans[2 * i] = row;
    batch.spans[2 * i + 1] = Math.max(0, n - s.scoreFrom);
    for (let t = 0; t < n; t++) {
      batch.ids[token + t] = s.ids[t];
      batch.positions[token + t] = t;
      batch.segments[2 * (token + t)] = token;
      batch.segments[2 * (token + t) + 1] = token + n;
      if (t >= s.scoreFrom) {
        batch.rows[row] = token + t - 1;
        batch.targets[row++] = s.ids[t];
      }
    }
    token += n;
  });
  return batch;
}

/**
 * Cuts sequences into consecutive groups of at most `tokens` tokens and `patches` patches of pictures.
 * @throws RangeError when one sequence alone is longer
 */
export function groupByTokens<S extends Pick<Sequence, "ids" | "images">>(
  sequences: readonly S[],
  tokens: number,
  patches = Infinity,
): S[][] {
  const groups: S[][] = [];
  let heldTokens = Infinity;
  let heldPatches = 0;
  for (const s of sequences) {
    const own = patchCount(s.images);
    if (s.ids.length > tokens) {
      throw new RangeError(`a sequence of ${s.ids.length} tokens exceeds the micro-batch of ${tokens}`);
    }
    if (own > patches) {
      throw new RangeError(`pictures of ${own} patches exceed the micro-batch of ${patches}`);
    }
    if (heldTokens + s.ids.length > tokens || heldPatches + own > patches) {
      groups.push([]);
      heldTokens = heldPatches = 0;
    }
    groups[groups.length - 1].push(s);
    heldTokens += s.ids.length;
    heldPatches += own;
  }
  return groups;
}

/** Rows of the widest tile of the products: a pass computes whole tiles. */
const ROW_TILE = 64;

/** Rows that a pass over so many tokens computes: nothing else is padded. */
export function computedRows(tokens: number): number {
  return Math.ceil(tokens / ROW_TILE) * ROW_TILE;
}

/** Patches of some pictures, of which their grids are enough. */
export function patchCount(images: readonly Pick<ImagePatches, "grid">[] | undefined): number {
  return (images ?? []).reduce((n, { grid }) => n + grid.t * grid.h * grid.w, 0);
}
