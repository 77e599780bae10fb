import { assertEquals } from "@std/assert";
import { ReadBack } from "../../gpu/read_back.ts";

/** A device whose maps are there at once, or only when their promise is through, as the standard has it. */
function device(early: boolean): { device: GPUDevice; asked: string[] } {
  const asked: string[] = [];
  let mapped = false;
  const buffer = {
    size: 4096,
    mapAsync: async () => {
      mapped = early;
      await new Promise((resolve) => setTimeout(resolve, 5));
      asked.push("through");
      mapped = true;
    },
    getMappedRange: (_: number, bytes: number) => {
      asked.push(mapped ? "taken" : "refused");
      if (!mapped) throw new DOMException("not mapped", "OperationError");
      return Uint8Array.from({ length: bytes }, (_, i) => i).buffer;
    },
    unmap: () => mapped = false,
    destroy: () => {},
  };
  const encoder = { finish: () => ({}) };
  const made = {
    limits: { maxBufferSize: 2 ** 20 },
    queue: { submit: () => {} },
    createCommandEncoder: () => encoder,
    createBuffer: () => buffer,
  };
  return { device: made as unknown as GPUDevice, asked };
}

Deno.test("read back: a buffer's first map is waited for, later ones are taken where they are there", async () => {
  const never = new Promise<never>(() => {});
  for (
    const [early, wanted] of [
      [true, ["through", "taken", "taken"]],
      [false, ["through", "taken", "refused", "through", "taken"]],
    ] as const
  ) {
    const { device: fake, asked } = device(early);
    const back = new ReadBack(fake);
    for (let i = 0; i < 2; i++) {
      assertEquals([...new Uint8Array(await back.take(4, () => {}, never))], [0, 1, 2, 3]);
    }
    assertEquals(asked, [...wanted], `${early}`);
    // The promise of a map that was taken early.
    await new Promise((resolve) => setTimeout(resolve, 10));
    back.destroy();
  }
});
