/**
 * Reads a .safetensors file whole, for the golden checks; F32, F64 and I32 only.
 * @module
 */

/** One tensor, widened to f64. */
export interface GoldenTensor {
  shape: number[];
  data: Float64Array;
}

/** All tensors of the file by name. Throws with the path on a dtype that goldens do not use or a short file. */
export function readSafetensors(path: string): Record<string, GoldenTensor> {
  const bytes = Deno.readFileSync(path);
  const headerLength = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerLength)));
  const out: Record<string, GoldenTensor> = {};
  for (const [name, entry] of Object.entries<any>(header)) {
    if (name === "__metadata__") continue;
    const [from, to] = entry.data_offsets as [number, number];
    const body = bytes.slice(8 + headerLength + from, 8 + headerLength + to);
    if (body.length !== to - from) throw new Error(`${path}: ${name} is cut short`);
    const view = entry.dtype === "F32"
      ? new Float32Array(body.buffer)
      : entry.dtype === "F64"
      ? new Float64Array(body.buffer)
      : entry.dtype === "I32"
      ? new Int32Array(body.buffer)
      : undefined;
    if (!view) throw new Error(`${path}: ${name} has dtype ${entry.dtype}`);
    out[name] = { shape: entry.shape, data: Float64Array.from(view) };
  }
  return out;
}

/** Row i of a tensor of rank >= 2, its trailing axes flattened. */
export function rowOf(t: GoldenTensor, i: number): Float64Array {
  const size = t.shape.slice(1).reduce((a, b) => a * b, 1);
  return t.data.subarray(i * size, (i + 1) * size);
}
