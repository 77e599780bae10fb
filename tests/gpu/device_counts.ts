/**
 * Counts what the code makes on a device and sends to it, by standing between the two for a while.
 * @module
 */

/** Since the counting began. */
export interface DeviceCounts {
  /** Buffers and textures that are not destroyed. */
  buffers: number;
  textures: number;
  bindGroups: number;
  shaders: number;
  pipelines: number;
  submits: number;
  /** Reads and waits for the queue. */
  waits: number;
}

/** Counts while `work` goes on; it gets the numbers, which move on. */
export async function counting<T>(
  device: GPUDevice,
  work: (counts: Readonly<DeviceCounts>) => Promise<T>,
): Promise<T> {
  const counts: DeviceCounts = {
    buffers: 0,
    textures: 0,
    bindGroups: 0,
    shaders: 0,
    pipelines: 0,
    submits: 0,
    waits: 0,
  };
  const restore: (() => void)[] = [];
  const around = (target: object, name: string, called: (result: any) => void) => {
    const methods = target as Record<string, any>;
    const original = methods[name];
    const own = Object.hasOwn(methods, name);
    methods[name] = function (...args: unknown[]) {
      const result = original.apply(this, args);
      called(result);
      return result;
    };
    restore.push(() => own ? methods[name] = original : delete methods[name]);
  };
  const living = (what: "buffers" | "textures") => (made: { destroy(): void }) => {
    counts[what]++;
    let gone = false;
    around(made, "destroy", () => {
      if (!gone) counts[what]--;
      gone = true;
    });
  };
  around(device, "createBuffer", living("buffers"));
  around(GPUBuffer.prototype, "mapAsync", () => counts.waits++);
  around(device, "createTexture", living("textures"));
  around(device, "createBindGroup", () => counts.bindGroups++);
  around(device, "createShaderModule", () => counts.shaders++);
  around(device, "createComputePipelineAsync", () => counts.pipelines++);
  around(device.queue, "submit", () => counts.submits++);
  around(device.queue, "onSubmittedWorkDone", () => counts.waits++);
  try {
    return await work(counts);
  } finally {
    for (const undo of restore.reverse()) undo();
  }
}
