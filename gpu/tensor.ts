/**
 * A tensor: a name, a shape and a range of one GPU buffer. Row-major, last axis fastest.
 * @module
 */
import { GpuError } from "./errors.ts";

/** Element types that a buffer can hold. The host reads and writes `f16` as f32 values, rounded to the nearest. */
export type DType = "f32" | "u32" | "f16";

/** Bytes of an element. */
export const BYTES: Readonly<Record<DType, number>> = { f32: 4, u32: 4, f16: 2 };

/** What memory is for; it is counted by this. `mirror`: textures that software adapters read instead of buffers. */
export type MemoryClass =
  | "parameter"
  | "gradient"
  | "moment"
  | "activation"
  | "cache"
  | "scratch"
  | "data"
  | "mirror";

/** A range of one GPU buffer, read as `shape` of `dtype`. */
export interface Tensor {
  /** Shown in errors. */
  readonly name: string;
  /** Row-major extents, e.g. `[tokens, hidden]`. */
  readonly shape: readonly number[];
  /** Element type. */
  readonly dtype: DType;
  /** The buffer that holds it; views share one. */
  readonly buffer: GPUBuffer;
  /** Byte offset into `buffer`; 0 unless the tensor is a view. */
  readonly offset: number;
  /** Number of elements. */
  readonly size: number;
  /** Bytes of the range. */
  readonly bytes: number;
}

/** Product of the extents. */
export function elements(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/**
 * A view of `tensor` that starts at element `start`; shares the buffer.
 * @throws GpuError if the range leaves the tensor or its start is not aligned for a storage binding
 */
export function view(tensor: Tensor, start: number, shape: readonly number[], name = tensor.name): Tensor {
  const size = elements(shape);
  if (start < 0 || start + size > tensor.size) {
    throw new GpuError(`view [${start}, ${start + size}) leaves ${tensor.name} of ${tensor.size} elements`);
  }
  const width = BYTES[tensor.dtype];
  const offset = tensor.offset + start * width;
  if (offset % 256 !== 0) {
    throw new GpuError(
      `view of ${tensor.name} at byte ${offset}: a storage binding starts at a multiple of 256`,
    );
  }
  return { name, shape, dtype: tensor.dtype, buffer: tensor.buffer, offset, size, bytes: size * width };
}

/** A window of whole rows of a matrix, small enough for one storage binding. */
export interface RowWindow {
  /** First row of the matrix in this window. */
  readonly first: number;
  /** Number of rows. */
  readonly rows: number;
  /** `[rows, width]`. */
  readonly tensor: Tensor;
}

/**
 * Cuts a matrix `[rows, width]` into windows of at most `maxRows` rows and `maxBytes` bytes. Windows start at multiples
 * of 64 rows, which keeps them aligned for a binding.
 * @throws GpuError when not even 64 rows fit
 */
export function rowWindows(matrix: Tensor, maxBytes: number, maxRows = Infinity): RowWindow[] {
  const [rows, width] = matrix.shape;
  const fit = Math.min(maxRows, Math.floor(maxBytes / (width * BYTES[matrix.dtype])));
  const step = fit >= rows ? rows : Math.floor(fit / 64) * 64;
  if (step <= 0 && rows > 0) {
    throw new GpuError(
      `64 rows of ${matrix.name} [${rows} x ${width}] exceed a window of ${maxBytes} bytes and ${maxRows} rows`,
    );
  }
  const windows: RowWindow[] = [];
  for (let first = 0; first < rows; first += step) {
    const count = Math.min(step, rows - first);
    windows.push({ first, rows: count, tensor: view(matrix, first * width, [count, width]) });
  }
  return windows;
}
