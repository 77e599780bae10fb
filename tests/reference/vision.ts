/**
 * The vision tower and its merger in plain f64 loops, picture by picture and without any window order: the specification
 * of models/vision_tower.ts. After transformers' Qwen2.5-VL.
 * @module
 */
import { normal } from "./gelu.ts";
import { normalize, project, type Weights } from "./layer.ts";

/** Sizes of the tower, as `vision_config` names them. */
export interface VisionSizes {
  readonly depth: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_heads: number;
  readonly patch_size: number;
  readonly spatial_merge_size: number;
  readonly window_size: number;
  readonly fullatt_block_indexes: readonly number[];
}

/** A picture: its patches in merge groups (group row, group column, row, column), [h · w, values of a patch]. */
export interface Picture {
  readonly grid: { readonly h: number; readonly w: number };
  readonly pixelValues: ArrayLike<number>;
}

const EPS = 1e-6;
const THETA = 10000;

/** Row and column of patch `p`. */
function placeOf(p: number, { grid }: Picture, merge: number): [number, number] {
  const group = Math.floor(p / merge ** 2);
  const within = p % merge ** 2;
  const columns = grid.w / merge;
  return [
    Math.floor(group / columns) * merge + Math.floor(within / merge),
    group % columns * merge + within % merge,
  ];
}

/** In place on x [P, heads · D]: of the pairs (i, i + D/2), the first half turns by the patch's row, the second by its column. */
function rotate(x: Float64Array, s: VisionSizes, places: readonly [number, number][]): void {
  const width = s.hidden_size / s.num_heads;
  const half = width / 2;
  const quarter = half / 2;
  for (let at = 0; at < x.length; at += width) {
    const place = places[Math.floor(at / s.hidden_size)];
    for (let i = 0; i < half; i++) {
      const angle = place[i < quarter ? 0 : 1] * THETA ** (-(i % quarter) / quarter);
      const [a, b] = [x[at + i], x[at + i + half]];
      x[at + i] = a * Math.cos(angle) - b * Math.sin(angle);
      x[at + i + half] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  }
}

/** [P, Hv]; patch p sees the patches q with `sees(p, q)`. */
function attend(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  s: VisionSizes,
  sees: (p: number, q: number) => boolean,
): Float64Array {
  const patches = q.length / s.hidden_size;
  const width = s.hidden_size / s.num_heads;
  const out = new Float64Array(q.length);
  for (let p = 0; p < patches; p++) {
    const seen = Array.from({ length: patches }, (_, j) => j).filter((j) => sees(p, j));
    for (let h = 0; h < s.num_heads; h++) {
      const at = (j: number) => j * s.hidden_size + h * width;
      const scores = seen.map((j) => {
        let dot = 0;
        for (let d = 0; d < width; d++) dot += q[at(p) + d] * k[at(j) + d];
        return dot / Math.sqrt(width);
      });
      const top = Math.max(...scores);
      const weights = scores.map((x) => Math.exp(x - top));
      const total = weights.reduce((a, b) => a + b, 0);
      seen.forEach((j, i) => {
        for (let d = 0; d < width; d++) out[at(p) + d] += weights[i] / total * v[at(j) + d];
      });
    }
  }
  return out;
}

/** [P, Hv] through block `index`. */
function block(
  x: Float64Array,
  weights: Weights,
  index: number,
  s: VisionSizes,
  picture: Picture,
): Float64Array {
  const name = `visual.blocks.${index}`;
  const width = s.hidden_size;
  const places = Array.from(
    { length: x.length / width },
    (_, p) => placeOf(p, picture, s.spatial_merge_size),
  );
  const side = s.window_size / s.patch_size;
  const window = (p: number): string => places[p].map((n) => Math.floor(n / side)).join();
  const normed = normalize(x, weights.get(`${name}.norm1.weight`)!, EPS);
  const qkv = project(normed, width, weights, `${name}.attn.qkv`);
  const part = (n: number) =>
    Float64Array.from(x, (_, i) => qkv[Math.floor(i / width) * 3 * width + n * width + i % width]);
  const [q, k, v] = [part(0), part(1), part(2)];
  rotate(q, s, places);
  rotate(k, s, places);
  const full = s.fullatt_block_indexes.includes(index);
  const attended = attend(q, k, v, s, (p, j) => full || window(p) === window(j));
  const middle = project(attended, width, weights, `${name}.attn.proj`);
  for (let i = 0; i < x.length; i++) middle[i] += x[i];
  const normed2 = normalize(middle, weights.get(`${name}.norm2.weight`)!, EPS);
  const inner = project(normed2, width, weights, `${name}.mlp.gate_proj`);
  const up = project(normed2, width, weights, `${name}.mlp.up_proj`);
  for (let i = 0; i < inner.length; i++) inner[i] *= up[i] / (1 + Math.exp(-inner[i]));
  const y = project(inner, s.intermediate_size, weights, `${name}.mlp.down_proj`);
  for (let i = 0; i < y.length; i++) y[i] += middle[i];
  return y;
}

/** [image tokens of all pictures, hidden] in the order of the text. */
export function visionForward(weights: Weights, s: VisionSizes, pictures: readonly Picture[]): Float64Array {
  const rows = pictures.flatMap((picture) => {
    const pixels = Float64Array.from(picture.pixelValues);
    const values = pixels.length / (picture.grid.h * picture.grid.w);
    let x: Float64Array = project(pixels, values, weights, "visual.patch_embed.proj");
    for (let i = 0; i < s.depth; i++) x = block(x, weights, i, s, picture);
    const wide = s.hidden_size * s.spatial_merge_size ** 2;
    const normed = normalize(x, weights.get("visual.merger.ln_q.weight")!, EPS);
    const inner = project(normed, wide, weights, "visual.merger.mlp.0").map((v) => v * normal(v));
    return [...project(inner, wide, weights, "visual.merger.mlp.2")];
  });
  return Float64Array.from(rows);
}
