/**
 * Screenshots as pixels, to ask what is seen on a page.
 * @module
 */
import type { Page } from "playwright-core";
import sharp from "sharp";

/** Red, green and blue, 0 to 255. */
export type Rgb = readonly [number, number, number];

/** A picture's pixels, row by row, three bytes each. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** The pixels of a picture file's bytes. */
export async function decoded(bytes: Uint8Array): Promise<Pixels> {
  const { data, info } = await sharp(bytes).removeAlpha().toColourspace("srgb").raw()
    .toBuffer({ resolveWithObject: true });
  return { width: info.width, height: info.height, data };
}

/** What of a page is in sight; also written to `path`, to be looked at. */
export async function screenshot(page: Page, path: string): Promise<Pixels> {
  return await decoded(await page.screenshot({ path }));
}

/** How many pixels have each colour ("r,g,b"), the most frequent first; of a part of the picture if a box is given. */
export function coloursOf(
  { width, height, data }: Pixels,
  box: { x: number; y: number; width: number; height: number } = { x: 0, y: 0, width, height },
): Map<string, number> {
  const counts = new Map<string, number>();
  const [left, top] = [Math.max(0, Math.floor(box.x)), Math.max(0, Math.floor(box.y))];
  const [right, bottom] = [Math.min(width, box.x + box.width), Math.min(height, box.y + box.height)];
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const at = 3 * (y * width + x);
      const colour = data.subarray(at, at + 3).join();
      counts.set(colour, (counts.get(colour) ?? 0) + 1);
    }
  }
  return new Map([...counts].sort(([, a], [, b]) => b - a));
}

/** Contrast of two colours, 1 to 21. Source: WCAG 2.2, "contrast ratio". */
export function contrast(a: Rgb, b: Rgb): number {
  const luminance = (rgb: Rgb) => {
    const [r, g, b] = rgb.map((c) =>
      c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4
    );
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}
