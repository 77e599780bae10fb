/**
 * Planted mistakes in recorded programs: every launch that is recorded goes through an edit that may change or drop it, so
 * that a check of the model can be shown to notice, without a change to the model.
 * @module
 */
import type { KernelSpec } from "../../gpu/kernel.ts";
import { type Dim, Program } from "../../gpu/program.ts";
import type { Tensor } from "../../gpu/tensor.ts";

/** One launch as it is recorded. */
export interface RecordedLaunch {
  /** Label of the program: `forward`, `backward`. */
  readonly program: string;
  readonly kernel: KernelSpec;
  readonly tensors: Readonly<Record<string, Tensor>>;
  readonly dims: Readonly<Record<string, Dim>>;
}

/** A mistake: gives the launch back changed, as it is, or as undefined to drop it. */
export interface LaunchMistake {
  readonly why: string;
  readonly edit: (launch: RecordedLaunch) => RecordedLaunch | undefined;
}

/**
 * Runs `body` while programs record through the mistake's edit.
 * @throws Error when no launch was changed: the mistake was not planted
 */
export async function withLaunchMistake<T>(mistake: LaunchMistake, body: () => Promise<T>): Promise<T> {
  const add = Program.prototype.add;
  let planted = 0;
  Program.prototype.add = function (
    this: Program,
    kernel: unknown,
    tensors: unknown,
    dims: unknown,
  ): Program {
    const launch = { program: this.label, kernel, tensors, dims } as RecordedLaunch;
    const edited = mistake.edit(launch);
    if (edited !== launch) planted++;
    return edited ? add.call(this, edited.kernel, edited.tensors, edited.dims) as Program : this;
  } as typeof add;
  try {
    const result = await body();
    if (planted === 0) throw new Error(`"${mistake.why}" changed no launch`);
    return result;
  } finally {
    Program.prototype.add = add;
  }
}

/** The launch with `from`, which occurs exactly once in the kernel's text, replaced by `to` in whatever variant is taken. */
export function rewrite(launch: RecordedLaunch, from: string, to: string): RecordedLaunch {
  const rewritten = (kernel: KernelSpec): KernelSpec => {
    const parts = kernel.source.split(from);
    if (parts.length !== 2) {
      throw new Error(`${kernel.name}: "${from}" occurs ${parts.length - 1} times, not once`);
    }
    return { ...kernel, source: parts.join(to) };
  };
  const { fit } = launch.kernel;
  const kernel = rewritten(launch.kernel);
  return { ...launch, kernel: fit ? { ...kernel, fit: (...sizes) => rewritten(fit(...sizes)) } : kernel };
}
