/**
 * Textures that hold what tensors hold. A software adapter reads a storage buffer lane by lane and a texture whole
 * vectors at a time: a product with both operands in textures is 7 times as fast on lavapipe, and filling them costs a
 * copy at memory speed.
 * @module
 */
import { GpuError } from "./errors.ts";
import type { Tensor } from "./tensor.ts";
import { ROW, type Textures } from "./textures.ts";

/** Launches over which a texture waits for its next reader; later ones have it filled again. */
const KEPT = 4;

/** A texture, the tensor that it mirrors at one point of a program, and the launches that read it there. */
export interface Mirror {
  readonly tensor: Tensor;
  texture: GPUTexture | undefined;
  readonly readers: { readonly launch: number; readonly binding: string }[];
  /**
   * The launch before which it is filled; undefined: before the first one, since nothing in the program writes it, or what
   * writes it writes the texture too.
   */
  readonly before: number | undefined;
  /** Which of the program's textures it takes: those of one place follow each other. */
  place: number;
}

/** One use of tensors, in a program's order. */
export interface Use {
  /** Tensors read through textures, by binding. */
  readonly mirrored: readonly { readonly binding: string; readonly tensor: Tensor }[];
  /** Tensors that the launch writes without their textures. */
  readonly written: readonly Tensor[];
  /** Tensors that it writes together with their textures, by binding. */
  readonly kept?: readonly { readonly binding: string; readonly tensor: Tensor }[];
}

/** Whether a texture of this device can mirror the tensor. */
export function fitsTexture(device: GPUDevice, tensor: Tensor): boolean {
  return tensor.dtype !== "f16" && tensor.size % 4 === 0 &&
    tensor.size / 4 <= ROW * device.limits.maxTextureDimension2D;
}

const same = (a: Tensor, b: Tensor): boolean =>
  a.buffer === b.buffer && a.offset === b.offset && a.size === b.size;

/**
 * Plans fills that are always current: a tensor that no launch writes is filled once a run, another one before the first
 * launch that reads it since it was written or left to others.
 * @param streamed every tensor is filled before it is read, also those that stay: less memory, and as many copies in a
 * program that is run once at a time
 * @throws GpuError when a tensor is written both with its texture and without
 */
export function planMirrors(uses: readonly Use[], streamed = false): Mirror[] {
  const written = new Set(uses.flatMap((use) => use.written.map((t) => t.buffer)));
  const keeping = new Set(uses.flatMap((use) => use.kept?.map((k) => k.tensor.buffer) ?? []));
  const mirrors: Mirror[] = [];
  const constant: Mirror[] = [];
  let current: Mirror[] = [];
  uses.forEach((use, launch) => {
    current = current.filter((m) => launch - lastReader(m) <= KEPT);
    for (const { binding, tensor } of [...use.mirrored, ...use.kept ?? []]) {
      const kept = keeping.has(tensor.buffer);
      if (kept && written.has(tensor.buffer)) {
        throw new GpuError(`launch ${launch}: ${tensor.name} is written both with its texture and without`);
      }
      const stays = kept || !streamed && !written.has(tensor.buffer);
      const held = stays ? constant : current;
      let mirror = held.find((m) => same(m.tensor, tensor));
      if (!mirror) {
        mirror = { tensor, texture: undefined, readers: [], before: stays ? undefined : launch, place: -1 };
        held.push(mirror);
        mirrors.push(mirror);
      }
      mirror.readers.push({ launch, binding });
    }
    current = current.filter((m) => !use.written.some((t) => t.buffer === m.tensor.buffer));
  });
  return mirrors;
}

const lastReader = (m: Mirror): number => m.readers[m.readers.length - 1].launch;

/**
 * Gives every mirror its place: one of its own where it stays, else the smallest that is free from its fill to its last
 * reader and holds it, or the largest, which grows.
 * @returns elements of each place
 */
export function assignPlaces(mirrors: readonly Mirror[]): number[] {
  const places: { size: number; until: number }[] = [];
  // In the order of their fills, as they are planned.
  for (const m of mirrors) {
    const { size } = m.tensor;
    const free = m.before === undefined ? [] : places.filter((p) => p.until < m.before!);
    free.sort((a, b) => a.size - b.size);
    let place = free.find((p) => p.size >= size) ?? free[free.length - 1];
    if (!place) places.push(place = { size, until: -1 });
    place.size = Math.max(place.size, size);
    place.until = m.before === undefined ? Infinity : lastReader(m);
    m.place = places.indexOf(place);
  }
  return places.map((p) => p.size);
}

/** Takes the textures of a plan; the caller gives back what is returned. */
export function takeTextures(textures: Textures, mirrors: readonly Mirror[], label: string): GPUTexture[] {
  const taken = textures.take(assignPlaces(mirrors), label);
  for (const m of mirrors) m.texture = taken[m.place];
  return taken;
}

/** Copies the first `size` elements of the tensor into its mirror. */
export function fillMirror(encoder: GPUCommandEncoder, { tensor, texture }: Mirror, size: number): void {
  const texels = Math.ceil(size / 4);
  const rows = Math.floor(texels / ROW);
  const rest = texels % ROW;
  const source = { buffer: tensor.buffer, bytesPerRow: ROW * 16 };
  if (rows > 0) {
    encoder.copyBufferToTexture({ ...source, offset: tensor.offset }, { texture: texture! }, [ROW, rows]);
  }
  if (rest > 0) {
    encoder.copyBufferToTexture({ ...source, offset: tensor.offset + rows * ROW * 16 }, {
      texture: texture!,
      origin: [0, rows],
    }, [rest, 1]);
  }
}
