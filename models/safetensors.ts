/**
 * The safetensors format: an 8-byte little-endian header length, a JSON header
 * `{name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__": {…}}`, then the tensors' bytes without gaps
 * (format: the README of huggingface/safetensors). Files may be far larger than memory, so tensors are read by range
 * and written one at a time.
 * @module
 */
import { UserError } from "../gpu/errors.ts";

/** A float dtype that can be written; data come as f32 and are rounded to nearest, ties to even. */
export type FloatDtype = "F32" | "F16" | "BF16";

/** One tensor's entry in the header. */
export interface TensorInfo {
  /** The format's name of the element type: F32, F16, BF16, I32, I64, U8, … */
  dtype: string;
  /** Row-major shape; `[]` is a scalar. */
  shape: number[];
  /** First byte, counted from the start of the file. */
  begin: number;
  /** One past the last byte, counted from the start of the file. */
  end: number;
}

/** What the header of a file to write says of one tensor. */
export interface TensorPlan {
  /** Name, unique in the file. */
  name: string;
  /** Row-major shape. */
  shape: number[];
  /** Element type in the file; default F32. */
  dtype?: FloatDtype;
}

// deno-fmt-ignore
const BYTES: Record<string, number> = {
  BOOL: 1, U8: 1, I8: 1, F8_E4M3: 1, F8_E5M2: 1, U16: 2, I16: 2, F16: 2, BF16: 2,
  U32: 4, I32: 4, F32: 4, U64: 8, I64: 8, F64: 8,
};
/** The reference implementation's cap on the header. */
const MAX_HEADER = 100_000_000;
/** Elements converted and written per system call. */
const CHUNK = 1 << 22;

const elements = (shape: number[]): number => shape.reduce((product, n) => product * n, 1);

/** An open safetensors file: its header, and its tensors on demand. Holds no file handle. */
export class SafetensorsFile {
  /** @internal Use {@link openSafetensors}. */
  constructor(
    /** The path the file was opened under. */
    readonly path: string,
    /** Every tensor by name, in the order of the header. */
    readonly tensors: ReadonlyMap<string, TensorInfo>,
    /** The header's `__metadata__`. */
    readonly metadata: Readonly<Record<string, string>>,
  ) {}

  /** The tensor's entry. @throws UserError when the file has no tensor of that name. */
  info(name: string): TensorInfo {
    const info = this.tensors.get(name);
    if (!info) throw new UserError(`${this.path}: has no tensor ${name}`);
    return info;
  }

  /** The tensor's bytes as they stand in the file (little-endian), in a buffer of their own. */
  async readRaw(name: string): Promise<Uint8Array<ArrayBuffer>> {
    const { begin, end } = this.info(name);
    return await readRange(this.path, begin, end, name);
  }

  /**
   * A float tensor widened to f32 (exact for F16 and BF16).
   * @param from First element, row-major. @param count Number of elements; default: all that follow.
   * @throws UserError when the tensor is not F32, F16 or BF16, or the range is outside it.
   */
  async readF32(name: string, from = 0, count?: number): Promise<Float32Array<ArrayBuffer>> {
    const { dtype, shape, begin } = this.info(name);
    if (dtype !== "F32" && dtype !== "F16" && dtype !== "BF16") {
      throw new UserError(`${this.path}: tensor ${name} is ${dtype}, expected F32, F16 or BF16`);
    }
    const all = elements(shape);
    const n = count ?? all - from;
    if (from < 0 || n < 0 || from + n > all) {
      throw new UserError(`${this.path}: tensor ${name} has ${all} elements, not ${from} to ${from + n}`);
    }
    const first = begin + from * BYTES[dtype];
    const bytes = await readRange(this.path, first, first + n * BYTES[dtype], name);
    return widen(bytes, dtype);
  }

  /** An I32 tensor. @throws UserError when the tensor has another dtype. */
  async readI32(name: string): Promise<Int32Array<ArrayBuffer>> {
    const { dtype } = this.info(name);
    if (dtype !== "I32") throw new UserError(`${this.path}: tensor ${name} is ${dtype}, expected I32`);
    return new Int32Array((await this.readRaw(name)).buffer);
  }
}

async function readRange(
  path: string,
  begin: number,
  end: number,
  what: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(end - begin);
  using file = await Deno.open(path);
  await file.seek(begin, Deno.SeekMode.Start);
  for (let at = 0; at < bytes.length;) {
    const n = await file.read(bytes.subarray(at));
    if (n === null) {
      throw new UserError(`${path}: ends inside ${what}: ${bytes.length - at} bytes are missing`);
    }
    at += n;
  }
  return bytes;
}

function widen(bytes: Uint8Array<ArrayBuffer>, dtype: FloatDtype): Float32Array<ArrayBuffer> {
  if (dtype === "F32") return new Float32Array(bytes.buffer);
  if (dtype === "F16") return new Float32Array(new Float16Array(bytes.buffer));
  const halves = new Uint16Array(bytes.buffer);
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) words[i] = halves[i] << 16;
  return new Float32Array(words.buffer);
}

/** f32 values as the bytes of `dtype`, rounded to nearest, ties to even; NaN stays NaN. */
function narrow(data: Float32Array, dtype: FloatDtype): Uint8Array<ArrayBuffer> {
  if (dtype === "F32") return new Uint8Array(new Float32Array(data).buffer);
  if (dtype === "F16") return new Uint8Array(new Float16Array(data).buffer);
  const words = new Uint32Array(new Float32Array(data).buffer);
  const halves = new Uint16Array(words.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    // Rounding could carry a NaN's mantissa into infinity: keep its top bits and set the quiet bit instead.
    const isNaN = (word & 0x7fffffff) > 0x7f800000;
    halves[i] = isNaN ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return new Uint8Array(halves.buffer);
}

/**
 * Opens a safetensors file and checks its whole header against the file's size.
 * @throws UserError naming file and tensor: unreadable or truncated file, header longer than the file or not JSON,
 * unknown dtype, bad shape, byte count that does not fit dtype and shape, ranges that overlap, leave a gap or end
 * outside the file.
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  let size: number;
  try {
    size = (await Deno.stat(path)).size;
  } catch (error) {
    throw new UserError(`${path}: cannot be read (${(error as Error).message})`);
  }
  if (size < 8) throw new UserError(`${path}: ${size} bytes, too short for a safetensors file (truncated?)`);
  const length = new DataView((await readRange(path, 0, 8, "the header length")).buffer).getBigUint64(
    0,
    true,
  );
  if (length > BigInt(MAX_HEADER) || 8 + Number(length) > size) {
    throw new UserError(
      `${path}: the header claims ${length} bytes, the file has ${size}: truncated, or not a safetensors file`,
    );
  }
  const dataStart = 8 + Number(length);
  let header: unknown;
  try {
    header = JSON.parse(
      new TextDecoder("utf-8", { fatal: true }).decode(await readRange(path, 8, dataStart, "the header")),
    );
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${path}: the header is not JSON (${(error as Error).message})`);
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) {
    throw new UserError(`${path}: the header is not a JSON object`);
  }
  const { __metadata__: metadata = {}, ...entries } = header as Record<string, unknown>;
  const tensors = new Map<string, TensorInfo>();
  for (const [name, entry] of Object.entries(entries)) {
    tensors.set(name, readEntry(path, name, entry, dataStart));
  }
  checkLayout(path, tensors, dataStart, size);
  return new SafetensorsFile(path, tensors, metadata as Record<string, string>);
}

function readEntry(path: string, name: string, entry: unknown, dataStart: number): TensorInfo {
  const { dtype, shape, data_offsets: offsets } = (entry ?? {}) as Record<string, unknown>;
  const isSize = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0;
  if (typeof dtype !== "string" || !Object.hasOwn(BYTES, dtype)) {
    throw new UserError(`${path}: tensor ${name} has the unknown dtype ${JSON.stringify(dtype)}`);
  }
  if (!Array.isArray(shape) || !shape.every(isSize) || !isSize(elements(shape) * BYTES[dtype])) {
    throw new UserError(`${path}: tensor ${name} has the bad shape ${JSON.stringify(shape)}`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize) || offsets[0] > offsets[1]) {
    throw new UserError(`${path}: tensor ${name} has the bad data_offsets ${JSON.stringify(offsets)}`);
  }
  const bytes = offsets[1] - offsets[0];
  if (bytes !== elements(shape) * BYTES[dtype]) {
    throw new UserError(
      `${path}: tensor ${name}, ${dtype} [${shape}], needs ${
        elements(shape) * BYTES[dtype]
      } bytes, the header gives ${bytes}`,
    );
  }
  return { dtype, shape, begin: dataStart + offsets[0], end: dataStart + offsets[1] };
}

/** The ranges must tile the data section exactly, as the reference implementation demands. */
function checkLayout(path: string, tensors: Map<string, TensorInfo>, dataStart: number, size: number): void {
  const ranges = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let at = dataStart;
  for (const [name, { begin, end }] of ranges) {
    if (begin < at) {
      throw new UserError(`${path}: tensor ${name} overlaps the tensor before it by ${at - begin} bytes`);
    }
    if (begin > at) {
      throw new UserError(`${path}: ${begin - at} bytes before tensor ${name} belong to no tensor`);
    }
    if (end > size) {
      throw new UserError(`${path}: tensor ${name} ends at byte ${end}, the file has ${size}: truncated`);
    }
    at = end;
  }
  if (at !== size) throw new UserError(`${path}: ${size - at} bytes at the end belong to no tensor`);
}

/** Writes one safetensors file: the header first, then each planned tensor once, in any order. */
export class SafetensorsWriter {
  readonly #missing: Set<string>;

  private constructor(
    /** Where the file stands. */
    readonly path: string,
    private readonly file: Deno.FsFile,
    private readonly offsets: Map<string, { begin: number; plan: TensorPlan }>,
  ) {
    this.#missing = new Set(offsets.keys());
  }

  /**
   * Creates the file and writes its header.
   * @param plan Names, shapes and dtypes, in file order. @param metadata The header's `__metadata__`.
   */
  static async create(
    path: string,
    plan: Iterable<TensorPlan>,
    metadata: Record<string, string> = {},
  ): Promise<SafetensorsWriter> {
    const header: Record<string, unknown> = Object.keys(metadata).length > 0
      ? { __metadata__: metadata }
      : {};
    const offsets = new Map<string, { begin: number; plan: TensorPlan }>();
    let at = 0;
    for (const tensor of plan) {
      const { name, shape, dtype = "F32" } = tensor;
      if (offsets.has(name) || name === "__metadata__") {
        throw new Error(`${path}: tensor ${name} is planned twice`);
      }
      const end = at + elements(shape) * BYTES[dtype];
      header[name] = { dtype, shape, data_offsets: [at, end] };
      offsets.set(name, { begin: at, plan: tensor });
      at = end;
    }
    const json = new TextEncoder().encode(JSON.stringify(header));
    // Readers map the file: padding with spaces keeps the data 8-byte aligned.
    const length = Math.ceil(json.length / 8) * 8;
    const bytes = new Uint8Array(8 + length).fill(0x20);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
    bytes.set(json, 8);
    for (const offset of offsets.values()) offset.begin += bytes.length;
    const file = await Deno.open(path, { write: true, create: true, truncate: true });
    try {
      await writeAll(file, bytes);
    } catch (error) {
      file.close();
      throw error;
    }
    return new SafetensorsWriter(path, file, offsets);
  }

  /** Writes one planned tensor's values, row-major. @throws Error when it is not planned, is written already or has another length. */
  async write(name: string, data: Float32Array): Promise<void> {
    const offset = this.offsets.get(name);
    if (!offset) throw new Error(`${this.path}: tensor ${name} is not planned`);
    if (!this.#missing.has(name)) throw new Error(`${this.path}: tensor ${name} is written twice`);
    const { begin, plan } = offset;
    if (data.length !== elements(plan.shape)) {
      throw new Error(`${this.path}: tensor ${name} [${plan.shape}] got ${data.length} values`);
    }
    await this.file.seek(begin, Deno.SeekMode.Start);
    for (let at = 0; at < data.length; at += CHUNK) {
      await writeAll(this.file, narrow(data.subarray(at, at + CHUNK), plan.dtype ?? "F32"));
    }
    this.#missing.delete(name);
  }

  /** Flushes to the disk. @throws Error when a planned tensor was never written. */
  async finish(): Promise<void> {
    if (this.#missing.size > 0) {
      throw new Error(`${this.path}: tensor ${[...this.#missing][0]} was never written`);
    }
    await this.file.sync();
  }

  /** Closes the file, complete or not. */
  close(): void {
    this.file.close();
  }
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}

/** A tensor to write: its values, or a function that makes them when their turn comes. */
export interface TensorToWrite extends TensorPlan {
  /** Row-major values, or how to get them; a function keeps one tensor in memory at a time. */
  data: Float32Array | (() => Float32Array | Promise<Float32Array>);
}

/**
 * Writes a whole file, one tensor in memory at a time, flushed to the disk before it returns.
 * @param metadata The header's `__metadata__`; transformers wants `{format: "pt"}` on model weights.
 * @throws The system's error when writing fails (a full disk); the file is then incomplete.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorToWrite>,
  metadata: Record<string, string> = {},
): Promise<void> {
  const list = [...tensors];
  const writer = await SafetensorsWriter.create(path, list, metadata);
  try {
    for (const { name, data } of list) {
      await writer.write(name, data instanceof Float32Array ? data : await data());
    }
    await writer.finish();
  } finally {
    writer.close();
  }
}
