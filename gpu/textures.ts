/**
 * The textures that mirror tensors, shared by all programs of a device: programs run one after the other and fill what
 * they read at every run, so what one left in a texture is nothing to the next.
 * @module
 */
import type { Pool } from "./pool.ts";

/** Texels (of four f32 values) in a row of a texture; `texel` in the shaders counts with it. */
export const ROW = 1024;

const BYTES_PER_ROW = ROW * 16;

/** Lends textures to programs and counts their bytes in the pool. */
export class Textures {
  #device: GPUDevice;
  #pool: Pool;
  #lent: { readonly texture: GPUTexture; readonly rows: number; users: number }[] = [];

  /** Empty; textures are made as programs need them. */
  constructor(device: GPUDevice, pool: Pool) {
    this.#device = device;
    this.#pool = pool;
  }

  /**
   * Textures that hold at least so many elements each, all different, in the order of `sizes`. Each is the smallest that
   * is there and holds them, or a new one.
   */
  take(sizes: readonly number[], label: string): GPUTexture[] {
    const taken = new Map<number, { texture: GPUTexture; users: number }>();
    // The largest first: a small tensor must not take the only texture that a large one fits.
    const order = sizes.map((_, i) => i).sort((a, b) => sizes[b] - sizes[a]);
    const mine = new Set<GPUTexture>();
    for (const i of order) {
      const rows = Math.max(1, Math.ceil(sizes[i] / 4 / ROW));
      const fitting = this.#lent.filter((t) => t.rows >= rows && !mine.has(t.texture));
      const entry = fitting.sort((a, b) => a.rows - b.rows)[0] ?? this.#make(rows, label);
      entry.users++;
      mine.add(entry.texture);
      taken.set(i, entry);
    }
    return sizes.map((_, i) => taken.get(i)!.texture);
  }

  /** Takes textures back; those that no program uses any more are destroyed. */
  give(textures: readonly GPUTexture[]): void {
    for (const texture of textures) {
      const entry = this.#lent.find((t) => t.texture === texture)!;
      if (--entry.users > 0) continue;
      this.#lent.splice(this.#lent.indexOf(entry), 1);
      texture.destroy();
      this.#pool.release("mirror", entry.rows * BYTES_PER_ROW);
    }
  }

  /** Destroys every texture. */
  destroy(): void {
    for (const { texture } of this.#lent.splice(0)) texture.destroy();
  }

  #make(rows: number, label: string) {
    const texture = this.#device.createTexture({
      label: `${label} mirror`,
      size: [ROW, rows],
      format: "rgba32float",
      usage: 2 | 4 | 8, // COPY_DST | TEXTURE_BINDING | STORAGE_BINDING: a launch may write it with its tensor
    });
    const entry = { texture, rows, users: 0 };
    this.#lent.push(entry);
    this.#pool.hold("mirror", rows * BYTES_PER_ROW);
    return entry;
  }
}
