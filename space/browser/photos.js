/**
 * Decodes files to upright RGB pixels as Python's `open_photo` does, with the browser's decoders.
 *
 * @import {Picture} from "./pictures.js"
 */
import { blank, reduced } from "./pictures.js";

export const MIN_SIDE = 32; // px: smaller photos cannot be judged
const MAX_PIXELS = 100_000_000;
const REDUCED_SIDE = 1440; // px: the finest copy that is searched for faces is no larger
const STRIP = 4_000_000; // px read at once, to limit the memory that a large photo takes
const QUALITY = 0.85; // of JPEG files to be shown
const ANIMATED = ["GIF", "PNG", "WebP", "AVIF"];

// For a JPEG without its end: the end marker, data unlike any photo's, and the rows that may be missing.
const JPEG_END = new Uint8Array([0xff, 0xd9]);
const JPEG_NOISE = Uint8Array.from({ length: 199 }, (_, i) => i + 1);
const LOST_ROWS = 17;

/** A photo that cannot be judged. The message is a sentence for the visitor. */
export class PhotoError extends Error {
  name = "PhotoError";
}

/**
 * Return a photo's format by the first bytes of its file; "" for other files.
 *
 * @param {Uint8Array} head at least 16 bytes, if the file has so many
 */
function photoFormat(head) {
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
 * Decode a photo: upright, on white where it is transparent, the first frame of an animation.
 *
 * @param {Blob} file
 * @returns {Promise<{photo: Picture, format: string, whole: Blob}>} `whole`: the file, with its end
 * @throws {PhotoError} the file is not a photo, or damaged, too small or too large
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
 * Return a JPEG with its end marker. Refuse one that lacks more than that: browsers fill the missing
 * part with grey.
 *
 * The photo is decoded twice, with the end marker alone and with noise before it. Up to the first
 * difference, the file is complete.
 *
 * @param {Blob} file
 */
async function ended(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (hasEnd(bytes)) return file;
  const [plain, noisy] = [new Blob([bytes, JPEG_END]), new Blob([bytes, JPEG_NOISE, JPEG_END])];
  const { pixels, width, height } = await decoded(plain, "JPEG");
  const { pixels: otherPixels } = await decoded(noisy, "JPEG");
  const place = pixels.findIndex((pixel, i) => pixel !== otherPixels[i]);
  const lost = place < 0 ? 0 : height - Math.floor(place / width);
  if (isProgressive(bytes) || lost > LOST_ROWS) {
    throw new PhotoError("The photo is damaged, as its end is missing: send the complete file.");
  }
  return plain;
}

/** Return whether a JPEG has an end marker after its pixels.
 * @param {Uint8Array} bytes */
function hasEnd(bytes) {
  for (let at = bytes.length - 2; at > 1; at--) {
    if (bytes[at] !== 0xff) continue;
    if (bytes[at + 1] === 0xd9) return true;
    if (bytes[at + 1] === 0xda) return false; // the start of pixels
  }
  return false;
}

/** Return whether a JPEG is progressive: cut short, it lacks detail everywhere, not its last rows.
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
 * Return whether a file is an animation, as far as the browser can tell.
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
    return false; // the photo itself was decoded by other means
  } finally {
    decoder.close();
  }
}

/**
 * Return the copy to search for faces, and the scale from it to the photo. A large JPEG is reduced by
 * 2, 4 or 8 as long as its shorter side keeps 1440 px.
 *
 * Python lets libjpeg decode at that size. Averaging blocks of px is nearly the same.
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

/** Return pixels as a file to be shown.
 * @param {ImageData} pixels
 * @param {string} type MIME type */
export async function toFile(pixels, type) {
  const canvas = new OffscreenCanvas(pixels.width, pixels.height);
  canvas.getContext("2d")?.putImageData(pixels, 0, 0);
  return canvas.convertToBlob({ type, quality: QUALITY });
}

/**
 * Return a photo as a smaller JPEG to be shown. The browser decodes the file again, on another thread,
 * and scales it in its own way.
 *
 * @param {Blob} file that it can decode
 * @param {number} side px of the longer side at most
 */
export async function preview(file, side) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  const factor = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((length) => Math.max(1, Math.round(length * factor)));
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "medium";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
}
