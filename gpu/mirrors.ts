/**
 * Textures that hold what tensors hold. A software adapter reads a storage buffer lane by lane and a texture whole
 * vectors at a time: a product with both operands in textures is 7 times as fast on lavapipe, and filling them costs a
 * copy at memory speed.
 * @module
 */
import { GpuError } from "./errors.ts";
import type { Tensor } from "./tensor.ts";

/** Texels (of four f32 values) in a row of a mirror; `texel` in the shaders counts with it. */
const ROW = 1024;
/** Tensors that change during a program take turns in so many textures; one launch reads no more than these. */
const SHARED = 6;

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
  /** Whether launches write the texture. */
  readonly kept: boolean;
  /** Which of the shared textures it takes. */
  readonly slot: number;
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
  return tensor.size % 4 === 0 && tensor.size / 4 <= ROW * device.limits.maxTextureDimension2D;
}

const same = (a: Tensor, b: Tensor): boolean =>
  a.buffer === b.buffer && a.offset === b.offset && a.size === b.size;

/**
 * Plans the fewest fills that are always current: a tensor that no launch writes is filled once a run, another one
 * before the first launch that reads it since it was written.
 * @throws GpuError when a launch reads too many changing tensors, or a tensor is written both with its texture and without
 */
export function planMirrors(uses: readonly Use[]): Mirror[] {
  const written = new Set(uses.flatMap((use) => use.written.map((t) => t.buffer)));
  const mirrors: Mirror[] = [];
  const constant: Mirror[] = [];
  const current: { mirror: Mirror; used: number }[] = [];
  const keeping = new Set(uses.flatMap((use) => use.kept?.map((k) => k.tensor.buffer) ?? []));
  uses.forEach((use, launch) => {
    for (const { binding, tensor } of [...use.mirrored, ...use.kept ?? []]) {
      const reader = { launch, binding };
      const kept = keeping.has(tensor.buffer);
      if (kept && written.has(tensor.buffer)) {
        throw new GpuError(`launch ${launch}: ${tensor.name} is written both with its texture and without`);
      }
      if (!written.has(tensor.buffer)) {
        let mirror = constant.find((m) => same(m.tensor, tensor));
        if (!mirror) {
          mirror = { tensor, texture: undefined, readers: [], before: undefined, kept, slot: -1 };
          constant.push(mirror);
          mirrors.push(mirror);
        }
        mirror.readers.push(reader);
        continue;
      }
      let held = current.find((c) => same(c.mirror.tensor, tensor));
      if (!held) {
        // The slot that is free or was read longest ago; never one that this launch reads.
        let slot = 0;
        while (slot < SHARED && current.some((c) => c.mirror.slot === slot)) slot++;
        if (slot === SHARED) {
          const oldest = current.filter((c) => c.used !== launch).sort((a, b) => a.used - b.used)[0];
          if (!oldest) {
            throw new GpuError(
              `launch ${launch} reads more than ${SHARED} changing tensors through textures`,
            );
          }
          current.splice(current.indexOf(oldest), 1);
          slot = oldest.mirror.slot;
        }
        held = {
          mirror: { tensor, texture: undefined, readers: [], before: launch, kept: false, slot },
          used: launch,
        };
        current.push(held);
        mirrors.push(held.mirror);
      }
      held.used = launch;
      held.mirror.readers.push(reader);
    }
    for (const tensor of use.written) {
      for (let i = current.length - 1; i >= 0; i--) {
        if (current[i].mirror.tensor.buffer === tensor.buffer) current.splice(i, 1);
      }
    }
  });
  return mirrors;
}

/** Makes the textures of a plan; the caller destroys what is returned. */
export function makeTextures(device: GPUDevice, mirrors: readonly Mirror[], label: string): GPUTexture[] {
  const texture = (size: number, kept = false): GPUTexture =>
    device.createTexture({
      label: `${label} mirror`,
      size: [ROW, Math.max(1, Math.ceil(size / 4 / ROW))],
      format: "rgba32float",
      usage: 2 | 4 | (kept ? 8 : 0), // COPY_DST | TEXTURE_BINDING | STORAGE_BINDING
    });
  const made: GPUTexture[] = [];
  for (let slot = 0; slot < SHARED; slot++) {
    const sharers = mirrors.filter((m) => m.slot === slot);
    if (sharers.length === 0) continue;
    const shared = texture(Math.max(...sharers.map((m) => m.tensor.size)));
    for (const m of sharers) m.texture = shared;
    made.push(shared);
  }
  for (const m of mirrors) if (m.slot < 0) made.push(m.texture = texture(m.tensor.size, m.kept));
  return made;
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
