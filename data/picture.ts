/**
 * The pictures of a row, as they come: a path or address, an encoded file's bytes, or pixels made on demand. Who
 * decodes, resizes and cuts them into patches lies elsewhere; nothing here knows of a model.
 * @module
 */

/** Stands in a problem's text where a picture goes; a row's text has one for each of its `images`, in order. */
export const IMAGE_MARK = "<image>";

/** Pixels made on demand, without a file: 3 bytes a pixel (red, green, blue; 0 to 255), rows from the top. */
export interface Picture {
  /** Pixels in a row. */
  readonly width: number;
  /** Rows. */
  readonly height: number;
  /** Renders: `width * height * 3` bytes, the same at every call, and the caller's to change. */
  rgb(): Uint8Array;
}

/** A picture file's bytes (PNG, JPEG, …), as Parquet files hold them; nobody has looked inside. */
export interface EncodedImage {
  /** The file. */
  readonly bytes: Uint8Array;
  /** The name it had, if it had one. */
  readonly path?: string;
}

/**
 * One picture of a row. A text is an absolute path, a path from the working directory, or an address with a scheme
 * (`data:image/png;base64,…` among them).
 */
export type RowImage = string | EncodedImage | Picture;

/** Whether pixels are made on demand. */
export function isPicture(image: RowImage): image is Picture {
  return typeof image === "object" && "rgb" in image;
}
