/**
 * Token embedding in plain f64 loops: the specification of shaders/embedding.wgsl.
 * @module
 */

/** A window of the table: `rows` rows of `width` values from row `firstRow` on. */
export interface Window {
  readonly width: number;
  readonly firstRow: number;
  readonly rows: number;
}

/** y [T, width] with the rows of the tokens inside the window replaced by theirs of weight [rows, width]. */
export function embeddingForward(
  ids: ArrayLike<number>,
  weight: ArrayLike<number>,
  y: ArrayLike<number>,
  { width, firstRow, rows }: Window,
): Float64Array {
  const out = Float64Array.from(y);
  for (let t = 0; t < ids.length; t++) {
    const row = ids[t] - firstRow;
    if (row < 0 || row >= rows) continue;
    for (let j = 0; j < width; j++) out[t * width + j] = weight[row * width + j];
  }
  return out;
}

/** dweight [rows, width] with the rows of dy [T, width] of the tokens inside the window added. */
export function embeddingBackward(
  ids: ArrayLike<number>,
  dy: ArrayLike<number>,
  dweight: ArrayLike<number>,
  { width, firstRow, rows }: Window,
): Float64Array {
  const out = Float64Array.from(dweight);
  for (let t = 0; t < ids.length; t++) {
    const row = ids[t] - firstRow;
    if (row < 0 || row >= rows) continue;
    for (let j = 0; j < width; j++) out[row * width + j] += dy[t * width + j];
  }
  return out;
}
