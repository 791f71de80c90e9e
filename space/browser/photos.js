/**
 * From a file to upright RGB pixels: what Python's `open_photo` does, by the browser's decoders.
 *
 * @import {Picture} from "./pictures.js"
 */
import { blank, reduced } from "./pictures.js";

export const MIN_SIDE = 32; // px: below this there is nothing left to judge
const MAX_PIXELS = 100_000_000;
const REDUCED_SIDE = 1440; // px: the finest copy in which faces are looked for has no more
const STRIP = 4_000_000; // px that are read at once, as those of a large photo would fill the memory
const QUALITY = 0.85; // of JPEG files to be looked at
const ANIMATED = ["GIF", "PNG", "WebP", "AVIF"];

// A JPEG whose end is missing: what is put there, data that no photo goes on with, and how many rows
// may be lost.
const JPEG_END = new Uint8Array([0xff, 0xd9]);
const JPEG_NOISE = Uint8Array.from({ length: 199 }, (_, i) => i + 1);
const LOST_ROWS = 17;

/** A photo that cannot be judged; the message says in one sentence what was found and what to do. */
export class PhotoError extends Error {
  name = "PhotoError";
}

/**
 * Return the format of a file by its first bytes; "" for what is no photo.
 *
 * @param {Uint8Array} head at least 16 bytes, if the file has so many
 */
export function photoFormat(head) {
  const text = String.fromCharCode(...head.subarray(0, 16));
  if (text.startsWith("\xff\xd8\xff")) return "JPEG";
  if (text.startsWith("\x89PNG\r\n\x1a\n")) return "PNG";
  if (text.startsWith("RIFF") && text.slice(8, 12) === "WEBP") return "WebP";
  if (/^GIF8[79]a/.test(text)) return "GIF";
  if (text.startsWith("BM")) return "BMP";
  if (/^(II\*\0|MM\0\*)/.test(text)) return "TIFF";
  if (text.slice(4, 8) !== "ftyp") return "";
  if (/^avi[fs]/.test(text.slice(8, 12))) return "AVIF";
  return /^(hei[cxms]|hev[cmsx]|mif1|msf1)/.test(text.slice(8, 12)) ? "HEIC" : "";
}

/**
 * Decode a photo: upright, transparency laid on white, of an animation the first frame.
 *
 * @param {Blob} file
 * @returns {Promise<{photo: Picture, format: string, whole: Blob}>} `whole`: the file, with its end
 * @throws {PhotoError} it is no photo, damaged, too small or too large
 */
export async function openPhoto(file) {
  if (!file.size) throw new PhotoError("The file is empty: choose another one.");
  const format = photoFormat(new Uint8Array(await file.slice(0, 16).arrayBuffer()));
  if (!format) {
    throw new PhotoError("The file is not a readable photo: choose a JPEG, PNG, WebP, AVIF, GIF or BMP file.");
  }
  const whole = format === "JPEG" ? await ended(file) : file;
  return { photo: await decoded(whole, format), format, whole };
}

/** @param {Blob} file @param {string} format */
async function decoded(file, format) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
    });
  } catch {
    throw new PhotoError(undecodable(format));
  }
  try {
    return pixelsOf(bitmap);
  } finally {
    bitmap.close();
  }
}

/** @param {string} format */
function undecodable(format) {
  return ["HEIC", "TIFF", "AVIF"].includes(format)
    ? `The photo is damaged, or this browser cannot decode ${format}: save it as JPEG or PNG.`
    : "The photo is damaged and cannot be decoded: save it again.";
}

/**
 * Return a JPEG with an end; refuse one that lacks more than that, of which browsers show what there
 * is, and grey for the rest.
 *
 * What is missing is grey once there is an end, and something else if noise stands before that: up
 * to where the two agree, the photo is all there.
 *
 * @param {Blob} file
 */
async function ended(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (hasEnd(bytes)) return file;
  const [plain, noisy] = [new Blob([bytes, JPEG_END]), new Blob([bytes, JPEG_NOISE, JPEG_END])];
  const [one, other] = [await decoded(plain, "JPEG"), await decoded(noisy, "JPEG")];
  const place = one.pixels.findIndex((value, i) => value !== other.pixels[i]);
  const lost = place < 0 ? 0 : one.height - Math.floor(place / one.width);
  if (isProgressive(bytes) || lost > LOST_ROWS) {
    throw new PhotoError("The photo is damaged, as its end is missing: send the complete file.");
  }
  return plain;
}

/** Whether the pixels of a JPEG end; what follows them is of no concern.
 * @param {Uint8Array} bytes */
function hasEnd(bytes) {
  for (let at = bytes.length - 2; at > 1; at--) {
    if (bytes[at] !== 0xff) continue;
    if (bytes[at + 1] === 0xd9) return true;
    if (bytes[at + 1] === 0xda) return false; // the start of pixels
  }
  return false;
}

/** Whether a JPEG that lost its end lost the detail of all rows, and not the last rows.
 * @param {Uint8Array} bytes */
function isProgressive(bytes) {
  return bytes.some((byte, at) => byte === 0xff && bytes[at + 1] === 0xc2);
}

/**
 * Return the pixels of a decoded picture.
 *
 * @param {ImageBitmap} bitmap
 * @throws {PhotoError} it is too small or too large
 */
export function pixelsOf(bitmap) {
  const { width, height } = bitmap;
  if (Math.min(width, height) < MIN_SIDE) {
    throw new PhotoError(
      `The photo is ${width}x${height} pixels: send one of at least ${MIN_SIDE}x${MIN_SIDE}.`,
    );
  }
  if (width * height > MAX_PIXELS) {
    throw new PhotoError(
      `The photo has ${((width * height) / 1e6).toFixed(1)} megapixels: send one of at most ` +
        `${MAX_PIXELS / 1e6}.`,
    );
  }
  const rows = Math.min(height, Math.max(1, Math.floor(STRIP / width)));
  const canvas = new OffscreenCanvas(width, rows);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new PhotoError("This browser has no memory left for the photo: send a smaller one.");
  const picture = blank(width, height);
  for (let top = 0; top < height; top += rows) {
    context.fillStyle = "white";
    context.fillRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, -top);
    const { data } = context.getImageData(0, 0, width, Math.min(rows, height - top));
    picture.pixels.set(new Uint32Array(data.buffer), width * top);
  }
  return picture;
}

/**
 * Whether a file holds a series of pictures, as far as the browser tells.
 *
 * @param {Blob} file
 * @param {string} format
 */
export async function isAnimated(file, format) {
  if (typeof ImageDecoder === "undefined" || !ANIMATED.includes(format)) return false;
  const type = `image/${format.toLowerCase()}`;
  const decoder = new ImageDecoder({ data: await file.arrayBuffer(), type });
  try {
    await decoder.tracks.ready;
    return decoder.tracks.selectedTrack?.animated ?? false;
  } catch {
    return false; // it was decoded by other means
  } finally {
    decoder.close();
  }
}

/**
 * Return the photo in which faces are looked for: a large JPEG at half its size or a quarter, as
 * long as its shorter side keeps 1440 px, and how many px of the photo lie in one of its px.
 *
 * Python lets libjpeg decode it so; here blocks of px are averaged, which is nearly the same.
 *
 * @param {Picture} photo
 * @param {string} format
 */
export function forSearch(photo, format) {
  const times = Math.floor(Math.min(photo.width, photo.height) / REDUCED_SIDE);
  if (format !== "JPEG" || times < 2) return { small: photo, scale: 1 };
  const factor = 2 ** Math.min(3, Math.floor(Math.log2(times)));
  const small = reduced(photo, factor, factor);
  const longer = Math.max(photo.width, photo.height);
  return { small, scale: longer / Math.max(small.width, small.height) };
}

/** Return pixels as a file, to be looked at.
 * @param {ImageData} pixels
 * @param {string} type MIME type */
export async function toFile(pixels, type) {
  const canvas = new OffscreenCanvas(pixels.width, pixels.height);
  canvas.getContext("2d")?.putImageData(pixels, 0, 0);
  return canvas.convertToBlob({ type, quality: QUALITY });
}

/**
 * Return a photo as a JPEG to be looked at. The browser decodes the file once more, as it does so on
 * another thread, and makes it smaller in its own way.
 *
 * @param {Blob} file that it can decode
 * @param {number} side px of the longer side at most
 */
export async function preview(file, side) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  const factor = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((one) => Math.max(1, Math.round(one * factor)));
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "medium";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
}
