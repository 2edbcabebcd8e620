/** Reads image files: upright, on white. */

import { PageError } from "../backend";

/** Most pixels of an image that the browser decodes; a service of a project shows larger ones. */
export const MOST_PIXELS = 24e6;

/** Longer side of a thumbnail [px]. */
const THUMBNAIL = 160;

/**
 * Decode an image file: its EXIF orientation is applied, colors of its profile become sRGB, and of an animation the first
 * frame is read.
 *
 * @param most most pixels that it may have.
 * @throws PageError the file isn't an image that the browser can read, or is too large.
 */
export async function decodeImage(file: Blob, name: string, most = MOST_PIXELS): Promise<ImageBitmap> {
  if (!file.size) throw new PageError(`“${name}” is empty (0 bytes); copy or download it again.`);
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new PageError(`“${name}” is damaged, or no image that this browser reads; choose a JPEG or PNG file.`);
  }
  const { width, height } = bitmap;
  if (width * height <= most) return bitmap;
  bitmap.close();
  const has = Math.ceil((width * height) / 1e6);
  throw new PageError(`“${name}” has ${has} megapixels; this page edits at most ${most / 1e6}. Scale it down, or use “segvoc segment --tile”.`);
}

/**
 * The file to keep of an image: itself, or what this browser shows of it, where other programs would turn it.
 *
 * Browsers apply the EXIF orientation of JPEG files, and hardly one that of other files or of XMP. Whoever reads the
 * file that is kept sees what the page shows, so that label maps fit.
 */
export async function asShown(file: Blob, bitmap: ImageBitmap): Promise<Blob> {
  const content = new TextDecoder("latin1").decode(await file.arrayBuffer());
  const isTurned = /tiff:Orientation\W{1,8}[2-8]/.test(content) || (!content.startsWith("\xff\xd8") && /EXIF|eXIf|type exif/.test(content));
  if (!isTurned) return file;
  const type = ["image/jpeg", "image/webp"].includes(file.type) ? file.type : "image/png";
  return drawn(bitmap, bitmap.width, bitmap.height).canvas.convertToBlob({ type, quality: 0.95 });
}

export function thumbnail(bitmap: ImageBitmap): Promise<Blob> {
  const scale = Math.min(1, THUMBNAIL / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  return drawn(bitmap, width, height).canvas.convertToBlob({ type: "image/jpeg", quality: 0.8 });
}

function drawn(bitmap: ImageBitmap, width: number, height: number): OffscreenCanvasRenderingContext2D {
  const context = new OffscreenCanvas(width, height).getContext("2d", { alpha: false, willReadFrequently: true })!;
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  return context;
}
