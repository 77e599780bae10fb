import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { UserError } from "../../gpu/errors.ts";
import {
  type FloatDtype,
  openSafetensors,
  SafetensorsWriter,
  type TensorToWrite,
  writeSafetensors,
} from "../../models/safetensors.ts";

async function withFile(run: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  try {
    await run(path);
  } finally {
    await Deno.remove(path);
  }
}

/** A file put together by hand from header and data. */
async function writeRaw(path: string, header: unknown, data: Uint8Array, claimed?: bigint): Promise<void> {
  const json = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, claimed ?? BigInt(json.length), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  await Deno.writeFile(path, bytes);
}

const bits = (
  values: Float32Array,
): number[] => [...new Uint32Array(values.buffer, values.byteOffset, values.length)];

/** The value of 16 bits, from the definition: sign, `exponent` bits, the rest mantissa. */
function decodeHalf(half: number, exponent: number): number {
  const mantissaBits = 15 - exponent;
  const bias = 2 ** (exponent - 1) - 1;
  const sign = half & 0x8000 ? -1 : 1;
  const e = (half >> mantissaBits) & (2 ** exponent - 1);
  const m = (half & (2 ** mantissaBits - 1)) / 2 ** mantissaBits;
  if (e === 2 ** exponent - 1) return m === 0 ? sign * Infinity : NaN;
  return sign * (e === 0 ? m * 2 ** (1 - bias) : (1 + m) * 2 ** (e - bias));
}

const ALL_HALVES = Uint16Array.from({ length: 65536 }, (_, i) => i);

for (const [dtype, exponent] of [["F16", 5], ["BF16", 8]] as [FloatDtype, number][]) {
  Deno.test(`safetensors: every ${dtype} is widened exactly and written back as it was`, () =>
    withFile(async (path) => {
      await writeRaw(
        path,
        { t: { dtype, shape: [256, 256], data_offsets: [0, 131072] } },
        new Uint8Array(ALL_HALVES.buffer.slice(0)),
      );
      const values = await (await openSafetensors(path)).readF32("t");
      for (const half of ALL_HALVES) {
        assert(Object.is(values[half], decodeHalf(half, exponent)), `${half}: ${values[half]}`);
      }
      await writeSafetensors(path, [{ name: "t", shape: [65536], dtype, data: values }]);
      const back = new Uint16Array((await (await openSafetensors(path)).readRaw("t")).buffer);
      for (const half of ALL_HALVES) {
        if (!Number.isNaN(values[half])) assertEquals(back[half], half);
        else assert(Number.isNaN(decodeHalf(back[half], exponent)), `NaN ${half} became ${back[half]}`);
      }
    }));

  Deno.test(`safetensors: ${dtype} rounds to nearest, ties to even`, () =>
    withFile(async (path) => {
      const data: number[] = [];
      const expected: number[] = [];
      const infinity = (2 ** exponent - 1) << (15 - exponent);
      for (let half = 0; half < infinity; half += 7) {
        const low = decodeHalf(half, exponent);
        // Where infinity would stand if the format went on: overflow rounds to it from half way.
        const high = half + 1 === infinity
          ? low + (low - decodeHalf(half - 1, exponent))
          : decodeHalf(half + 1, exponent);
        const middle = Math.fround((low + high) / 2);
        if (middle !== (low + high) / 2) continue;
        const even = half % 2 === 0 ? half : half + 1;
        const word = new Uint32Array(new Float32Array([middle]).buffer)[0];
        const [below, above] = new Float32Array(Uint32Array.of(word - 1, word + 1).buffer);
        data.push(middle, below, above, -middle);
        expected.push(even, half, half + 1, even | 0x8000);
      }
      assert(data.length > 10000);
      await writeSafetensors(path, [{
        name: "t",
        shape: [data.length],
        dtype,
        data: Float32Array.from(data),
      }]);
      const halves = new Uint16Array((await (await openSafetensors(path)).readRaw("t")).buffer);
      for (let i = 0; i < data.length; i++) assertEquals(halves[i], expected[i], `${data[i]}`);
    }));
}

Deno.test("safetensors: a NaN with only low bits set does not become infinity in BF16", () =>
  withFile(async (path) => {
    const data = new Float32Array(Uint32Array.of(0x7f800001, 0xff80ffff, 0x7fffffff).buffer);
    await writeSafetensors(path, [{ name: "t", shape: [3], dtype: "BF16", data }]);
    assert((await (await openSafetensors(path)).readF32("t")).every(Number.isNaN));
  }));

Deno.test("safetensors: a tensor may be called __proto__", () =>
  withFile(async (path) => {
    await writeSafetensors(path, [{ name: "__proto__", shape: [1], data: Float32Array.of(3) }]);
    assertEquals([...await (await openSafetensors(path)).readF32("__proto__")], [3]);
  }));

const tensorArbitrary: fc.Arbitrary<{ name: string; shape: number[]; seed: number }[]> = fc.uniqueArray(
  fc.record({
    name: fc.string({ unit: "binary" }).filter((name) => name !== "__metadata__" && name.isWellFormed()),
    shape: fc.array(fc.nat(5), { maxLength: 4 }),
    seed: fc.integer(),
  }),
  { selector: (tensor) => tensor.name, maxLength: 8 },
);

Deno.test("safetensors: what is written is read back bit for bit", () =>
  withFile((path) =>
    fc.assert(
      fc.asyncProperty(
        tensorArbitrary,
        fc.dictionary(fc.string().filter((key) => key !== "__proto__"), fc.string()),
        fc.infiniteStream(fc.integer({ min: 0, max: 0xffffffff })),
        async (list, metadata, words) => {
          const tensors: (TensorToWrite & { data: Float32Array })[] = list.map(({ name, shape }) => {
            const n = shape.reduce((a, b) => a * b, 1);
            const data = new Float32Array(
              Uint32Array.from({ length: n }, () => words.next().value as number).buffer,
            );
            return { name, shape, data };
          });
          const lazy = tensors.map((tensor) => ({ ...tensor, data: () => Promise.resolve(tensor.data) }));
          await writeSafetensors(path, lazy, metadata);
          const file = await openSafetensors(path);
          assertEquals([...file.tensors.keys()].sort(), tensors.map((tensor) => tensor.name).sort());
          assertEquals({ ...file.metadata }, { ...metadata });
          for (const { name, shape, data } of tensors) {
            assertEquals(file.info(name).shape, shape);
            assertEquals(file.info(name).begin % 4, 0);
            assertEquals(bits(await file.readF32(name)), bits(data));
          }
        },
      ),
      { numRuns: 60 },
    )
  ));

Deno.test("safetensors: a range of a tensor, integers and raw bytes", () =>
  withFile(async (path) => {
    const data = new Uint8Array(4 * 3 + 8 + 2);
    new Int32Array(data.buffer, 0, 3).set([-1, 2, 3]);
    new DataView(data.buffer).setBigInt64(12, -5n, true);
    data.set([7, 8], 20);
    await writeRaw(path, {
      i: { dtype: "I32", shape: [3], data_offsets: [0, 12] },
      l: { dtype: "I64", shape: [], data_offsets: [12, 20] },
      u: { dtype: "U8", shape: [2], data_offsets: [20, 22] },
    }, data);
    const file = await openSafetensors(path);
    assertEquals([...await file.readI32("i")], [-1, 2, 3]);
    assertEquals(new BigInt64Array((await file.readRaw("l")).buffer)[0], -5n);
    assertEquals([...await file.readRaw("u")], [7, 8]);
    await assertRejects(() => file.readF32("i"), UserError, "tensor i is I32");
    await assertRejects(() => file.readI32("u"), UserError, "tensor u is U8");
    await assertRejects(() => file.readRaw("x"), UserError, `${path}: has no tensor x`);
    await writeSafetensors(path, [{
      name: "t",
      shape: [2, 3],
      dtype: "BF16",
      data: Float32Array.of(0, 1, 2, 3, 4, 5),
    }]);
    const floats = await openSafetensors(path);
    assertEquals([...await floats.readF32("t", 2, 3)], [2, 3, 4]);
    assertEquals([...await floats.readF32("t", 4)], [4, 5]);
    await assertRejects(() => floats.readF32("t", 4, 3), UserError, "tensor t has 6 elements");
  }));

Deno.test("safetensors: broken files are refused, naming file and tensor", () =>
  withFile(async (path) => {
    const entry = (shape: unknown, begin: number, end: number, dtype = "F32"): unknown => ({
      dtype,
      shape,
      data_offsets: [begin, end],
    });
    const data = new Uint8Array(16);
    const refuses = async (header: unknown, word: string, claimed?: bigint): Promise<void> => {
      await writeRaw(path, header, data, claimed);
      const error = await assertRejects(() => openSafetensors(path), UserError, word);
      assert(error.message.startsWith(path), error.message);
    };
    await refuses({ a: entry([4], 0, 16) }, "truncated", 5000n);
    await refuses({ a: entry([4], 0, 16) }, "truncated", 2n ** 63n);
    await refuses("{not json", "not JSON");
    await refuses("[1]", "not a JSON object");
    await refuses({ a: entry([4], 0, 12) }, "tensor a, F32 [4], needs 16 bytes, the header gives 12");
    await refuses({ a: entry([5], 0, 20) }, "tensor a ends at byte");
    await refuses({ a: entry([2], 0, 8), b: entry([3], 4, 16) }, "tensor b overlaps");
    await refuses({ a: entry([2], 0, 8), b: entry([1], 12, 16) }, "before tensor b belong to no tensor");
    await refuses({ a: entry([3], 0, 12) }, "4 bytes at the end");
    await refuses({ a: entry([4], 16, 0) }, "tensor a has the bad data_offsets");
    await refuses({ a: entry([4], -16, 0) }, "tensor a has the bad data_offsets");
    await refuses({ a: entry([-4], 0, 16) }, "tensor a has the bad shape");
    await refuses({ a: entry("4", 0, 16) }, "tensor a has the bad shape");
    await refuses({ a: entry([2 ** 40, 2 ** 40], 0, 16) }, "tensor a has the bad shape");
    await refuses({ a: entry([4], 0, 16, "F31") }, 'tensor a has the unknown dtype "F31"');
    await refuses({ a: null }, "tensor a");
    await assertRejects(() => openSafetensors(`${path}.missing`), UserError, `${path}.missing`);
  }));

Deno.test("safetensors: a file cut at any byte is refused", () =>
  withFile(async (path) => {
    await writeSafetensors(path, [
      { name: "a", shape: [3], data: Float32Array.of(1, 2, 3) },
      { name: "b", shape: [2], dtype: "F16", data: Float32Array.of(4, 5) },
    ]);
    const whole = await Deno.readFile(path);
    for (let length = 0; length < whole.length; length++) {
      await Deno.writeFile(path, whole.subarray(0, length));
      await assertRejects(() => openSafetensors(path), UserError, path);
    }
    await Deno.writeFile(path, new Uint8Array([...whole, 0]));
    await assertRejects(() => openSafetensors(path), UserError, "at the end");
    await Deno.writeFile(path, whole);
    const file = await openSafetensors(path);
    await Deno.truncate(path, whole.length - 1);
    await assertRejects(() => file.readF32("b"), UserError, "ends inside b");
  }));

Deno.test("safetensors: the writer takes each planned tensor once, with its length", () =>
  withFile(async (path) => {
    const writer = await SafetensorsWriter.create(path, [{ name: "a", shape: [2] }, {
      name: "b",
      shape: [1],
    }]);
    await assertRejects(() => writer.write("c", new Float32Array(1)), Error, "c is not planned");
    await assertRejects(() => writer.write("a", new Float32Array(3)), Error, "a [2] got 3 values");
    await writer.write("b", Float32Array.of(3));
    await assertRejects(() => writer.write("b", Float32Array.of(3)), Error, "b is written twice");
    await assertRejects(() => writer.finish(), Error, "a was never written");
    await writer.write("a", Float32Array.of(1, 2));
    await writer.finish();
    writer.close();
    const file = await openSafetensors(path);
    assertEquals([...await file.readF32("a"), ...await file.readF32("b")], [1, 2, 3]);
    const twice = [{ name: "a", shape: [1] }, { name: "a", shape: [1] }];
    await assertRejects(() => SafetensorsWriter.create(path, twice), Error, "planned twice");
  }));
