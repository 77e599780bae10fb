/**
 * Writes PNG files: 8-bit RGB, no interlacing, no row filters. Twenty lines over the platform's deflate are less than a
 * dependency; reading pictures, which come in every kind, is left to a library.
 *
 * Source: PNG (Portable Network Graphics) specification, W3C, sections 5 (chunks), 10 (compression), 11.2 (IHDR, IDAT,
 * IEND).
 * @module
 */
import { crc32, deflateSync } from "node:zlib";
import type { Picture } from "./picture.ts";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** IHDR after width and height: 8 bits a channel, colour type RGB, deflate, adaptive filters, not interlaced. */
const RGB8 = [8, 2, 0, 0, 0];

/** Length, type, data, and the checksum of type and data. */
function chunk(type: string, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(data.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(data, 8);
  view.setUint32(data.length + 8, crc32(bytes.subarray(4, data.length + 8)));
  return bytes;
}

/** A picture as a PNG file. */
export function encodePng(picture: Picture): Uint8Array {
  const { width, height } = picture;
  const rgb = picture.rgb();
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set(RGB8, 8);
  const rowBytes = width * 3;
  // In front of each row stands its filter: 0, none.
  const rows = new Uint8Array(height * (rowBytes + 1));
  for (let y = 0; y < height; y++) {
    rows.set(rgb.subarray(y * rowBytes, (y + 1) * rowBytes), y * (rowBytes + 1) + 1);
  }
  const chunks = [
    Uint8Array.from(SIGNATURE),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(rows)),
    chunk("IEND", new Uint8Array()),
  ];
  const file = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const bytes of chunks) {
    file.set(bytes, at);
    at += bytes.length;
  }
  return file;
}
